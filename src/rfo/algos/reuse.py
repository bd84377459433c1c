"""Several actor steps on one rollout: the gradient at the policy's outputs is kept, and followed again.

Backpropagation through time and physics gives ``g = dL / dz``, the gradient of the loss in every latent z of
a rollout. At the policy that made the rollout, ``sum <g, z_theta(s, eps)>`` over its states s and noise eps
has the whole reparameterization gradient in theta; as the policy moves, the same sum can be descended again
without the physics. That a rollout's gradient serves more than one step is the idea of RPO (arXiv
2508.06214), whose ratio of likelihoods a flow does not have: here an action stops to follow g once it has
moved by `reach`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp

from rfo.algos.optimize import Descent, DescentState
from rfo.types import Array, Float, Int, Key, Metrics, PRNGKey, PyTree

P = TypeVar("P", bound=PyTree)


def pulled(
    pull: Float[Array, "T B A"],
    latent: Float[Array, "T B A"],
    action: Float[Array, "T B A"],
    reach: float,
) -> Float[Array, ""]:
    """The rollout's loss to first order in the policy's latents, but for a constant.

    Args:
        pull: the loss's gradient g in the rollout's latents.
        latent: those of the policy now, at the rollout's states and noise.
        action: the rollout's own, in (-1, 1).
        reach: an action that has moved this far, or farther, the way that g drives it is left alone.
    """
    moved = jnp.tanh(latent) - action
    spent = (jnp.abs(moved) >= reach) & (pull * moved < 0)
    return jnp.sum(jnp.where(spent, 0.0, pull * latent))


def descend(
    descent: Descent,
    actor: P,
    state: DescentState,
    loss: Callable[[P, PRNGKey], tuple[Array, Metrics]],
    keys: Key[Array, " M"],
    update: Int[Array, ""],
) -> tuple[P, DescentState, Metrics]:
    """One step of the actor for each key.

    Args:
        descent: the actor's optimiser.
        actor, state: to step from.
        loss: value and metrics of an actor.
        keys: what `loss` draws in each step.
        update: index of the update, for the schedule.

    Returns:
        Actor, optimiser state, and of the first step, which has the rollout's own gradient, the loss's
        metrics, ``grad_norm`` and ``grad_norm_clipped``; of all ``skipped_updates``.
    """

    def step(carry: tuple[P, DescentState], key: PRNGKey) -> tuple[tuple[P, DescentState], Metrics]:
        actor, state = carry
        gradient, metrics = jax.grad(loss, has_aux=True)(actor, key)
        actor, state, report = descent.step(actor, state, gradient, update)
        norms = {"grad_norm": report.norm, "grad_norm_clipped": report.clipped_norm}
        return (actor, state), metrics | norms

    (actor, state), metrics = jax.lax.scan(step, (actor, state), keys)
    return (
        actor,
        state,
        {name: x[0] for name, x in metrics.items()} | {"skipped_updates": state.skipped},
    )
