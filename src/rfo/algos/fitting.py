"""Fitting the critics to their targets."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from rfo.algos.optimize import Descent, DescentState
from rfo.algos.settings import Critic
from rfo.policies.critic import Critics
from rfo.types import Array, Float, Metrics, Observation

COMBINATIONS: Mapping[str, Callable[..., Array]] = {"min": jnp.min, "mean": jnp.mean}
"""Reductions over the critics of an ensemble, by the names that settings use."""


def fit_critics(
    critics: Critics,
    optimizer: tuple[Descent, DescentState],
    observation: Observation,
    target: Float[Array, "T B"],
    settings: Critic,
) -> tuple[Critics, DescentState, Metrics]:
    """Regress every critic on the targets.

    A minibatch is a contiguous stretch of T / `settings.batches` steps of all environments. They
    come in order of time and are the same in every pass, as in the reference implementations of
    SHAC and SAPO, which do not shuffle. The loss is summed over critics, so that each gets the
    gradient it would get alone.

    Args:
        critics: the ensemble.
        optimizer: the optimiser at this update's learning rate, and its state.
        observation: normalised, arrays with the leading axes (T, B).
        target: values to regress on; no gradient enters them.
        settings: passes over the rollout, and minibatches in a pass, which must divide T.

    Returns:
        Critics, optimiser state and metrics: ``critic_loss`` (what is minimised, over the last
        pass), ``critic_error`` (mean squared error before fitting, on data not yet seen),
        ``critic_explained_variance`` (before fitting), ``value`` (mean prediction before fitting),
        ``critic_grad_norm`` (mean), ``critic_skipped``.
    """
    descent, state = optimizer
    target = jax.lax.stop_gradient(target)
    before = critics(observation)
    residual = target - before
    inputs, outputs = jax.tree.map(
        lambda x: x.reshape(settings.batches, -1, *x.shape[2:]),
        (jax.lax.stop_gradient(observation), target / critics.unit),
    )
    # Flatten once, outside the loop of many small steps.
    flat, unravel = ravel_pytree(critics)

    def loss(flat: Array, x: Observation, y: Array) -> Array:
        return jnp.sum(jnp.mean((unravel(flat).output(x) - y) ** 2, axis=-1))

    def minibatch(carry: tuple, batch: tuple[Observation, Array]) -> tuple[tuple, tuple]:
        flat, state = carry
        value, gradient = jax.value_and_grad(loss)(flat, *batch)
        flat, state, report = descent.step(flat, state, gradient)
        return (flat, state), (value, report)

    def sweep(carry: tuple, _: None) -> tuple[tuple, tuple]:
        return jax.lax.scan(minibatch, carry, (inputs, outputs))

    (flat, state), (losses, reports) = jax.lax.scan(
        sweep, (flat, state), None, length=settings.iterations
    )
    unexplained = jnp.var(residual, axis=(1, 2)).mean()
    metrics = {
        "critic_loss": losses[-1].mean() / len(before),
        "critic_error": jnp.mean(residual**2),
        "critic_explained_variance": 1 - unexplained / (jnp.var(target) + 1e-8),
        "value": before.mean(),
        "critic_grad_norm": reports.norm.mean(),
        "critic_skipped": reports.skipped.sum(),
    }
    return unravel(flat), state, metrics
