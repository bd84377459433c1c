"""Start, observation and posture shared by the tasks in which a robot with a free torso runs.

The torso is the first link and has a FREE joint; all other joints are hinges. z is up.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from rfo.envs.base import Entry
from rfo.physics.articulated import ArticulatedState
from rfo.physics.kinematics import axis_angle, rotate
from rfo.types import Array, Bool, Float, PRNGKey

POSITION_NOISE = 0.1
"""Largest deviation of the torso's start position in each coordinate [m]."""
ANGLE_NOISE = jnp.pi / 24
"""Largest rotation of the torso at the start [rad]."""
JOINT_NOISE = 0.2
"""Largest deviation of the joints at the start [rad]."""
VELOCITY_NOISE = 0.25
"""Largest velocity at the start [m/s, rad/s]."""
JOINT_VELOCITY_SCALE = 0.1
"""Factor on the joint velocities in the observation."""


class RunningState(NamedTuple):
    """State between two control steps: physics and last action."""

    physics: ArticulatedState
    action: Float[Array, "B A"]
    """The last action; zero after a reset."""


def start(
    key: PRNGKey, batch: int, position: tuple[float, float, float], joints: tuple[float, ...]
) -> RunningState:
    """Random start states near an upright pose.

    All noise is uniform: position +-0.1 m in each coordinate, a rotation by up to +-7.5 degrees
    about a random axis, joints +-0.2 rad, velocities +-0.25. As in Rewarped, the torso's linear
    velocity is drawn for the point of the torso that lies at the world's origin [m/s].

    Args:
        key: random key, used once.
        batch: number of environments B.
        position: mean position of the torso [m].
        joints: mean joint angles [rad].
    """
    # A single draw: a batch resets at every control step, and threefry costs more than the rest.
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


def pose(position: tuple[float, float, float], joints: tuple[float, ...]) -> tuple[float, ...]:
    """Coordinates of an upright robot: position [m], orientation, joint angles [rad]."""
    return (*position, 1.0, 0.0, 0.0, 0.0, *joints)


def entries(joints: int) -> tuple[Entry, ...]:
    """What `observation` is made of, for a robot with so many joints."""
    return (
        Entry("height", 1),
        Entry("orientation", 4),
        Entry("velocity", 3),
        Entry("angular_velocity", 3),
        Entry("joint_angles", joints),
        Entry("joint_velocities", joints, JOINT_VELOCITY_SCALE),
        Entry("up", 1),
        Entry("heading", 1),
        Entry("last_action", joints),
    )


def observation(state: RunningState, target_x: float) -> Float[Array, "B O"]:
    """Vector observation: height, orientation, velocities, joints, up, heading and last action.

    Args:
        state: state to observe.
        target_x: the heading is measured against the direction to (target_x, 0) [m].
    """
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
    """Component of the torso's x axis in the direction of the target (target_x, 0) [m]."""
    target = jnp.array([target_x, 0.0]) - q[:, :2]
    direction = target / jnp.linalg.norm(target, axis=-1, keepdims=True)
    return jnp.sum(rotate(q[:, 3:7], jnp.array([1.0, 0.0, 0.0]))[:, :2] * direction, axis=-1)


def fallen(state: RunningState, height: float) -> Bool[Array, " B"]:
    """Whether the torso's centre is below a height [m]."""
    return state.physics.q[:, 2] < height
