"""Closed-form tasks that check what happens at the end of an episode and between its steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rfo.envs.base import EnvSpec, Step
from rfo.types import Array, Bool, Float, Int, PRNGKey


class CountdownState(NamedTuple):
    """State of `Terminating`."""

    left: Int[Array, " B"]
    """Steps left in the episode."""
    target: Float[Array, " B"]
    """Best action of the episode."""


@dataclass(frozen=True)
class Terminating:
    """Reward ``1 - (a - target)^2`` in every step; the episode *terminates* after its last step.

    The observation is (steps left / `life`, target). The target is fixed during an episode.
    Episodes start with a random number of steps left, so they end at all times of a rollout. With n
    steps left the value of the best policy is ``1 + g + ... + g^(n-1)``, where g is the discount.
    Beyond the end it is 0.
    """

    life: int = 5
    """Largest number of steps of an episode."""
    discount: float = 0.99

    @property
    def spec(self) -> EnvSpec:
        """Sizes and properties of the task; the time limit is never reached."""
        return EnvSpec("terminating", 2, 1, episode_length=10 * self.life, dt=1.0)

    def reset(self, key: PRNGKey, batch: int) -> CountdownState:
        """Draw the steps left uniformly in 1 to `life` and the target uniformly in [-0.6, 0.6]."""
        life_key, target_key = jax.random.split(key)
        return CountdownState(
            jax.random.randint(life_key, (batch,), 1, self.life + 1),
            jax.random.uniform(target_key, (batch,), minval=-0.6, maxval=0.6),
        )

    def observe(self, state: CountdownState) -> Float[Array, "B 2"]:
        """Steps left as a fraction of `life`, and the target."""
        return jnp.stack([state.left / self.life, state.target], axis=-1)

    def step(self, state: CountdownState, action: Float[Array, "B 1"]) -> Step:
        """Compute the reward and count down."""
        reward = 1 - (jnp.clip(action, -1.0, 1.0)[:, 0] - state.target) ** 2
        after = CountdownState(state.left - 1, state.target)
        return Step(after, self.observe(after), reward, after.left == 0)

    def best_action(self, state: CountdownState) -> Float[Array, "B 1"]:
        """The target."""
        return state.target[:, None]

    def value(self, state: CountdownState) -> Float[Array, " B"]:
        """Value of the best policy."""
        return (1 - self.discount**state.left) / (1 - self.discount)


@dataclass(frozen=True)
class Truncating:
    """Reward ``1 - (a - target)^2`` in every step; the time limit *truncates* the episode.

    The observation is the target, which is fixed during an episode. A truncation is not an end, so
    the value of the best policy is ``1 / (1 - discount)`` in every state.
    """

    episode_length: int = 5
    """Control steps after which an episode is truncated."""
    discount: float = 0.9

    @property
    def spec(self) -> EnvSpec:
        """Sizes and properties of the task."""
        return EnvSpec("truncating", 1, 1, self.episode_length, dt=1.0)

    def reset(self, key: PRNGKey, batch: int) -> Float[Array, "B 1"]:
        """Draw the target uniformly in [-0.6, 0.6]."""
        return jax.random.uniform(key, (batch, 1), minval=-0.6, maxval=0.6)

    def observe(self, state: Float[Array, "B 1"]) -> Float[Array, "B 1"]:
        """The target."""
        return state

    def step(self, state: Float[Array, "B 1"], action: Float[Array, "B 1"]) -> Step:
        """Compute the reward; the state stays."""
        reward = 1 - jnp.sum((jnp.clip(action, -1.0, 1.0) - state) ** 2, axis=-1)
        return Step(state, state, reward, jnp.zeros(len(state), bool))

    def best_action(self, state: Float[Array, "B 1"]) -> Float[Array, "B 1"]:
        """The target."""
        return state

    def value(self, state: Float[Array, "B 1"]) -> Float[Array, " B"]:
        """Value of the best policy."""
        return jnp.full(len(state), 1 / (1 - self.discount))


class DelayedState(NamedTuple):
    """State of `Delayed`."""

    target: Float[Array, " B"]
    """Best action of the first step."""
    taken: Float[Array, " B"]
    """Action of the first step; 0 before it."""
    second: Bool[Array, " B"]
    """Whether the next step is the second one."""


@dataclass(frozen=True)
class Delayed:
    """Episodes of two steps; the second pays ``-(a - target)^2`` for the action a of the first.

    In a rollout of one step, the reward never depends on the action of that step. Only the value of
    the *next* observation can teach the policy. A bootstrap from the current observation learns
    nothing here.
    """

    discount: float = 0.99

    @property
    def spec(self) -> EnvSpec:
        """Sizes and properties of the task."""
        return EnvSpec("delayed", 3, 1, episode_length=10, dt=1.0)

    def reset(self, key: PRNGKey, batch: int) -> DelayedState:
        """Draw the target uniformly in [-0.6, 0.6].

        Half of the episodes start at the second step, after a random first action.
        """
        target, taken, second = jax.random.split(key, 3)
        late = jax.random.bernoulli(second, shape=(batch,))
        return DelayedState(
            jax.random.uniform(target, (batch,), minval=-0.6, maxval=0.6),
            jnp.where(late, jax.random.uniform(taken, (batch,), minval=-1.0, maxval=1.0), 0.0),
            late,
        )

    def observe(self, state: DelayedState) -> Float[Array, "B 3"]:
        """Target, first action, and 1 in the second step."""
        return jnp.stack(
            [state.target, state.taken, state.second.astype(state.target.dtype)], axis=-1
        )

    def step(self, state: DelayedState, action: Float[Array, "B 1"]) -> Step:
        """Store the first action, or pay for it and terminate."""
        reward = jnp.where(state.second, -((state.taken - state.target) ** 2), 0.0)
        after = DelayedState(
            state.target,
            jnp.where(state.second, state.taken, jnp.clip(action, -1.0, 1.0)[:, 0]),
            jnp.ones_like(state.second),
        )
        return Step(after, self.observe(after), reward, state.second)

    def best_action(self, state: DelayedState) -> Float[Array, "B 1"]:
        """The target (in the second step all actions are equally good)."""
        return state.target[:, None]

    def value(self, state: DelayedState) -> Float[Array, " B"]:
        """Value of the best policy."""
        return jnp.where(state.second, -((state.taken - state.target) ** 2), 0.0)
