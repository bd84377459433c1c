"""Metrics of rollouts and policies."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rfo.algos.base import DROPPED, DROPPED_IN, NONFINITE_STEPS
from rfo.algos.rollout import policy_metrics, rollout, rollout_metrics
from rfo.envs.base import Step
from rfo.envs.batch import Batch
from rfo.envs.tasks.probe import LQR
from rfo.policies.encoder import Identity
from rfo.policies.gaussian import GaussianPolicy


def gaussian(mean: float, log_std: float) -> GaussianPolicy:
    """A policy whose latent is N(mean, exp(log_std)^2) in every state."""
    policy = GaussianPolicy(jax.random.key(0), Identity(2), 2, (4,))
    net = jax.tree.map(jnp.zeros_like, policy.net)
    net = eqx.tree_at(lambda n: n.biases[-1], net, jnp.full(2, mean))
    return eqx.tree_at(lambda p: (p.net, p.log_std), policy, (net, jnp.full(2, log_std)))


class Doomed(LQR):
    """Not a number after the third step in environment 0; the reward's derivative never is one."""

    def reset(self, key, batch):
        return super().reset(key, batch), jnp.zeros(batch)

    def observe(self, state):
        return super().observe(state[0])

    def step(self, state, action):
        out = super().step(state[0], action)
        age = state[1] + 1
        doomed = (age == 3) & (jnp.arange(len(age)) == 0)
        depth = jnp.sqrt(jnp.sum((0 * action) ** 2, -1))
        after = jnp.where(doomed[:, None], jnp.nan, out.state), age
        return Step(after, self.observe(after), out.reward - depth, out.terminated)


def test_metrics_tell_what_was_not_finite_and_what_was_dropped():
    """8 steps of 2 environments, of which one has two episodes of 3 steps, that end not finite."""
    env, noise = Batch(Doomed(), 2), jnp.zeros((8, 2, 1))
    start = env.init(jax.random.key(0))

    def loss(noise, probe):
        _, data = rollout(env, start, lambda o, e: (e, None), noise, probe)
        return -data.reward.sum(), data

    (gradient, dropped), data = jax.grad(loss, argnums=(0, 1), has_aux=True)(
        noise, env.probe(start)
    )
    metrics = rollout_metrics(data, dropped)
    assert float(metrics["nonfinite"]) == 2 / 16
    assert float(metrics[NONFINITE_STEPS]) == 6 / 16
    assert float(metrics[DROPPED]) == float(metrics[f"{DROPPED_IN}action"]) == 1
    assert set(metrics) - set(rollout_metrics(data)) == {
        DROPPED,
        *(f"{DROPPED_IN}{name}" for name in ("action", "state.0", "state.1")),
    }
    np.testing.assert_array_equal(gradient, 0)


def test_spread_and_change_of_a_known_policy():
    """By hand for narrow Gaussians, where tanh is linear: spread is sigma, and moving the mean by
    delta and sigma by epsilon moves an action by sqrt(delta^2 + epsilon^2) in the mean square."""
    observation, key = jnp.ones((64, 2)), jax.random.key(1)
    before = gaussian(0.0, jnp.log(0.01))
    metrics = policy_metrics(before, gaussian(0.004, jnp.log(0.013)), observation, key)
    assert float(metrics["action_spread"]) == pytest.approx(0.01, rel=0.1)
    assert float(metrics["policy_change"]) == pytest.approx(0.005, rel=0.1)
    assert float(policy_metrics(before, before, observation, key)["policy_change"]) == 0.0
