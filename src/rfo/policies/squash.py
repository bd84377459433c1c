"""What tanh does to the density of a latent."""

from __future__ import annotations

import math

import jax

from rfo.types import Array, Float


def log_tanh_slope(latent: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """``log(1 - tanh(z)^2)``, without cancellation at large |z|."""
    return 2.0 * (math.log(2.0) - latent - jax.nn.softplus(-2.0 * latent))
