"""FPO: flow policy optimization, PPO's surrogate with a ratio of flow-matching errors (arXiv 2507.21053)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from rfo.algos.fitting import fit_critics, require_divisible
from rfo.algos.matching import matching_error_at
from rfo.algos.optimize import DescentState
from rfo.algos.rollout import TrainedPolicy, decisions, policy_metrics, rollout, rollout_metrics
from rfo.algos.settings import descent, encoder, flow_policy, require, require_common
from rfo.algos.surrogate import Estimate, asymmetric_surrogate, epoch, estimate, minibatches
from rfo.envs.batch import Batch, BatchState
from rfo.policies.critic import Critics
from rfo.policies.flow import FlowPolicy, require_solver
from rfo.policies.normalize import Normalizer
from rfo.types import Array, Float, Int, Metrics, Observation, PRNGKey


class Probe(NamedTuple):
    """Where the matching error of an action is measured: n draws, the same before and after."""

    latent: Float[Array, "*batch A"]
    """The action before tanh."""
    noise: Float[Array, "*batch n A"]
    """Standard normal."""
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
class FPO:
    """Flow Policy Optimization.

    PPO for a policy without a likelihood: in place of its ratio stands ``exp(E_old - E_new)``, E being the
    flow matching error towards the latent that was acted, at some draws of noise and flow time. Critic,
    advantages and values are PPO's here. The surrogate is that of its successor FPO++ (arXiv 2602.02481): one
    ratio per draw, where FPO has one of the mean error, and bad actions held, where FPO clips them
    (`rfo.algos.surrogate.asymmetric_surrogate`). With FPO's own the error grew without end on the task
    `truncating`.

    Raises:
        ValueError: for a field out of range, naming it.
    """

    name: ClassVar[str] = "fpo"
    needs_gradient: ClassVar[bool] = False

    horizon: int = 32
    """Control steps H of one rollout, in T decisions; T a multiple of `batches` and `critic_batches`."""
    updates: int = 2000
    """Length of the learning rates' schedule."""
    gamma: float = 0.99
    """Discount of one control step."""
    gae_lambda: float = 0.95
    """Of the advantages."""
    epochs: int = 8
    """Passes of the actor over a rollout. The reference has 16 of 32 minibatches, over 30 times the data."""
    batches: int = 4
    """Minibatches in each of them."""
    clip: float = 0.05
    """Distance from 1 at which the ratio stops paying."""
    samples: int = 8
    """Draws of noise and flow time per action."""

    flow_steps: int = 10
    """Integration steps K of the flow."""
    solver: str = "euler"
    """Integrator of the flow: euler, midpoint, heun or rk4."""
    source_noise: float = 1.0
    """Standard deviation of the flow's initial noise."""
    frequencies: int = 0
    """Fourier features of flow time besides the raw scalar."""

    actor_hidden: tuple[int, ...] = (128, 64, 32)
    critic_hidden: tuple[int, ...] = (64, 64)
    activation: str = "silu"
    """elu, relu, silu or tanh."""
    gain: float = 1.0
    """Of the orthogonal initialisation."""
    last_scale: float = 0.25
    """Further factor on the initial weights of the velocity field's last layer."""
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

    actor_learning_rate: float = 3e-4
    critic_learning_rate: float = 5e-4
    final_learning_rate: float = 1e-5
    beta1: float = 0.9
    beta2: float = 0.999
    weight_decay: float = 0.0
    max_grad_norm: float = 0.5

    def __post_init__(self) -> None:
        require_common(self)
        require(self, "positive", "epochs", "batches", "clip", "samples", "flow_steps")
        require(self, "positive", "critic_count", "critic_iterations", "critic_batches")
        require(self, "positive", "critic_learning_rate", "last_scale")
        require(self, "positive", "source_noise")
        require(self, "not negative", "frequencies")
        require(self, "in [0, 1]", "gae_lambda")
        require_solver(self.solver)
        require_divisible(self.horizon, self.critic_batches)
        require_divisible(self.horizon, self.batches, "batches")

    def init(self, key: PRNGKey, env: Batch) -> FPOState:
        """Initial training state."""
        require_divisible(decisions(self.horizon, env), self.critic_batches)
        require_divisible(decisions(self.horizon, env), self.batches, "batches")
        key, actor_key, critic_key, env_key, *encoder_keys = jax.random.split(key, 6)
        spec = env.spec
        encoding = encoder(self, encoder_keys[0], spec.observation)
        actor = flow_policy(self, actor_key, encoding, spec.action_size)
        critics = Critics(
            critic_key,
            encoder(self, encoder_keys[1], spec.observation),
            self.critic_hidden,
            self.activation,
            self.critic_count,
            self.gain,
        )
        return FPOState(
            actor=actor,
            actor_optimizer=descent(self, self.actor_learning_rate).init(actor),
            critics=critics,
            critic_optimizer=descent(self, self.critic_learning_rate).init(critics),
            normalizer=Normalizer.init(spec.observation),
            value_scale=Normalizer.init(1),
            env=env.staggered(env_key),
            key=key,
            updates=jnp.zeros((), jnp.int32),
        )

    def update(self, state: FPOState, env: Batch) -> tuple[FPOState, Metrics]:
        """One rollout, some passes of the actor over it, one fit of the critic."""
        key, noise_key, probe_key, time_key, spread_key = jax.random.split(state.key, 5)
        shape = (decisions(self.horizon, env), env.size, env.spec.action_size)
        normalize = state.normalizer

        after, data = rollout(
            env,
            state.env,
            lambda o, e: state.actor(normalize(o), e),
            jax.random.normal(noise_key, shape),
        )
        observation = normalize(data.observation)
        judged = estimate(
            state.critics, normalize, state.value_scale, data, self.gamma, self.gae_lambda
        )
        probe = Probe(
            latent=data.extras,
            noise=jax.random.normal(probe_key, (*shape[:2], self.samples, shape[2])),
            u=jax.random.uniform(time_key, (*shape[:2], self.samples)),
        )
        actor, actor_optimizer, actor_metrics = self._improve(state, observation, probe, judged)
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
        after_state = FPOState(
            actor=actor,
            actor_optimizer=actor_optimizer,
            critics=critics,
            critic_optimizer=critic_optimizer,
            normalizer=normalize.updated(data.observation),
            value_scale=judged.scale,
            env=after,
            key=key,
            updates=state.updates + 1,
        )
        return after_state, metrics

    def policy(self, state: FPOState) -> TrainedPolicy:
        """The policy to evaluate."""
        return TrainedPolicy(state.actor, state.normalizer)

    def _improve(
        self, state: FPOState, observation: Observation, probe: Probe, judged: Estimate
    ) -> tuple[FlowPolicy, DescentState, Metrics]:
        """Actor and its optimiser after all passes, and metrics."""
        flat, unravel = ravel_pytree(state.actor)
        before = errors(state.actor, observation, probe)
        batches = minibatches((observation, probe, before, judged.advantage), self.batches)

        def loss(
            flat: Array, batch: tuple[Observation, Probe, Array, Array]
        ) -> tuple[Array, Metrics]:
            observation, probe, before, advantage = batch
            ratio = jnp.exp(before - errors(unravel(flat), observation, probe))
            gain = asymmetric_surrogate(ratio, advantage[..., None], self.clip)
            return -gain, {
                "loss_actor": -gain,
                "clipped_ratios": jnp.mean(jnp.abs(ratio - 1) > self.clip),
            }

        def sweep(carry: tuple, _: None) -> tuple[tuple, tuple]:
            flat, optimizer = carry
            optimizer = descent(self, self.actor_learning_rate), optimizer
            flat, optimizer, metrics, reports = epoch(loss, flat, optimizer, batches, state.updates)
            return (flat, optimizer), (metrics, reports)

        (flat, optimizer), (metrics, reports) = jax.lax.scan(
            sweep, (flat, state.actor_optimizer), None, length=self.epochs
        )
        metrics = {name: value.mean() for name, value in metrics.items()}
        metrics |= {"matching_error": before.mean()}
        metrics |= {
            "grad_norm": reports.norm.mean(),
            "grad_norm_clipped": reports.clipped_norm.mean(),
        }
        return unravel(flat), optimizer, metrics


def errors(policy: FlowPolicy, observation: Observation, probe: Probe) -> Float[Array, "*batch n"]:
    """Matching error towards the acted latent at each of the draws.

    Args:
        observation: normalised.
    """
    context = policy.context(observation)[..., None, :]
    source = policy.source_noise * probe.noise
    target = jnp.broadcast_to(probe.latent[..., None, :], source.shape)
    return matching_error_at(policy, context, target, source, probe.u)
