"""Cloning: a policy is fitted to demonstrations before its training begins.

A flow is fitted by conditional flow matching, which can hold several ways of doing a thing. A
Gaussian is fitted by maximum likelihood; between two ways it has their mean.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rfo.algos.matching import matching_error
from rfo.algos.optimize import Descent, DescentState
from rfo.algos.settings import Optimiser, Schedule, require
from rfo.policies.flow import FlowPolicy
from rfo.policies.gaussian import gaussian_log_prob
from rfo.types import Array, Float, Int, Observation, PRNGKey

LARGEST_ACTION = 0.999
"""Demonstrated actions are clipped to this magnitude: atanh is infinite at 1."""


class Rows(NamedTuple):
    """N demonstrated decisions."""

    observation: Observation
    """Normalised, arrays with the leading axis N."""
    latent: Float[Array, "N A"]
    """Actions before tanh."""


class CloningState(NamedTuple):
    """What is carried from one gradient step to the next."""

    actor: Any
    optimizer: DescentState
    key: PRNGKey
    updates: Int[Array, ""]


@dataclass(frozen=True)
class Cloning:
    """How a policy is fitted.

    Raises:
        SettingError: for a field out of range, naming it.
    """

    optimiser: Optimiser
    updates: int = 5000
    """Gradient steps, along which the learning rate falls to its final value."""
    batch: int = 256
    """Decisions that are drawn for each of them."""

    def __post_init__(self) -> None:
        require(self, "positive", "updates", "batch")

    def init(self, actor: Any, key: PRNGKey) -> CloningState:
        """Start from a policy."""
        return CloningState(actor, DescentState.init(actor), key, jnp.zeros((), jnp.int32))

    def update(self, state: CloningState, rows: Rows) -> tuple[CloningState, Float[Array, ""]]:
        """One gradient step on some of the rows; also returns their loss before it."""
        key, draw_key, loss_key = jax.random.split(state.key, 3)
        index = jax.random.randint(draw_key, (self.batch,), 0, len(rows.latent))
        drawn = jax.tree.map(lambda x: x[index], rows)
        loss, gradient = jax.value_and_grad(cloning_loss)(state.actor, drawn, loss_key)
        final = self.optimiser.final_learning_rate
        rate = Schedule(self.updates).rate(self.optimiser.learning_rate, final, state.updates)
        actor, optimizer, _ = Descent(self.optimiser, rate).step(
            state.actor, state.optimizer, gradient
        )
        return CloningState(actor, optimizer, key, state.updates + 1), loss


def cloning_loss(actor: Any, rows: Rows, key: PRNGKey) -> Float[Array, ""]:
    """How far a policy is from demonstrated actions.

    The matching error of a flow; minus the log density of the latents per action dimension [nat]
    of a Gaussian.

    Args:
        actor: a flow policy, or a Gaussian with `parameters`.
        rows: the demonstrations.
        key: draws the flow's noise and time.
    """
    if isinstance(actor, FlowPolicy):
        return matching_error(actor, actor.context(rows.observation), rows.latent, key).mean()
    mean, log_std = actor.parameters(rows.observation)
    return -gaussian_log_prob(mean, log_std, rows.latent).mean() / actor.action_size


def latents(action: Float[Array, "N A"]) -> Float[Array, "N A"]:
    """Actions before tanh."""
    return jnp.arctanh(jnp.clip(action, -LARGEST_ACTION, LARGEST_ACTION))


@lru_cache(maxsize=8)
def stretch(
    cloning: Cloning, steps: int
) -> Callable[[CloningState, Rows], tuple[CloningState, Float[Array, ""]]]:
    """Several gradient steps as one compiled program; also returns their mean loss."""

    def run(state: CloningState, rows: Rows) -> tuple[CloningState, Float[Array, ""]]:
        after, losses = jax.lax.scan(
            lambda state, _: cloning.update(state, rows), state, None, steps
        )
        return after, losses.mean()

    return jax.jit(run)
