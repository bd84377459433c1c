"""Several actor steps on one rollout, which follow the return to first order.

Backpropagation through time and physics gives ``g = dJ / dz``, the slope of the return J in every
latent z of a rollout. Take ``J + sum <g, z_theta(s, eps) - z>`` over the rollout's states s and
noise eps. For the policy that made the rollout, this sum has the value of the return and its whole
reparameterization gradient in theta. As the policy moves, we can climb the same sum again without
running the physics.

RPO (arXiv 2508.06214) had the idea of using a rollout's gradient for several steps. It bounds the
steps by a ratio of likelihoods, which a flow does not have. Here an action stops following g once
it has moved by `Reuse.reach`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp

from rfo.algos.method import ActorCritic
from rfo.algos.optimize import Descent, DescentState
from rfo.algos.rollout import Rollout, rollout
from rfo.algos.settings import require
from rfo.envs.batch import Batch, BatchState, GradientProbe
from rfo.types import Array, Float, Metrics, Observation, PyTree

P = TypeVar("P", bound=PyTree)


class FirstOrder(NamedTuple):
    """A rollout's return as a function of the policy's latents, to first order.

    At the policy that made the rollout, value and gradient are the return's own.
    """

    value: Float[Array, ""]
    """Return J of the rollout."""
    slope: Float[Array, "T B A"]
    """dJ / dz through the physics."""
    latent: Float[Array, "T B A"]
    """Latents z of the rollout."""
    reach: float | Float[Array, ""]
    """An action that has moved this far along its slope gains nothing more."""

    def __call__(self, latent: Float[Array, "T B A"]) -> Float[Array, ""]:
        """The return, from a policy's latents at the rollout's states and noise."""
        moved = jnp.tanh(latent) - jnp.tanh(self.latent)
        spent = (jnp.abs(moved) >= self.reach) & (self.slope * moved > 0)
        return self.value + jnp.sum(jnp.where(spent, 0.0, self.slope * (latent - self.latent)))


class Played(NamedTuple):
    """A rollout that was differentiated in the policy's latents."""

    J: FirstOrder
    """Its return."""
    after: BatchState
    """The environments at its end."""
    data: Rollout
    values: Float[Array, "E T B"]
    """Values of its next observations."""
    dropped: GradientProbe
    """Counts of gradients that were not finite and were dropped."""


@dataclass(frozen=True)
class Reuse:
    """Actor steps on each rollout.

    Raises:
        SettingError: for a field out of range, naming it.
    """

    steps: int = 1
    """Actor steps on each rollout's gradient."""
    reach: float = 0.1
    """Change of an action beyond which it no longer follows the rollout's gradient."""

    def __post_init__(self) -> None:
        require(self, "positive", "steps", "reach")

    def descend(
        self,
        loss: Callable[[P, PyTree], tuple[Array, Metrics]],
        draws: PyTree,
        descent: Descent,
        actor: P,
        state: DescentState,
    ) -> tuple[P, DescentState, Metrics]:
        """Descend `steps` times on one rollout's loss.

        Args:
            loss: value and metrics of an actor, for one step's draws.
            draws: what `loss` draws, with a leading axis over the steps; None if nothing.
            descent: the actor's optimiser.
            actor: policy to step from.
            state: state of its optimiser.

        Returns:
            Actor, optimiser state and metrics. The loss's metrics, ``grad_norm`` and
            ``grad_norm_clipped`` are from the first step, whose gradient is the rollout's own;
            ``skipped_updates`` counts over all steps.
        """

        def step(
            carry: tuple[P, DescentState], draw: PyTree
        ) -> tuple[tuple[P, DescentState], Metrics]:
            actor, state = carry
            gradient, metrics = jax.grad(loss, has_aux=True)(actor, draw)
            actor, state, report = descent.step(actor, state, gradient)
            return (actor, state), metrics | report.metrics()

        (actor, state), metrics = jax.lax.scan(step, (actor, state), draws, self.steps)
        first = {name: value[0] for name, value in metrics.items()}
        return actor, state, first | {"skipped_updates": state.skipped}


def play(
    method: ActorCritic,
    state: Any,
    env: Batch,
    noise: Float[Array, "T B A"],
    reach: float | Float[Array, ""],
    return_scale: float = 1.0,
) -> Played:
    """A rollout of a flow policy with its return J, differentiated in the policy's latents.

    Args:
        method: discounts the return.
        state: training state with actor, critics, normaliser and environments.
        env: the environments.
        noise: noise of the actions.
        reach: see `FirstOrder`.
        return_scale: factor on the return.
    """
    normalize = state.normalizer

    def mean_return(shift: Array, probe: GradientProbe) -> tuple[Array, tuple]:
        def act(observation: Observation, step: tuple[Array, Array]) -> tuple[Array, Array]:
            latent = state.actor(normalize(observation), step[0])[1] + step[1]
            return jnp.tanh(latent), latent

        after, data = rollout(env, state.env, act, (noise, shift), probe)
        values = state.critics(normalize(data.next_observation))
        return return_scale * method.mean_return(data, values.mean(0)), (after, data, values)

    slopes = jax.value_and_grad(mean_return, (0, 1), has_aux=True)
    (value, aux), (slope, dropped) = slopes(jnp.zeros_like(noise), env.probe(state.env))
    after, data, values = aux
    return Played(FirstOrder(value, slope, data.extras, reach), after, data, values, dropped)
