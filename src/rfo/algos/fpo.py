"""FPO: flow policy optimization, PPO with a ratio of flow-matching errors (arXiv 2507.21053)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from rfo.algos.matching import matching_error_at
from rfo.algos.method import ActorCritic, StartKeys, new_flow_policy
from rfo.algos.optimize import DescentState
from rfo.algos.rollout import decisions, policy_metrics, rollout, rollout_metrics
from rfo.algos.settings import Critic, Flow, Optimiser, require, require_divisible
from rfo.algos.surrogate import asymmetric_surrogate, epoch, estimate_advantages, minibatches
from rfo.envs.batch import Batch, BatchState
from rfo.policies.critic import Critics
from rfo.policies.encoder import Encoder
from rfo.policies.flow import FlowPolicy
from rfo.policies.normalize import Normalizer
from rfo.types import Array, Float, Int, Metrics, Observation, PRNGKey


class Probe(NamedTuple):
    """Draws at which the matching error of an action is measured, the same before and after."""

    latent: Float[Array, "*batch A"]
    """The action before tanh."""
    noise: Float[Array, "*batch n A"]
    """Standard normal noise."""
    u: Float[Array, "*batch n"]
    """Flow time."""


class FPOState(NamedTuple):
    """Everything FPO carries from one update to the next."""

    actor: FlowPolicy
    actor_optimizer: DescentState
    critics: Critics
    critic_optimizer: DescentState
    normalizer: Normalizer
    value_scale: Normalizer
    env: BatchState
    key: PRNGKey
    updates: Int[Array, ""]


@dataclass(frozen=True)
class FPO(ActorCritic):
    """Flow Policy Optimization.

    PPO for a policy without a likelihood: ``exp(E_old - E_new)`` replaces its ratio, where E is the
    flow matching error towards the latent that was acted, at some draws of noise and flow time.
    Critics, advantages and values are as in PPO. The surrogate comes from its successor FPO++
    (arXiv 2602.02481). It has one ratio per draw, whereas FPO has one ratio of the mean error. It
    leads bad actions back, whereas FPO clips them (`rfo.algos.surrogate.asymmetric_surrogate`).
    With FPO's own surrogate the error grew without end on the task `truncating`.

    Raises:
        SettingError: for a field out of range, naming it.

    Example:
        >>> import rfo
        >>> rfo.FPO(gamma=0.95).gamma
        0.95
    """

    name: ClassVar[str] = "fpo"
    needs_gradient: ClassVar[bool] = False

    gae_lambda: float = 0.95
    """Lambda of the advantages."""
    epochs: int = 8
    """Passes over each rollout that improve the actor. The reference makes 16 passes of 32
    minibatches over 30 times as much data."""
    batches: int = 4
    """Minibatches in each pass; they divide the rollout's decisions T."""
    clip: float = 0.05
    """Distance from 1 beyond which a ratio gains nothing more."""
    samples: int = 8
    """Draws of noise and flow time per action."""
    flow: Flow = Flow(steps=10, source_noise=1.0, last_scale=0.25)
    critic: Critic = Critic(count=1, iterations=5)
    optimiser: Optimiser = Optimiser(learning_rate=3e-4, beta1=0.9, beta2=0.999, weight_decay=0.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self, "positive", "epochs", "batches", "clip", "samples")
        require(self, "in [0, 1]", "gae_lambda")
        require_divisible(self.horizon, self.batches, "batches")

    def new_actor(self, key: PRNGKey, encoder: Encoder, action_size: int) -> FlowPolicy:
        """The initial policy."""
        return new_flow_policy(self.flow, self.network, key, encoder, action_size)

    def init(self, key: PRNGKey, env: Batch) -> FPOState:
        """Initial training state."""
        require_divisible(decisions(self.horizon, env), self.batches, "batches")
        start = self.begin(StartKeys.split(key), env)
        return FPOState(**start, value_scale=Normalizer.init(1))

    def update(self, state: FPOState, env: Batch) -> tuple[FPOState, Metrics]:
        """One rollout, some passes over it that improve the actor, one fit of the critics."""
        key, noise_key, probe_key, time_key, spread_key = jax.random.split(state.key, 5)
        noise, normalize = self.noise(noise_key, env), state.normalizer

        after, data = rollout(env, state.env, lambda o, e: state.actor(normalize(o), e), noise)
        observation = normalize(data.observation)
        estimates = estimate_advantages(
            state.critics, normalize, state.value_scale, data, self.gamma, self.gae_lambda
        )
        steps, size, actions = noise.shape
        probe = Probe(
            latent=data.extras,
            noise=jax.random.normal(probe_key, (steps, size, self.samples, actions)),
            u=jax.random.uniform(time_key, (steps, size, self.samples)),
        )
        actor, actor_optimizer, actor_metrics = self.improve(
            state, observation, probe, estimates.advantage
        )
        critics, critic_optimizer, critic_metrics = self.fit(state, observation, estimates.target)
        metrics = {
            **rollout_metrics(data),
            **actor_metrics,
            **critic_metrics,
            **policy_metrics(state.actor, actor, normalize(state.env.observation), spread_key),
            "skipped_updates": actor_optimizer.skipped,
        }
        after_state = FPOState(
            actor=actor,
            actor_optimizer=actor_optimizer,
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
        state: FPOState,
        observation: Observation,
        probe: Probe,
        advantage: Float[Array, "T B"],
    ) -> tuple[FlowPolicy, DescentState, Metrics]:
        """Actor and its optimiser after all passes, and metrics."""
        flat, unravel = ravel_pytree(state.actor)
        before = errors(state.actor, observation, probe)
        batches = minibatches((observation, probe, before, advantage), self.batches)
        descent = self.descent(self.optimiser.learning_rate, state.updates)

        def loss(
            flat: Array, batch: tuple[Observation, Probe, Array, Array]
        ) -> tuple[Array, Metrics]:
            return self.objective(unravel(flat), *batch)

        def sweep(carry: tuple, _: None) -> tuple[tuple, tuple]:
            flat, optimizer = carry
            flat, optimizer, metrics, reports = epoch(loss, flat, (descent, optimizer), batches)
            return (flat, optimizer), (metrics, reports)

        (flat, optimizer), (metrics, reports) = jax.lax.scan(
            sweep, (flat, state.actor_optimizer), None, length=self.epochs
        )
        metrics = {name: value.mean() for name, value in metrics.items()}
        metrics |= {"matching_error": before.mean(), **reports.metrics()}
        return unravel(flat), optimizer, metrics

    def objective(
        self,
        actor: FlowPolicy,
        observation: Observation,
        probe: Probe,
        before: Float[Array, "*batch n"],
        advantage: Float[Array, "*batch"],
    ) -> tuple[Float[Array, ""], Metrics]:
        """The actor's loss, the asymmetric surrogate, for a minibatch; `before` is E_old."""
        ratio = jnp.exp(before - errors(actor, observation, probe))
        gain = asymmetric_surrogate(ratio, advantage[..., None], self.clip)
        clipped = jnp.mean(jnp.abs(ratio - 1) > self.clip)
        return -gain, {"loss_actor": -gain, "clipped_ratios": clipped}


def errors(policy: FlowPolicy, observation: Observation, probe: Probe) -> Float[Array, "*batch n"]:
    """Matching error towards the acted latent at each of the draws, for normalised observations."""
    context = policy.context(observation)[..., None, :]
    source = policy.source_noise * probe.noise
    target = jnp.broadcast_to(probe.latent[..., None, :], source.shape)
    return matching_error_at(policy, context, target, source, probe.u)
