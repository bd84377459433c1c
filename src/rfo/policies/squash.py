"""Effects of tanh on a latent: on its density, and on the gradient that reaches it."""

from __future__ import annotations

import math

import jax

from rfo.types import Array, Float


def log_tanh_slope(latent: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """``log(1 - tanh(z)^2)``, without cancellation at large |z|."""
    return 2.0 * (math.log(2.0) - latent - jax.nn.softplus(-2.0 * latent))


def bound_loss(latent: Float[Array, "*shape A"]) -> Float[Array, ""]:
    """L_bound: the mean of ``-log(1 - a^2)`` over all actions a = tanh(z) and their dimensions.

    It grows without limit towards an action's bounds, where ``da / dz = 1 - a^2`` lets no gradient
    through. Its own gradient in a latent is ``2 a``, apart from the mean. It is not from the paper
    (arXiv 2602.03501).
    """
    return -log_tanh_slope(latent).mean()
