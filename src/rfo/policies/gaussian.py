"""Gaussian policies squashed by tanh."""

from __future__ import annotations

import math
from collections.abc import Sequence

import equinox as eqx
import jax.numpy as jnp

from rfo.policies.encoder import Encoder
from rfo.policies.nets import MLP
from rfo.policies.squash import log_tanh_slope
from rfo.types import Array, Float, Observation, PRNGKey


class GaussianPolicy(eqx.Module):
    """Action ``tanh(mean(s) + sigma * noise)`` with a sigma that does not depend on the state.

    The policy of SHAC (arXiv 2204.07137).

    Args:
        key: for the initial weights.
        encoder: encoder of the observation.
        action_size: size A of an action.
        hidden: widths of the hidden layers.
        activation: activation of the hidden layers.
        initial_log_std: initial log sigma of each action dimension.
        gain: gain of the orthogonal initial weights.

    Example:
        >>> import jax, rfo
        >>> from rfo.policies.encoder import encoder_for
        >>> key = jax.random.key(0)
        >>> policy = rfo.GaussianPolicy(key, encoder_for(key, 2), action_size=1, hidden=(8,))
        >>> action, latent = policy(jax.numpy.zeros((4, 2)), jax.numpy.zeros((4, 1)))
        >>> action.shape
        (4, 1)
    """

    encoder: Encoder
    net: MLP
    log_std: Float[Array, " A"]
    action_size: int = eqx.field(static=True)

    def __init__(
        self,
        key: PRNGKey,
        encoder: Encoder,
        action_size: int,
        hidden: Sequence[int],
        activation: str = "elu",
        initial_log_std: float = -1.0,
        gain: float = 1.0,
    ):
        self.encoder = encoder
        self.net = MLP(key, (encoder.size, *hidden, action_size), activation, gain)
        self.log_std = jnp.full(action_size, initial_log_std, float)
        self.action_size = action_size

    def __call__(
        self, observation: Observation, noise: Float[Array, "*batch A"]
    ) -> tuple[Float[Array, "*batch A"], Float[Array, "*batch A"]]:
        """Action in (-1, 1) and its latent before tanh."""
        mean, log_std = self.parameters(observation)
        latent = mean + jnp.exp(log_std) * noise
        return jnp.tanh(latent), latent

    def parameters(
        self, observation: Observation
    ) -> tuple[Float[Array, "*batch A"], Float[Array, "*batch A"]]:
        """Mean and log standard deviation of the latent."""
        mean = self.net(self.encoder(observation))
        return mean, jnp.broadcast_to(self.log_std, mean.shape)


class TanhGaussianPolicy(eqx.Module):
    """Action ``tanh(mean(s) + sigma(s) * noise)`` with its likelihood.

    The policy of SAPO (arXiv 2412.12089). log sigma is bounded smoothly, by a tanh rescaled to
    [`min_log_std`, `max_log_std`], so that it never loses its gradient at a bound.

    Args:
        key: for the initial weights.
        encoder: encoder of the observation.
        action_size: size A of an action.
        hidden: widths of the hidden layers.
        activation: activation of the hidden layers.
        min_log_std: lower bound of log sigma.
        max_log_std: upper bound of log sigma.
        gain: gain of the orthogonal initial weights.
        last_scale: factor on the last layer's initial weights; with small values the mean starts
            near 0, and log sigma in the middle of its bounds.
    """

    encoder: Encoder
    net: MLP
    action_size: int = eqx.field(static=True)
    min_log_std: float = eqx.field(static=True)
    max_log_std: float = eqx.field(static=True)

    def __init__(
        self,
        key: PRNGKey,
        encoder: Encoder,
        action_size: int,
        hidden: Sequence[int],
        activation: str = "silu",
        min_log_std: float = -5.0,
        max_log_std: float = 2.0,
        gain: float = 1.0,
        last_scale: float = 1.0,
    ):
        self.encoder = encoder
        self.net = MLP(key, (encoder.size, *hidden, 2 * action_size), activation, gain, last_scale)
        self.action_size = action_size
        self.min_log_std = min_log_std
        self.max_log_std = max_log_std

    def __call__(
        self, observation: Observation, noise: Float[Array, "*batch A"]
    ) -> tuple[Float[Array, "*batch A"], Float[Array, "*batch A"]]:
        """Action in (-1, 1) and its latent before tanh."""
        mean, log_std = self.parameters(observation)
        latent = mean + jnp.exp(log_std) * noise
        return jnp.tanh(latent), latent

    def parameters(
        self, observation: Observation
    ) -> tuple[Float[Array, "*batch A"], Float[Array, "*batch A"]]:
        """Mean and log standard deviation of the latent."""
        mean, raw = jnp.split(self.net(self.encoder(observation)), 2, axis=-1)
        middle = (self.max_log_std + self.min_log_std) / 2
        half = (self.max_log_std - self.min_log_std) / 2
        return mean, middle + half * jnp.tanh(raw)


def gaussian_log_prob(
    mean: Float[Array, "*batch A"],
    log_std: Float[Array, "*batch A"],
    latent: Float[Array, "*batch A"],
) -> Float[Array, "*batch"]:
    """Log density of a latent, before tanh.

    In a ratio of two policies the volume of tanh cancels.
    """
    noise = (latent - mean) * jnp.exp(-log_std)
    return jnp.sum(-0.5 * noise**2 - log_std - 0.5 * math.log(2 * math.pi), axis=-1)


def gaussian_kl(
    mean: Float[Array, "*batch A"],
    log_std: Float[Array, "*batch A"],
    other_mean: Float[Array, "*batch A"],
    other_log_std: Float[Array, "*batch A"],
) -> Float[Array, "*batch"]:
    """Divergence ``KL(N || N_other)`` of diagonal Gaussians [nat]; after tanh it is the same."""
    shift = (mean - other_mean) * jnp.exp(-other_log_std)
    spread = log_std - other_log_std
    return jnp.sum(0.5 * (jnp.exp(2 * spread) + shift**2 - 1) - spread, axis=-1)


def tanh_gaussian_log_prob(
    mean: Float[Array, "*batch A"],
    log_std: Float[Array, "*batch A"],
    noise: Float[Array, "*batch A"],
) -> Float[Array, "*batch"]:
    """Log density over the action box, of the action that `noise` leads to.

    It is ``log N(z) - sum log(1 - tanh(z)^2)`` at ``z = mean + exp(log_std) * noise``, and
    differentiable in all arguments.
    """
    latent = mean + jnp.exp(log_std) * noise
    gaussian = -0.5 * noise**2 - log_std - 0.5 * math.log(2 * math.pi)
    return jnp.sum(gaussian - log_tanh_slope(latent), axis=-1)
