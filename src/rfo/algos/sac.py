"""SAC: soft actor-critic, off-policy from a replay buffer (arXiv 1812.05905)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from rfo.algos.buffer import Transitions, drawn, empty_buffer, stored, transitions
from rfo.algos.method import Method, StartKeys, new_critics
from rfo.algos.optimize import Descent, DescentState
from rfo.algos.rollout import decisions, policy_metrics, rollout, rollout_metrics
from rfo.algos.settings import Ensemble, Optimiser, require, require_order
from rfo.envs.batch import Batch, BatchState
from rfo.policies.critic import Critics
from rfo.policies.encoder import Encoder
from rfo.policies.gaussian import TanhGaussianPolicy, tanh_gaussian_log_prob
from rfo.policies.nets import largest
from rfo.policies.normalize import Normalizer
from rfo.types import Array, Float, Int, Metrics, PRNGKey


class Learner(NamedTuple):
    """What a step on a minibatch changes.

    Networks are flat vectors, flattened once and not at each step.
    """

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
class SAC(Method):
    """Soft Actor-Critic, with the settings of the SAPO paper's baseline unless a field says why.

    Each rollout is followed by steps on minibatches drawn from the buffer. The critics move towards
    n-step returns bootstrapped by the smallest target critic minus ``alpha log pi``. The actor
    climbs the smallest critic plus alpha times the entropy. Alpha keeps the entropy at its target.
    n-step returns stop where an episode ends and at a rollout's end; a time limit bootstraps from
    the observation before the reset.

    Raises:
        SettingError: for a field out of range, naming it.

    Example:
        >>> import rfo
        >>> rfo.SAC(capacity=4096).capacity
        4096
    """

    name: ClassVar[str] = "sac"
    needs_gradient: ClassVar[bool] = False

    n_step: int = 3
    """Number n of decisions whose rewards are summed before the bootstrap."""
    gradient_steps: int = 64
    """Steps after each rollout. The reference takes 8 steps on 2048 transitions each; 64 steps on
    256 cost the same arithmetic."""
    batch_size: int = 256
    """Transitions in the minibatch of a step."""
    capacity: int = 262_144
    """Transitions in the buffer, rounded down to whole rollouts. The reference has a million. Each
    takes the memory of two observations and an action, is copied once per update, and is written
    with every checkpoint."""
    target_rate: float = 0.005
    """Share of the distance to the critics that the target critics move at each step."""

    initial_alpha: float = 1.0
    """Initial weight of the entropy."""
    alpha_learning_rate: float = 5e-3
    """Learning rate of log alpha, constant over updates; 0 keeps alpha fixed."""
    target_entropy: float = -0.5
    """Entropy per action dimension to keep [nat]."""
    min_log_std: float = -5.0
    """Lower bound of the log standard deviation before tanh."""
    max_log_std: float = 2.0
    """Upper bound of the log standard deviation before tanh."""
    critic: Ensemble = Ensemble()
    optimiser: Optimiser = Optimiser(
        learning_rate=5e-4,
        final_learning_rate=5e-4,
        beta1=0.9,
        beta2=0.999,
        weight_decay=0.0,
        max_grad_norm=10.0,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self, "positive", "n_step", "gradient_steps", "batch_size", "capacity")
        require(self, "positive", "initial_alpha")
        require(self, "not negative", "alpha_learning_rate")
        require(self, "in [0, 1]", "target_rate")
        require_order(self, "min_log_std", "max_log_std")

    def new_actor(self, key: PRNGKey, encoder: Encoder, action_size: int) -> TanhGaussianPolicy:
        """The initial policy."""
        return TanhGaussianPolicy(
            key,
            encoder,
            action_size,
            min_log_std=self.min_log_std,
            max_log_std=self.max_log_std,
            **self.network.layers,
        )

    def init(self, key: PRNGKey, env: Batch) -> SACState:
        """Initial training state."""
        keys = StartKeys.split(key)
        start = self.begin(keys, env)
        critics = new_critics(self.critic, self.network, keys, env, env.spec.action_size)
        log_alpha = jnp.log(jnp.asarray(self.initial_alpha, float))
        size = decisions(self.horizon, env) * env.size
        return SACState(
            **start,
            log_alpha=log_alpha,
            alpha_optimizer=DescentState.init(log_alpha),
            critics=critics,
            target_critics=critics,
            critic_optimizer=DescentState.init(critics),
            buffer=empty_buffer(start["env"].observation, env, self.capacity // size, size),
        )

    def update(self, state: SACState, env: Batch) -> tuple[SACState, Metrics]:
        """One rollout into the buffer, then steps on minibatches from it."""
        key, noise_key, learn_key, spread_key = jax.random.split(state.key, 4)
        noise, normalize = self.noise(noise_key, env), state.normalizer

        after, data = rollout(env, state.env, lambda o, e: state.actor(normalize(o), e), noise)
        buffer = stored(state.buffer, transitions(data, self.gamma, self.n_step), state.updates)
        filled = jnp.minimum(state.updates + 1, len(buffer.reward)) * buffer.reward.shape[1]
        learnt, metrics = self.learn(state, buffer, filled, learn_key)
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

    def learn(
        self, state: SACState, buffer: Transitions, filled: Int[Array, ""], key: PRNGKey
    ) -> tuple[SACState, Metrics]:
        """All steps on minibatches after one rollout; the state's other fields stay."""
        actor, as_actor = ravel_pytree(state.actor)
        critics, as_critics = ravel_pytree(state.critics)
        rows = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), buffer)
        target_entropy = self.target_entropy * buffer.action.shape[-1]
        actor_descent = self.descent(self.optimiser.learning_rate, state.updates)
        critic_descent = self.descent(self.critic.learning_rate, state.updates)
        free = replace(self.optimiser, weight_decay=0.0, max_grad_norm=math.inf)
        alpha_descent = Descent(free, self.alpha_learning_rate)

        def step(now: Learner, key: PRNGKey) -> tuple[Learner, Metrics]:
            row_key, next_key, noise_key = jax.random.split(key, 3)
            row = jax.random.randint(row_key, (self.batch_size,), 0, filled)
            batch = drawn(rows, row, state.normalizer)
            alpha, shape = jnp.exp(now.log_alpha), batch.action.shape
            next_noise, noise = (jax.random.normal(k, shape) for k in (next_key, noise_key))
            slow, acting = now.target_critics, as_actor(now.actor)
            target = soft_target(acting, as_critics(slow), alpha, batch, next_noise)
            critics, critic_optimizer, fit, report = critic_descent.down(
                lambda x: critic_loss(as_critics(x), batch, target),
                now.critics,
                now.critic_optimizer,
            )
            fit |= {"critic_grad_norm": report.norm}
            actor, actor_optimizer, climb, report = actor_descent.down(
                lambda x: actor_loss(as_actor(x), as_critics(critics), alpha, batch, noise),
                now.actor,
                now.actor_optimizer,
            )
            # of alpha (H - target) in log alpha: alpha grows while H is below its target
            slope = alpha * (climb["entropy"] - target_entropy)
            log_alpha, alpha_optimizer, _ = alpha_descent.step(
                now.log_alpha, now.alpha_optimizer, slope
            )
            slow = slow + self.target_rate * (critics - slow)
            optimizers = actor_optimizer, critic_optimizer, alpha_optimizer
            after = Learner(actor, critics, slow, log_alpha, *optimizers)
            return after, fit | climb | report.metrics()

        slow, _ = ravel_pytree(state.target_critics)
        optimizers = state.actor_optimizer, state.critic_optimizer, state.alpha_optimizer
        learner = Learner(actor, critics, slow, state.log_alpha, *optimizers)
        learner, metrics = jax.lax.scan(step, learner, jax.random.split(key, self.gradient_steps))
        learnt = learner._replace(
            actor=as_actor(learner.actor),
            critics=as_critics(learner.critics),
            target_critics=as_critics(learner.target_critics),
        )
        means = {name: value.mean() for name, value in metrics.items()}
        return state._replace(**learnt._asdict()), means


def critic_loss(
    critics: Critics, batch: Transitions, target: Float[Array, " N"]
) -> tuple[Float[Array, ""], Metrics]:
    """Squared distance of every critic from the soft target, and metrics."""
    value = critics(batch.observation, batch.action)
    errors = jnp.mean((value - target) ** 2, axis=-1)
    return jnp.sum(errors), {"critic_loss": errors.mean(), "value": value.mean()}


def actor_loss(
    actor: TanhGaussianPolicy,
    critics: Critics,
    alpha: Float[Array, ""],
    batch: Transitions,
    noise: Float[Array, "N A"],
) -> tuple[Float[Array, ""], Metrics]:
    """Minus the smallest critic and alpha times the entropy, and metrics."""
    mean, log_std = actor.parameters(batch.observation)
    entropy = -tanh_gaussian_log_prob(mean, log_std, noise)
    action = jnp.tanh(mean + jnp.exp(log_std) * noise)
    value = -largest(-critics(batch.observation, action), 0)
    objective = jnp.mean(value + alpha * entropy)
    return -objective, {"loss_actor": -objective, "entropy": entropy.mean()}


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
