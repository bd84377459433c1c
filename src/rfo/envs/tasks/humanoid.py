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
from rfo.physics.kinematics import link_poses
from rfo.physics.mjcf import ContactParameters, load
from rfo.physics.model import Model
from rfo.types import Array, Bool, Float, PRNGKey

SUBSTEPS = 48
CONTACT = ContactParameters(ke=6e4, kd=3e3, kf=1e3, mu=0.625)
"""Means of the humanoid's constants (2e4, 5e3, 1e3, 0.75) and the ground's (1e5, 1e3, 1e3, 0.5)."""
LIMIT_KE, LIMIT_KD = 1e3, 1e1
TARGET_X = 200.0
"""Where the humanoid shall run to [m]: the heading is measured against the direction to (TARGET_X, 0)."""

START_POSITION = (0.0, 0.0, 1.35)
"""Of the torso's centre [m]."""
START_JOINTS = (0.0,) * 21
"""[rad]"""
TERMINATION_HEIGHT = 0.74
"""Of the torso's centre [m]."""
HEIGHT_MARGIN = 0.1
"""Above the termination height, where the height is worth nothing; and the most that it is worth more [m]."""
HEIGHT_COST = 200.0
"""[1/m^2]"""
HEIGHT_WEIGHT = 10.0
"""[1/m]"""
UP_WEIGHT = 0.1
ACTION_COST = 0.002


class Humanoid:
    """Humanoid of Rewarped 1.3.3 (`rewarped/envs/dflex/humanoid.py`), z up.

    **Action** (21): the torque of each joint is minus its gear (35 to 210 N m, `assets/humanoid.xml`) times
    the action. The sign is Rewarped's.

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

    **Reward**: v_x + 0.1 up + heading + h - 0.002 |a|^2, of the state after the step, with
    d = clip(height - 0.84 m, -1, 0.1) and h = 10 d, or -200 d^2 where d is negative. The episode terminates
    when the height falls below 0.74 m; it is truncated after 1000 steps of 1/60 s, each of 48 substeps.

    **Reset**: torso at (0, 0, 1.35), joints at 0, with the noise of `rfo.envs.running.start`. (Its
    amplitudes are the ant's; the two recorded starts agree with them.)

    **Contact** with the ground: stiffness 6e4 N/m, damping 3e3 N s/m, friction slope 1e3 N s/m, friction
    coefficient 0.625; joint limits 1e3 N m/rad and 10 N m s/rad.

    **Hips**: Rewarped makes a rotation out of a left-handed frame there, and so exchanges the axes of the
    second and third joint of each hip: the strong motor (210 N m) turns the thigh about z, the weak one
    (70 N m) swings the leg. `humanoid` does the same, to stay comparable; `humanoid_corrected` has the
    hips of the model file.

    Args:
        name: of the task.
        model: `recorded` or `upright`.
        threads: CPU threads of the physics, by default as many as speed up the batch.
    """

    def __init__(self, name: str, model: Model, threads: int | None = None):
        self.spec = EnvSpec(name, observation=76, action_size=21, episode_length=1000, dt=1 / 60)
        self.simulator = Articulated(model, self.spec.dt, SUBSTEPS, threads=threads)

    def reset(self, key: PRNGKey, batch: int) -> RunningState:
        """Torso near its start, see the class."""
        return running.start(key, batch, START_POSITION, START_JOINTS)

    def observe(self, state: RunningState) -> Float[Array, "B 76"]:
        """See the class."""
        return running.observation(state, TARGET_X)

    def step(self, state: RunningState, action: Float[Array, "B 21"]) -> Step:
        """See the class."""
        action = jnp.clip(action, -1.0, 1.0)
        after = RunningState(self.simulator.step(state.physics, -action), action)
        return Step(after, self.observe(after), reward(after), terminated(after))

    def scene(self) -> dict[str, Any]:
        """See `rfo.envs.base.Renderable`."""
        return {"geoms": list(self.simulator.model.geoms)}

    def frame(self, state: RunningState) -> dict[str, Array]:
        """See `rfo.envs.base.Renderable`."""
        return {"poses": link_poses(self.simulator.model, state.physics.q)}


def reward(state: RunningState) -> Float[Array, " B"]:
    """Of arriving in a state, see `Humanoid`."""
    q, qd = state.physics
    lift = jnp.clip(q[:, 2] - TERMINATION_HEIGHT - HEIGHT_MARGIN, -1.0, HEIGHT_MARGIN)
    height = jnp.where(lift < 0, -HEIGHT_COST * lift**2, HEIGHT_WEIGHT * lift)
    progress = qd[:, 0] + UP_WEIGHT * running.up(q) + running.heading(q, TARGET_X)
    return progress + height - ACTION_COST * jnp.sum(state.action**2, axis=-1)


def terminated(state: RunningState) -> Bool[Array, " B"]:
    """Whether the torso has sunk."""
    return running.fallen(state, TERMINATION_HEIGHT)


@cache
def upright() -> Model:
    """The hips as in the model file."""
    text = files("rfo.envs").joinpath("assets/humanoid.xml").read_text()
    return load(text, CONTACT, limit_ke=LIMIT_KE, limit_kd=LIMIT_KD)


@cache
def recorded() -> Model:
    """The hips as Rewarped has them."""
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
