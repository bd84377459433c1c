"""AntRun: a four-legged robot runs forward."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rfo.envs.base import EnvSpec, Step
from rfo.physics.articulated import Articulated, ArticulatedState
from rfo.physics.kinematics import axis_angle, link_poses, rotate
from rfo.physics.mjcf import ContactParameters, load
from rfo.physics.model import Model
from rfo.types import Array, Bool, Float, PRNGKey

SUBSTEPS = 16
CONTACT = ContactParameters(ke=5.2e4, kd=1e3, kf=650.0, mu=0.625)
"""Means of the ant's constants (4e3, 1e3, 3e2, 0.75) and the ground's (1e5, 1e3, 1e3, 0.5)."""
LIMIT_KE, LIMIT_KD = 1e3, 1e1
TARGET_X = 1e4
"""Where the ant shall run to [m]: the heading is measured against the direction to (TARGET_X, 0)."""
TERMINATION_HEIGHT = 0.27
"""Of the torso's centre [m]."""

START_POSITION = (0.0, 0.0, 0.75)
"""Of the torso's centre [m]."""
START_JOINTS = (0.0, 1.0, 0.0, -1.0, 0.0, -1.0, 0.0, 1.0)
"""Hips and ankles [rad]."""
POSITION_NOISE = 0.1
"""[m]"""
ANGLE_NOISE = jnp.pi / 24
"""[rad]"""
JOINT_NOISE = 0.2
"""[rad]"""
VELOCITY_NOISE = 0.25
"""[m/s, rad/s]"""

UP_WEIGHT = 0.1
JOINT_VELOCITY_SCALE = 0.1
"""Of the joints' velocities in the observation."""


class AntState(NamedTuple):
    """Physics, and what the observation tells of the past."""

    physics: ArticulatedState
    action: Float[Array, "B 8"]
    """The last action; zero after a reset."""


class Ant:
    """AntRun of Rewarped 1.3.3 (`rewarped/envs/dflex/ant.py`), z up.

    **Action** (8): the torque of hip and ankle of the four legs is -200 times the action [N m]. The sign
    is Rewarped's, kept so that observations, which hold the actions as given, agree with its.

    **Observation** (37):

    ====== ==============================================================================
    0      height of the torso's centre [m]
    1-4    orientation of the torso, quaternion (w, x, y, z), (1, 0, 0, 0) when upright
    5-7    velocity of the torso's centre in the world [m/s]
    8-10   angular velocity of the torso in the world [rad/s]
    11-18  joint angles, hip and ankle of each leg [rad]
    19-26  joint velocities [0.1 rad/s]
    27     up: vertical component of the torso's z axis
    28     heading: component of the torso's x axis towards the target, 10 km away along x
    29-36  the last action
    ====== ==============================================================================

    Rewarped has y up: its vectors (x, y, z) are (x, -z, y) here, and its torso's quaternion, in the order
    (x, y, z, w), is turned by 90 degrees about x to give ours.

    **Reward**: v_x + 0.1 up + heading + (height - 0.27), of the state after the step. The episode
    terminates when the height falls below 0.27 m; it is truncated after 1000 steps of 1/60 s, each of
    16 substeps.

    **Reset**: torso at (0, 0, 0.75) +- 0.1 m in each coordinate, turned by up to +-7.5 degrees about a
    random axis; joints at (0, 1, 0, -1, 0, -1, 0, 1) +- 0.2 rad; velocities +-0.25, all uniform. As in
    Rewarped the linear part of the torso's is that of its point at the world's origin [m/s].

    **Contact** with the ground: stiffness 5.2e4 N/m, damping 1e3 N s/m, friction slope 650 N s/m, friction
    coefficient 0.625; joint limits 1e3 N m/rad and 10 N m s/rad.

    Args:
        threads: CPU threads of the physics, by default as many as speed up the batch.
    """

    spec = EnvSpec("ant", observation=37, action_size=8, episode_length=1000, dt=1 / 60)

    def __init__(self, threads: int | None = None):
        self.simulator = Articulated(_model(), self.spec.dt, SUBSTEPS, threads=threads)

    def reset(self, key: PRNGKey, batch: int) -> AntState:
        """Torso near its start, see the class."""
        # one draw: a batch resets at every control step, and threefry costs more than all the rest
        draw = jax.random.uniform(key, (batch, 29), minval=-1.0, maxval=1.0)
        shift, axis, turn, bend, velocity = jnp.split(draw, (3, 6, 7, 15), axis=-1)
        position = jnp.array(START_POSITION) + POSITION_NOISE * shift
        axis = axis / jnp.linalg.norm(axis, axis=-1, keepdims=True)
        orientation = axis_angle(axis, ANGLE_NOISE * turn[:, 0])
        joints = jnp.array(START_JOINTS) + JOINT_NOISE * bend
        qd = VELOCITY_NOISE * velocity
        qd = qd.at[:, :3].add(jnp.cross(qd[:, 3:6], position))
        physics = ArticulatedState(jnp.concatenate([position, orientation, joints], axis=-1), qd)
        return AntState(physics, jnp.zeros((batch, 8)))

    def observe(self, state: AntState) -> Float[Array, "B 37"]:
        """See the class."""
        q, qd = state.physics
        return jnp.concatenate(
            [
                q[:, 2:7],
                qd[:, :6],
                q[:, 7:],
                JOINT_VELOCITY_SCALE * qd[:, 6:],
                _up(q)[:, None],
                _heading(q)[:, None],
                state.action,
            ],
            axis=-1,
        )

    def step(self, state: AntState, action: Float[Array, "B 8"]) -> Step:
        """See the class."""
        action = jnp.clip(action, -1.0, 1.0)
        after = AntState(self.simulator.step(state.physics, -action), action)
        return Step(after, self.observe(after), reward(after), terminated(after))

    def scene(self) -> dict[str, Any]:
        """See `rfo.envs.base.Renderable`."""
        return {"geoms": list(self.simulator.model.geoms)}

    def frame(self, state: AntState) -> dict[str, Array]:
        """See `rfo.envs.base.Renderable`."""
        return {"poses": link_poses(self.simulator.model, state.physics.q)}


def reward(state: AntState) -> Float[Array, " B"]:
    """Of arriving in a state, see `Ant`."""
    q, qd = state.physics
    return qd[:, 0] + UP_WEIGHT * _up(q) + _heading(q) + (q[:, 2] - TERMINATION_HEIGHT)


def terminated(state: AntState) -> Bool[Array, " B"]:
    """Whether the torso lies on the ground."""
    return state.physics.q[:, 2] < TERMINATION_HEIGHT


def _up(q: Float[Array, "B 15"]) -> Float[Array, " B"]:
    return rotate(q[:, 3:7], jnp.array([0.0, 0.0, 1.0]))[:, 2]


def _heading(q: Float[Array, "B 15"]) -> Float[Array, " B"]:
    target = jnp.array([TARGET_X, 0.0]) - q[:, :2]
    direction = target / jnp.linalg.norm(target, axis=-1, keepdims=True)
    return jnp.sum(rotate(q[:, 3:7], jnp.array([1.0, 0.0, 0.0]))[:, :2] * direction, axis=-1)


@cache
def _model() -> Model:
    text = files("rfo.envs").joinpath("assets/ant.xml").read_text()
    return load(text, CONTACT, limit_ke=LIMIT_KE, limit_kd=LIMIT_KD)
