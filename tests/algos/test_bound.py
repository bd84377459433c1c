"""L_bound, which keeps actions away from their bounds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rfo.algos.rfo import RFO
from rfo.algos.sapo import SAPO
from rfo.envs.base import EnvSpec, Step
from rfo.envs.batch import Batch
from tuned import tuned


class Slope:
    """One step that pays `pay` times the sum of the actions; without L_bound the best are 1."""

    def __init__(self, pay):
        self.pay = pay

    spec = EnvSpec("slope", observation=1, action_size=2, episode_length=4, dt=1.0)

    def reset(self, key, batch):
        return jax.random.uniform(key, (batch, 1))

    def observe(self, state):
        return state

    def step(self, state, action):
        return Step(state, state, self.pay * action.sum(-1), jnp.ones(len(state), bool))


SMALL = {
    "horizon": 4,
    "c_bound": 0.6,
    "schedule": {"updates": 200},
    "network": {"hidden": (8,)},
    "critic": {"hidden": (8,), "iterations": 1},
    "optimiser": {"learning_rate": 2e-2, "weight_decay": 0.0},
}
METHODS = {
    "rfo": tuned(RFO(), flow={"steps": 2, "source_noise": 0.01}, c_past=0.0, c_uni=0.0, **SMALL),
    "sapo": tuned(SAPO(), initial_alpha=1e-30, alpha_learning_rate=0.0, **SMALL),
}


def training(algorithm):
    """A compiled training for a given pay: deterministic actions of one state, and metrics."""

    @jax.jit
    def run(key, pay):
        env = Batch(Slope(pay), 8)
        state = algorithm.init(key, env)
        state, metrics = jax.lax.scan(
            lambda s, _: algorithm.update(s, env), state, None, algorithm.schedule.updates
        )
        return algorithm.policy(state)(jnp.full((1, 1), 0.5), None), metrics

    return run


@pytest.mark.parametrize("method", METHODS)
def test_actions_stop_where_the_reward_and_the_bound_balance(method):
    """By hand: with a reward of 1 for each of A = 2 dimensions, ``-a - c / 2 * log(1 - a^2)`` is
    least where ``1 - a^2 = c a``, for c = 0.6 at ``a = (sqrt(c^2 + 4) - c) / 2 = 0.744``. A reward
    of 20 leaves c a weight of next to nothing, and the actions go on to their bound."""
    run = training(METHODS[method])
    actions, metrics = run(jax.random.key(0), 1.0)
    best = (np.sqrt(0.6**2 + 4) - 0.6) / 2
    np.testing.assert_allclose(actions, best, atol=0.01)
    assert metrics["loss_bound"][-1] == pytest.approx(-np.log(1 - best**2), rel=0.03)
    assert np.all(run(jax.random.key(0), 20.0)[0] > 0.95)


@pytest.mark.parametrize("kind", [RFO, SAPO])
def test_its_weight_is_not_negative(kind):
    with pytest.raises(ValueError, match="c_bound must be not negative"):
        kind(c_bound=-0.1)
