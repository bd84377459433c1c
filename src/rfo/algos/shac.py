"""SHAC: short-horizon actor-critic (arXiv 2204.07137)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from rfo.algos.fitting import fit_critics, require_divisible
from rfo.algos.optimize import DescentState
from rfo.algos.returns import segment_return, td_lambda
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
from rfo.policies.critic import Critics
from rfo.policies.gaussian import GaussianPolicy
from rfo.policies.normalize import Normalizer
from rfo.types import Array, Int, Metrics, PRNGKey


class SHACState(NamedTuple):
    """Everything SHAC carries from one update to the next."""

    actor: GaussianPolicy
    actor_optimizer: DescentState
    critics: Critics
    target_critics: Critics
    critic_optimizer: DescentState
    normalizer: Normalizer
    env: BatchState
    key: PRNGKey
    updates: Int[Array, ""]


@dataclass(frozen=True)
class SHAC:
    """Short-Horizon Actor-Critic, with the settings of its reference implementation for the ant.

    One actor step per rollout on ``-return / horizon``, bootstrapped by the critic; TD(lambda) targets
    bootstrapped by a slowly moving copy of it.

    Raises:
        ValueError: for a field out of range, naming it.
    """

    name: ClassVar[str] = "shac"
    needs_gradient: ClassVar[bool] = True

    horizon: int = 32
    """Control steps H of one rollout, in T decisions; T a multiple of `critic_batches`."""
    updates: int = 2000
    """Length of the learning rates' schedule."""
    gamma: float = 0.99
    """Discount of one control step."""
    return_scale: float = 1.0
    """Factor on ``return / horizon`` in the actor's loss."""
    td_lambda: float = 0.95
    """Of the critic's targets."""
    staggered: bool = True
    """Whether the first episodes start at random ages, or all at 0 as in the reference implementations,
    where environments stay in phase until an episode ends early."""
    target_keep: float = 0.2
    """Share of the target critic that an update keeps; the rest moves to the critic."""
    initial_log_std: float = -1.0
    """Of every action dimension, before tanh."""

    actor_hidden: tuple[int, ...] = (128, 64, 32)
    critic_hidden: tuple[int, ...] = (64, 64)
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
    critic_count: int = 1
    """Critics whose mean bootstraps."""
    critic_iterations: int = 16
    critic_batches: int = 4

    actor_learning_rate: float = 2e-3
    critic_learning_rate: float = 2e-3
    final_learning_rate: float = 1e-5
    beta1: float = 0.7
    beta2: float = 0.95
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0

    def __post_init__(self) -> None:
        require_common(self)
        require(
            self, "positive", "return_scale", "critic_count", "critic_iterations", "critic_batches"
        )
        require(self, "positive", "critic_learning_rate")
        require(self, "in [0, 1]", "td_lambda", "target_keep")
        require_divisible(self.horizon, self.critic_batches)

    def init(self, key: PRNGKey, env: Batch) -> SHACState:
        """Initial training state."""
        require_divisible(decisions(self.horizon, env), self.critic_batches)
        key, actor_key, critic_key, env_key, *encoder_keys = jax.random.split(key, 6)
        spec = env.spec
        actor = GaussianPolicy(
            actor_key,
            encoder(self, encoder_keys[0], spec.observation),
            spec.action_size,
            self.actor_hidden,
            activation=self.activation,
            initial_log_std=self.initial_log_std,
            gain=self.gain,
        )
        critics = Critics(
            critic_key,
            encoder(self, encoder_keys[1], spec.observation),
            self.critic_hidden,
            self.activation,
            self.critic_count,
            self.gain,
        )
        return SHACState(
            actor=actor,
            actor_optimizer=descent(self, self.actor_learning_rate).init(actor),
            critics=critics,
            target_critics=critics,
            critic_optimizer=descent(self, self.critic_learning_rate).init(critics),
            normalizer=Normalizer.init(spec.observation),
            env=env.staggered(env_key) if self.staggered else env.init(env_key),
            key=key,
            updates=jnp.zeros((), jnp.int32),
        )

    def update(self, state: SHACState, env: Batch) -> tuple[SHACState, Metrics]:
        """One rollout, one actor step, one fit of the critic, one move of its target."""
        key, noise_key, spread_key = jax.random.split(state.key, 3)
        noise = jax.random.normal(
            noise_key, (decisions(self.horizon, env), env.size, env.spec.action_size)
        )
        normalize = state.normalizer

        def loss(actor: GaussianPolicy) -> tuple[Array, tuple[BatchState, Rollout]]:
            after, data = rollout(env, state.env, lambda o, e: actor(normalize(o), e), noise)
            value = state.critics(normalize(data.next_observation)).mean(0)
            returns = segment_return(
                data.reward, value, data.terminated, data.truncated, self.gamma, data.duration
            )
            return -self.return_scale * returns.mean() / self.horizon, (after, data)

        (actor_loss, (after, data)), gradient = jax.value_and_grad(loss, has_aux=True)(state.actor)
        actor, actor_optimizer, step = descent(self, self.actor_learning_rate).step(
            state.actor, state.actor_optimizer, gradient, state.updates
        )

        value = state.target_critics(normalize(data.next_observation)).mean(0)
        target = td_lambda(
            data.reward,
            value,
            data.terminated,
            data.truncated,
            self.gamma,
            self.td_lambda,
            data.duration,
        )
        critics, critic_optimizer, critic_metrics = fit_critics(
            state.critics,
            (descent(self, self.critic_learning_rate), state.critic_optimizer),
            normalize(data.observation),
            target,
            self.critic_iterations,
            self.critic_batches,
            state.updates,
        )
        keep = self.target_keep
        metrics = {
            **rollout_metrics(data),
            **critic_metrics,
            "loss_actor": actor_loss,
            **policy_metrics(state.actor, actor, normalize(state.env.observation), spread_key),
            "grad_norm": step.norm,
            "grad_norm_clipped": step.clipped_norm,
            "skipped_updates": actor_optimizer.skipped,
        }
        after_state = SHACState(
            actor=actor,
            actor_optimizer=actor_optimizer,
            critics=critics,
            target_critics=jax.tree.map(
                lambda slow, fast: keep * slow + (1 - keep) * fast, state.target_critics, critics
            ),
            critic_optimizer=critic_optimizer,
            normalizer=normalize.updated(data.observation),
            env=after,
            key=key,
            updates=state.updates + 1,
        )
        return after_state, metrics

    def policy(self, state: SHACState) -> TrainedPolicy:
        """The policy to evaluate."""
        return TrainedPolicy(state.actor, state.normalizer)
