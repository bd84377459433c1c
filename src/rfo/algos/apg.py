"""APG: analytic policy gradient, backpropagation through the rollout and nothing beyond it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from rfo.algos.optimize import DescentState
from rfo.algos.returns import segment_return
from rfo.algos.rollout import (
    Rollout,
    TrainedPolicy,
    decisions,
    policy_metrics,
    rollout,
    rollout_metrics,
)
from rfo.algos.settings import descent, encoder, require, require_common
from rfo.envs.batch import Batch, BatchState
from rfo.policies.gaussian import GaussianPolicy
from rfo.policies.normalize import Normalizer
from rfo.types import Array, Int, Metrics, PRNGKey


class APGState(NamedTuple):
    """Everything APG carries from one update to the next."""

    actor: GaussianPolicy
    actor_optimizer: DescentState
    normalizer: Normalizer
    env: BatchState
    key: PRNGKey
    updates: Int[Array, ""]


@dataclass(frozen=True)
class APG:
    """Analytic Policy Gradient: the discounted rewards of a short rollout, without a critic.

    Raises:
        ValueError: for a field out of range, naming it.
    """

    name: ClassVar[str] = "apg"
    needs_gradient: ClassVar[bool] = True

    horizon: int = 32
    """Control steps T of one rollout."""
    updates: int = 2000
    """Length of the learning rate's schedule."""
    gamma: float = 0.99
    """Discount of one control step."""
    return_scale: float = 1.0
    """Factor on ``return / horizon`` in the actor's loss."""
    initial_log_std: float = -1.0
    """Of every action dimension, before tanh."""

    actor_hidden: tuple[int, ...] = (128, 64, 32)
    activation: str = "elu"
    """elu, relu, silu or tanh."""
    gain: float = 2**0.5
    """Of the orthogonal initialisation."""
    point_hidden: tuple[int, ...] = (64, 128, 256)
    """Widths of the layers applied to each point, in actor and critics, if the observation is a dict."""
    point_features: int = 64
    """Size of a point cloud's encoding, likewise."""
    vector_features: int = 128
    """Size of the encoding of all vectors of the observation, likewise."""
    pooling: str = "mean"
    """Over the points, likewise: mean or max."""

    actor_learning_rate: float = 2e-3
    final_learning_rate: float = 1e-5
    beta1: float = 0.7
    beta2: float = 0.95
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0

    def __post_init__(self) -> None:
        require_common(self)
        require(self, "positive", "return_scale")

    def init(self, key: PRNGKey, env: Batch) -> APGState:
        """Initial training state."""
        key, actor_key, env_key, encoder_key = jax.random.split(key, 4)
        spec = env.spec
        actor = GaussianPolicy(
            actor_key,
            encoder(self, encoder_key, spec.observation),
            spec.action_size,
            self.actor_hidden,
            activation=self.activation,
            initial_log_std=self.initial_log_std,
            gain=self.gain,
        )
        return APGState(
            actor=actor,
            actor_optimizer=descent(self, self.actor_learning_rate).init(actor),
            normalizer=Normalizer.init(spec.observation),
            env=env.init(env_key),
            key=key,
            updates=jnp.zeros((), jnp.int32),
        )

    def update(self, state: APGState, env: Batch) -> tuple[APGState, Metrics]:
        """One rollout, one actor step."""
        key, noise_key, spread_key = jax.random.split(state.key, 3)
        noise = jax.random.normal(
            noise_key, (decisions(self.horizon, env), env.size, env.spec.action_size)
        )
        normalize = state.normalizer

        def loss(actor: GaussianPolicy) -> tuple[Array, tuple[BatchState, Rollout]]:
            after, data = rollout(env, state.env, lambda o, e: actor(normalize(o), e), noise)
            worthless = jnp.zeros_like(data.reward)
            returns = segment_return(
                data.reward, worthless, data.terminated, data.truncated, self.gamma, data.duration
            )
            return -self.return_scale * returns.mean() / self.horizon, (after, data)

        (actor_loss, (after, data)), gradient = jax.value_and_grad(loss, has_aux=True)(state.actor)
        actor, actor_optimizer, step = descent(self, self.actor_learning_rate).step(
            state.actor, state.actor_optimizer, gradient, state.updates
        )
        metrics = {
            **rollout_metrics(data),
            "loss_actor": actor_loss,
            **policy_metrics(state.actor, actor, normalize(state.env.observation), spread_key),
            "grad_norm": step.norm,
            "grad_norm_clipped": step.clipped_norm,
            "skipped_updates": actor_optimizer.skipped,
        }
        after_state = APGState(
            actor=actor,
            actor_optimizer=actor_optimizer,
            normalizer=normalize.updated(data.observation),
            env=after,
            key=key,
            updates=state.updates + 1,
        )
        return after_state, metrics

    def policy(self, state: APGState) -> TrainedPolicy:
        """The policy to evaluate."""
        return TrainedPolicy(state.actor, state.normalizer)
