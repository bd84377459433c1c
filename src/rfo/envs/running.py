"""What the running tasks with a free torso share: start, observation, posture.

The torso is the first link, on a FREE joint; all other joints are hinges. z is up.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from rfo.physics.articulated import ArticulatedState
from rfo.physics.kinematics import axis_angle, rotate
from rfo.types import Array, Bool, Float, PRNGKey

POSITION_NOISE = 0.1
"""[m]"""
ANGLE_NOISE = jnp.pi / 24
"""[rad]"""
JOINT_NOISE = 0.2
"""[rad]"""
VELOCITY_NOISE = 0.25
"""[m/s, rad/s]"""
JOINT_VELOCITY_SCALE = 0.1
"""Of the joints' velocities in the observation."""


class RunningState(NamedTuple):
    """Physics, and what the observation tells of the past."""

    physics: ArticulatedState
    action: Float[Array, "B A"]
    """The last action; zero after a reset."""


def start(
    key: PRNGKey, batch: int, position: tuple[float, float, float], joints: tuple[float, ...]
) -> RunningState:
    """Near a pose of the torso [m] and the joints [rad], upright.

    Uniform: position +-0.1 m in each coordinate, a turn by up to +-7.5 degrees about a random axis, joints
    +-0.2 rad, velocities +-0.25. As in Rewarped the linear part of the torso's is that of its point at the
    world's origin [m/s]."""
    # one draw: a batch resets at every control step, and threefry costs more than all the rest
    hinges = len(joints)
    draw = jax.random.uniform(key, (batch, 13 + 2 * hinges), minval=-1.0, maxval=1.0)
    shift, axis, turn, bend, velocity = jnp.split(draw, (3, 6, 7, 7 + hinges), axis=-1)
    place = jnp.array(position) + POSITION_NOISE * shift
    axis = axis / jnp.linalg.norm(axis, axis=-1, keepdims=True)
    orientation = axis_angle(axis, ANGLE_NOISE * turn[:, 0])
    qd = VELOCITY_NOISE * velocity
    qd = qd.at[:, :3].add(jnp.cross(qd[:, 3:6], place))
    q = jnp.concatenate([place, orientation, jnp.array(joints) + JOINT_NOISE * bend], axis=-1)
    return RunningState(ArticulatedState(q, qd), jnp.zeros((batch, hinges)))


def observation(state: RunningState, target_x: float) -> Float[Array, "B O"]:
    """Height, orientation, velocities, joints, up, heading to (target_x, 0) [m], last action."""
    q, qd = state.physics
    return jnp.concatenate(
        [
            q[:, 2:7],
            qd[:, :6],
            q[:, 7:],
            JOINT_VELOCITY_SCALE * qd[:, 6:],
            up(q)[:, None],
            heading(q, target_x)[:, None],
            state.action,
        ],
        axis=-1,
    )


def up(q: Float[Array, "B nq"]) -> Float[Array, " B"]:
    """Vertical component of the torso's z axis."""
    return rotate(q[:, 3:7], jnp.array([0.0, 0.0, 1.0]))[:, 2]


def heading(q: Float[Array, "B nq"], target_x: float) -> Float[Array, " B"]:
    """Component of the torso's x axis towards (target_x, 0) [m]."""
    target = jnp.array([target_x, 0.0]) - q[:, :2]
    direction = target / jnp.linalg.norm(target, axis=-1, keepdims=True)
    return jnp.sum(rotate(q[:, 3:7], jnp.array([1.0, 0.0, 0.0]))[:, :2] * direction, axis=-1)


def fallen(state: RunningState, height: float) -> Bool[Array, " B"]:
    """Whether the torso is below a height [m]."""
    return state.physics.q[:, 2] < height
