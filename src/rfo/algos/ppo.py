"""PPO: proximal policy optimization (arXiv 1707.06347)."""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from rfo.algos.fitting import fit_critics, require_divisible
from rfo.algos.optimize import DescentState
from rfo.algos.rollout import TrainedPolicy, decisions, policy_metrics, rollout, rollout_metrics
from rfo.algos.settings import descent, encoder, require, require_common
from rfo.algos.surrogate import Estimate, clipped_surrogate, epoch, estimate, minibatches
from rfo.envs.batch import Batch, BatchState
from rfo.policies.critic import Critics
from rfo.policies.gaussian import TanhGaussianPolicy, gaussian_kl, gaussian_log_prob
from rfo.policies.normalize import Normalizer
from rfo.types import Array, Float, Int, Metrics, Observation, PRNGKey


class Behaviour(NamedTuple):
    """What the acting policy did: the latent before tanh, and the Gaussian that it was drawn from."""

    latent: Float[Array, "T B A"]
    mean: Float[Array, "T B A"]
    log_std: Float[Array, "T B A"]


class PPOState(NamedTuple):
    """Everything PPO carries from one update to the next."""

    actor: TanhGaussianPolicy
    actor_optimizer: DescentState
    learning_rate: Float[Array, ""]
    """Of the actor, as adapted so far."""
    critics: Critics
    critic_optimizer: DescentState
    normalizer: Normalizer
    value_scale: Normalizer
    env: BatchState
    key: PRNGKey
    updates: Int[Array, ""]


@dataclass(frozen=True)
class PPO:
    """Proximal Policy Optimization, with the settings of the SAPO paper's baseline unless a field says why.

    The likelihood is that of the latent before tanh: in the ratio the volume of tanh cancels, and no action
    leaves its bounds, so there is no loss that keeps it inside. Advantages are standardised over the rollout,
    values learnt in units of their running mean and deviation.

    Raises:
        ValueError: for a field out of range, naming it.
    """

    name: ClassVar[str] = "ppo"
    needs_gradient: ClassVar[bool] = False

    horizon: int = 32
    """Control steps H of one rollout, in T decisions; T a multiple of `batches` and `critic_batches`."""
    updates: int = 2000
    """Length of the critic's learning rate's schedule."""
    gamma: float = 0.99
    """Discount of one control step."""
    gae_lambda: float = 0.95
    """Of the advantages."""
    epochs: int = 5
    """Passes of the actor over a rollout."""
    batches: int = 4
    """Minibatches in each of them. The reference has 1; 4 make four times the steps of the same data."""
    clip: float = 0.2
    """Distance from 1 at which the ratio of likelihoods stops paying."""
    target_kl: float = 0.008
    """Divergence from the acting policy [nat]: after each pass the learning rate is divided by 1.5 if it is
    above twice this, and multiplied by 1.5 if it is below half."""
    entropy_weight: float = 0.0
    """Of the entropy of the latent before tanh [nat], summed over dimensions."""
    min_std: float = 0.1
    """Lower bound of the state-dependent standard deviation before tanh."""
    max_std: float = 1.0

    actor_hidden: tuple[int, ...] = (128, 64, 32)
    critic_hidden: tuple[int, ...] = (64, 64)
    activation: str = "silu"
    """elu, relu, silu or tanh."""
    gain: float = 1.0
    """Of the orthogonal initialisation."""
    last_scale: float = 0.01
    """Further factor on the initial weights of the policy's last layer: actions start near 0 everywhere."""
    point_hidden: tuple[int, ...] = (64, 128, 256)
    """Widths of the layers applied to each point, in actor and critics, if the observation is a dict."""
    point_features: int = 64
    """Size of a point cloud's encoding, likewise."""
    vector_features: int = 128
    """Size of the encoding of all vectors of the observation, likewise."""
    pooling: str = "mean"
    """Over the points, likewise: mean or max."""
    critic_count: int = 1
    """Critics whose mean is the value."""
    critic_iterations: int = 5
    critic_batches: int = 4

    actor_learning_rate: float = 5e-4
    """At the start; then the divergence decides."""
    min_learning_rate: float = 1e-6
    """Of the actor."""
    max_learning_rate: float = 1e-2
    critic_learning_rate: float = 5e-4
    final_learning_rate: float = 1e-5
    """Of the critic."""
    beta1: float = 0.9
    beta2: float = 0.999
    weight_decay: float = 0.01
    max_grad_norm: float = 0.5

    def __post_init__(self) -> None:
        require_common(self)
        require(self, "positive", "epochs", "batches", "clip", "target_kl")
        require(self, "positive", "critic_count", "critic_iterations", "critic_batches")
        require(self, "positive", "critic_learning_rate", "last_scale")
        require(self, "positive", "min_std", "min_learning_rate")
        require(self, "not negative", "entropy_weight")
        require(self, "in [0, 1]", "gae_lambda")
        require_divisible(self.horizon, self.critic_batches)
        require_divisible(self.horizon, self.batches, "batches")
        for low, high in (("min_std", "max_std"), ("min_learning_rate", "max_learning_rate")):
            if getattr(self, low) >= getattr(self, high):
                raise ValueError(f"{low} must be below {high}, not {getattr(self, low)}")

    def init(self, key: PRNGKey, env: Batch) -> PPOState:
        """Initial training state."""
        require_divisible(decisions(self.horizon, env), self.critic_batches)
        require_divisible(decisions(self.horizon, env), self.batches, "batches")
        key, actor_key, critic_key, env_key, *encoder_keys = jax.random.split(key, 6)
        spec = env.spec
        actor = TanhGaussianPolicy(
            actor_key,
            encoder(self, encoder_keys[0], spec.observation),
            spec.action_size,
            self.actor_hidden,
            activation=self.activation,
            min_log_std=log(self.min_std),
            max_log_std=log(self.max_std),
            gain=self.gain,
            last_scale=self.last_scale,
        )
        critics = Critics(
            critic_key,
            encoder(self, encoder_keys[1], spec.observation),
            self.critic_hidden,
            self.activation,
            self.critic_count,
            self.gain,
        )
        rate = jnp.asarray(self.actor_learning_rate, float)
        return PPOState(
            actor=actor,
            actor_optimizer=descent(self, rate, rate).init(actor),
            learning_rate=rate,
            critics=critics,
            critic_optimizer=descent(self, self.critic_learning_rate).init(critics),
            normalizer=Normalizer.init(spec.observation),
            value_scale=Normalizer.init(1),
            env=env.staggered(env_key),
            key=key,
            updates=jnp.zeros((), jnp.int32),
        )

    def update(self, state: PPOState, env: Batch) -> tuple[PPOState, Metrics]:
        """One rollout, some passes of the actor over it, one fit of the critic."""
        key, noise_key, spread_key = jax.random.split(state.key, 3)
        noise = jax.random.normal(
            noise_key, (decisions(self.horizon, env), env.size, env.spec.action_size)
        )
        normalize = state.normalizer

        def act(observation: Observation, noise: Array) -> tuple[Array, Behaviour]:
            mean, log_std = state.actor.parameters(normalize(observation))
            latent = mean + jnp.exp(log_std) * noise
            return jnp.tanh(latent), Behaviour(latent, mean, log_std)

        after, data = rollout(env, state.env, act, noise)
        observation = normalize(data.observation)
        judged = estimate(
            state.critics, normalize, state.value_scale, data, self.gamma, self.gae_lambda
        )
        actor, actor_optimizer, rate, actor_metrics = self._improve(
            state, observation, data.extras, judged
        )
        critics, critic_optimizer, critic_metrics = fit_critics(
            state.critics,
            (descent(self, self.critic_learning_rate), state.critic_optimizer),
            observation,
            judged.target,
            self.critic_iterations,
            self.critic_batches,
            state.updates,
        )
        metrics = {
            **rollout_metrics(data),
            **actor_metrics,
            **critic_metrics,
            **policy_metrics(state.actor, actor, normalize(state.env.observation), spread_key),
            "skipped_updates": actor_optimizer.skipped,
        }
        after_state = PPOState(
            actor=actor,
            actor_optimizer=actor_optimizer,
            learning_rate=rate,
            critics=critics,
            critic_optimizer=critic_optimizer,
            normalizer=normalize.updated(data.observation),
            value_scale=judged.scale,
            env=after,
            key=key,
            updates=state.updates + 1,
        )
        return after_state, metrics

    def policy(self, state: PPOState) -> TrainedPolicy:
        """The policy to evaluate."""
        return TrainedPolicy(state.actor, state.normalizer)

    def _improve(
        self, state: PPOState, observation: Observation, behaviour: Behaviour, judged: Estimate
    ) -> tuple[TanhGaussianPolicy, DescentState, Array, Metrics]:
        """Actor, its optimiser and learning rate after all passes, and metrics."""
        flat, unravel = ravel_pytree(state.actor)
        batches = minibatches((observation, behaviour, judged.advantage), self.batches)

        def loss(flat: Array, batch: tuple[Observation, Behaviour, Array]) -> tuple[Array, Metrics]:
            observation, old, advantage = batch
            mean, log_std = unravel(flat).parameters(observation)
            ratio = likelihood_ratio(mean, log_std, old)
            gain = clipped_surrogate(ratio, advantage, self.clip)
            entropy = jnp.mean(jnp.sum(log_std + 0.5 * log(2 * jnp.pi * jnp.e), axis=-1))
            clipped = jnp.mean(jnp.abs(ratio - 1) > self.clip)
            metrics = {"loss_actor": -gain, "entropy": entropy, "clipped_ratios": clipped}
            return -gain - self.entropy_weight * entropy, metrics

        def sweep(carry: tuple, _: None) -> tuple[tuple, tuple]:
            flat, optimizer, rate = carry
            flat, optimizer, metrics, reports = epoch(
                loss, flat, (descent(self, rate, rate), optimizer), batches, state.updates
            )
            mean, log_std = unravel(flat).parameters(observation)
            kl = jnp.mean(gaussian_kl(behaviour.mean, behaviour.log_std, mean, log_std))
            rate = adapted_rate(
                rate, kl, self.target_kl, self.min_learning_rate, self.max_learning_rate
            )
            return (flat, optimizer, rate), (metrics, reports, kl)

        (flat, optimizer, rate), (metrics, reports, kl) = jax.lax.scan(
            sweep, (flat, state.actor_optimizer, state.learning_rate), None, length=self.epochs
        )
        metrics = {name: value.mean() for name, value in metrics.items()}
        metrics |= {"kl": kl[-1], "learning_rate": rate}
        metrics |= {
            "grad_norm": reports.norm.mean(),
            "grad_norm_clipped": reports.clipped_norm.mean(),
        }
        return unravel(flat), optimizer, rate, metrics


def likelihood_ratio(
    mean: Float[Array, "*batch A"], log_std: Float[Array, "*batch A"], old: Behaviour
) -> Float[Array, "*batch"]:
    """Likelihood of the latents under a new Gaussian over that under the acting one."""
    before = gaussian_log_prob(old.mean, old.log_std, old.latent)
    return jnp.exp(gaussian_log_prob(mean, log_std, old.latent) - before)


def adapted_rate(
    rate: Float[Array, ""], kl: Float[Array, ""], target: float, lowest: float, highest: float
) -> Float[Array, ""]:
    """The learning rate after a pass that led `kl` away: over 1.5 beyond 2 `target`, times 1.5 below half."""
    factor = jnp.where(kl > 2 * target, 1 / 1.5, jnp.where(kl < target / 2, 1.5, 1.0))
    return jnp.clip(rate * factor, lowest, highest)
