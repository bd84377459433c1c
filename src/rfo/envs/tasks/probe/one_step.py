"""Closed-form tasks whose episodes last one step."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from rfo.envs.base import EnvSpec, Step
from rfo.types import Array, Float, Observation, PRNGKey


@dataclass(frozen=True)
class Quadratic:
    """Episodes of one step with the reward ``-|a - target(s)|^2``, where ``target(s) = s / 2``.

    The state s is uniform in [-1, 1]^size. The best action is the target, and its value is 0. The
    gradient of the reward with respect to the action is ``-2 (a - target)``.
    """

    size: int = 2
    """Size of the state, the observation and the action."""

    @property
    def spec(self) -> EnvSpec:
        """Sizes and properties of the task."""
        return EnvSpec("quadratic", self.size, self.size, episode_length=10, dt=1.0)

    def reset(self, key: PRNGKey, batch: int) -> Float[Array, "B size"]:
        """Draw uniform states."""
        return jax.random.uniform(key, (batch, self.size), minval=-1.0, maxval=1.0)

    def observe(self, state: Float[Array, "B size"]) -> Float[Array, "B size"]:
        """The state."""
        return state

    def step(self, state: Float[Array, "B size"], action: Float[Array, "B size"]) -> Step:
        """Compute the reward and terminate."""
        reward = -jnp.sum((jnp.clip(action, -1.0, 1.0) - self.best_action(state)) ** 2, axis=-1)
        return Step(state, state, reward, jnp.ones(len(state), bool))

    def best_action(self, state: Float[Array, "B size"]) -> Float[Array, "B size"]:
        """The target."""
        return state / 2

    def value(self, state: Float[Array, "B size"]) -> Float[Array, " B"]:
        """Value of the best policy."""
        return jnp.zeros(len(state))


@dataclass(frozen=True)
class ReachCloud:
    """Episodes of one step with a point cloud and the reward ``-|a - target(s)|^2``.

    The observation is a dict of a cloud and an offset; the target is the mean of the points plus
    the offset. In each coordinate, the variances of the mean and of the offset are in the ratio
    1.01 to 0.16. A policy that does not see the points can explain at most 0.16 / 1.17, one
    seventh, of the target's variance.
    """

    points: int = 16
    """Number of points P."""

    @property
    def spec(self) -> EnvSpec:
        """Sizes and properties of the task."""
        shapes = {"cloud": (self.points, 3), "offset": (3,)}
        return EnvSpec("reach_cloud", shapes, 3, episode_length=10, dt=1.0)

    def reset(self, key: PRNGKey, batch: int) -> Observation:
        """Draw clouds and offsets.

        The points lie in a cube of edge length 0.4 with its middle in [-0.5, 0.5]^3, the offset in
        [-0.2, 0.2]^3.
        """
        middle, scatter, offset = (
            jax.random.uniform(k, (batch, *shape), minval=-largest, maxval=largest)
            for k, shape, largest in zip(
                jax.random.split(key, 3),
                [(1, 3), (self.points, 3), (3,)],
                [0.5, 0.2, 0.2],
                strict=True,
            )
        )
        return {"cloud": middle + scatter, "offset": offset}

    def observe(self, state: Observation) -> Observation:
        """The state."""
        return state

    def step(self, state: dict[str, Array], action: Float[Array, "B 3"]) -> Step:
        """Compute the reward and terminate."""
        reward = -jnp.sum((jnp.clip(action, -1.0, 1.0) - self.best_action(state)) ** 2, axis=-1)
        return Step(state, state, reward, jnp.ones(len(reward), bool))

    def best_action(self, state: dict[str, Array]) -> Float[Array, "B 3"]:
        """The target; its coordinates are at most 0.9."""
        return state["cloud"].mean(1) + state["offset"]

    def value(self, state: dict[str, Array]) -> Float[Array, " B"]:
        """Value of the best policy."""
        return jnp.zeros(len(state["offset"]))
