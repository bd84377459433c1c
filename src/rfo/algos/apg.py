"""APG: analytic policy gradient. It backpropagates through a rollout and has no critic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax

from rfo.algos.method import Method, StartKeys
from rfo.algos.optimize import DescentState
from rfo.algos.rollout import Rollout, policy_metrics, rollout, rollout_metrics
from rfo.algos.settings import Network, Optimiser, require
from rfo.envs.batch import Batch, BatchState, GradientProbe
from rfo.policies.encoder import Encoder
from rfo.policies.gaussian import GaussianPolicy
from rfo.policies.normalize import Normalizer
from rfo.types import Array, Int, Metrics, PRNGKey


class APGState(NamedTuple):
    """Everything APG carries from one update to the next."""

    actor: GaussianPolicy
    actor_optimizer: DescentState
    normalizer: Normalizer
    env: BatchState
    key: PRNGKey
    updates: Int[Array, ""]


@dataclass(frozen=True)
class APG(Method):
    """Analytic Policy Gradient: the discounted rewards of a short rollout, without a critic.

    Raises:
        SettingError: for a field out of range, naming it.

    Example:
        >>> import rfo
        >>> rfo.APG(horizon=16).horizon
        16
    """

    name: ClassVar[str] = "apg"
    needs_gradient: ClassVar[bool] = True

    return_scale: float = 1.0
    """Factor on ``return / horizon`` in the actor's loss."""
    initial_log_std: float = -1.0
    """Initial log standard deviation of each action dimension, before tanh."""
    network: Network = Network(activation="elu", gain=2**0.5)
    optimiser: Optimiser = Optimiser(weight_decay=0.0, max_grad_norm=1.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self, "positive", "return_scale")

    def new_actor(self, key: PRNGKey, encoder: Encoder, action_size: int) -> GaussianPolicy:
        """The initial policy."""
        layers, log_std = self.network.layers, self.initial_log_std
        return GaussianPolicy(key, encoder, action_size, initial_log_std=log_std, **layers)

    def init(self, key: PRNGKey, env: Batch) -> APGState:
        """Initial training state."""
        return APGState(**self.begin(StartKeys.split(key), env))

    def update(self, state: APGState, env: Batch) -> tuple[APGState, Metrics]:
        """One rollout, one actor step."""
        key, noise_key, spread_key = jax.random.split(state.key, 3)
        noise, normalize = self.noise(noise_key, env), state.normalizer

        def loss(
            actor: GaussianPolicy, probe: GradientProbe
        ) -> tuple[Array, tuple[BatchState, Rollout]]:
            after, data = rollout(env, state.env, lambda o, e: actor(normalize(o), e), noise, probe)
            return -self.return_scale * self.mean_return(data), (after, data)

        differentiated = jax.value_and_grad(loss, (0, 1), has_aux=True)
        (actor_loss, (after, data)), (gradient, dropped) = differentiated(
            state.actor, env.probe(state.env)
        )
        descent = self.descent(self.optimiser.learning_rate, state.updates)
        actor, actor_optimizer, step = descent.step(state.actor, state.actor_optimizer, gradient)
        metrics = {
            **rollout_metrics(data, dropped),
            "loss_actor": actor_loss,
            **policy_metrics(state.actor, actor, normalize(state.env.observation), spread_key),
            **step.metrics(),
            "skipped_updates": actor_optimizer.skipped,
        }
        after_state = APGState(
            actor=actor,
            actor_optimizer=actor_optimizer,
            normalizer=normalize.updated(data.observation),
            env=after,
            key=key,
            updates=state.updates + 1,
        )
        return after_state, metrics
