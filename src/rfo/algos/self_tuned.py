"""RFO with weights that tune themselves: each weight is the multiplier of a constraint.

A fixed weight has less and less effect as returns grow. Here each weight moves until a number that
means the same on every task is near its target. One number is the share of saturated actions, the
other the spread of the actions over the noise. This is our addition: the paper (arXiv 2602.03501)
has fixed weights, see `rfo.algos.rfo`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from rfo.algos.fitting import COMBINATIONS
from rfo.algos.matching import matching_error_at
from rfo.algos.method import ActorCritic, StartKeys, new_flow_policy
from rfo.algos.optimize import DescentState
from rfo.algos.reuse import FirstOrder, Reuse, play
from rfo.algos.rollout import policy_metrics, rollout_metrics
from rfo.algos.settings import Critic, Flow, Schedule, require
from rfo.envs.batch import Batch, BatchState
from rfo.errors import require_known
from rfo.policies.critic import Critics
from rfo.policies.encoder import Encoder
from rfo.policies.flow import FlowPolicy
from rfo.policies.normalize import Normalizer
from rfo.policies.squash import bound_loss
from rfo.types import Array, Float, Int, Metrics, Observation, PRNGKey

LOWEST_WEIGHT, LARGEST_WEIGHT = 1e-3, 100.0
LOWEST_REACH, LARGEST_REACH = 1e-3, 0.3


class Past(NamedTuple):
    """A rollout's states, with the noise z_0 and the latent z of each action."""

    observation: Observation
    source: Float[Array, "T B A"]
    latent: Float[Array, "T B A"]
    filled: Float[Array, ""]
    """1, or 0 before the first rollout."""


class Weights(NamedTuple):
    """Multipliers of the two constraints, and how far an action may move in one update."""

    c_spread: Float[Array, ""]
    c_bound: Float[Array, ""]
    reach: Float[Array, ""]


class SelfTunedState(NamedTuple):
    """Everything that is carried from one update to the next."""

    actor: FlowPolicy
    actor_optimizer: DescentState
    weights: Weights
    critics: Critics
    critic_optimizer: DescentState
    normalizer: Normalizer
    past: Past
    """The previous rollout; its observations are raw, to be normalised when they are used."""
    env: BatchState
    key: PRNGKey
    updates: Int[Array, ""]


@dataclass(frozen=True)
class Target:
    """Target of a constraint: it moves linearly from `first` to `final` over the schedule.

    Raises:
        SettingError: for a field out of range, naming it.
    """

    first: float
    """Target at the first update."""
    final: float
    """Target at the last one."""

    def __post_init__(self) -> None:
        require(self, "positive", "first", "final")

    def violation(
        self, value: Float[Array, ""], schedule: Schedule, updates: Int[Array, ""]
    ) -> Float[Array, ""]:
        """How far a value lies above its target, as a share of the target."""
        target = schedule.rate(self.first, self.final, updates)
        return value / target - 1.0


@dataclass(frozen=True)
class SelfTunedRFO(ActorCritic):
    """Reparameterization flow policy optimization with self-tuned weights.

    Several actor steps per rollout on ``-J + c_past L_past + c_spread L_spread + c_bound L_bound``.
    L_past matches the flow to the straight lines from the noise of the current and the previous
    rollout's actions to their latents. L_spread repels two actions of one state: exploration
    without a likelihood. L_bound keeps actions away from their bounds. After each update c_spread
    and c_bound take a dual step in log space towards their targets. In one update an action may
    move by a share of the spread, as in a trust region.

    Raises:
        SettingError: for a field out of range, naming it.

    Example:
        >>> import rfo
        >>> rfo.SelfTunedRFO(c_past=1.0).spread
        Target(first=0.15, final=0.05)
    """

    name: ClassVar[str] = "rfo"
    needs_gradient: ClassVar[bool] = True

    td_lambda: float = 0.95
    """Lambda of the critics' targets."""
    saturation: Target = Target(0.05, 0.15)
    """Share of saturated actions; above it c_bound grows."""
    spread: Target = Target(0.15, 0.05)
    """Standard deviation of an action over the noise; below it c_spread grows."""
    dual_rate: float = 0.3
    """Largest change of a weight's logarithm in one update."""
    reach_per_spread: float = 0.5
    """Largest change of an action in one update, in units of the spread."""
    softening: float = 0.05
    """Distance of two actions below which L_spread levels off."""
    c_past: float = 0.3
    """Weight of L_past (stability)."""
    critic_target: str = "min"
    """How the critics combine in TD targets: min or mean. In the actor's loss it is the mean."""
    critic: Critic = Critic(per_step=True)
    flow: Flow = Flow(steps=2)
    reuse: Reuse = Reuse(steps=8)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self, "positive", "dual_rate", "reach_per_spread", "softening")
        require(self, "not negative", "c_past")
        require(self, "in [0, 1]", "td_lambda")
        require_known(self.critic_target, COMBINATIONS, "critic_target")

    def objective(
        self,
        actor: FlowPolicy,
        J: FirstOrder,
        weights: Weights,
        current: Past,
        previous: Past,
        noise: Float[Array, "T B A"],
        key: PRNGKey,
    ) -> tuple[Float[Array, ""], Metrics]:
        """``-J + c_past L_past + c_spread L_spread + c_bound L_bound``, and the terms.

        Args:
            actor: the policy to judge.
            J: discounted return and bootstrap per control step, through the environment.
            weights: multipliers of this update.
            current: the rollout of J; observations are normalised here.
            previous: the rollout before it.
            noise: noise of the current rollout's actions.
            key: for the flow's time and a second action in each state.
        """
        time_key, pair_key = jax.random.split(key)
        context = actor.context(current.observation)
        z = actor.latent(context, noise)
        other = actor.latent(context, jax.random.normal(pair_key, noise.shape))
        L_past = self.past_error(actor, context, current, previous, time_key)
        L_spread = spread_loss(jnp.tanh(z), jnp.tanh(other), self.softening)
        L_bound = bound_loss(z)
        loss = -J(z) + self.c_past * L_past
        loss += weights.c_spread * L_spread + weights.c_bound * L_bound
        return loss, {"loss_past": L_past, "loss_spread": L_spread, "loss_bound": L_bound}

    def past_error(
        self,
        actor: FlowPolicy,
        context: Float[Array, "T B width"],
        current: Past,
        previous: Past,
        key: PRNGKey,
    ) -> Float[Array, ""]:
        """L_past: mean error towards both rollouts, or towards the current one if it is the first.

        The lines start in the noise that made each latent. They do not cross, so a straight flow
        that stays where it was has no error.
        """
        contexts = jnp.stack([context, actor.context(previous.observation)])
        sources = jnp.stack([current.source, previous.source])
        targets = jnp.stack([current.latent, previous.latent])
        u = jax.random.uniform(key, targets.shape[:-1])
        now, before = matching_error_at(actor, contexts, targets, sources, u).mean((1, 2))
        return (now + previous.filled * before) / (1 + previous.filled)

    def new_actor(self, key: PRNGKey, encoder: Encoder, action_size: int) -> FlowPolicy:
        """The initial policy."""
        return new_flow_policy(self.flow, self.network, key, encoder, action_size)

    def init(self, key: PRNGKey, env: Batch) -> SelfTunedState:
        """Initial training state."""
        start = self.begin(StartKeys.split(key), env)
        steps = self.horizon // env.stride
        observation = start["env"].observation
        past = jax.tree.map(lambda x: jnp.zeros((steps, *x.shape)), observation)
        latent = jnp.zeros((steps, env.size, env.spec.action_size))
        return SelfTunedState(
            **start,
            weights=Weights(*jnp.array([0.02, 0.3, self.reuse.reach], jnp.float32)),
            past=Past(past, latent, latent, filled=jnp.zeros(())),
        )

    def update(self, state: SelfTunedState, env: Batch) -> tuple[SelfTunedState, Metrics]:
        """One rollout, the actor's steps, one fit of the critics, one dual step of the weights."""
        key, noise_key, objective_key, spread_key = jax.random.split(state.key, 4)
        noise, normalize = self.noise(noise_key, env), state.normalizer
        J, after, data, values, dropped = play(self, state, env, noise, state.weights.reach)
        past = Past(data.observation, self.flow.source_noise * noise, data.extras, jnp.ones(()))
        current, previous = (
            rollout._replace(observation=normalize(rollout.observation))
            for rollout in (past, state.past)
        )
        actor, actor_optimizer, actor_metrics = self.reuse.descend(
            lambda actor, key: self.objective(
                actor, J, state.weights, current, previous, noise, key
            ),
            jax.random.split(objective_key, self.reuse.steps),
            self.descent(self.optimiser.learning_rate, state.updates),
            state.actor,
            state.actor_optimizer,
        )
        value = COMBINATIONS[self.critic_target](values, axis=0)
        target = self.targets(data, value, self.td_lambda)
        critics, critic_optimizer, critic_metrics = self.fit(state, current.observation, target)
        metrics = {
            **rollout_metrics(data, dropped),
            "loss_actor": -J.value,
            **actor_metrics,
            **critic_metrics,
            **policy_metrics(state.actor, actor, normalize(state.env.observation), spread_key),
            **state.weights._asdict(),
        }
        after_state = SelfTunedState(
            actor=actor,
            actor_optimizer=actor_optimizer,
            weights=self.tuned(state, metrics),
            critics=critics,
            critic_optimizer=critic_optimizer,
            normalizer=normalize.updated(data.observation),
            past=past,
            env=after,
            key=key,
            updates=state.updates + 1,
        )
        return after_state, metrics

    def tuned(self, state: SelfTunedState, metrics: Metrics) -> Weights:
        """The weights after one dual step, from what the update measured."""
        spread = metrics["action_spread"]
        narrow = -self.spread.violation(spread, self.schedule, state.updates)
        saturated = self.saturation.violation(
            metrics["action_saturation"], self.schedule, state.updates
        )
        return Weights(
            c_spread=dual_step(state.weights.c_spread, narrow, self.dual_rate),
            c_bound=dual_step(state.weights.c_bound, saturated, self.dual_rate),
            reach=jnp.clip(self.reach_per_spread * spread, LOWEST_REACH, LARGEST_REACH),
        )


def spread_loss(
    action: Float[Array, "*batch A"], other: Float[Array, "*batch A"], softening: float
) -> Float[Array, ""]:
    """L_spread: the mean of ``-log sqrt((a - a')^2 + softening^2)`` over pairs of actions."""
    return -0.5 * jnp.log((action - other) ** 2 + softening**2).mean()


def dual_step(
    weight: Float[Array, ""], violation: Float[Array, ""], rate: float
) -> Float[Array, ""]:
    """A multiplier after a step in log space: it grows while its constraint is violated.

    Args:
        weight: multiplier, from `LOWEST_WEIGHT` to `LARGEST_WEIGHT`.
        violation: share of the target by which the constraint is violated; negative if it holds.
        rate: largest change of the logarithm.
    """
    moved = jnp.log(weight) + rate * jnp.clip(violation, -1.0, 1.0)
    return jnp.exp(jnp.clip(moved, math.log(LOWEST_WEIGHT), math.log(LARGEST_WEIGHT)))
