"""SAPO and the soft flow find the policy that maximises reward and entropy together."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rfo.algos.sapo import SAPO
from rfo.algos.settings import Flow
from rfo.algos.soft_flow import SoftFlow
from rfo.envs.batch import Batch
from rfo.envs.tasks.probe import Quadratic
from rfo.policies.gaussian import tanh_gaussian_log_prob
from tuned import tuned

SETTINGS = {
    "horizon": 1,
    "schedule": {"updates": 400},
    "network": {"hidden": (32,)},
    "critic": {"hidden": (8,), "iterations": 1, "batches": 1},
    "optimiser": {"learning_rate": 1e-2},
    "initial_alpha": 0.4,
    "alpha_learning_rate": 0.0,
}
METHODS = {
    "sapo": tuned(SAPO(), **SETTINGS),
    "soft_flow": tuned(SoftFlow(), flow={"steps": 2}, **SETTINGS),
}


@pytest.mark.parametrize("name", METHODS)
def test_finds_the_boltzmann_policy_of_a_known_reward(name):
    """``E[r] + tau H`` is largest at a density proportional to ``exp(r / tau)``, here a Gaussian
    cut off at the bounds: tau = alpha / (2 |target|) = 0.2, standard deviation 0.3."""
    method, env = METHODS[name], Batch(Quadratic(), 64)

    def advance(state, _):
        return method.update(state, env)[0], None

    state = jax.jit(
        lambda: jax.lax.scan(advance, method.init(jax.random.key(0), env), None, 400)[0]
    )()
    s = jnp.linspace(-0.75, 0.75, 7)
    states, policy = jnp.stack([s, s[::-1]], -1), method.policy(state)
    draws = jax.vmap(lambda key: policy(states, key))(jax.random.split(jax.random.key(1), 4000))
    a = np.linspace(-1, 1, 2001)
    density = np.exp(-((a - np.asarray(states)[..., None] / 2) ** 2) / 0.2)
    density /= density.sum(-1, keepdims=True)
    mean = (density * a).sum(-1)
    spread = np.sqrt((density * (a - mean[..., None]) ** 2).sum(-1))
    np.testing.assert_allclose(draws.mean(0), mean, atol=0.1)
    np.testing.assert_allclose(draws.std(0).mean(), spread.mean(), rtol=0.1)


def test_entropy_of_a_flow_that_does_not_move_is_that_of_its_squashed_noise():
    """By the Gaussian's log density; the entropy of the flow's source is known, not estimated."""
    method = SoftFlow(flow=Flow(last_scale=1e-12, source_noise=0.7))
    state = method.init(jax.random.key(0), Batch(Quadratic(), 5))
    noise = jax.random.normal(jax.random.key(1), (2, 5, 2))
    latent, entropy = method.latent_and_entropy(
        state.actor, state.env.observation, (noise[0], noise[1])
    )
    np.testing.assert_allclose(latent, 0.7 * noise[0], rtol=1e-5)
    surprise = -tanh_gaussian_log_prob(jnp.zeros((5, 2)), jnp.full((5, 2), math.log(0.7)), noise[0])
    np.testing.assert_allclose(
        entropy, surprise + jnp.sum(1 - noise[0] ** 2, -1) / 2, rtol=1e-4, atol=1e-5
    )


def test_fields_out_of_range_are_named():
    with pytest.raises(ValueError, match="log_det_terms must be positive"):
        SoftFlow(log_det_terms=0)
