"""Running normalisation of observations."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax

from rfo.types import Array, Float

NORMALIZER_EPSILON = 1e-5
"""Added to the variance."""


class Normalizer(NamedTuple):
    """Mean and variance of all observations so far; immutable, so a copy in use is frozen by nature."""

    mean: Float[Array, " O"]
    variance: Float[Array, " O"]
    """Population variance (divided by the count)."""
    count: Float[Array, ""]
    """Observations seen."""

    @classmethod
    def init(cls, size: int) -> Normalizer:
        """Nothing seen yet: the identity, up to epsilon."""
        return cls(jnp.zeros(size), jnp.ones(size), jnp.zeros(()))

    def __call__(self, observation: Float[Array, "*batch O"]) -> Float[Array, "*batch O"]:
        """Observation with mean 0 and variance 1 per entry."""
        return (observation - self.mean) * lax.rsqrt(self.variance + NORMALIZER_EPSILON)

    def updated(self, observation: Float[Array, "*batch O"]) -> Normalizer:
        """Statistics with a batch merged in (Chan, Golub and LeVeque 1983)."""
        batch = lax.stop_gradient(observation).reshape(-1, observation.shape[-1])
        size = batch.shape[0]
        total = self.count + size
        shift = batch.mean(0) - self.mean
        share = size / total
        variance = self.variance * (1 - share) + batch.var(0) * share + shift**2 * share * (1 - share)
        return Normalizer(self.mean + shift * share, variance, total)
