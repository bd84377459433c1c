"""Humanoid: a two-legged robot runs forward."""

from __future__ import annotations

from dataclasses import replace
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


class Humanoid:
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

    **Reset**: torso at (0, 0, 1.35), joints at 0, with the noise of `rfo.envs.running.start`. (The
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

    def __init__(self, name: str, model: Model, threads: int | None = None):
        self.spec = EnvSpec(
            name,
            observation=76,
            action_size=21,
            episode_length=1000,
            dt=1 / 60,
            entries=running.entries(21),
            control_range=((1.0, -1.0),) * 21,
        )
        self.simulator = Articulated(model, self.spec.dt, SUBSTEPS, threads=threads)

    def reset(self, key: PRNGKey, batch: int) -> RunningState:
        """Draw `batch` start states near the pose that the class gives."""
        return running.start(key, batch, START_POSITION, START_JOINTS)

    def observe(self, state: RunningState) -> Float[Array, "B 76"]:
        """Observation of a state; the class lists its entries."""
        return running.observation(state, TARGET_X)

    def step(
        self,
        state: RunningState,
        action: Float[Array, "B 21"],
        parameters: ArticulatedParameters | None = None,
    ) -> Step:
        """Advance by one control step; the action is clipped to [-1, 1]."""
        action = jnp.clip(action, -1.0, 1.0)
        after = RunningState(self.simulator.step(state.physics, -action, parameters), action)
        return Step(after, self.observe(after), reward(after), terminated(after))

    @property
    def pose(self) -> tuple[float, ...]:
        """The start pose, as `rfo.envs.base.Actuated` describes."""
        return running.pose(START_POSITION, START_JOINTS)

    def scene(self) -> dict[str, Any]:
        """Geoms to draw, as `rfo.envs.base.Renderable.scene` describes."""
        return {"geoms": list(self.simulator.model.geoms)}

    def frame(self, state: RunningState) -> dict[str, Array]:
        """Poses to draw, as `rfo.envs.base.Renderable.frame` describes."""
        return {"poses": link_poses(self.simulator.model, state.physics.q)}


def reward(state: RunningState) -> Float[Array, " B"]:
    """Reward for arriving in a state; `Humanoid` gives the formula."""
    q, qd = state.physics
    lift = jnp.clip(q[:, 2] - TERMINATION_HEIGHT - HEIGHT_MARGIN, -1.0, HEIGHT_MARGIN)
    height = jnp.where(lift < 0, -HEIGHT_COST * lift**2, HEIGHT_WEIGHT * lift)
    progress = qd[:, 0] + UP_WEIGHT * running.up(q) + running.heading(q, TARGET_X)
    return progress + height - ACTION_COST * jnp.sum(state.action**2, axis=-1)


def terminated(state: RunningState) -> Bool[Array, " B"]:
    """Whether the torso is too low."""
    return running.fallen(state, TERMINATION_HEIGHT)


@cache
def upright() -> Model:
    """The model with the hips of the model file."""
    text = files("rfo.envs").joinpath("assets/humanoid.xml").read_text()
    return load(text, CONTACT, limit_ke=LIMIT_KE, limit_kd=LIMIT_KD)


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
