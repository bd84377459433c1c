"""RFO: reparameterization policy gradient of a flow policy, with matching (arXiv 2602.03501)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from rfo.algos.fitting import COMBINATIONS
from rfo.algos.matching import matching_error, uniform_latents
from rfo.algos.method import ActorCritic, StartKeys, new_flow_policy
from rfo.algos.optimize import DescentState
from rfo.algos.reuse import FirstOrder, Reuse, play
from rfo.algos.rollout import policy_metrics, rollout_metrics
from rfo.algos.settings import Flow, require
from rfo.envs.batch import Batch, BatchState
from rfo.errors import require_known
from rfo.policies.critic import Critics
from rfo.policies.encoder import Encoder
from rfo.policies.flow import FlowPolicy
from rfo.policies.normalize import Normalizer
from rfo.policies.squash import bound_loss
from rfo.types import Array, Float, Int, Metrics, Observation, PRNGKey


class Past(NamedTuple):
    """A rollout's states and latents, towards which the flow is matched."""

    observation: Observation
    latent: Float[Array, "T B A"]
    filled: Float[Array, ""]
    """1, or 0 before the first rollout."""


class RFOState(NamedTuple):
    """Everything RFO carries from one update to the next."""

    actor: FlowPolicy
    actor_optimizer: DescentState
    critics: Critics
    critic_optimizer: DescentState
    normalizer: Normalizer
    past: Past
    """The previous rollout; its observations are raw, to be normalised when they are used."""
    env: BatchState
    key: PRNGKey
    updates: Int[Array, ""]


@dataclass(frozen=True)
class RFO(ActorCritic):
    """Reparameterization Flow Policy Optimization.

    One actor step per rollout, or several (`rfo.algos.reuse`), on `objective`. The return's
    gradient runs through the flow's steps and the environment together. Defaults that the paper
    does not state were chosen by sweeps.

    Raises:
        SettingError: for a field out of range, naming it.

    Example:
        >>> import rfo
        >>> rfo.RFO(c_uni=0.3, flow=rfo.Flow(steps=8)).flow.steps
        8
    """

    name: ClassVar[str] = "rfo_fixed"
    needs_gradient: ClassVar[bool] = True

    return_scale: float = 1.0
    """Factor on ``return / horizon`` in the actor's loss, beside the matching terms."""
    td_lambda: float = 0.95
    """Lambda of the critics' targets."""
    c_past: float = 0.1
    """Weight of matching the latents of the current and the previous rollout (stability)."""
    c_uni: float = 0.1
    """Weight of matching uniform actions (exploration)."""
    uniform_clip: float = 0.999
    """Largest magnitude of those uniform actions."""
    c_bound: float = 0.0
    """Weight of ``-log(1 - a^2)``, mean over action dimensions, which keeps actions away from their
    bounds. It is ours: the paper's objective has no such term."""
    critic_target: str = "min"
    """How the critics combine in TD targets: min or mean. In the actor's loss it is the mean."""
    flow: Flow = Flow()
    reuse: Reuse = Reuse()

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self, "positive", "return_scale")
        require(self, "not negative", "c_past", "c_uni", "c_bound")
        require(self, "in [0, 1]", "td_lambda")
        require(self, "in [0, 1)", "uniform_clip")
        require_known(self.critic_target, COMBINATIONS, "critic_target")

    def objective(
        self,
        actor: FlowPolicy,
        J: FirstOrder,
        current: Past,
        previous: Past,
        noise: Float[Array, "T B A"],
        key: PRNGKey,
    ) -> tuple[Float[Array, ""], Metrics]:
        """The actor's loss, ``-J + c_past L_past + c_uni L_uni + c_bound L_bound``, and its terms.

        Args:
            actor: the policy to judge.
            J: discounted return and bootstrap per control step, through the environment.
            current: the rollout of J; observations are normalised here.
            previous: the rollout before it.
            noise: noise of the current rollout's actions.
            key: for the matching terms.
        """
        context = actor.context(current.observation)
        z = actor.latent(context, noise)
        L_past, L_uni = self.matching(actor, context, current, previous, key)
        L_bound = bound_loss(z)
        loss = -J(z) + self.c_past * L_past + self.c_uni * L_uni + self.c_bound * L_bound
        return loss, {"loss_past": L_past, "loss_uniform": L_uni, "loss_bound": L_bound}

    def matching(
        self,
        actor: FlowPolicy,
        context: Float[Array, "T B width"],
        current: Past,
        previous: Past,
        key: PRNGKey,
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """L_past and L_uni, in one pass through the velocity field.

        L_past is the mean error towards the latents of both rollouts, or of the current one alone
        if there is no previous one. L_uni is the error towards uniform actions in the states of the
        current rollout, whose context is given.
        """
        error_key, uniform_key = jax.random.split(key)
        uniform = uniform_latents(uniform_key, current.latent.shape, self.uniform_clip)
        contexts = jnp.stack([context, actor.context(previous.observation), context])
        targets = jnp.stack([current.latent, previous.latent, uniform])
        now, before, L_uni = matching_error(actor, contexts, targets, error_key).mean((1, 2))
        return (now + previous.filled * before) / (1 + previous.filled), L_uni

    def new_actor(self, key: PRNGKey, encoder: Encoder, action_size: int) -> FlowPolicy:
        """The initial policy."""
        return new_flow_policy(self.flow, self.network, key, encoder, action_size)

    def init(self, key: PRNGKey, env: Batch) -> RFOState:
        """Initial training state."""
        start = self.begin(StartKeys.split(key), env)
        steps = self.horizon // env.stride
        observation, latent = start["env"].observation, jnp.zeros((env.size, env.spec.action_size))
        nothing = jax.tree.map(lambda x: jnp.zeros((steps, *x.shape)), (observation, latent))
        return RFOState(**start, past=Past(*nothing, filled=jnp.zeros(())))

    def update(self, state: RFOState, env: Batch) -> tuple[RFOState, Metrics]:
        """One rollout, the actor's steps, one fit of the critics."""
        key, noise_key, matching_key, spread_key = jax.random.split(state.key, 4)
        noise, normalize = self.noise(noise_key, env), state.normalizer
        J, after, data, values, dropped = play(
            self, state, env, noise, self.reuse.reach, self.return_scale
        )
        past = Past(data.observation, data.extras, jnp.ones(()))
        current, previous = (
            played._replace(observation=normalize(played.observation))
            for played in (past, state.past)
        )
        actor, actor_optimizer, actor_metrics = self.reuse.descend(
            lambda actor, key: self.objective(actor, J, current, previous, noise, key),
            jax.random.split(matching_key, self.reuse.steps),
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
        }
        after_state = RFOState(
            actor=actor,
            actor_optimizer=actor_optimizer,
            critics=critics,
            critic_optimizer=critic_optimizer,
            normalizer=normalize.updated(data.observation),
            past=past,
            env=after,
            key=key,
            updates=state.updates + 1,
        )
        return after_state, metrics
