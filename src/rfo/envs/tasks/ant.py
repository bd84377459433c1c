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
from rfo.physics.articulated_parameters import ArticulatedParameters
from rfo.physics.kinematics import link_poses
from rfo.physics.mjcf import ContactParameters, load
from rfo.physics.model import Model
from rfo.types import Array, Bool, Float, PRNGKey

SUBSTEPS = 16
CONTACT = ContactParameters(ke=5.2e4, kd=1e3, kf=650.0, mu=0.625)
"""Means of Rewarped's constants for the ant (4e3, 1e3, 3e2, 0.75) and the ground (1e5, 1e3, 1e3,
0.5)."""
LIMIT_KE, LIMIT_KD = 1e3, 1e1
TARGET_X = 1e4
"""The target lies at (TARGET_X, 0) [m]; the heading is measured against the direction to it."""
TERMINATION_HEIGHT = 0.27
"""Height of the torso's centre below which the episode ends [m]."""

START_POSITION = (0.0, 0.0, 0.75)
"""Position of the torso's centre at the start [m]."""
START_JOINTS = (0.0, 1.0, 0.0, -1.0, 0.0, -1.0, 0.0, 1.0)
"""Angles of hip and ankle of each leg at the start [rad]."""
UP_WEIGHT = 0.1

AntState = RunningState


class Ant:
    """AntRun of Rewarped 1.3.3 (`rewarped/envs/dflex/ant.py`), with z up.

    **Action** (8): torques of hip and ankle of the four legs, -200 N m times the action. The minus
    sign is Rewarped's. We keep it so that our observations, which contain the action, match
    Rewarped's.

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

    Rewarped has y up. Its vectors (x, y, z) become (x, -z, y) here. Its torso quaternion, stored as
    (x, y, z, w), becomes ours after a rotation by 90 degrees about x.

    **Reward**: v_x + 0.1 up + heading + (height - 0.27), evaluated after the step. The episode
    terminates when the height falls below 0.27 m; it is truncated after 1000 steps of 1/60 s. A
    step has 16 substeps.

    **Reset**: torso at (0, 0, 0.75) +- 0.1 m in each coordinate, rotated by up to +-7.5 degrees
    about a random axis; joints at (0, 1, 0, -1, 0, -1, 0, 1) +- 0.2 rad; velocities +-0.25, all
    uniform. As in Rewarped, the torso's linear velocity is drawn for the point of the torso that
    lies at the world's origin [m/s].

    **Contact** with the ground: stiffness 5.2e4 N/m, damping 1e3 N s/m, friction slope 650 N s/m,
    friction coefficient 0.625. Joint limits: 1e3 N m/rad and 10 N m s/rad.

    Args:
        threads: CPU threads of the physics; by default as many as speed up the batch.
    """

    spec = EnvSpec(
        "ant",
        observation=37,
        action_size=8,
        episode_length=1000,
        dt=1 / 60,
        entries=running.entries(8),
        control_range=((1.0, -1.0),) * 8,
    )

    def __init__(self, threads: int | None = None):
        self.simulator = Articulated(_model(), self.spec.dt, SUBSTEPS, threads=threads)

    def reset(self, key: PRNGKey, batch: int) -> AntState:
        """Draw `batch` start states near the pose that the class gives."""
        return running.start(key, batch, START_POSITION, START_JOINTS)

    def observe(self, state: AntState) -> Float[Array, "B 37"]:
        """Observation of a state; the class lists its entries."""
        return running.observation(state, TARGET_X)

    def step(
        self,
        state: AntState,
        action: Float[Array, "B 8"],
        parameters: ArticulatedParameters | None = None,
    ) -> Step:
        """Advance by one control step; the action is clipped to [-1, 1]."""
        action = jnp.clip(action, -1.0, 1.0)
        after = AntState(self.simulator.step(state.physics, -action, parameters), action)
        return Step(after, self.observe(after), reward(after), terminated(after))

    @property
    def pose(self) -> tuple[float, ...]:
        """The start pose, as `rfo.envs.base.Actuated` describes."""
        return running.pose(START_POSITION, START_JOINTS)

    def scene(self) -> dict[str, Any]:
        """Geoms to draw, as `rfo.envs.base.Renderable.scene` describes."""
        return {"geoms": list(self.simulator.model.geoms)}

    def frame(self, state: AntState) -> dict[str, Array]:
        """Poses to draw, as `rfo.envs.base.Renderable.frame` describes."""
        return {"poses": link_poses(self.simulator.model, state.physics.q)}


def reward(state: AntState) -> Float[Array, " B"]:
    """Reward for arriving in a state; `Ant` gives the formula."""
    q, qd = state.physics
    return (
        qd[:, 0]
        + UP_WEIGHT * running.up(q)
        + running.heading(q, TARGET_X)
        + (q[:, 2] - TERMINATION_HEIGHT)
    )


def terminated(state: AntState) -> Bool[Array, " B"]:
    """Whether the torso is too low."""
    return running.fallen(state, TERMINATION_HEIGHT)


@cache
def _model() -> Model:
    text = files("rfo.envs").joinpath("assets/ant.xml").read_text()
    return load(text, CONTACT, limit_ke=LIMIT_KE, limit_kd=LIMIT_KD)
