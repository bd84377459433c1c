"""PPO: proximal policy optimization (arXiv 1707.06347)."""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from rfo.algos.method import ActorCritic, StartKeys
from rfo.algos.optimize import Descent, DescentState
from rfo.algos.rollout import decisions, policy_metrics, rollout, rollout_metrics
from rfo.algos.settings import Critic, Optimiser, require, require_divisible, require_order
from rfo.algos.surrogate import clipped_surrogate, epoch, estimate_advantages, minibatches
from rfo.envs.batch import Batch, BatchState
from rfo.policies.critic import Critics
from rfo.policies.encoder import Encoder
from rfo.policies.gaussian import TanhGaussianPolicy, gaussian_kl, gaussian_log_prob
from rfo.policies.normalize import Normalizer
from rfo.types import Array, Float, Int, Metrics, Observation, PRNGKey


class Behaviour(NamedTuple):
    """What the acting policy did: the latent before tanh, and the Gaussian it was drawn from."""

    latent: Float[Array, "T B A"]
    mean: Float[Array, "T B A"]
    log_std: Float[Array, "T B A"]


class PPOState(NamedTuple):
    """Everything PPO carries from one update to the next."""

    actor: TanhGaussianPolicy
    actor_optimizer: DescentState
    learning_rate: Float[Array, ""]
    """The actor's learning rate, as adapted so far."""
    critics: Critics
    critic_optimizer: DescentState
    normalizer: Normalizer
    value_scale: Normalizer
    env: BatchState
    key: PRNGKey
    updates: Int[Array, ""]


@dataclass(frozen=True)
class PPO(ActorCritic):
    """Proximal Policy Optimization.

    The settings are those of the SAPO paper's baseline unless a field says otherwise. Likelihoods
    are those of the latent before tanh, because the volume of tanh cancels in their ratio. Actions
    cannot leave their bounds, so no loss has to keep them inside. Advantages are standardised over
    the rollout, and values are learnt in units of their running mean and deviation. The value is
    the mean of the critics. The actor's learning rate has no schedule: it follows the divergence
    that each pass causes.

    Raises:
        SettingError: for a field out of range, naming it.

    Example:
        >>> import rfo
        >>> rfo.PPO(horizon=128).horizon
        128
    """

    name: ClassVar[str] = "ppo"
    needs_gradient: ClassVar[bool] = False

    gae_lambda: float = 0.95
    """Lambda of the advantages."""
    epochs: int = 5
    """Passes over each rollout that improve the actor."""
    batches: int = 4
    """Minibatches in each pass; they divide the rollout's decisions T. The reference has 1. With 4,
    the same data give four times as many steps."""
    clip: float = 0.2
    """Distance from 1 beyond which a ratio of likelihoods gains nothing more."""
    target_kl: float = 0.008
    """Divergence from the acting policy [nat]. After each pass the learning rate is divided by 1.5
    if the divergence is above twice this, and multiplied by 1.5 if it is below half."""
    min_learning_rate: float = 1e-6
    """Smallest learning rate of the actor."""
    max_learning_rate: float = 1e-2
    """Largest learning rate of the actor."""
    entropy_weight: float = 0.0
    """Weight of the entropy of the latent before tanh [nat], summed over dimensions."""
    min_std: float = 0.1
    """Lower bound of the state-dependent standard deviation before tanh."""
    max_std: float = 1.0
    """Upper bound of the state-dependent standard deviation before tanh."""
    last_scale: float = 0.01
    """Factor on the initial weights of the policy's last layer: actions start near 0."""
    critic: Critic = Critic(count=1, iterations=5)
    optimiser: Optimiser = Optimiser(learning_rate=5e-4, beta1=0.9, beta2=0.999)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self, "positive", "epochs", "batches", "clip", "target_kl", "last_scale")
        require(self, "positive", "min_std", "min_learning_rate")
        require(self, "not negative", "entropy_weight")
        require(self, "in [0, 1]", "gae_lambda")
        require_divisible(self.horizon, self.batches, "batches")
        require_order(self, "min_std", "max_std")
        require_order(self, "min_learning_rate", "max_learning_rate")

    def new_actor(self, key: PRNGKey, encoder: Encoder, action_size: int) -> TanhGaussianPolicy:
        """The initial policy."""
        return TanhGaussianPolicy(
            key,
            encoder,
            action_size,
            min_log_std=log(self.min_std),
            max_log_std=log(self.max_std),
            last_scale=self.last_scale,
            **self.network.layers,
        )

    def init(self, key: PRNGKey, env: Batch) -> PPOState:
        """Initial training state."""
        require_divisible(decisions(self.horizon, env), self.batches, "batches")
        return PPOState(
            **self.begin(StartKeys.split(key), env),
            learning_rate=jnp.asarray(self.optimiser.learning_rate, float),
            value_scale=Normalizer.init(1),
        )

    def update(self, state: PPOState, env: Batch) -> tuple[PPOState, Metrics]:
        """One rollout, some passes over it that improve the actor, one fit of the critics."""
        key, noise_key, spread_key = jax.random.split(state.key, 3)
        noise, normalize = self.noise(noise_key, env), state.normalizer

        def act(observation: Observation, noise: Array) -> tuple[Array, Behaviour]:
            mean, log_std = state.actor.parameters(normalize(observation))
            latent = mean + jnp.exp(log_std) * noise
            return jnp.tanh(latent), Behaviour(latent, mean, log_std)

        after, data = rollout(env, state.env, act, noise)
        observation = normalize(data.observation)
        estimates = estimate_advantages(
            state.critics, normalize, state.value_scale, data, self.gamma, self.gae_lambda
        )
        actor, actor_optimizer, rate, actor_metrics = self.improve(
            state, observation, data.extras, estimates.advantage
        )
        critics, critic_optimizer, critic_metrics = self.fit(state, observation, estimates.target)
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
            value_scale=estimates.scale,
            env=after,
            key=key,
            updates=state.updates + 1,
        )
        return after_state, metrics

    def improve(
        self,
        state: PPOState,
        observation: Observation,
        behaviour: Behaviour,
        advantage: Float[Array, "T B"],
    ) -> tuple[TanhGaussianPolicy, DescentState, Array, Metrics]:
        """Actor, its optimiser and learning rate after all passes, and metrics."""
        flat, unravel = ravel_pytree(state.actor)
        batches = minibatches((observation, behaviour, advantage), self.batches)

        def loss(flat: Array, batch: tuple[Observation, Behaviour, Array]) -> tuple[Array, Metrics]:
            return self.objective(unravel(flat), *batch)

        def sweep(carry: tuple, _: None) -> tuple[tuple, tuple]:
            flat, optimizer, rate = carry
            descent = Descent(self.optimiser, rate)
            flat, optimizer, metrics, reports = epoch(loss, flat, (descent, optimizer), batches)
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
        metrics |= {"kl": kl[-1], "learning_rate": rate, **reports.metrics()}
        return unravel(flat), optimizer, rate, metrics

    def objective(
        self,
        actor: TanhGaussianPolicy,
        observation: Observation,
        behaviour: Behaviour,
        advantage: Float[Array, "*batch"],
    ) -> tuple[Float[Array, ""], Metrics]:
        """The actor's loss, the clipped surrogate and the entropy's share, for a minibatch."""
        mean, log_std = actor.parameters(observation)
        ratio = likelihood_ratio(mean, log_std, behaviour)
        gain = clipped_surrogate(ratio, advantage, self.clip)
        entropy = jnp.mean(jnp.sum(log_std + 0.5 * log(2 * jnp.pi * jnp.e), axis=-1))
        clipped = jnp.mean(jnp.abs(ratio - 1) > self.clip)
        metrics = {"loss_actor": -gain, "entropy": entropy, "clipped_ratios": clipped}
        return -gain - self.entropy_weight * entropy, metrics


def likelihood_ratio(
    mean: Float[Array, "*batch A"], log_std: Float[Array, "*batch A"], old: Behaviour
) -> Float[Array, "*batch"]:
    """Likelihood of the latents under a new Gaussian, divided by that under the acting one."""
    before = gaussian_log_prob(old.mean, old.log_std, old.latent)
    return jnp.exp(gaussian_log_prob(mean, log_std, old.latent) - before)


def adapted_rate(
    rate: Float[Array, ""], kl: Float[Array, ""], target: float, lowest: float, highest: float
) -> Float[Array, ""]:
    """The learning rate after a pass with the divergence `kl` from the acting policy [nat].

    It is divided by 1.5 if `kl` is above twice the target, and multiplied by 1.5 if `kl` is below
    half of it.
    """
    factor = jnp.where(kl > 2 * target, 1 / 1.5, jnp.where(kl < target / 2, 1.5, 1.0))
    return jnp.clip(rate * factor, lowest, highest)
