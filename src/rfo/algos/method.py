"""What the methods share: settings, the start of a training, and the policy to evaluate."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from rfo.algos.fitting import fit_critics
from rfo.algos.optimize import Descent, DescentState
from rfo.algos.returns import segment_return, td_lambda
from rfo.algos.rollout import Rollout, TrainedPolicy, decisions
from rfo.algos.settings import (
    Critic,
    Ensemble,
    Flow,
    Network,
    Optimiser,
    Schedule,
    require,
    require_divisible,
)
from rfo.envs.batch import Batch
from rfo.errors import SettingError
from rfo.policies.critic import Critics
from rfo.policies.encoder import Encoder, encoder_for
from rfo.policies.flow import FlowPolicy
from rfo.policies.normalize import Normalizer
from rfo.types import Array, Float, Int, Metrics, Observation, ObservationShape, PRNGKey


class StartKeys(NamedTuple):
    """Keys for the start of a training, each used once."""

    state: PRNGKey
    actor: PRNGKey
    critics: PRNGKey
    env: PRNGKey
    actor_encoder: PRNGKey
    critic_encoder: PRNGKey

    @classmethod
    def split(cls, key: PRNGKey) -> StartKeys:
        """The keys that a training's key splits into."""
        return cls(*jax.random.split(key, len(cls._fields)))


@dataclass(frozen=True)
class Method(ABC):
    """A method's record of settings, with the parts that all methods have.

    Raises:
        SettingError: for a field out of range, naming it.
    """

    name: ClassVar[str]
    needs_gradient: ClassVar[bool]

    horizon: int = 32
    """Control steps H of one rollout, in T decisions."""
    gamma: float = 0.99
    """Discount of one control step."""
    network: Network = Network()
    optimiser: Optimiser = Optimiser()
    schedule: Schedule = Schedule()

    def __post_init__(self) -> None:
        require(self, "positive", "horizon")
        require(self, "in [0, 1]", "gamma")

    @abstractmethod
    def new_actor(self, key: PRNGKey, encoder: Encoder, action_size: int) -> Any:
        """The initial policy, an `rfo.algos.rollout.Actor`."""

    def begin(self, keys: StartKeys, env: Batch) -> dict[str, Any]:
        """The fields that the initial states of all methods have."""
        spec = env.spec
        encoder = new_encoder(self.network, keys.actor_encoder, spec.observation)
        actor = self.new_actor(keys.actor, encoder, spec.action_size)
        return {
            "actor": actor,
            "actor_optimizer": DescentState.init(actor),
            "normalizer": Normalizer.init(spec.observation),
            "env": env.staggered(keys.env),
            "key": keys.state,
            "updates": jnp.zeros((), jnp.int32),
        }

    def noise(self, key: PRNGKey, env: Batch) -> Float[Array, "T B A"]:
        """Standard normal noise of a rollout's actions."""
        shape = (decisions(self.horizon, env), env.size, env.spec.action_size)
        return jax.random.normal(key, shape)

    def mean_return(
        self, data: Rollout, next_value: Float[Array, "T B"] | float = 0.0
    ) -> Float[Array, ""]:
        """Discounted rewards and bootstrap of a rollout per control step, mean over environments.

        Args:
            data: the rollout.
            next_value: values that bootstrap, see `rfo.algos.returns.segment_return`.
        """
        next_value = jnp.broadcast_to(next_value, data.reward.shape)
        returns = segment_return(
            data.reward, next_value, data.terminated, data.truncated, self.gamma, data.duration
        )
        return returns.mean() / self.horizon

    def descent(self, learning_rate: float, updates: Int[Array, ""]) -> Descent:
        """The optimiser after some updates, where `learning_rate` is the initial one."""
        final = self.optimiser.final_learning_rate
        return Descent(self.optimiser, self.schedule.rate(learning_rate, final, updates))

    def policy(self, state: Any) -> TrainedPolicy:
        """The policy to evaluate."""
        return TrainedPolicy(state.actor, state.normalizer)


@dataclass(frozen=True)
class ActorCritic(Method):
    """A method whose critics V(s) are fitted to each rollout.

    Raises:
        SettingError: for a field out of range, naming it.
    """

    critic: Critic = Critic()

    def __post_init__(self) -> None:
        super().__post_init__()
        require_divisible(self.horizon, self.critic.batches, "critic.batches")
        if self.critic.per_step and self.gamma == 1:
            raise SettingError(
                "critic.per_step needs a gamma below 1, as in 0.99", "critic.per_step"
            )

    def begin(self, keys: StartKeys, env: Batch) -> dict[str, Any]:
        """The fields that the initial states of all methods with critics have."""
        require_divisible(decisions(self.horizon, env), self.critic.batches, "critic.batches")
        unit = 1 / (1 - self.gamma) if self.critic.per_step else 1.0
        critics = new_critics(self.critic, self.network, keys, env, unit=unit)
        return super().begin(keys, env) | {
            "critics": critics,
            "critic_optimizer": DescentState.init(critics),
        }

    def targets(
        self, data: Rollout, next_value: Float[Array, "T B"], lambda_: float
    ) -> Float[Array, "T B"]:
        """The critics' TD(lambda) targets, see `rfo.algos.returns.td_lambda`."""
        ends = data.terminated, data.truncated
        return td_lambda(data.reward, next_value, *ends, self.gamma, lambda_, data.duration)

    def fit(
        self, state: Any, observation: Observation, target: Float[Array, "T B"]
    ) -> tuple[Critics, DescentState, Metrics]:
        """The state's critics and their optimiser, fitted to targets at normalised observations."""
        descent = self.descent(self.critic.learning_rate, state.updates)
        optimizer = descent, state.critic_optimizer
        return fit_critics(state.critics, optimizer, observation, target, self.critic)


def new_encoder(network: Network, key: PRNGKey, observation: ObservationShape) -> Encoder:
    """A new encoder of a task's observations."""
    return encoder_for(
        key,
        observation,
        network.point_hidden,
        network.point_features,
        network.vector_features,
        network.pooling,
        network.activation,
        network.gain,
    )


def new_critics(
    ensemble: Ensemble,
    network: Network,
    keys: StartKeys,
    env: Batch,
    action_size: int = 0,
    unit: float = 1.0,
) -> Critics:
    """New critics of a task's observations, and of actions if they have a size."""
    return Critics(
        keys.critics,
        new_encoder(network, keys.critic_encoder, env.spec.observation),
        ensemble.hidden,
        network.activation,
        ensemble.count,
        network.gain,
        action_size,
        unit,
    )


def new_flow_policy(
    flow: Flow, network: Network, key: PRNGKey, encoder: Encoder, action_size: int
) -> FlowPolicy:
    """A new flow policy."""
    return FlowPolicy(
        key,
        encoder,
        action_size,
        steps=flow.steps,
        solver=flow.solver,
        source_noise=flow.source_noise,
        frequencies=flow.frequencies,
        last_scale=flow.last_scale,
        **network.layers,
    )
