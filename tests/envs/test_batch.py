"""Automatic resets and containment of non-finite environments."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rfo.envs.base import EnvSpec, Step
from rfo.envs.batch import Batch
from rfo.envs.tasks.probe import ReachCloud, Terminating, Truncating


class Chain(NamedTuple):
    """x' = 0.9 x + a with reward -x'^2; ends where |x'| > limit. A poison of 1 divides by zero."""

    length: int = 50

    @property
    def spec(self):
        return EnvSpec("chain", 3, 1, self.length, dt=1.0)

    def reset(self, key, batch):
        return {
            "x": jnp.full(batch, 0.1),
            "limit": jnp.full(batch, 1e3),
            "poison": jnp.zeros(batch),
        }

    def observe(self, state):
        return jnp.stack([state["x"], state["limit"], state["poison"]], axis=-1)

    def step(self, state, action):
        infinite = state["poison"] / (1 - state["poison"])  # 0 without poison
        x = 0.9 * state["x"] + action[:, 0] * (1 + infinite)
        after = {**state, "x": x}
        return Step(after, self.observe(after), -(x**2), jnp.abs(x) > state["limit"])


def started(batch, **columns):
    """A batch's start state with some of the task's arrays replaced."""
    state = batch.init(jax.random.key(0))
    task = {**state.task, **{name: jnp.asarray(value) for name, value in columns.items()}}
    return state._replace(task=task, observation=batch.task.observe(task))


def run(batch, state, weight, steps=6):
    """Steps of a rollout under the policy a = w x + 0.1."""

    def advance(state, _):
        step = batch.step(state, weight * state.observation[:, :1] + 0.1)
        return step.state, step

    return jax.lax.scan(advance, state, None, length=steps)[1]


def test_next_observation_is_before_the_reset_and_the_state_after_it():
    batch = Batch(Terminating(life=3), 64)
    state = batch.init(jax.random.key(0))
    step = batch.step(state, jnp.zeros((64, 1)))
    dying = np.asarray(state.task.left) == 1
    assert 0 < dying.sum() < 64
    np.testing.assert_array_equal(step.terminated, dying)
    np.testing.assert_allclose(step.next_observation[dying, 0], 0)
    np.testing.assert_array_equal(step.next_observation[:, 1], state.observation[:, 1])
    assert np.all(step.state.observation[dying, 0] > 0)
    np.testing.assert_array_equal(step.state.observation[~dying], step.next_observation[~dying])
    np.testing.assert_array_equal(step.state.observation, batch.task.observe(step.state.task))
    assert np.all(step.state.elapsed == np.where(dying, 0, 1))


def test_clock_truncates_and_books_the_episode():
    batch = Batch(Truncating(episode_length=4), 3)
    steps = [None]
    state = batch.init(jax.random.key(0))
    target = state.task[:, 0]
    for _ in range(5):
        steps.append(batch.step(state, state.observation))
        state = steps[-1].state
    assert [bool(s.truncated.all()) for s in steps[1:]] == [False, False, False, True, False]
    assert not any(s.terminated.any() for s in steps[1:])
    np.testing.assert_allclose(steps[4].episode_return, 4.0)
    np.testing.assert_array_equal(steps[4].episode_length, 4)
    np.testing.assert_allclose(steps[4].next_observation[:, 0], target)
    assert np.all(steps[4].state.observation[:, 0] != target)
    np.testing.assert_allclose(steps[5].episode_return, 1.0)


def test_termination_at_the_time_limit_is_a_termination():
    batch = Batch(Chain(length=1), 1)
    step = batch.step(started(batch, limit=[0.0]), jnp.ones((1, 1)))
    assert step.terminated[0] and not step.truncated[0]


def test_a_neighbours_reset_leaves_gradients_and_values_untouched():
    """Return and gradient of environment 0 are bit for bit the same if environment 1 resets."""
    batch = Batch(Chain(), 2)

    @jax.jit
    def survivor(limit):
        state = started(batch, x=[0.5, 0.5], limit=[1e3, limit])

        def total(weight):
            out = run(batch, state, weight)
            return out.reward[:, 0].sum(), out.terminated[:, 1].sum()

        return jax.value_and_grad(total, has_aux=True)(0.3)

    (calm, resets), calm_gradient = survivor(1e3)
    (busy, more_resets), busy_gradient = survivor(0.6)
    assert resets == 0 and more_resets > 0
    assert calm == busy and calm_gradient == busy_gradient
    # That gradient is the one of the whole chain: finite differences over all six steps.
    ahead, behind = (
        run(batch, started(batch, x=[0.5, 0.5]), w).reward[:, 0].sum() for w in (0.31, 0.29)
    )
    assert calm_gradient == pytest.approx(float(ahead - behind) / 0.02, rel=1e-2)


def test_gradient_of_a_reset_environment_stops_at_its_reset():
    """Rewards after a termination do not depend on the action before it."""
    batch = Batch(Chain(), 1)

    def after_reset(action):
        step = batch.step(started(batch, limit=[0.0]), action[None, None])
        return batch.step(step.state, jnp.zeros((1, 1))).reward.sum()

    assert jax.grad(after_reset)(0.5) == 0


def test_a_non_finite_environment_is_contained_counted_and_restarted():
    """The values of its neighbour and the shared gradient are those of a batch without it."""
    pair, single = Batch(Chain(), 2), Batch(Chain(), 1)

    def total(weight, batch, state):
        out = run(batch, state, weight)
        return out.reward[:, 0].sum(), out

    (sick, out), gradient = jax.value_and_grad(total, has_aux=True)(
        0.3, pair, started(pair, x=[0.5, 0.5], poison=[0.0, 1.0])
    )
    (well, _), expected = jax.value_and_grad(total, has_aux=True)(
        0.3, single, started(single, x=[0.5])
    )
    assert sick == well
    assert gradient == pytest.approx(float(expected), rel=1e-6)
    np.testing.assert_array_equal(out.nonfinite[:, 1], [True] + [False] * 5)  # reset heals it
    assert out.terminated[0, 1] and not out.nonfinite[:, 0].any()
    assert out.reward[0, 1] == 0 and jnp.isfinite(out.next_observation).all()
    np.testing.assert_allclose(out.state.task["x"][0, 1], 0.1)

    def everyone(weight):
        return run(pair, started(pair, x=[0.5, 0.5], poison=[0.0, 1.0]), weight).reward.sum()

    assert jnp.isfinite(jax.grad(everyone)(0.3)) and jax.grad(everyone)(0.3) != 0


def test_a_finite_state_with_an_infinite_derivative_is_contained():
    """The square root at 0: the value is finite, the derivative is not."""

    class Root(Chain):
        def step(self, state, action):
            x = state["x"] + jnp.sqrt(action[:, 0] - 0.25 + 1 - state["poison"]) + action[:, 0]
            after = {**state, "x": x}
            return Step(after, self.observe(after), -(x**2), jnp.zeros(len(x), bool))

    batch = Batch(Root(), 2)
    state = started(batch, x=[0.5, 0.5], poison=[0.0, 1.0])

    def total(action):
        return batch.step(state, jnp.full((2, 1), action)).reward.sum()

    assert jax.grad(total)(0.25) == pytest.approx(-2 * 1.75 * 1.5)  # environment 0's own


class Rough(NamedTuple):
    """Where `lame`, the derivative of the reward in the action is 0 times infinity."""

    @property
    def spec(self):
        return EnvSpec("rough", 1, 1, 50, dt=1.0)

    def reset(self, key, batch):
        return {"x": jnp.ones(batch), "lame": jnp.zeros(batch), "count": jnp.zeros(batch, int)}

    def observe(self, state):
        return state["x"][:, None]

    def step(self, state, action):
        x = state["x"] + 0.1 * action[:, 0]
        depth = jnp.sqrt(jnp.where(state["lame"] == 1, 0.0, 1.0) * action[:, 0] ** 2)
        after = {**state, "x": x, "count": state["count"] + 1}
        return Step(after, self.observe(after), -(x**2) - 0.0 * depth, jnp.zeros(len(x), bool))


def dropped_by(batch, state, actions):
    """Counts of the gradients that a rollout's backward pass drops."""

    def total(actions, probe):
        def advance(state, action):
            out = batch.step(state, action, probe)
            return out.state, out.reward

        return jax.lax.scan(advance, state, actions)[1].sum()

    return jax.jit(jax.grad(total, argnums=(0, 1)))(actions, batch.probe(state))


def rough(batch, lame):
    state = batch.init(jax.random.key(0))
    return state._replace(task={**state.task, "lame": jnp.asarray(lame)})


def test_dropped_gradients_are_counted_by_environment_and_array():
    """Environments 1 and 3 lose theirs at each of 5 steps, in the action under the root."""
    batch = Batch(Rough(), 4)
    state = rough(batch, [0.0, 1.0, 0.0, 1.0])
    gradient, dropped = dropped_by(batch, state, jnp.full((5, 4, 1), 0.3))
    assert set(dropped.arrays) == {"action", "state.x", "state.lame"}  # no integers
    np.testing.assert_array_equal(dropped.environments, [0, 5, 0, 5])
    np.testing.assert_array_equal(dropped.arrays["action"], [0, 5, 0, 5])
    np.testing.assert_array_equal(dropped.arrays["state.x"], 0)
    np.testing.assert_array_equal(gradient[:, 1], 0)
    assert np.all(gradient[:, 0] < 0)


def test_counting_changes_no_gradient():
    batch = Batch(Chain(), 3)
    state = started(batch, x=[0.5, 0.2, 0.1], poison=[0.0, 0.0, 1.0])
    actions = jnp.full((6, 3, 1), 0.1)

    def total(actions):
        def advance(state, action):
            out = batch.step(state, action)
            return out.state, out.reward

        return jax.lax.scan(advance, state, actions)[1].sum()

    counted, dropped = dropped_by(batch, state, actions)
    np.testing.assert_array_equal(counted, jax.jit(jax.grad(total))(actions))
    np.testing.assert_array_equal(dropped.environments, [0, 0, 1])  # it restarts, and is healed


def test_counts_of_stacked_batches_are_each_their_own():
    """Under vmap, as several seeds train together."""
    batch = Batch(Rough(), 2)
    lame = jnp.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]])
    actions = jnp.full((4, 2, 1), 0.3)
    counts = jax.vmap(lambda each: dropped_by(batch, rough(batch, each), actions)[1])(lame)
    np.testing.assert_array_equal(counts.environments, 4 * lame)


def test_an_absurdly_large_observation_counts_as_non_finite():
    batch = Batch(Chain(), 1)
    assert batch.step(started(batch, x=[1e8]), jnp.zeros((1, 1))).nonfinite[0]


@pytest.mark.parametrize("number", [jnp.nan, 1e8])
def test_one_bad_point_of_a_cloud_restarts_its_environment_alone(number):
    batch = Batch(ReachCloud(points=4), 3)
    start = batch.init(jax.random.key(0))
    task = {**start.task, "cloud": start.task["cloud"].at[1, 2, 0].set(number)}
    out = batch.step(start._replace(task=task), jnp.zeros((3, 3)))
    np.testing.assert_array_equal(out.nonfinite, [False, True, False])
    assert out.reward[1] == 0 and np.all(out.reward[jnp.array([0, 2])] < 0)
    for name, fresh in out.state.observation.items():
        np.testing.assert_array_equal(out.next_observation[name][1], fresh[1])
        np.testing.assert_array_equal(out.next_observation[name][::2], start.task[name][::2])


def test_a_batch_has_at_least_one_environment():
    with pytest.raises(ValueError, match="at least 1, not 0"):
        Batch(Chain(), 0)
