"""SHAC's objective with maximum entropy, as SAPO (arXiv 2412.12089) has it, for any policy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from rfo.algos.fitting import combine_critics, fit_critics, require_divisible
from rfo.algos.optimize import Descent, DescentState
from rfo.algos.returns import segment_return, td_lambda
from rfo.algos.reuse import descend, pulled
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
from rfo.policies.encoder import Encoder
from rfo.policies.normalize import Normalizer
from rfo.policies.squash import bound_loss
from rfo.types import Array, Float, Int, Metrics, Observation, PRNGKey

Noise = tuple[Array, Array]
"""Of the action, and for the estimate of the entropy: standard normal, (*batch, A) both."""


class MaximumEntropyState(NamedTuple):
    """Everything that is carried from one update to the next."""

    actor: Any
    actor_optimizer: DescentState
    log_alpha: Float[Array, ""]
    alpha_optimizer: DescentState
    critics: Critics
    critic_optimizer: DescentState
    normalizer: Normalizer
    env: BatchState
    key: PRNGKey
    updates: Int[Array, ""]


@dataclass(frozen=True)
class MaximumEntropy(ABC):
    """What SAPO and the soft flow share; they add the policy.

    One actor step per rollout, or several (`rfo.algos.reuse`), on ``-return / horizon`` where each
    control step pays ``r + alpha H / return_scale``: H is an estimate of the policy's entropy from one
    draw, shifted and scaled by its target so that it lies near [0, 1]; the weight alpha is
    tuned to hold the entropy at the target. Critics value the same sum.

    Raises:
        ValueError: for a field out of range, naming it.
    """

    name: ClassVar[str]
    needs_gradient: ClassVar[bool] = True

    horizon: int = 32
    """Control steps H of one rollout, in T decisions; T a multiple of `critic_batches`."""
    updates: int = 2000
    """Length of the learning rates' schedule."""
    gamma: float = 0.99
    """Discount of one control step."""
    return_scale: float = 1.0
    """Factor on the reward's share of the actor's loss, beside the entropy's."""
    td_lambda: float = 0.95
    """Of the critics' targets."""
    staggered: bool = True
    """Whether the first episodes start at random ages, or all at 0 as in the reference implementations,
    where environments stay in phase until an episode ends early."""

    initial_alpha: float = 1.0
    """Initial weight of the entropy."""
    alpha_learning_rate: float = 5e-3
    """Constant over updates; 0 keeps alpha fixed."""
    target_entropy: float = -0.5
    """Entropy per action dimension to hold [nat]; negative."""
    c_bound: float = 0.0
    """Weight of ``-log(1 - a^2)``, mean over action dimensions, beside the entropy's own share of it."""
    actor_steps: int = 1
    """Steps of the actor on each rollout's gradient."""
    reach: float = 0.1
    """Change of an action at which it stops to follow that gradient, if there are several."""

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
    critic_target: str = "min"
    """How the critics combine in TD targets: min or mean. In the actor it is the mean."""
    critic_iterations: int = 16
    critic_batches: int = 4

    actor_learning_rate: float = 2e-3
    critic_learning_rate: float = 5e-4
    final_learning_rate: float = 1e-5
    beta1: float = 0.7
    beta2: float = 0.95
    weight_decay: float = 0.01
    """On log alpha, too."""
    max_grad_norm: float = 0.5

    def __post_init__(self) -> None:
        require_common(self)
        require(
            self, "positive", "return_scale", "critic_count", "critic_iterations", "critic_batches"
        )
        require(self, "positive", "critic_learning_rate")
        require(self, "positive", "initial_alpha", "actor_steps", "reach")
        require(self, "not negative", "alpha_learning_rate", "c_bound")
        require(self, "in [0, 1]", "td_lambda")
        require_divisible(self.horizon, self.critic_batches)
        combine_critics(self.critic_target)
        if self.target_entropy >= 0:
            raise ValueError(f"target_entropy must be negative, not {self.target_entropy}")

    @abstractmethod
    def actor(self, key: PRNGKey, encoder: Encoder, action_size: int) -> Any:
        """The initial policy, an `rfo.algos.rollout.Actor`."""

    @abstractmethod
    def latent_and_entropy(
        self, actor: Any, observation: Observation, noise: Noise
    ) -> tuple[Float[Array, "*batch A"], Float[Array, "*batch"]]:
        """A draw of the latent, and an estimate of the action's entropy [nat]. For normalised states."""

    def init(self, key: PRNGKey, env: Batch) -> MaximumEntropyState:
        """Initial training state."""
        require_divisible(decisions(self.horizon, env), self.critic_batches)
        key, actor_key, critic_key, env_key, *encoder_keys = jax.random.split(key, 6)
        spec = env.spec
        actor = self.actor(
            actor_key, encoder(self, encoder_keys[0], spec.observation), spec.action_size
        )
        critics = Critics(
            critic_key,
            encoder(self, encoder_keys[1], spec.observation),
            self.critic_hidden,
            self.activation,
            self.critic_count,
            self.gain,
        )
        log_alpha = jnp.log(jnp.asarray(self.initial_alpha, float))
        return MaximumEntropyState(
            actor=actor,
            actor_optimizer=descent(self, self.actor_learning_rate).init(actor),
            log_alpha=log_alpha,
            alpha_optimizer=self._alpha_descent().init(log_alpha),
            critics=critics,
            critic_optimizer=descent(self, self.critic_learning_rate).init(critics),
            normalizer=Normalizer.init(spec.observation),
            env=env.staggered(env_key) if self.staggered else env.init(env_key),
            key=key,
            updates=jnp.zeros((), jnp.int32),
        )

    def update(self, state: MaximumEntropyState, env: Batch) -> tuple[MaximumEntropyState, Metrics]:
        """One rollout, the actor's steps, one step of alpha, one fit of the critics."""
        key, noise_key, spread_key, entropy_key = jax.random.split(state.key, 4)
        action_size = env.spec.action_size
        shape = (decisions(self.horizon, env), env.size, action_size)
        noise = jax.random.normal(noise_key, shape), jax.random.normal(entropy_key, shape)
        normalize, alpha = state.normalizer, jnp.exp(state.log_alpha)
        actor_loss, pull, after, data, reward, values = self._rollout(state, env, noise)
        observation = normalize(data.observation)
        actor, actor_optimizer, actor_metrics = descend(
            descent(self, self.actor_learning_rate),
            state.actor,
            state.actor_optimizer,
            lambda actor, _: self._loss(actor, pull, data.action, observation, noise),
            jax.random.split(key, self.actor_steps),
            state.updates,
        )
        entropy = data.extras.mean()
        log_alpha, alpha_optimizer, alpha_loss = self._alpha_step(state, entropy, action_size)
        value = combine_critics(self.critic_target)(values, axis=0)
        target = td_lambda(
            reward,
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
            observation,
            target,
            self.critic_iterations,
            self.critic_batches,
            state.updates,
        )
        metrics = {
            **rollout_metrics(data),
            **critic_metrics,
            "loss_actor": actor_loss,
            "loss_alpha": alpha_loss,
            "alpha": alpha,
            "entropy": entropy,
            **actor_metrics,
            **policy_metrics(state.actor, actor, normalize(state.env.observation), spread_key),
        }
        after_state = MaximumEntropyState(
            actor=actor,
            actor_optimizer=actor_optimizer,
            log_alpha=log_alpha,
            alpha_optimizer=alpha_optimizer,
            critics=critics,
            critic_optimizer=critic_optimizer,
            normalizer=normalize.updated(data.observation),
            env=after,
            key=key,
            updates=state.updates + 1,
        )
        return after_state, metrics

    def policy(self, state: MaximumEntropyState) -> TrainedPolicy:
        """The policy to evaluate."""
        return TrainedPolicy(state.actor, state.normalizer)

    def _rollout(
        self, state: MaximumEntropyState, env: Batch, noise: Noise
    ) -> tuple[Float[Array, ""], tuple[Array, Array], BatchState, Rollout, Array, Array]:
        """Loss, its gradient in latents and entropies, and what the rollout left: state,
        data, rewards (T, B) with the entropy's share, values (E, T, B)."""
        normalize, alpha = state.normalizer, jnp.exp(state.log_alpha)
        target_entropy = self.target_entropy * env.spec.action_size

        def loss(
            shift: tuple[Array, Array],
        ) -> tuple[Array, tuple[BatchState, Rollout, Array, Array]]:
            def act(
                observation: Observation, step: tuple[Noise, tuple[Array, Array]]
            ) -> tuple[Array, Array]:
                noise, shift = step
                output = self.latent_and_entropy(state.actor, normalize(observation), noise)
                latent, entropy = jax.tree.map(jnp.add, output, shift)
                return jnp.tanh(latent), entropy

            after, data = rollout(env, state.env, act, (noise, shift))
            bonus = scaled_entropy(data.extras, target_entropy)
            reward = data.reward + alpha / self.return_scale * data.duration * bonus
            values = state.critics(normalize(data.next_observation))
            returns = segment_return(
                reward, values.mean(0), data.terminated, data.truncated, self.gamma, data.duration
            )
            return -self.return_scale * returns.mean() / self.horizon, (after, data, reward, values)

        none = jnp.zeros_like(noise[0]), jnp.zeros(noise[0].shape[:-1])
        (value, aux), pull = jax.value_and_grad(loss, has_aux=True)(none)
        return value, pull, *aux

    def _loss(
        self,
        actor: Any,
        pull: tuple[Array, Array],
        action: Float[Array, "T B A"],
        observation: Observation,
        noise: Noise,
    ) -> tuple[Float[Array, ""], Metrics]:
        """The actor's loss to first order about the policy that made the rollout, but for a constant."""
        latent, entropy = self.latent_and_entropy(actor, observation, noise)
        bound = bound_loss(latent)
        total = pulled(pull[0], latent, action, self.reach) + jnp.sum(pull[1] * entropy)
        return total + self.c_bound * bound, {"loss_bound": bound}

    def _alpha_step(
        self, state: MaximumEntropyState, entropy: Float[Array, ""], action_size: int
    ) -> tuple[Float[Array, ""], DescentState, Float[Array, ""]]:
        """log alpha after a step towards the target entropy, its optimiser, and the loss."""
        target = self.target_entropy * action_size
        loss, gradient = jax.value_and_grad(alpha_objective)(state.log_alpha, entropy, target)
        log_alpha, optimizer, _ = self._alpha_descent().step(
            state.log_alpha, state.alpha_optimizer, gradient, state.updates
        )
        return log_alpha, optimizer, loss

    def _alpha_descent(self) -> Descent:
        rate = self.alpha_learning_rate
        return Descent(rate, rate, 1, self.beta1, self.beta2, self.weight_decay, self.max_grad_norm)


def scaled_entropy(entropy: Float[Array, "*shape"], target: float) -> Float[Array, "*shape"]:
    """``(H - target) / (2 |target|)`` for a negative target: 0 at the target, 1 at its opposite."""
    return (entropy - target) / (2 * abs(target))


def alpha_objective(
    log_alpha: Float[Array, ""], entropy: Float[Array, ""], target: float
) -> Float[Array, ""]:
    """``alpha |target| (H - target)``: alpha grows while the entropy is below its target."""
    return jnp.exp(log_alpha) * abs(target) * (jax.lax.stop_gradient(entropy) - target)
