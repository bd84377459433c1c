"""What is said about rollouts and policies."""

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest

from rfo.algos.rollout import policy_metrics
from rfo.policies.encoder import Identity
from rfo.policies.gaussian import GaussianPolicy


def gaussian(mean: float, log_std: float) -> GaussianPolicy:
    """A policy whose latent is N(mean, exp(log_std)^2) whatever it sees."""
    policy = GaussianPolicy(jax.random.key(0), Identity(2), 2, (4,))
    net = jax.tree.map(jnp.zeros_like, policy.net)
    net = eqx.tree_at(lambda n: n.biases[-1], net, jnp.full(2, mean))
    return eqx.tree_at(lambda p: (p.net, p.log_std), policy, (net, jnp.full(2, log_std)))


def test_spread_and_change_of_a_known_policy():
    """By hand for narrow Gaussians, where tanh is linear: spread is sigma, and moving the mean by delta and
    sigma by epsilon moves an action by sqrt(delta^2 + epsilon^2) in the mean square."""
    observation, key = jnp.ones((64, 2)), jax.random.key(1)
    before = gaussian(0.0, jnp.log(0.01))
    metrics = policy_metrics(before, gaussian(0.004, jnp.log(0.013)), observation, key)
    assert float(metrics["action_spread"]) == pytest.approx(0.01, rel=0.1)
    assert float(metrics["policy_change"]) == pytest.approx(0.005, rel=0.1)
    assert float(policy_metrics(before, before, observation, key)["policy_change"]) == 0.0
