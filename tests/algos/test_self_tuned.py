"""RFO whose weights tune themselves: the dual step, and what the constraints hold."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glossary import unexplained
from rfo.algos.rfo import RFO
from rfo.algos.self_tuned import SelfTunedRFO, Target, dual_step, spread_loss
from rfo.algos.settings import Schedule
from rfo.envs.base import EnvSpec, Step
from rfo.envs.batch import Batch
from rfo.errors import SettingError
from tuned import tuned


class Slope:
    """One step that pays `pay` times the sum of the actions, or for `pay` 0 minus their squares."""

    spec = EnvSpec("slope", observation=1, action_size=2, episode_length=4, dt=1.0)

    def __init__(self, pay):
        self.pay = pay

    def reset(self, key, batch):
        return jax.random.uniform(key, (batch, 1))

    def observe(self, state):
        return state

    def step(self, state, action):
        reward = jnp.where(self.pay > 0, self.pay * action.sum(-1), -(action**2).sum(-1))
        return Step(state, state, reward, jnp.ones(len(state), bool))


SMALL = {
    "horizon": 4,
    "schedule": {"updates": 150},
    "network": {"hidden": (16,)},
    "critic": {"hidden": (16,), "iterations": 4},
    "optimiser": {"learning_rate": 2e-2, "weight_decay": 0.0},
    "flow": {"steps": 2},
}
TUNED = tuned(SelfTunedRFO(), **SMALL)
FREE = tuned(RFO(), c_past=0.0, c_uni=0.0, **SMALL)


@cache
def training(algorithm):
    """A compiled training on the slope that pays a given reward; returns all updates' metrics."""

    @jax.jit
    def run(key, pay):
        env = Batch(Slope(pay), 16)
        state = algorithm.init(key, env)
        updates = algorithm.schedule.updates
        return jax.lax.scan(lambda s, _: algorithm.update(s, env), state, None, updates)[1]

    return run


def metrics_of(algorithm, pay):
    return jax.device_get(training(algorithm)(jax.random.key(0), pay))


def test_a_dual_step_by_hand():
    assert dual_step(jnp.array(2.0), jnp.array(0.5), 0.3) == pytest.approx(2 * np.exp(0.15))
    assert dual_step(jnp.array(2.0), jnp.array(-9.0), 0.3) == pytest.approx(2 * np.exp(-0.3))
    assert dual_step(jnp.array(100.0), jnp.array(1.0), 0.3) == pytest.approx(100.0)
    assert dual_step(jnp.array(1e-3), jnp.array(-1.0), 0.3) == pytest.approx(1e-3)


def test_a_target_moves_with_the_schedule():
    target, schedule = Target(0.2, 0.1), Schedule(updates=100)
    for update, held in ((0, 0.2), (50, 0.15), (100, 0.1), (200, 0.1)):
        violation = target.violation(jnp.array(0.3), schedule, jnp.array(update))
        assert violation == pytest.approx(0.3 / held - 1, rel=1e-5)
    with pytest.raises(SettingError, match="final must be positive"):
        Target(0.1, 0.0)


def test_spread_loss_by_hand():
    action, other = jnp.array([[0.5, 0.1]]), jnp.array([[0.2, 0.1]])
    by_hand = -(np.log(np.hypot(0.3, 0.4)) + np.log(0.4)) / 2
    assert spread_loss(action, other, 0.4) == pytest.approx(by_hand, rel=1e-6)


def test_saturation_and_spread_are_held_where_the_best_action_lies_at_its_bound():
    """RFO without such weights ends with all of its actions saturated."""
    held = metrics_of(TUNED, 10.0)
    assert unexplained(held) == set(), "add them to docs/glossary.md"
    last = slice(-30, None)
    assert 0.05 < held["action_saturation"][last].mean() < 0.25
    assert held["action_spread"][last].mean() > 0.03
    assert held["c_bound"][last].mean() > 0.3
    free = metrics_of(FREE, 10.0)
    assert free["action_saturation"][last].mean() > 0.9


def test_a_weight_that_is_not_needed_falls_to_its_lowest():
    metrics = metrics_of(TUNED, 0.0)
    assert metrics["c_bound"][-1] == pytest.approx(1e-3)


def test_critics_follow_returns_of_any_size():
    """A hundredfold reward: critics of plain values cannot follow it with the same steps."""
    held = metrics_of(TUNED, 100.0)
    assert held["value"][-1] == pytest.approx(held["reward"][-1], rel=0.2)
    free = metrics_of(FREE, 100.0)
    assert free["value"][-1] < 0.5 * free["reward"][-1]
