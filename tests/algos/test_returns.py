"""Returns and targets against hand arithmetic, and against loops that follow the definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rfo.algos.returns import gae, n_step, segment_return, td_lambda


def slow_return(reward, next_value, terminated, truncated, duration, gamma):
    """Walk one environment's steps, closing segments as they end."""
    total, discount = 0.0, 1.0
    for t in range(len(reward)):
        total += discount * reward[t]
        if terminated[t]:
            discount = 1.0
        elif truncated[t] or t == len(reward) - 1:
            total += discount * gamma ** duration[t] * next_value[t]
            discount = 1.0
        else:
            discount *= gamma ** duration[t]
    return total


def slow_td_lambda(reward, next_value, terminated, truncated, duration, gamma, lambda_):
    """Weigh n-step returns by (1 - lambda) lambda^(n - 1), the segment's longest by the rest."""
    steps, targets = len(reward), []
    for t in range(steps):
        end = next(i for i in range(t, steps) if terminated[i] or truncated[i] or i == steps - 1)
        n_step, running = [], 0.0
        for i in range(t, end + 1):
            running += gamma ** sum(duration[t:i]) * reward[i]
            bootstrap = 0.0 if terminated[i] else gamma ** sum(duration[t : i + 1]) * next_value[i]
            n_step.append(running + bootstrap)
        weights = [(1 - lambda_) * lambda_**i for i in range(len(n_step) - 1)]
        targets.append(np.dot([*weights, 1 - sum(weights)], n_step))
    return targets


def slow_gae(reward, value, next_value, terminated, truncated, duration, gamma, lambda_):
    """Sum (gamma lambda)^k delta_{t+k} up to the end of the segment."""
    advantages = []
    for t in range(len(reward)):
        total = 0.0
        for i in range(t, len(reward)):
            delta = (
                reward[i] + gamma ** duration[i] * next_value[i] * (not terminated[i]) - value[i]
            )
            total += lambda_ ** (i - t) * gamma ** sum(duration[t:i]) * delta
            if terminated[i] or truncated[i]:
                break
        advantages.append(total)
    return advantages


def slow_n_step(reward, next_value, terminated, truncated, duration, gamma, steps):
    """Return of at most `steps` steps, bootstrap included."""
    returns = []
    for t in range(len(reward)):
        total = 0.0
        for i in range(t, min(t + steps, len(reward))):
            total += gamma ** sum(duration[t:i]) * reward[i]
            if terminated[i]:
                break
            if truncated[i] or i == min(t + steps, len(reward)) - 1:
                total += gamma ** sum(duration[t : i + 1]) * next_value[i]
                break
        returns.append(total)
    return returns


@pytest.fixture(scope="module", params=[1, 4], ids=["steps", "chunks"])
def data(request):
    """Random rollouts with many terminations and truncations, at the first and last step, too.

    Each step takes one control step, or several.
    """
    generator = np.random.default_rng(0)
    shape = (12, 40)
    kind = generator.choice(3, shape, p=[0.7, 0.15, 0.15])
    duration = generator.integers(1, request.param + 1, shape)
    return (
        generator.normal(size=shape),
        generator.normal(size=shape),
        kind == 1,
        kind == 2,
        duration,
    )


def fast(function, data, gamma, *more):
    *arrays, duration = map(jnp.asarray, data)
    return function(*arrays, gamma, *more, duration)


@pytest.mark.parametrize("gamma", [1.0, 0.9, 0.0])
def test_segment_return_follows_its_definition(data, gamma):
    with jax.enable_x64(True):
        result = fast(segment_return, data, gamma)
    slow = [slow_return(*(x[:, i] for x in data), gamma) for i in range(40)]
    np.testing.assert_allclose(result, slow, rtol=1e-12)


@pytest.mark.parametrize("lambda_", [0.0, 0.7, 0.95, 1.0])
def test_td_lambda_follows_its_definition(data, lambda_):
    with jax.enable_x64(True):
        result = fast(td_lambda, data, 0.9, lambda_)
    slow = np.stack(
        [slow_td_lambda(*(x[:, i] for x in data), 0.9, lambda_) for i in range(40)], axis=1
    )
    np.testing.assert_allclose(result, slow, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("lambda_", [0.0, 0.7, 1.0])
def test_gae_follows_its_definition(data, lambda_):
    """A segment has the values of one trajectory: V(s_t) is the next value of the step before."""
    reward, next_value, terminated, truncated, duration = data
    value = np.random.default_rng(1).normal(size=reward.shape)
    value[1:] = np.where((terminated | truncated)[:-1], value[1:], next_value[:-1])
    with jax.enable_x64(True):
        columns = (reward, value, next_value, terminated, truncated, duration)
        result = fast(gae, columns, 0.9, lambda_)
    slow = np.stack(
        [slow_gae(*(x[:, i] for x in columns), 0.9, lambda_) for i in range(40)], axis=1
    )
    np.testing.assert_allclose(result, slow, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("steps", [1, 3, 12, 50])
def test_n_step_follows_its_definition(data, steps):
    reward, next_value, terminated, truncated, duration = data
    with jax.enable_x64(True):
        ahead = fast(n_step, (reward, terminated, truncated, duration), 0.9, steps)
        total, last, discount = map(np.asarray, ahead)
    result = total + discount * np.take_along_axis(next_value, last, axis=0)
    slow = np.stack([slow_n_step(*(x[:, i] for x in data), 0.9, steps) for i in range(40)], axis=1)
    np.testing.assert_allclose(result, slow, rtol=1e-10, atol=1e-12)


def test_advantages_and_n_step_returns_by_hand():
    """Three steps, gamma = lambda = 1/2; column 1 terminates at step 0, 2 is truncated there."""
    reward = jnp.array([[1.0], [2.0], [4.0]]) * jnp.ones((3, 3))
    value = jnp.array([[3.0], [8.0], [10.0]]) * jnp.ones((3, 3))
    next_value = jnp.array([[8.0, 8.0, 100.0], [10.0] * 3, [16.0] * 3])
    one, end = jnp.ones((3, 3), int), jnp.zeros((3, 3), bool)
    terminated, truncated = end.at[0, 1].set(True), end.at[0, 2].set(True)
    advantage = gae(reward, value, next_value, terminated, truncated, 0.5, 0.5, one)
    # delta_2 = 4 + 16/2 - 10 = 2; delta_1 = 2 + 10/2 - 8 = -1
    # delta_0 = 1 + 8/2 - 3, 1 - 3, 1 + 100/2 - 3
    second = -1 + 2 / 4
    np.testing.assert_allclose(advantage, [[2 + second / 4, -2, 48], [second] * 3, [2] * 3])
    ahead = n_step(reward, terminated, truncated, 0.5, 2, one)
    np.testing.assert_allclose(ahead.reward, [[1 + 2 / 2, 1, 1], [2 + 4 / 2] * 3, [4] * 3])
    np.testing.assert_array_equal(ahead.last, [[1, 0, 0], [2] * 3, [2] * 3])
    np.testing.assert_allclose(ahead.discount, [[0.25, 0, 0.5], [0.25] * 3, [0.5] * 3])


def test_by_hand():
    """Four steps, gamma = 1/2; column 1 terminates at step 1, 2 is truncated there."""
    reward = jnp.array([[1.0], [2.0], [4.0], [8.0]]) * jnp.ones((4, 3))
    value = jnp.array([[100.0], [10.0], [1000.0], [16.0]]) * jnp.ones((4, 3))
    one, end = jnp.ones((4, 3), int), jnp.zeros((4, 3), bool)
    terminated, truncated = end.at[1, 1].set(True), end.at[1, 2].set(True)
    going_on = 1 + 2 / 2 + 4 / 4 + 8 / 8 + 16 / 16
    second_segment = 4 + 8 / 2 + 16 / 4
    np.testing.assert_allclose(
        segment_return(reward, value, terminated, truncated, 0.5, one),
        [going_on, 1 + 2 / 2 + second_segment, 1 + 2 / 2 + 10 / 4 + second_segment],
    )
    # lambda = 1/2, backwards: y3 = 8 + 16/2 = 16; y2 = 4 + (1000/2 + 16/2)/2 = 258; then y1 and y0
    targets = td_lambda(reward, value, terminated, truncated, 0.5, 0.5, one)
    np.testing.assert_allclose(targets[2:], [[258.0] * 3, [16.0] * 3])
    np.testing.assert_allclose(targets[1], [2 + (10 / 2 + 258 / 2) / 2, 2, 2 + 10 / 2])
    np.testing.assert_allclose(targets[0], [1 + (50 + y / 2) / 2 for y in np.asarray(targets[1])])


def test_a_chunk_by_hand():
    """gamma = 1/2; three control steps, then two until the clock ends the episode, then three."""
    end, duration = jnp.array([[False], [True], [False]]), jnp.array([[3], [2], [3]])
    reward, value = jnp.array([[1.0], [16.0], [5.0]]), jnp.array([[64.0], [32.0], [8.0]])
    never = jnp.zeros_like(end)
    total = segment_return(reward, value, never, end, 0.5, duration)
    np.testing.assert_allclose(total, 1 + 16 / 8 + 32 / 32 + 5 + 8 / 8)
    # lambda = 1/2: y2 = 5 + 8/8 = 6, y1 = 16 + 32/4 = 24, y0 = 1 + (64 + 24)/2/8
    targets = td_lambda(reward, value, never, end, 0.5, 0.5, duration)
    np.testing.assert_allclose(targets[:, 0], [6.5, 24.0, 6.0])


def test_values_reach_the_return_only_where_a_segment_ends(data):
    """The gradient in each next value is its discount, or 0: a NaN elsewhere is harmless."""
    reward, value, terminated, truncated, duration = map(jnp.asarray, data)
    gradient = jax.grad(
        lambda v: segment_return(reward, v, terminated, truncated, 0.9, duration).sum()
    )(value)
    last = np.zeros_like(terminated)
    last[-1] = True
    expected = (np.asarray(truncated) | last) & ~np.asarray(terminated)
    np.testing.assert_array_equal(gradient != 0, expected)
