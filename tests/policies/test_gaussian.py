"""Gaussian policies against the definition of their densities."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rfo.policies.encoder import Identity
from rfo.policies.gaussian import GaussianPolicy, TanhGaussianPolicy, tanh_gaussian_log_prob


@pytest.mark.parametrize(("mean", "log_std"), [(0.3, -1.0), (-1.0, 0.5), (2.0, -0.3)])
def test_density_over_actions_integrates_to_one(mean, log_std):
    with jax.enable_x64(True):
        latent = np.linspace(mean - 12 * np.exp(log_std), mean + 12 * np.exp(log_std), 20001)
        action = np.tanh(latent)
        noise = (latent - mean) / np.exp(log_std)
        log_prob = jax.vmap(
            partial(tanh_gaussian_log_prob, jnp.array([mean]), jnp.array([log_std]))
        )(jnp.asarray(noise)[:, None])
        assert np.trapezoid(np.exp(log_prob), action) == pytest.approx(1.0, abs=1e-5)


def test_log_prob_is_finite_deep_in_saturation():
    value, slope = jax.value_and_grad(
        lambda m: tanh_gaussian_log_prob(m, jnp.zeros(1), jnp.zeros(1))
    )(jnp.array([60.0]))
    # log(1 - tanh(z)^2) -> log 4 - 2 z
    assert value == pytest.approx(-0.5 * np.log(2 * np.pi) - np.log(4) + 120, rel=1e-5)
    np.testing.assert_allclose(slope, [2.0], rtol=1e-5)


def test_state_dependent_sigma_stays_in_its_bounds_and_keeps_a_gradient():
    policy = TanhGaussianPolicy(
        jax.random.key(0), Identity(3), 2, (16,), min_log_std=-5.0, max_log_std=2.0
    )
    states = 5 * jax.random.normal(jax.random.key(1), (500, 3))
    _, log_std = policy.parameters(states)
    assert log_std.min() >= -5 and log_std.max() <= 2
    assert log_std.std() > 0.1
    action, latent = policy(states, jnp.ones((500, 2)))
    mean, _ = policy.parameters(states)
    np.testing.assert_allclose(latent, mean + np.exp(log_std), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(action, np.tanh(latent), rtol=1e-6)


def test_state_independent_sigma():
    policy = GaussianPolicy(jax.random.key(0), Identity(3), 2, (16,), initial_log_std=-1.0)
    states = jax.random.normal(jax.random.key(1), (5, 3))
    _, mean = policy(states, jnp.zeros((5, 2)))
    _, latent = policy(states, jnp.ones((5, 2)))
    np.testing.assert_allclose(latent - mean, np.exp(-1.0), rtol=1e-5)
