"""SHAC's objective with SAPO's maximum entropy (arXiv 2412.12089), for any policy."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from rfo.algos.fitting import COMBINATIONS
from rfo.algos.method import ActorCritic, StartKeys
from rfo.algos.optimize import Descent, DescentState
from rfo.algos.reuse import FirstOrder, Played, Reuse
from rfo.algos.rollout import policy_metrics, rollout, rollout_metrics
from rfo.algos.settings import require
from rfo.envs.batch import Batch, BatchState, GradientProbe
from rfo.errors import require_known
from rfo.policies.critic import Critics
from rfo.policies.normalize import Normalizer
from rfo.policies.squash import bound_loss
from rfo.types import Array, Float, Int, Metrics, Observation, PRNGKey

Noise = tuple[Array, Array]
"""Noise of the action and of the entropy's estimate: both standard normal, (*batch, A)."""


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


class SoftPlayed(NamedTuple):
    """A rollout that was differentiated in the policy's latents and entropies."""

    played: Played
    """The rollout with the entropy's share in its return; its extras are latents and entropies."""
    reward: Float[Array, "T B"]
    """Rewards with the entropy's share."""
    entropy_slope: Float[Array, "T B"]
    """Slope of the return in each entropy."""


@dataclass(frozen=True)
class MaximumEntropy(ActorCritic):
    """Base of SAPO and the soft flow, which add the policy.

    One actor step per rollout, or several (`rfo.algos.reuse`), on ``-return / horizon`` where each
    control step pays ``r + alpha H / return_scale``. H is an estimate of the policy's entropy from
    one draw, shifted and scaled by its target so that it is near [0, 1]. The weight alpha is tuned
    to keep the entropy at the target. Critics value the same sum.

    Raises:
        SettingError: for a field out of range, naming it.
    """

    needs_gradient: ClassVar[bool] = True

    return_scale: float = 1.0
    """Factor on the reward's share of the actor's loss, beside the entropy's."""
    td_lambda: float = 0.95
    """Lambda of the critics' targets."""
    initial_alpha: float = 1.0
    """Initial weight of the entropy."""
    alpha_learning_rate: float = 5e-3
    """Learning rate of log alpha, constant over updates; 0 keeps alpha fixed. The optimiser's other
    settings, including weight decay, apply to log alpha as well."""
    target_entropy: float = -0.5
    """Entropy per action dimension to keep [nat]; negative."""
    c_bound: float = 0.0
    """Weight of ``-log(1 - a^2)``, mean over action dimensions. The entropy has this term, too."""
    critic_target: str = "min"
    """How the critics combine in TD targets: min or mean. In the actor's loss it is the mean."""
    reuse: Reuse = Reuse()

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self, "positive", "return_scale", "initial_alpha")
        require(self, "not negative", "alpha_learning_rate", "c_bound")
        require(self, "negative", "target_entropy")
        require(self, "in [0, 1]", "td_lambda")
        require_known(self.critic_target, COMBINATIONS, "critic_target")

    def objective(
        self, actor: Any, soft: SoftPlayed, observation: Observation, noise: Noise
    ) -> tuple[Float[Array, ""], Metrics]:
        """The actor's loss, ``-J + c_bound L_bound``, with the entropy's share in the return J.

        Args:
            actor: the policy to judge.
            soft: the rollout of J.
            observation: its observations, normalised.
            noise: noise of its actions and entropies.
        """
        z, H = self.latent_and_entropy(actor, observation, noise)
        L_bound = bound_loss(z)
        change = H - soft.played.data.extras[1]
        J = soft.played.J(z) + jnp.sum(soft.entropy_slope * change)
        return -J + self.c_bound * L_bound, {"loss_bound": L_bound}

    @abstractmethod
    def latent_and_entropy(
        self, actor: Any, observation: Observation, noise: Noise
    ) -> tuple[Float[Array, "*batch A"], Float[Array, "*batch"]]:
        """A draw of the latent, and an estimate of the action's entropy [nat].

        Args:
            actor: the policy.
            observation: normalised observation.
            noise: noise of the action and of the entropy's estimate.
        """

    def init(self, key: PRNGKey, env: Batch) -> MaximumEntropyState:
        """Initial training state."""
        log_alpha = jnp.log(jnp.asarray(self.initial_alpha, float))
        return MaximumEntropyState(
            **self.begin(StartKeys.split(key), env),
            log_alpha=log_alpha,
            alpha_optimizer=DescentState.init(log_alpha),
        )

    def update(self, state: MaximumEntropyState, env: Batch) -> tuple[MaximumEntropyState, Metrics]:
        """One rollout, the actor's steps, one step of alpha, one fit of the critics."""
        key, noise_key, spread_key, entropy_key = jax.random.split(state.key, 4)
        noise, normalize = (
            (self.noise(noise_key, env), self.noise(entropy_key, env)),
            state.normalizer,
        )
        target_entropy = self.target_entropy * env.spec.action_size
        soft = self.play(state, env, noise, target_entropy)
        J, after, data, values, dropped = soft.played
        observation = normalize(data.observation)
        actor, actor_optimizer, actor_metrics = self.reuse.descend(
            lambda actor, _: self.objective(actor, soft, observation, noise),
            None,
            self.descent(self.optimiser.learning_rate, state.updates),
            state.actor,
            state.actor_optimizer,
        )
        entropy = data.extras[1].mean()
        alpha_loss, slope = jax.value_and_grad(alpha_objective)(
            state.log_alpha, entropy, target_entropy
        )
        log_alpha, alpha_optimizer, _ = Descent(self.optimiser, self.alpha_learning_rate).step(
            state.log_alpha, state.alpha_optimizer, slope
        )
        value = COMBINATIONS[self.critic_target](values, axis=0)
        target = self.targets(data._replace(reward=soft.reward), value, self.td_lambda)
        critics, critic_optimizer, critic_metrics = self.fit(state, observation, target)
        metrics = {
            **rollout_metrics(data, dropped),
            **critic_metrics,
            "loss_actor": -J.value,
            "loss_alpha": alpha_loss,
            "alpha": jnp.exp(state.log_alpha),
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

    def play(
        self, state: MaximumEntropyState, env: Batch, noise: Noise, target_entropy: float
    ) -> SoftPlayed:
        """A rollout with its return J, differentiated in the policy's latents and entropies."""
        normalize, alpha = state.normalizer, jnp.exp(state.log_alpha)

        def mean_return(shift: tuple[Array, Array], probe: GradientProbe) -> tuple[Array, tuple]:
            def act(
                observation: Observation, step: tuple[Noise, tuple[Array, Array]]
            ) -> tuple[Array, tuple[Array, Array]]:
                noise, shift = step
                output = self.latent_and_entropy(state.actor, normalize(observation), noise)
                latent, entropy = jax.tree.map(jnp.add, output, shift)
                return jnp.tanh(latent), (latent, entropy)

            after, data = rollout(env, state.env, act, (noise, shift), probe)
            bonus = scaled_entropy(data.extras[1], target_entropy)
            reward = data.reward + alpha / self.return_scale * data.duration * bonus
            values = state.critics(normalize(data.next_observation))
            value = self.mean_return(data._replace(reward=reward), values.mean(0))
            return self.return_scale * value, (after, data, values, reward)

        none = jnp.zeros_like(noise[0]), jnp.zeros(noise[0].shape[:-1])
        slopes = jax.value_and_grad(mean_return, (0, 1), has_aux=True)
        (value, aux), ((slope, entropy_slope), dropped) = slopes(none, env.probe(state.env))
        after, data, values, reward = aux
        first_order = FirstOrder(value, slope, data.extras[0], self.reuse.reach)
        played = Played(first_order, after, data, values, dropped)
        return SoftPlayed(played, reward, entropy_slope)


def scaled_entropy(entropy: Float[Array, "*shape"], target: float) -> Float[Array, "*shape"]:
    """``(H - target) / (2 |target|)`` for a negative target: 0 at the target, 1 at its opposite."""
    return (entropy - target) / (2 * abs(target))


def alpha_objective(
    log_alpha: Float[Array, ""], entropy: Float[Array, ""], target: float
) -> Float[Array, ""]:
    """``alpha |target| (H - target)``: alpha grows while the entropy is below its target."""
    return jnp.exp(log_alpha) * abs(target) * (jax.lax.stop_gradient(entropy) - target)
