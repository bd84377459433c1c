"""AntRun: a four-legged robot runs forward."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

import jax.numpy as jnp

from rfo.envs import running
from rfo.envs.base import EnvSpec, Step
from rfo.envs.running import RunningState
from rfo.physics.articulated import Articulated
from rfo.physics.kinematics import link_poses
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
UP_WEIGHT = 0.1

AntState = RunningState


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
        return running.start(key, batch, START_POSITION, START_JOINTS)

    def observe(self, state: AntState) -> Float[Array, "B 37"]:
        """See the class."""
        return running.observation(state, TARGET_X)

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
    return (
        qd[:, 0]
        + UP_WEIGHT * running.up(q)
        + running.heading(q, TARGET_X)
        + (q[:, 2] - TERMINATION_HEIGHT)
    )


def terminated(state: AntState) -> Bool[Array, " B"]:
    """Whether the torso lies on the ground."""
    return running.fallen(state, TERMINATION_HEIGHT)


@cache
def _model() -> Model:
    text = files("rfo.envs").joinpath("assets/ant.xml").read_text()
    return load(text, CONTACT, limit_ke=LIMIT_KE, limit_kd=LIMIT_KD)
