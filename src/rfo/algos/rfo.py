"""RFO: reparameterization policy gradient of a flow policy, held by flow matching (arXiv 2602.03501)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from rfo.algos.fitting import combine_critics, fit_critics, require_divisible
from rfo.algos.matching import (
    matching_error,
    matching_error_at,
    paired_uniform_latents,
    uniform_latents,
)
from rfo.algos.optimize import DescentState
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
from rfo.algos.settings import descent, encoder, flow_policy, require, require_common
from rfo.envs.batch import Batch, BatchState
from rfo.policies.critic import Critics
from rfo.policies.flow import FlowPolicy, require_solver
from rfo.policies.normalize import Normalizer
from rfo.policies.squash import bound_loss
from rfo.types import Array, Float, Int, Metrics, Observation, PRNGKey


class Past(NamedTuple):
    """What the stability term remembers of the previous rollout."""

    observation: Observation
    """Raw, to be normalised by the statistics of the day."""
    latent: Float[Array, "T B A"]
    source: Float[Array, "T B A"]
    """z_0 of these latents."""
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
    env: BatchState
    key: PRNGKey
    updates: Int[Array, ""]


COUPLINGS = ("independent", "paired")
"""How the matching terms pair noise with latents."""


@dataclass(frozen=True)
class RFO:
    """Reparameterization Flow Policy Optimization.

    One actor step per rollout, or several (`rfo.algos.reuse`), on
    ``-return / horizon + c_past L_past + c_uni L_uni + c_bound L_bound``; the gradient runs through the
    flow's steps and the environment together. Defaults that the paper does not state were chosen by sweeps.

    Raises:
        ValueError: for a field out of range, naming it.
    """

    name: ClassVar[str] = "rfo"
    needs_gradient: ClassVar[bool] = True

    horizon: int = 32
    """Control steps H of one rollout, in T decisions; T a multiple of `critic_batches`."""
    updates: int = 2000
    """Length of the learning rates' schedule."""
    gamma: float = 0.99
    """Discount of one control step."""
    return_scale: float = 1.0
    """Factor on ``return / horizon`` in the actor's loss, beside the matching terms."""
    td_lambda: float = 0.95
    """Of the critics' targets."""
    staggered: bool = True
    """Whether the first episodes start at random ages, or all at 0 as in the reference implementations,
    where environments stay in phase until an episode ends early."""

    flow_steps: int = 4
    """Integration steps K of the flow."""
    solver: str = "euler"
    """Integrator of the flow: euler, midpoint, heun or rk4."""
    source_noise: float = 0.5
    """Standard deviation of the flow's initial noise."""
    frequencies: int = 0
    """Fourier features of flow time besides the raw scalar."""
    c_past: float = 0.1
    """Weight of matching the latents of the current and the previous rollout (stability)."""
    c_uni: float = 0.1
    """Weight of matching uniform actions (exploration)."""
    final_c_uni: float | None = None
    """Its value at the end of training, reached linearly; None keeps it."""
    uniform_clip: float = 0.999
    """Largest magnitude of those uniform actions."""
    c_bound: float = 0.0
    """Weight of ``-log(1 - a^2)``, mean over action dimensions, which holds actions off their bounds. Ours:
    the paper's objective has none."""
    coupling: str = "independent"
    """Which noise the matching terms start from: fresh (independent), or that which the policy made the
    latent of, and for a uniform action its own quantile (paired)."""
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
    last_scale: float = 0.1
    """Further factor on the initial weights of the velocity field's last layer."""
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
    max_grad_norm: float = 0.5

    def __post_init__(self) -> None:
        require_common(self)
        require(self, "positive", "flow_steps", "source_noise", "critic_count")
        require(self, "positive", "critic_iterations", "critic_batches", "return_scale")
        require(self, "positive", "critic_learning_rate", "last_scale", "actor_steps", "reach")
        require(self, "not negative", "c_past", "c_uni", "c_bound", "frequencies")
        require(self, "in [0, 1]", "td_lambda")
        if self.final_c_uni is not None:
            require(self, "not negative", "final_c_uni")
        require(self, "in [0, 1)", "uniform_clip")
        require_divisible(self.horizon, self.critic_batches)
        combine_critics(self.critic_target)
        require_solver(self.solver)
        if self.coupling not in COUPLINGS:
            raise ValueError(f"unknown coupling '{self.coupling}'; known: {', '.join(COUPLINGS)}")

    def init(self, key: PRNGKey, env: Batch) -> RFOState:
        """Initial training state."""
        require_divisible(decisions(self.horizon, env), self.critic_batches)
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
        start = env.staggered(env_key) if self.staggered else env.init(env_key)
        steps = decisions(self.horizon, env)
        past = jax.tree.map(lambda x: jnp.zeros((steps, *x.shape)), start.observation)
        latent = jnp.zeros((steps, env.size, spec.action_size))
        return RFOState(
            actor=actor,
            actor_optimizer=descent(self, self.actor_learning_rate).init(actor),
            critics=critics,
            critic_optimizer=descent(self, self.critic_learning_rate).init(critics),
            normalizer=Normalizer.init(spec.observation),
            past=Past(past, latent, latent, filled=jnp.zeros(())),
            env=start,
            key=key,
            updates=jnp.zeros((), jnp.int32),
        )

    def update(self, state: RFOState, env: Batch) -> tuple[RFOState, Metrics]:
        """One rollout, the actor's steps, one fit of the critics."""
        key, noise_key, matching_key, spread_key = jax.random.split(state.key, 4)
        noise = jax.random.normal(
            noise_key, (decisions(self.horizon, env), env.size, env.spec.action_size)
        )
        normalize = state.normalizer
        actor_loss, pull, after, data, values = self._rollout(state, env, noise)
        observation = normalize(data.observation)

        def loss(actor: FlowPolicy, key: PRNGKey) -> tuple[Array, Metrics]:
            context = actor.context(observation)
            past, uniform = self._matching(actor, normalize, context, data, noise, state.past, key)
            latent = actor.latent(context, noise)
            bound = bound_loss(latent)
            total = pulled(pull, latent, data.action, self.reach) + self.c_bound * bound
            total += self.c_past * past + self._c_uni(state.updates) * uniform
            return total, {"loss_past": past, "loss_uniform": uniform, "loss_bound": bound}

        actor, actor_optimizer, actor_metrics = descend(
            descent(self, self.actor_learning_rate),
            state.actor,
            state.actor_optimizer,
            loss,
            jax.random.split(matching_key, self.actor_steps),
            state.updates,
        )

        value = combine_critics(self.critic_target)(values, axis=0)
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
        metrics = {
            **rollout_metrics(data),
            "loss_actor": actor_loss,
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
            past=Past(
                data.observation, data.extras, state.actor.source_noise * noise, jnp.ones(())
            ),
            env=after,
            key=key,
            updates=state.updates + 1,
        )
        return after_state, metrics

    def policy(self, state: RFOState) -> TrainedPolicy:
        """The policy to evaluate."""
        return TrainedPolicy(state.actor, state.normalizer)

    def _rollout(
        self, state: RFOState, env: Batch, noise: Float[Array, "T B A"]
    ) -> tuple[Float[Array, ""], Float[Array, "T B A"], BatchState, Rollout, Float[Array, "E T B"]]:
        """Loss, its gradient in the latents, and what the rollout left: state, data, values."""
        normalize = state.normalizer

        def loss(shift: Array) -> tuple[Array, tuple[BatchState, Rollout, Array]]:
            def act(observation: Observation, step: tuple[Array, Array]) -> tuple[Array, Array]:
                latent = state.actor(normalize(observation), step[0])[1] + step[1]
                return jnp.tanh(latent), latent

            after, data = rollout(env, state.env, act, (noise, shift))
            values = state.critics(normalize(data.next_observation))
            returns = segment_return(
                data.reward,
                values.mean(0),
                data.terminated,
                data.truncated,
                self.gamma,
                data.duration,
            )
            return -self.return_scale * returns.mean() / self.horizon, (after, data, values)

        (value, aux), pull = jax.value_and_grad(loss, has_aux=True)(jnp.zeros_like(noise))
        return value, pull, *aux

    def _matching(
        self,
        actor: FlowPolicy,
        normalize: Normalizer,
        current: Float[Array, "T B width"],
        data: Rollout,
        noise: Float[Array, "T B A"],
        past: Past,
        key: PRNGKey,
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """L_past and L_uni, in one pass through the velocity field; `current` is the context of `data`."""
        error_key, uniform_key = jax.random.split(key)
        context = jnp.stack([current, actor.context(normalize(past.observation)), current])
        if self.coupling == "paired":
            fresh = jax.random.normal(uniform_key, noise.shape)
            source = jnp.stack(
                [actor.source_noise * noise, past.source, actor.source_noise * fresh]
            )
            uniform = paired_uniform_latents(fresh, self.uniform_clip)
            target = jnp.stack([data.extras, past.latent, uniform])
            u = jax.random.uniform(error_key, target.shape[:-1])
            errors = matching_error_at(actor, context, target, source, u)
        else:
            uniform = uniform_latents(uniform_key, noise.shape, self.uniform_clip)
            target = jnp.stack([data.extras, past.latent, uniform])
            errors = matching_error(actor, context, target, error_key)
        current_error, past_error, uniform_error = errors.mean((1, 2))
        return (current_error + past.filled * past_error) / (1 + past.filled), uniform_error

    def _c_uni(self, updates: Int[Array, ""]) -> Float[Array, ""] | float:
        if self.final_c_uni is None:
            return self.c_uni
        return self.c_uni + (self.final_c_uni - self.c_uni) * jnp.minimum(
            updates / self.updates, 1.0
        )
