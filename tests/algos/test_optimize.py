"""Descent against optax and hand arithmetic."""

import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rfo.algos.fitting import COMBINATIONS, fit_critics
from rfo.algos.optimize import Descent, DescentState
from rfo.algos.settings import Critic, Optimiser, Schedule
from rfo.policies.critic import Critics
from rfo.policies.encoder import Identity, encoder_for

FREE = Optimiser(beta1=0.9, beta2=0.999, weight_decay=0.0, max_grad_norm=math.inf)
"""Neither decay nor clip."""

PARAMS = {"w": jnp.array([[1.0, -2.0], [0.5, 3.0]]), "b": jnp.array([0.1, -0.2])}


def gradients(seed):
    return jax.tree.map(lambda x: jax.random.normal(jax.random.key(seed), x.shape), PARAMS)


def test_equals_optax_adamw_with_schedule_and_clip():
    optimiser = Optimiser(1e-2, 1e-5, 0.7, 0.95, weight_decay=0.1, max_grad_norm=0.5)
    schedule = Schedule(updates=4)
    oracle = optax.chain(
        optax.clip_by_global_norm(0.5),
        optax.adamw(optax.linear_schedule(1e-2, 1e-5, 4), b1=0.7, b2=0.95, weight_decay=0.1),
    )
    params, state = PARAMS, DescentState.init(PARAMS)
    expected, oracle_state = PARAMS, oracle.init(PARAMS)
    for i in range(6):  # two beyond the end of the schedule
        rate = schedule.rate(1e-2, 1e-5, jnp.asarray(i))
        params, state, report = Descent(optimiser, rate).step(params, state, gradients(i))
        updates, oracle_state = oracle.update(gradients(i), oracle_state, expected)
        expected = optax.apply_updates(expected, updates)
        norm = float(optax.tree.norm(gradients(i)))
        assert report.norm == pytest.approx(norm, rel=1e-6)
        assert report.clipped_norm == pytest.approx(min(norm, 0.5), rel=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), params, expected)


def test_first_step_by_hand():
    """Adam's first step is the learning rate times the sign; decay takes lr * wd * w on top."""
    descent = Descent(replace(FREE, weight_decay=0.5), 0.1)
    gradient = {"w": jnp.array([[2.0, -3.0], [4.0, -5.0]]), "b": jnp.array([1.0, -1.0])}
    params, _, report = descent.step(PARAMS, DescentState.init(PARAMS), gradient)
    np.testing.assert_allclose(
        params["w"], [[1 - 0.1 - 0.05, -2 + 0.1 + 0.1], [0.375, 2.95]], rtol=1e-5
    )
    assert (
        report.norm == report.clipped_norm == pytest.approx(np.sqrt(4 + 9 + 16 + 25 + 2), rel=1e-6)
    )


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf])
def test_non_finite_gradient_changes_nothing_but_the_count(bad):
    descent = Descent(replace(FREE, weight_decay=0.5, max_grad_norm=1.0), 0.1)
    params, state, _ = descent.step(PARAMS, DescentState.init(PARAMS), gradients(0))
    poisoned = {**gradients(1), "b": jnp.array([0.0, bad])}
    after, after_state, report = descent.step(params, state, poisoned)
    jax.tree.map(
        np.testing.assert_array_equal, (after, after_state.moments), (params, state.moments)
    )
    assert report.skipped and after_state.skipped == state.skipped + 1


def critic_data():
    observation = jax.random.normal(jax.random.key(1), (8, 16, 3))
    return observation, observation[..., 0] - 2 * observation[..., 1]


def test_each_critic_of_an_ensemble_is_fitted_as_if_alone():
    observation, target = critic_data()
    both = Critics(jax.random.key(0), Identity(3), (16,), ensemble=2)
    settings = Critic(iterations=5, batches=4)
    descent = Descent(FREE, 1e-2)

    def fitted(critics):
        after, _, metrics = fit_critics(
            critics, (descent, DescentState.init(critics)), observation, target, settings
        )
        return after(observation), metrics

    together, metrics = jax.jit(fitted)(both)
    for i in range(2):
        member = jax.tree.map(lambda x, i=i: x[i : i + 1], both)
        np.testing.assert_allclose(together[i], jax.jit(fitted)(member)[0][0], rtol=1e-4, atol=1e-5)
    before = both(observation)
    assert metrics["critic_error"] == pytest.approx(
        float(jnp.mean((before - target) ** 2)), rel=1e-5
    )
    explained = [1 - jnp.var(target - v) / jnp.var(target) for v in before]
    assert metrics["critic_explained_variance"] == pytest.approx(
        float(np.mean(explained)), rel=1e-4
    )
    assert metrics["critic_loss"] < metrics["critic_error"]


def vector_and_critics():
    return critic_data()[0], Critics(jax.random.key(0), Identity(3), (4,), ensemble=1)


def cloud_and_critics():
    """The same numbers as a cloud of five points and a vector."""
    vector, _ = critic_data()
    cloud = vector[..., None, :] + jax.random.normal(jax.random.key(2), (5, 3))
    encoder = encoder_for(jax.random.key(3), {"cloud": (5, 3), "vector": (3,)}, (4,), 4, 4)
    return {"cloud": cloud, "vector": vector}, Critics(jax.random.key(0), encoder, (4,), ensemble=1)


@pytest.mark.parametrize("make", [vector_and_critics, cloud_and_critics])
def test_minibatches_run_in_order_of_time(make):
    """Two minibatches with one descent each equal two hand-made steps, the early half first."""
    (observation, critics), (_, target) = make(), critic_data()
    descent, settings = Descent(FREE, 1e-2), Critic(iterations=1, batches=2)
    fitted = jax.jit(
        lambda c: fit_critics(c, (descent, DescentState.init(c)), observation, target, settings)[0]
    )(critics)

    @jax.jit
    def one_step(critics, state, seen, target):
        gradient = jax.grad(lambda c: jnp.mean((c(seen)[0] - target) ** 2))(critics)
        return descent.step(critics, state, gradient)[:2]

    by_hand, state = critics, DescentState.init(critics)
    for half in (slice(0, 4), slice(4, 8)):
        seen = jax.tree.map(lambda x, h=half: x[h], observation)
        by_hand, state = one_step(by_hand, state, seen, target[half])
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), fitted, by_hand
    )


def test_the_norm_that_is_clipped_counts_the_encoder():
    observation, critics = cloud_and_critics()
    gradient = jax.jit(jax.grad(lambda c: jnp.sum(c(observation) ** 2)))(critics)
    descent = Descent(replace(FREE, max_grad_norm=0.5), 1e-2)
    _, _, report = descent.step(critics, DescentState.init(critics), gradient)
    encoder, heads = optax.tree.norm(gradient.encoder), optax.tree.norm(gradient.nets)
    assert encoder > 0.1 * heads
    assert report.norm == pytest.approx(float(jnp.hypot(encoder, heads)), rel=1e-5)
    assert report.clipped_norm == pytest.approx(0.5, rel=1e-5)


def test_critics_combine_by_name():
    values = jnp.array([[1.0], [3.0]])
    assert COMBINATIONS["min"](values, axis=0) == 1
    assert COMBINATIONS["mean"](values, axis=0) == 2


def test_an_extended_schedule_goes_on_from_where_it_is_to_the_new_end():
    """By hand: after 30 of 100 updates 0.7 of the way is left, and half of that halfway to 230."""
    old = Schedule(updates=100)
    new = old.extended(30, 230)
    assert new == Schedule(updates=230, begin=30, fraction=0.7)

    def rate(schedule, update):
        return float(schedule.rate(1.0, 0.0, jnp.asarray(update)))

    assert rate(old, 30) == pytest.approx(0.7) == rate(new, 30)
    assert rate(new, 130) == pytest.approx(0.35)
    assert rate(new, 230) == rate(new, 500) == pytest.approx(0.0, abs=1e-7)
    again = new.extended(130, 330)
    assert again.fraction == pytest.approx(0.35) and rate(again, 230) == pytest.approx(0.175)
    assert old.extended(120, 200).fraction == 0  # beyond its end nothing is left
    with pytest.raises(ValueError, match=r"begin must be below updates \(30\), not 30"):
        old.extended(30, 30)
