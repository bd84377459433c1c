"""Gradient descent: AdamW with a clip of the gradient's norm.

Parameters and moments are updated as one flat vector: on a CPU a small network's many small arrays
cost more in the dispatch of operations than in arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from rfo.algos.settings import Optimiser
from rfo.types import Array, Bool, Float, Int, Metrics, PyTree

P = TypeVar("P", bound=PyTree)


class DescentState(NamedTuple):
    """Moments of the gradient, and how many steps were skipped."""

    moments: PyTree
    skipped: Int[Array, ""]

    @classmethod
    def init(cls, params: PyTree) -> DescentState:
        """Moments zero, no step skipped."""
        flat, _ = ravel_pytree(params)
        return cls(optax.scale_by_adam().init(flat), jnp.zeros((), jnp.int32))


class DescentStep(NamedTuple):
    """What one step reports."""

    norm: Float[Array, ""]
    """Global norm of the gradient."""
    clipped_norm: Float[Array, ""]
    """Global norm of the gradient after clipping."""
    skipped: Bool[Array, ""]
    """Whether the gradient was not finite and the step was left out."""

    def metrics(self) -> Metrics:
        """The mean norms, by the names of the metrics."""
        return {"grad_norm": self.norm.mean(), "grad_norm_clipped": self.clipped_norm.mean()}


@dataclass(frozen=True)
class Descent:
    """An optimiser at the learning rate of one update."""

    optimiser: Optimiser
    rate: float | Float[Array, ""]

    def step(
        self, params: P, state: DescentState, gradient: P
    ) -> tuple[P, DescentState, DescentStep]:
        """Descend once. A gradient that is not finite changes only the count of skipped steps.

        Args:
            params: any pytree of floating-point arrays.
            state: moments of the gradient so far.
            gradient: gradient of the loss, shaped like `params`.
        """
        own = self.optimiser
        flat, unravel = ravel_pytree(params)
        flat_gradient, _ = ravel_pytree(gradient)
        norm = jnp.sqrt(jnp.sum(flat_gradient**2))
        finite = jnp.isfinite(norm)
        factor = jnp.where(norm > own.max_grad_norm, own.max_grad_norm / norm, 1.0)
        adam = optax.scale_by_adam(own.beta1, own.beta2)
        direction, moments = adam.update(flat_gradient * factor, state.moments)
        after = flat - self.rate * (jnp.asarray(direction) + own.weight_decay * flat)
        after, moments = jax.tree.map(
            lambda new, old: jnp.where(finite, new, old), (after, moments), (flat, state.moments)
        )
        report = DescentStep(norm, norm * factor, ~finite)
        return unravel(after), DescentState(moments, state.skipped + report.skipped), report

    def down(
        self, loss: Callable[[P], tuple[Array, Metrics]], params: P, state: DescentState
    ) -> tuple[P, DescentState, Metrics, DescentStep]:
        """Descend once along the gradient of a loss, which also gives metrics."""
        gradient, metrics = jax.grad(loss, has_aux=True)(params)
        params, state, report = self.step(params, state, gradient)
        return params, state, metrics, report
