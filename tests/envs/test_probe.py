"""The closed-form tasks have the best policies, values and gradients that they state."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from rfo.envs.base import Environment
from rfo.envs.tasks.probe import (
    LQR,
    Bimodal,
    Delayed,
    Quadratic,
    ReachCloud,
    Terminating,
    Truncating,
)

TASKS = [Quadratic(), ReachCloud(), LQR(), Terminating(), Truncating(), Delayed()]


def discounted(task, state, policy, discount, steps):
    """Discounted return of each environment under a policy; rewards after a termination do not
    count."""

    def advance(carry, _):
        state, alive, weight = carry
        step = task.step(state, policy(state))
        paid = jnp.where(alive, weight * step.reward, 0.0)
        return (step.state, alive & ~step.terminated, weight * discount), paid

    batch = len(jax.tree.leaves(state)[0])
    start = (state, jnp.ones(batch, bool), jnp.ones(()))
    return jax.lax.scan(advance, start, None, length=steps)[1].sum(0)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.spec.name)
def test_best_policy_earns_the_stated_value_and_no_other_more(task):
    with jax.enable_x64(True):
        assert isinstance(task, Environment)
        state = task.reset(jax.random.key(0), 50)
        discount = getattr(task, "discount", 0.99)
        value = discounted(task, state, task.best_action, discount, 1500)
        np.testing.assert_allclose(value, task.value(state), rtol=1e-5, atol=1e-6)
        for shift in (0.05, -0.05):
            other = discounted(
                task, state, lambda s, d=shift: task.best_action(s) + d, discount, 1500
            )
            assert jnp.all(other <= value + 1e-9) and jnp.any(other < value - 1e-4)


def test_riccati_against_scipy():
    task = LQR()
    root = np.sqrt(task.discount)
    oracle = scipy.linalg.solve_discrete_are(root * task.A, root * task.B, task.Q, task.R)
    np.testing.assert_allclose(task.riccati()[0], oracle, rtol=1e-8)


def test_lqr_starts_where_the_best_action_is_inside_the_box():
    task = LQR()
    state = task.reset(jax.random.key(0), 1000)
    for _ in range(20):
        action = task.best_action(state)
        assert jnp.abs(action).max() < 1
        state = task.step(state, action).state


def test_reward_gradient_of_the_quadratic():
    task, state = Quadratic(), jnp.array([[0.4, -0.2]])
    action = jnp.array([[0.5, 0.5]])
    gradient = jax.grad(lambda a: task.step(state, a).reward.sum())(action)
    np.testing.assert_allclose(gradient, -2 * (action - state / 2), rtol=1e-6)


def test_actions_are_clipped_to_the_box():
    task, state = Quadratic(), jnp.zeros((1, 2))
    assert (
        task.step(state, jnp.full((1, 2), 5.0)).reward == task.step(state, jnp.ones((1, 2))).reward
    )


def test_bimodal_optimum_is_beyond_deterministic_and_gaussian_policies():
    """Compares returns of actions drawn from each distribution with the task's formula."""
    task = Bimodal()
    generator = np.random.default_rng(0)

    def earned(draw):
        start = task.reset(jax.random.key(0), 200_000)
        first = task.step(start, jnp.asarray(draw())[:, None])
        second = task.step(first.state, jnp.asarray(draw())[:, None])
        assert not first.terminated.any() and second.terminated.all()
        np.testing.assert_array_equal(first.observation, task.observe(start))  # the step is hidden
        return float((first.reward + second.reward).mean())

    two_points = earned(lambda: task.mode * generator.choice([-1.0, 1.0], 200_000))
    assert two_points == pytest.approx(task.best_return, abs=0.01)
    wide = np.tanh(0.8 * np.random.default_rng(1).normal(size=100_000))
    assert earned(lambda: np.tanh(0.8 * generator.normal(size=200_000))) == pytest.approx(
        task.expected_return(wide, np.full(100_000, 1e-5)), abs=0.02
    )
    deterministic = max(earned(lambda a=a: np.full(200_000, a)) for a in np.linspace(-1, 1, 41))
    assert deterministic <= 1e-6
    assert task.best_gaussian_return() < 0.01 < 0.6 < task.best_return


def test_bimodal_optimum_is_a_maximum_over_two_point_distributions():
    task = Bimodal()
    for left, right, share in np.random.default_rng(0).uniform([-1, -1, 0], [1, 1, 1], (2000, 3)):
        value = task.expected_return(np.array([left, right]), np.array([share, 1 - share]))
        assert value <= task.best_return + 1e-6
