"""SHAC: short-horizon actor-critic (arXiv 2204.07137)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax

from rfo.algos.method import ActorCritic, StartKeys
from rfo.algos.optimize import DescentState
from rfo.algos.rollout import Rollout, policy_metrics, rollout, rollout_metrics
from rfo.algos.settings import Critic, Network, Optimiser, require
from rfo.envs.batch import Batch, BatchState, GradientProbe
from rfo.policies.critic import Critics
from rfo.policies.encoder import Encoder
from rfo.policies.gaussian import GaussianPolicy
from rfo.policies.normalize import Normalizer
from rfo.types import Array, Int, Metrics, PRNGKey


class SHACState(NamedTuple):
    """Everything SHAC carries from one update to the next."""

    actor: GaussianPolicy
    actor_optimizer: DescentState
    critics: Critics
    target_critics: Critics
    critic_optimizer: DescentState
    normalizer: Normalizer
    env: BatchState
    key: PRNGKey
    updates: Int[Array, ""]


@dataclass(frozen=True)
class SHAC(ActorCritic):
    """Short-Horizon Actor-Critic, with the settings of its reference implementation for the ant.

    One actor step per rollout on ``-return / horizon``. The mean of the critics bootstraps the
    return; a slowly moving copy of them bootstraps the TD(lambda) targets.

    Raises:
        SettingError: for a field out of range, naming it.

    Example:
        >>> import rfo
        >>> rfo.SHAC(td_lambda=0.9).td_lambda
        0.9
    """

    name: ClassVar[str] = "shac"
    needs_gradient: ClassVar[bool] = True

    return_scale: float = 1.0
    """Factor on ``return / horizon`` in the actor's loss."""
    td_lambda: float = 0.95
    """Lambda of the critics' targets."""
    target_keep: float = 0.2
    """Share of the target critics that an update keeps; the rest comes from the critics."""
    initial_log_std: float = -1.0
    """Initial log standard deviation of each action dimension, before tanh."""
    network: Network = Network(activation="elu", gain=2**0.5)
    critic: Critic = Critic(count=1, learning_rate=2e-3)
    optimiser: Optimiser = Optimiser(weight_decay=0.0, max_grad_norm=1.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self, "positive", "return_scale")
        require(self, "in [0, 1]", "td_lambda", "target_keep")

    def new_actor(self, key: PRNGKey, encoder: Encoder, action_size: int) -> GaussianPolicy:
        """The initial policy."""
        layers, log_std = self.network.layers, self.initial_log_std
        return GaussianPolicy(key, encoder, action_size, initial_log_std=log_std, **layers)

    def init(self, key: PRNGKey, env: Batch) -> SHACState:
        """Initial training state."""
        start = self.begin(StartKeys.split(key), env)
        return SHACState(**start, target_critics=start["critics"])

    def update(self, state: SHACState, env: Batch) -> tuple[SHACState, Metrics]:
        """One rollout, one actor step, one fit of the critics, one move of their targets."""
        key, noise_key, spread_key = jax.random.split(state.key, 3)
        noise, normalize = self.noise(noise_key, env), state.normalizer

        def loss(
            actor: GaussianPolicy, probe: GradientProbe
        ) -> tuple[Array, tuple[BatchState, Rollout]]:
            after, data = rollout(env, state.env, lambda o, e: actor(normalize(o), e), noise, probe)
            value = state.critics(normalize(data.next_observation)).mean(0)
            return -self.return_scale * self.mean_return(data, value), (after, data)

        differentiated = jax.value_and_grad(loss, (0, 1), has_aux=True)
        (actor_loss, (after, data)), (gradient, dropped) = differentiated(
            state.actor, env.probe(state.env)
        )
        descent = self.descent(self.optimiser.learning_rate, state.updates)
        actor, actor_optimizer, step = descent.step(state.actor, state.actor_optimizer, gradient)

        value = state.target_critics(normalize(data.next_observation)).mean(0)
        target = self.targets(data, value, self.td_lambda)
        critics, critic_optimizer, critic_metrics = self.fit(
            state, normalize(data.observation), target
        )
        keep = self.target_keep
        metrics = {
            **rollout_metrics(data, dropped),
            **critic_metrics,
            "loss_actor": actor_loss,
            **policy_metrics(state.actor, actor, normalize(state.env.observation), spread_key),
            **step.metrics(),
            "skipped_updates": actor_optimizer.skipped,
        }
        after_state = SHACState(
            actor=actor,
            actor_optimizer=actor_optimizer,
            critics=critics,
            target_critics=jax.tree.map(
                lambda slow, fast: keep * slow + (1 - keep) * fast, state.target_critics, critics
            ),
            critic_optimizer=critic_optimizer,
            normalizer=normalize.updated(data.observation),
            env=after,
            key=key,
            updates=state.updates + 1,
        )
        return after_state, metrics
