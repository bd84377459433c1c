"""Gradient descent: Adam with decoupled weight decay, a linear schedule and a norm clip.

Parameters and moments are updated as one flat vector: on a CPU a small network's many small arrays cost
more in the dispatch of operations than in arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from rfo.types import Array, Bool, Float, Int, PyTree

P = TypeVar("P", bound=PyTree)


class DescentState(NamedTuple):
    """Moments of the gradient, and how many steps were skipped."""

    moments: PyTree
    skipped: Int[Array, ""]


class DescentStep(NamedTuple):
    """What one step reports."""

    norm: Float[Array, ""]
    """Global norm of the gradient."""
    clipped_norm: Float[Array, ""]
    """The same after clipping."""
    skipped: Bool[Array, ""]
    """Whether the gradient was not finite and the step was left out."""


@dataclass(frozen=True)
class Descent:
    """Hyperparameters of one optimiser."""

    learning_rate: float | Float[Array, ""]
    """At the first update."""
    final_learning_rate: float | Float[Array, ""]
    """From `updates` on; linear in between."""
    updates: int
    """Length of the schedule."""
    beta1: float = 0.9
    beta2: float = 0.999
    weight_decay: float = 0.0
    """AdamW's, on all parameters."""
    max_norm: float = float("inf")
    """Gradients of a larger global norm are scaled down to it."""

    def init(self, params: PyTree) -> DescentState:
        """Moments zero."""
        flat, _ = ravel_pytree(params)
        return DescentState(self._transform().init(flat), jnp.zeros((), jnp.int32))

    def step(
        self, params: P, state: DescentState, gradient: P, update: Int[Array, ""]
    ) -> tuple[P, DescentState, DescentStep]:
        """Descend once. A gradient that is not finite changes nothing but the count of skipped steps.

        Args:
            params: any pytree of floating-point arrays.
            state: of this optimiser.
            gradient: of the loss, shaped like `params`.
            update: index of the update, from 0, for the schedule.
        """
        flat, unravel = ravel_pytree(params)
        flat_gradient, _ = ravel_pytree(gradient)
        norm = jnp.sqrt(jnp.sum(flat_gradient**2))
        finite = jnp.isfinite(norm)
        factor = jnp.where(norm > self.max_norm, self.max_norm / norm, 1.0)
        direction, moments = self._transform().update(flat_gradient * factor, state.moments, flat)
        after = flat - self.rate(update) * jnp.asarray(direction)
        after, moments = jax.tree.map(
            lambda new, old: jnp.where(finite, new, old), (after, moments), (flat, state.moments)
        )
        report = DescentStep(norm, norm * factor, ~finite)
        return unravel(after), DescentState(moments, state.skipped + report.skipped), report

    def rate(self, update: Int[Array, ""]) -> Float[Array, ""]:
        """Learning rate of an update."""
        share = jnp.minimum(update / self.updates, 1.0)
        return self.learning_rate + share * (self.final_learning_rate - self.learning_rate)

    def _transform(self) -> optax.GradientTransformation:
        return optax.chain(
            optax.scale_by_adam(self.beta1, self.beta2),
            optax.add_decayed_weights(self.weight_decay),
        )
