"""Running normalisation of observations."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from rfo.types import Array, Float, Observation, ObservationShape, PyTree

NORMALIZER_EPSILON = 1e-5
"""Added to the variance."""


class Normalizer(NamedTuple):
    """Mean and variance of all observations so far; immutable.

    In a dict observation only the vectors are normalised. Point clouds stay as they are, so that
    their points keep one frame and one scale.
    """

    mean: PyTree
    """Mean of a vector, shape (O,), or of each vector by name, shape (n,)."""
    variance: PyTree
    """Population variance (divided by the count), shaped like the mean."""
    count: Float[Array, ""]
    """Number of observations seen."""

    @classmethod
    def init(cls, observation: ObservationShape) -> Normalizer:
        """A normaliser that has seen nothing: the identity, up to epsilon."""
        if isinstance(observation, int):
            sizes = observation
        else:
            sizes = {name: shape[0] for name, shape in observation.items() if len(shape) == 1}
        return cls(jax.tree.map(jnp.zeros, sizes), jax.tree.map(jnp.ones, sizes), jnp.zeros(()))

    def __call__(self, observation: Observation) -> Observation:
        """Normalise an observation: each entry of a vector has mean 0 and variance 1."""
        normal = jax.tree.map(
            lambda x, mean, variance: (x - mean) * lax.rsqrt(variance + NORMALIZER_EPSILON),
            self._vectors(observation),
            self.mean,
            self.variance,
        )
        return {**observation, **normal} if isinstance(observation, dict) else normal

    def inverse(self, normal: Float[Array, "*batch O"]) -> Float[Array, "*batch O"]:
        """The vector whose normalised value is `normal`."""
        return self.mean + normal * jnp.sqrt(self.variance + NORMALIZER_EPSILON)

    def updated(self, observation: Observation) -> Normalizer:
        """Statistics with a batch merged in (Chan, Golub and LeVeque 1983)."""
        vectors = lax.stop_gradient(self._vectors(observation))
        batch = jax.tree.map(lambda x: x.reshape(-1, x.shape[-1]), vectors)
        if not jax.tree.leaves(batch):  # point clouds only
            return self
        size = len(jax.tree.leaves(batch)[0])
        total = self.count + size
        shift = jax.tree.map(lambda x, mean: x.mean(0) - mean, batch, self.mean)
        share = size / total
        mean = jax.tree.map(lambda mean, shift: mean + shift * share, self.mean, shift)
        variance = jax.tree.map(
            lambda x, old, shift: (
                old * (1 - share) + x.var(0) * share + shift**2 * share * (1 - share)
            ),
            batch,
            self.variance,
            shift,
        )
        return Normalizer(mean, variance, total)

    def _vectors(self, observation: Observation) -> Observation:
        """The observation without its point clouds."""
        if isinstance(observation, dict):
            return {name: observation[name] for name in self.mean}
        return observation
