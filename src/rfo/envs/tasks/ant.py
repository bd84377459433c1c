"""AntRun: a four-legged robot runs forward."""

from __future__ import annotations

from rfo.envs.rigid import asset
from rfo.envs.running import Runner, RunningState, up
from rfo.physics.mjcf import ContactParameters
from rfo.types import Array, Float

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


class Ant(Runner):
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

    start, joints = START_POSITION, START_JOINTS
    target, lowest = TARGET_X, TERMINATION_HEIGHT

    def __init__(self, threads: int | None = None):
        model = asset("ant", CONTACT, LIMIT_KE, LIMIT_KD)
        super().__init__("ant", model, SUBSTEPS, threads)

    def reward(self, state: RunningState) -> Float[Array, " B"]:
        """Reward for arriving in a state; the class gives the formula."""
        q, qd = state.physics
        return qd[:, 0] + UP_WEIGHT * up(q) + self.heading(q) + (q[:, 2] - TERMINATION_HEIGHT)
