"""Humanoid: a two-legged robot runs forward."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import jax.numpy as jnp

from rfo.envs.rigid import asset
from rfo.envs.running import Runner, RunningState, up
from rfo.physics.mjcf import ContactParameters
from rfo.physics.model import Model
from rfo.types import Array, Float

SUBSTEPS = 48
CONTACT = ContactParameters(ke=6e4, kd=3e3, kf=1e3, mu=0.625)
"""Means of Rewarped's constants for the humanoid (2e4, 5e3, 1e3, 0.75) and the ground (1e5, 1e3,
1e3, 0.5)."""
LIMIT_KE, LIMIT_KD = 1e3, 1e1
TARGET_X = 200.0
"""The target lies at (TARGET_X, 0) [m]; the heading is measured against the direction to it."""

START_POSITION = (0.0, 0.0, 1.35)
"""Position of the torso's centre at the start [m]."""
START_JOINTS = (0.0,) * 21
"""Joint angles at the start [rad]."""
TERMINATION_HEIGHT = 0.74
"""Height of the torso's centre below which the episode ends [m]."""
HEIGHT_MARGIN = 0.1
"""The height's reward is 0 this far above the termination height, and stops growing as far again
above that [m]."""
HEIGHT_COST = 200.0
"""Weight of the penalty for a low torso [1/m^2]."""
HEIGHT_WEIGHT = 10.0
"""Weight of the reward for a high torso [1/m]."""
UP_WEIGHT = 0.1
ACTION_COST = 0.002


class Humanoid(Runner):
    """Humanoid of Rewarped 1.3.3 (`rewarped/envs/dflex/humanoid.py`), with z up.

    **Action** (21): the torque of each joint is minus its gear (35 to 210 N m, see
    `assets/humanoid.xml`) times the action. The minus sign is Rewarped's.

    **Observation** (76):

    ====== ==============================================================================
    0      height of the torso's centre [m]
    1-4    orientation of the torso, quaternion (w, x, y, z), (1, 0, 0, 0) when upright
    5-7    velocity of the torso's centre in the world [m/s]
    8-10   angular velocity of the torso in the world [rad/s]
    11-31  joint angles, in the model file's order [rad]
    32-52  joint velocities [0.1 rad/s]
    53     up: vertical component of the torso's z axis
    54     heading: component of the torso's x axis towards the target, 200 m away along x
    55-75  the last action
    ====== ==============================================================================

    **Reward**: v_x + 0.1 up + heading + h - 0.002 |a|^2, evaluated after the step. With
    d = clip(height - 0.84 m, -1, 0.1), h is 10 d, or -200 d^2 where d is negative. The episode
    terminates when the height falls below 0.74 m; it is truncated after 1000 steps of 1/60 s. A
    step has 48 substeps.

    **Reset**: torso at (0, 0, 1.35), joints at 0, with the noise of `rfo.envs.running.Runner`. (The
    noise has the ant's amplitudes; the two recorded starts agree with them.)

    **Contact** with the ground: stiffness 6e4 N/m, damping 3e3 N s/m, friction slope 1e3 N s/m,
    friction coefficient 0.625. Joint limits: 1e3 N m/rad and 10 N m s/rad.

    **Hips**: Rewarped builds a rotation from a left-handed frame at each hip. This swaps the axes
    of the hip's second and third joint: the strong motor (210 N m) turns the thigh about z, and the
    weak one (70 N m) swings the leg. `humanoid` does the same, to stay comparable.
    `humanoid_corrected` has the hips of the model file.

    Args:
        name: name of the task.
        model: what `recorded` or `upright` returns.
        threads: CPU threads of the physics; by default as many as speed up the batch.
    """

    start, joints = START_POSITION, START_JOINTS
    target, lowest = TARGET_X, TERMINATION_HEIGHT

    def __init__(self, name: str, model: Model, threads: int | None = None):
        super().__init__(name, model, SUBSTEPS, threads)

    def reward(self, state: RunningState) -> Float[Array, " B"]:
        """Reward for arriving in a state; the class gives the formula."""
        q, qd = state.physics
        lift = jnp.clip(q[:, 2] - TERMINATION_HEIGHT - HEIGHT_MARGIN, -1.0, HEIGHT_MARGIN)
        height = jnp.where(lift < 0, -HEIGHT_COST * lift**2, HEIGHT_WEIGHT * lift)
        progress = qd[:, 0] + UP_WEIGHT * up(q) + self.heading(q)
        return progress + height - ACTION_COST * jnp.sum(state.action**2, axis=-1)


def upright() -> Model:
    """The model with the hips of the model file."""
    return asset("humanoid", CONTACT, LIMIT_KE, LIMIT_KD)


@cache
def recorded() -> Model:
    """The model with Rewarped's hips."""
    model = upright()
    axis = model.axis.copy()
    for side in ("right", "left"):
        second, third = (
            model.link_names.index(name) for name in (f"{side}_thigh:{side}_hip_z", f"{side}_thigh")
        )
        axis[[second, third]] = axis[[third, second]]
    return replace(model, axis=axis)


def humanoid(threads: int | None = None) -> Humanoid:
    """The task with Rewarped's hips."""
    return Humanoid("humanoid", recorded(), threads)


def humanoid_corrected(threads: int | None = None) -> Humanoid:
    """The task with the hips of the model file."""
    return Humanoid("humanoid_corrected", upright(), threads)
