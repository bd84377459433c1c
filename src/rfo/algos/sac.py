"""SAC: soft actor-critic, off-policy from a replay buffer (arXiv 1812.05905)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from rfo.algos.optimize import Descent, DescentState
from rfo.algos.returns import n_step
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
from rfo.policies.gaussian import TanhGaussianPolicy, tanh_gaussian_log_prob
from rfo.policies.nets import largest
from rfo.policies.normalize import Normalizer
from rfo.types import Array, Float, Int, Metrics, Observation, PRNGKey, PyTree


class Transitions(NamedTuple):
    """Steps with n-step returns. Observations are raw, to be normalised by the statistics of the day."""

    observation: Observation
    action: Float[Array, "*batch A"]
    reward: Float[Array, "*batch"]
    """Of n steps, see `rfo.algos.returns.n_step`."""
    next_observation: Observation
    """After these, before any reset."""
    discount: Float[Array, "*batch"]
    """Of its value; 0 after a termination."""


class Learner(NamedTuple):
    """What a step on a minibatch changes, networks as flat vectors: flattened once, not at each step."""

    actor: Float[Array, " P"]
    critics: Float[Array, " Q"]
    target_critics: Float[Array, " Q"]
    log_alpha: Float[Array, ""]
    actor_optimizer: DescentState
    critic_optimizer: DescentState
    alpha_optimizer: DescentState


class SACState(NamedTuple):
    """Everything SAC carries from one update to the next."""

    actor: TanhGaussianPolicy
    actor_optimizer: DescentState
    log_alpha: Float[Array, ""]
    alpha_optimizer: DescentState
    critics: Critics
    target_critics: Critics
    critic_optimizer: DescentState
    buffer: Transitions
    """The last rollouts, (slots, T * B, ...), written in turn."""
    normalizer: Normalizer
    env: BatchState
    key: PRNGKey
    updates: Int[Array, ""]


@dataclass(frozen=True)
class SAC:
    """Soft Actor-Critic, with the settings of the SAPO paper's baseline unless a field says why.

    After each rollout, steps on minibatches drawn from the buffer: critics towards n-step returns and the
    smallest target critic less alpha log pi, the actor up the smallest critic plus alpha times the entropy,
    alpha towards the target entropy. n-step returns stop where an episode ends and at a rollout's end; a time
    limit bootstraps from the observation before the reset.

    Raises:
        ValueError: for a field out of range, naming it.
    """

    name: ClassVar[str] = "sac"
    needs_gradient: ClassVar[bool] = False

    horizon: int = 32
    """Control steps H of one rollout, in T decisions."""
    updates: int = 2000
    """Length of the learning rates' schedule."""
    gamma: float = 0.99
    """Discount of one control step."""
    n_step: int = 3
    """Decisions whose rewards come before the bootstrap."""
    gradient_steps: int = 64
    """Per rollout. The reference has 8 of 2048 transitions; 64 of 256 cost the same arithmetic."""
    batch_size: int = 256
    """Transitions in each of them."""
    capacity: int = 262_144
    """Transitions in the buffer, rounded down to whole rollouts. The reference has a million; each costs two
    observations and an action, is copied once per update and written with every checkpoint."""
    target_rate: float = 0.005
    """Share of the way that the target critics go to the critics at each step."""

    initial_alpha: float = 1.0
    """Initial weight of the entropy."""
    alpha_learning_rate: float = 5e-3
    """Constant over updates; 0 keeps alpha fixed."""
    target_entropy: float = -0.5
    """Entropy per action dimension to hold [nat]."""
    min_log_std: float = -5.0
    max_log_std: float = 2.0

    actor_hidden: tuple[int, ...] = (128, 64, 32)
    critic_hidden: tuple[int, ...] = (64, 64)
    activation: str = "silu"
    """elu, relu, silu or tanh."""
    gain: float = 1.0
    """Of the orthogonal initialisation."""
    point_hidden: tuple[int, ...] = (64, 128, 256)
    """Widths of the layers applied to each point, in actor and critics, if the observation is a dict."""
    point_features: int = 64
    """Size of a point cloud's encoding, likewise."""
    vector_features: int = 128
    """Size of the encoding of all vectors of the observation, likewise."""
    pooling: str = "mean"
    """Over the points, likewise: mean or max."""
    critic_count: int = 2
    """Critics whose smallest counts."""

    actor_learning_rate: float = 5e-4
    critic_learning_rate: float = 5e-4
    final_learning_rate: float = 5e-4
    """Of both."""
    beta1: float = 0.9
    beta2: float = 0.999
    weight_decay: float = 0.0
    max_grad_norm: float = 10.0

    def __post_init__(self) -> None:
        require_common(self)
        require(self, "positive", "n_step", "gradient_steps", "batch_size", "capacity")
        require(self, "positive", "critic_learning_rate")
        require(self, "positive", "initial_alpha", "critic_count")
        require(self, "not negative", "alpha_learning_rate")
        require(self, "in [0, 1]", "target_rate")
        if self.min_log_std >= self.max_log_std:
            raise ValueError(f"min_log_std must be below max_log_std, not {self.min_log_std}")

    def init(self, key: PRNGKey, env: Batch) -> SACState:
        """Initial training state."""
        key, actor_key, critic_key, env_key, *encoder_keys = jax.random.split(key, 6)
        spec = env.spec
        actor = TanhGaussianPolicy(
            actor_key,
            encoder(self, encoder_keys[0], spec.observation),
            spec.action_size,
            self.actor_hidden,
            activation=self.activation,
            min_log_std=self.min_log_std,
            max_log_std=self.max_log_std,
            gain=self.gain,
        )
        critics = Critics(
            critic_key,
            encoder(self, encoder_keys[1], spec.observation),
            self.critic_hidden,
            self.activation,
            self.critic_count,
            self.gain,
            action_size=spec.action_size,
        )
        start = env.init(env_key)
        log_alpha = jnp.log(jnp.asarray(self.initial_alpha, float))
        return SACState(
            actor=actor,
            actor_optimizer=descent(self, self.actor_learning_rate).init(actor),
            log_alpha=log_alpha,
            alpha_optimizer=self._alpha_descent().init(log_alpha),
            critics=critics,
            target_critics=critics,
            critic_optimizer=descent(self, self.critic_learning_rate).init(critics),
            buffer=self._empty(start.observation, env),
            normalizer=Normalizer.init(spec.observation),
            env=start,
            key=key,
            updates=jnp.zeros((), jnp.int32),
        )

    def update(self, state: SACState, env: Batch) -> tuple[SACState, Metrics]:
        """One rollout into the buffer, then steps on minibatches from it."""
        key, noise_key, learn_key, spread_key = jax.random.split(state.key, 4)
        noise = jax.random.normal(
            noise_key, (decisions(self.horizon, env), env.size, env.spec.action_size)
        )
        normalize = state.normalizer

        after, data = rollout(env, state.env, lambda o, e: state.actor(normalize(o), e), noise)
        buffer = stored(state.buffer, transitions(data, self.gamma, self.n_step), state.updates)
        filled = jnp.minimum(state.updates + 1, len(buffer.reward)) * buffer.reward.shape[1]
        learnt, metrics = self._learn(state, buffer, filled, learn_key)
        after_state = learnt._replace(
            buffer=buffer,
            normalizer=normalize.updated(data.observation),
            env=after,
            key=key,
            updates=state.updates + 1,
        )
        metrics = {
            **rollout_metrics(data),
            **metrics,
            "alpha": jnp.exp(state.log_alpha),
            **policy_metrics(
                state.actor, learnt.actor, normalize(state.env.observation), spread_key
            ),
            "skipped_updates": learnt.actor_optimizer.skipped,
        }
        return after_state, metrics

    def policy(self, state: SACState) -> TrainedPolicy:
        """The policy to evaluate."""
        return TrainedPolicy(state.actor, state.normalizer)

    def _learn(
        self, state: SACState, buffer: Transitions, filled: Int[Array, ""], key: PRNGKey
    ) -> tuple[SACState, Metrics]:
        """All steps on minibatches after one rollout; the state's other fields stay."""
        flat, unravel_actor = ravel_pytree(state.actor)
        critics, unravel_critics = ravel_pytree(state.critics)
        rows = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), buffer)
        target_entropy = self.target_entropy * buffer.action.shape[-1]

        def actor_loss(
            flat: Array, observation: Observation, noise: Array, critics: Critics, alpha: Array
        ):
            mean, log_std = unravel_actor(flat).parameters(observation)
            entropy = -tanh_gaussian_log_prob(mean, log_std, noise)
            action = jnp.tanh(mean + jnp.exp(log_std) * noise)
            value = -largest(-critics(observation, action), 0)
            return -jnp.mean(value + alpha * entropy), entropy.mean()

        def critic_loss(flat: Array, batch: Transitions, target: Array) -> tuple[Array, Array]:
            value = unravel_critics(flat)(batch.observation, batch.action)
            return jnp.sum(jnp.mean((value - target) ** 2, axis=-1)), value.mean()

        def step(learner: Learner, key: PRNGKey) -> tuple[Learner, Metrics]:
            row_key, next_key, noise_key = jax.random.split(key, 3)
            batch = drawn(
                rows, jax.random.randint(row_key, (self.batch_size,), 0, filled), state.normalizer
            )
            alpha = jnp.exp(learner.log_alpha)

            target = soft_target(
                unravel_actor(learner.actor),
                unravel_critics(learner.target_critics),
                alpha,
                batch,
                jax.random.normal(next_key, batch.action.shape),
            )
            (fit, value), gradient = jax.value_and_grad(critic_loss, has_aux=True)(
                learner.critics, batch, target
            )
            critics, critic_optimizer, critic_report = descent(
                self, self.critic_learning_rate
            ).step(learner.critics, learner.critic_optimizer, gradient, state.updates)
            (loss, entropy), gradient = jax.value_and_grad(actor_loss, has_aux=True)(
                learner.actor,
                batch.observation,
                jax.random.normal(noise_key, batch.action.shape),
                unravel_critics(critics),
                alpha,
            )
            actor, actor_optimizer, report = descent(self, self.actor_learning_rate).step(
                learner.actor, learner.actor_optimizer, gradient, state.updates
            )
            # d/d log alpha of alpha (H - target): alpha grows while the entropy is below its target
            log_alpha, alpha_optimizer, _ = self._alpha_descent().step(
                learner.log_alpha,
                learner.alpha_optimizer,
                alpha * (entropy - target_entropy),
                state.updates,
            )
            slow = learner.target_critics + self.target_rate * (critics - learner.target_critics)
            metrics = {
                "critic_loss": fit / self.critic_count,
                "value": value,
                "critic_grad_norm": critic_report.norm,
                "loss_actor": loss,
                "entropy": entropy,
                "grad_norm": report.norm,
                "grad_norm_clipped": report.clipped_norm,
            }
            after = Learner(
                actor, critics, slow, log_alpha, actor_optimizer, critic_optimizer, alpha_optimizer
            )
            return after, metrics

        learner = Learner(
            flat,
            critics,
            ravel_pytree(state.target_critics)[0],
            state.log_alpha,
            state.actor_optimizer,
            state.critic_optimizer,
            state.alpha_optimizer,
        )
        learner, metrics = jax.lax.scan(step, learner, jax.random.split(key, self.gradient_steps))
        learnt = state._replace(
            actor=unravel_actor(learner.actor),
            critics=unravel_critics(learner.critics),
            target_critics=unravel_critics(learner.target_critics),
            **{name: getattr(learner, name) for name in Learner._fields[3:]},
        )
        return learnt, {name: value.mean() for name, value in metrics.items()}

    def _empty(self, observation: Observation, env: Batch) -> Transitions:
        size = decisions(self.horizon, env) * env.size
        slots = max(1, self.capacity // size)
        observations = jax.tree.map(lambda x: jnp.zeros((slots, size, *x.shape[1:])), observation)
        numbers = jnp.zeros((slots, size))
        action = jnp.zeros((slots, size, env.spec.action_size))
        return Transitions(observations, action, numbers, observations, numbers)

    def _alpha_descent(self) -> Descent:
        return Descent(
            self.alpha_learning_rate, self.alpha_learning_rate, 1, self.beta1, self.beta2
        )


def transitions(data: Rollout, gamma: float, steps: int) -> Transitions:
    """A rollout's T * B transitions with returns of up to `steps` steps."""
    ahead = n_step(data.reward, data.terminated, data.truncated, gamma, steps, data.duration)
    environments = jnp.arange(ahead.last.shape[1])
    later = jax.tree.map(lambda x: x[ahead.last, environments], data.next_observation)
    made = Transitions(data.observation, data.action, ahead.reward, later, ahead.discount)
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), made)


def stored(buffer: Transitions, new: Transitions, update: Int[Array, ""]) -> Transitions:
    """The buffer with a rollout in place of its oldest."""
    slot = update % len(buffer.reward)
    return jax.tree.map(
        lambda old, x: jax.lax.dynamic_update_index_in_dim(old, x, slot, 0), buffer, new
    )


def drawn(rows: PyTree, index: Int[Array, " N"], normalize: Normalizer) -> Transitions:
    """Some of the transitions, their observations normalised."""
    batch = jax.tree.map(lambda x: x[index], rows)
    return batch._replace(
        observation=normalize(batch.observation), next_observation=normalize(batch.next_observation)
    )


def soft_target(
    actor: TanhGaussianPolicy,
    critics: Critics,
    alpha: Float[Array, ""],
    batch: Transitions,
    noise: Float[Array, "*batch A"],
) -> Float[Array, "*batch"]:
    """``R_n + discount (min Q(s', a') - alpha log pi(a'|s'))`` with a' drawn by `noise`."""
    mean, log_std = actor.parameters(batch.next_observation)
    action = jnp.tanh(mean + jnp.exp(log_std) * noise)
    soft_value = critics(batch.next_observation, action).min(0) - alpha * tanh_gaussian_log_prob(
        mean, log_std, noise
    )
    return batch.reward + batch.discount * soft_value
