"""Detour: a disc flies around a column, left or right. Both ways are equally good."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from rfo.envs.base import Entry, EnvSpec, Step
from rfo.types import Array, Float, PRNGKey

SPEED = 1.0
"""Speed along an axis at full action [m/s]."""
START, GOAL = -1.0, 1.0
"""Positions along the x axis [m]; the column stands between them, in the origin."""
SCATTER = 0.05
"""Largest distance of a start from that position, along each axis [m]."""
RADIUS = 0.4
"""Radius of the column [m]."""
COST = 20.0
"""Cost of a control step in the middle of the column."""
HEIGHT = 0.1
"""Height at which the disc flies, for the drawing [m]."""


class Detour:
    """A disc flies to a goal behind a column. It may pass on the left or on the right.

    The straight way leads through the column and costs most, so that the mean of two good ways is
    bad. Everything is in closed form and smooth.

    **Action** (2): velocity, 1 m/s times the action.

    **Observation** (2): position in the plane [m].

    **Reward**: minus the distance to the goal at (1, 0) [m], and inside the column minus
    ``20 (1 - (r / 0.4)^2)^2`` at the distance r from its axis, both after the step. The episode
    never terminates; it is truncated after 32 steps of 0.1 s.

    **Reset**: position uniform in a square of 0.1 m around (-1, 0).
    """

    spec = EnvSpec(
        "detour",
        observation=2,
        action_size=2,
        episode_length=32,
        dt=0.1,
        entries=(Entry("position", 2),),
    )

    def reset(self, key: PRNGKey, batch: int) -> Float[Array, "B 2"]:
        """Draw `batch` start positions."""
        scatter = jax.random.uniform(key, (batch, 2), minval=-SCATTER, maxval=SCATTER)
        return scatter + jnp.array([START, 0.0])

    def observe(self, state: Float[Array, "B 2"]) -> Float[Array, "B 2"]:
        """The position."""
        return state

    def step(self, state: Float[Array, "B 2"], action: Float[Array, "B 2"]) -> Step:
        """Advance by one control step; the action is clipped to [-1, 1]."""
        after = state + self.spec.dt * SPEED * jnp.clip(action, -1.0, 1.0)
        rest = after - jnp.array([GOAL, 0.0])
        distance = jnp.sqrt(jnp.sum(rest**2, axis=-1) + 1e-6)
        inside = jnp.maximum(1 - jnp.sum(after**2, axis=-1) / RADIUS**2, 0.0)
        reward = -distance - COST * inside**2
        return Step(after, after, reward, jnp.zeros(len(reward), bool))

    def scene(self) -> dict[str, Any]:
        """A disc, a column, and a ball at the goal."""
        upright = [1.0, 0.0, 0.0, 0.0]
        column = {"type": "cylinder", "size": [RADIUS, 0.3], "body": -1, "quat": upright}
        goal = {"type": "sphere", "size": [0.05], "body": -1, "quat": upright}
        disc = {"type": "cylinder", "size": [0.06, 0.02], "body": 0, "quat": upright}
        return {
            "geoms": [
                {**column, "pos": [0.0, 0.0, 0.3], "rgba": [0.6, 0.6, 0.6, 1.0]},
                {**goal, "pos": [GOAL, 0.0, HEIGHT], "rgba": [0.2, 0.6, 0.3, 1.0]},
                {**disc, "pos": [0.0, 0.0, 0.0], "rgba": [0.8, 0.4, 0.1, 1.0]},
            ]
        }

    def frame(self, state: Float[Array, "B 2"]) -> dict[str, Array]:
        """Pose of the disc."""
        upright = jnp.tile(jnp.array([HEIGHT, 1.0, 0.0, 0.0, 0.0]), (len(state), 1))
        return {"poses": jnp.concatenate([state, upright], axis=-1)[:, None]}
