"""Soft flow: a flow policy with SAPO's objective; the flow's change of volume gives its entropy."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp

from rfo.algos.maximum_entropy import MaximumEntropy, Noise
from rfo.algos.method import new_flow_policy
from rfo.algos.settings import Flow, require
from rfo.policies.encoder import Encoder
from rfo.policies.flow import FlowPolicy
from rfo.policies.squash import log_tanh_slope
from rfo.types import Array, Float, Observation, PRNGKey


@dataclass(frozen=True)
class SoftFlow(MaximumEntropy):
    """Maximum entropy with a flow policy, in place of RFO's two matching terms.

    ``H[tanh(z_1)] = H[z_0] + E[log |det dz_1 / dz_0| + sum log(1 - tanh(z_1)^2)]``, estimated at
    the action's own noise; `rfo.policies.flow.FlowPolicy.latent_and_log_det` estimates the
    determinant. No paper on differentiable simulation has this method. It shows what a flow policy
    gains by itself, apart from RFO's objective.

    Raises:
        SettingError: for a field out of range, naming it.

    Example:
        >>> import rfo
        >>> rfo.SoftFlow(flow=rfo.Flow(solver="midpoint")).flow.solver
        'midpoint'
    """

    name: ClassVar[str] = "soft_flow"

    flow: Flow = Flow()
    log_det_terms: int = 2
    """Terms in the series for a step's log determinant; each costs a backward pass through it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self, "positive", "log_det_terms")

    def new_actor(self, key: PRNGKey, encoder: Encoder, action_size: int) -> FlowPolicy:
        """The initial policy."""
        return new_flow_policy(self.flow, self.network, key, encoder, action_size)

    def latent_and_entropy(
        self, actor: FlowPolicy, observation: Observation, noise: Noise
    ) -> tuple[Float[Array, "*batch A"], Float[Array, "*batch"]]:
        """A latent, and the entropy estimated at the same noise."""
        action_noise, probe = noise[0], jnp.where(noise[1] < 0, -1.0, 1.0)
        context = actor.context(observation)
        latent, log_det = actor.latent_and_log_det(context, action_noise, probe, self.log_det_terms)
        source = actor.action_size * (
            0.5 * math.log(2 * math.pi * math.e) + math.log(self.flow.source_noise)
        )
        return latent, source + log_det + jnp.sum(log_tanh_slope(latent), -1)
