"""RollingFlat: a rolling pin flattens a block of plasticine.

This is Rewarped's RollingFlat (its ``rolling_pin``), built from its constants. Rewarped has y up;
our (x, y, z) is its (z, x, y). The pin lies along x and rolls along y.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from rfo.envs.base import EnvSpec
from rfo.envs.particles import (
    ParticleTask,
    Size,
    cloud,
    disturbance,
    drawn,
    floor,
    lump,
    placed,
    radius,
    yielding,
)
from rfo.physics.materials import Plasticine
from rfo.physics.mpm import MPM, Contact, Grid, MPMState, Tool
from rfo.types import Array, Float, PRNGKey

DT = 0.002
"""Control step [s]."""
EPISODE_LENGTH = 300
"""Control steps."""
GRAVITY = 90.0
"""[m/s^2]"""
BLOCK = (0.3, 0.3, 0.125)
"""Edge lengths of the block [m]."""
THICK = BLOCK[2]
DROP = 0.7 * THICK - THICK / 2
"""Height of the block's underside above the ground at the start [m]."""
CLAY = Plasticine(young=5e3, poisson=0.2, density=1.0, yield_stress=50.0)
PIN, HANDLE = (0.03, 0.2), (0.012, 0.3)
"""Radius and half length of the two capsules [m]."""
STOUT_PIN = (0.05, 0.2)
"""A thicker pin, which a coarse grid can resolve [m]."""
REACH = np.array([0.01, 0.01, np.pi / 60])
"""Displacement along y and z [m] and rotation about z [rad] at full action in one control step."""
LIFT = 0.165
"""Height of the pin at the start above its lowest position [m]."""
SHIFT, RISE = 0.1, 0.05
"""Largest shift of the block along x and y, and upwards, at a reset [m]."""
STRETCH = 0.1
"""Largest relative change of the block's size at a reset. The block starts without strain."""
FLAT = 0.33
"""Mean height, as a fraction of the block's thickness, below which the reward doubles."""


class RollingState(NamedTuple):
    """State between two control steps."""

    particles: MPMState
    joints: Float[Array, "B 3"]
    """Position of the pin: y and z [m], and angle about z [rad]."""


@dataclass(frozen=True)
class RollingVersion:
    """Differences between the faithful and the corrected task.

    Rewarped measures heights from a level below its ground, so that the doubled reward is out of
    reach. It turns the pin about a vertical axis that is half a metre away from the pin. It scales
    the block about the world's origin, which also moves the block. `CORRECTED` measures heights
    from the ground, turns the pin and scales the block about their own middles, and its contact
    force does not jump.
    """

    from_ground: bool
    """Whether the reward measures heights from the ground."""
    about_middle: bool
    """Whether the pin turns, and the block is scaled, about its own middle."""
    contact_fades: bool
    """Whether the contact force fades to zero; see `rfo.physics.mpm.Contact.fading`."""


FAITHFUL = RollingVersion(from_ground=False, about_middle=False, contact_fades=False)
CORRECTED = RollingVersion(from_ground=True, about_middle=True, contact_fades=True)

FULL = Size((18, 18, 8), Grid((48, 48, 48), 1 / 48), substeps=40, points=250)
SMALL = Size((10, 10, 4), Grid((32, 32, 24), 1 / 32), substeps=12, points=100)


class RollingFlat(ParticleTask):
    """The policy moves and turns a pin, which rolls a block of plasticine flat.

    **Action** (3): displacement of the pin along y and z, 0.01 m times the action, and rotation
    about z, pi/60 rad times the action, within limits.

    **Observation**: ``particle_q`` (P, 3), positions of every k-th of the N particles [m];
    ``com_q`` (3,), their mean [m]; ``joint_q`` (3,), y and z of the pin [m] and its angle about z
    [rad].

    **Reward**: ``1 / (1 + r)^2``, doubled if r <= 0.33, minus the variance of h [m^2]. Here h are
    the heights of the observed particles, and r is their mean divided by the block's thickness. The
    episode never terminates; it is truncated after 300 steps of 0.002 s.

    Args:
        name: name of the task.
        size: `FULL` or `SMALL`.
        version: `FAITHFUL` or `CORRECTED`.
        pin: radius and half length of the pin [m].
        threads: CPU threads of the physics; by default as many as speed up the batch.
        dtype: precision of the physics, float32 or float64.
    """

    def __init__(
        self,
        name: str,
        size: Size,
        version: RollingVersion,
        pin: tuple[float, float] = PIN,
        threads: int | None = None,
        dtype: Any = np.float32,
    ):
        self.size = size
        self.version = version
        self._middle = size.grid.dx * size.grid.cells[0] / 2
        arm = 0.0 if version.about_middle else self._middle
        along_x = (0.5**0.5, 0.0, 0.5**0.5, 0.0)
        self.simulator = MPM(
            CLAY,
            size.count,
            float(np.prod(BLOCK)) / size.count,
            size.grid,
            DT,
            size.substeps,
            tools=[
                Tool("capsule", capsule, 0, (arm, 0.0, 0.0), along_x) for capsule in (pin, HANDLE)
            ],
            contact=Contact(
                friction=0.9, softness=666.0, fading=version.contact_fades, ground_friction=500.0
            ),
            gravity=GRAVITY,
            threads=threads,
            dtype=dtype,
        )
        low = size.ground + 2 * pin[0]
        self.reach = REACH
        self.limits = np.array([[0.12, low, -0.66 * np.pi], [0.88, low + 0.25, 0.66 * np.pi]])
        self._start = np.array([self._middle, low + LIFT, 0.0])
        self._block = lump(BLOCK, size.count) + np.array(
            [self._middle, self._middle, size.ground + DROP + THICK / 2]
        )
        self.spec = EnvSpec(
            name=name,
            observation={"particle_q": (size.points, 3), "com_q": (3,), "joint_q": (3,)},
            action_size=3,
            episode_length=EPISODE_LENGTH,
            dt=DT,
        )

    def reset(self, key: PRNGKey, batch: int) -> RollingState:
        """Shift, raise and scale the block at random; the pin always starts the same.

        The shift is up to 0.1 m and the rise up to 0.05 m, both in whole millimetres; the scale is
        within 10 % of 1.
        """
        shift, scale = disturbance(key, batch, SHIFT, RISE, STRETCH)
        x = placed(self._block, jnp.round(shift, 3), scale, self.version.about_middle)
        joints = jnp.tile(jnp.asarray(self._start, self.simulator.dtype), (batch, 1))
        return RollingState(self.simulator.init(x), joints)

    def poses(self, joints: Float[Array, "*n 3"]) -> Float[Array, "*n 1 7"]:
        """Pose of the body that carries the pin."""
        y, z, angle = joints[..., 0], joints[..., 1], joints[..., 2]
        zero = jnp.zeros_like(y)
        x = zero + self._middle if self.version.about_middle else zero
        pose = [x, y, z, jnp.cos(angle / 2), zero, zero, jnp.sin(angle / 2)]
        return jnp.stack(pose, axis=-1)[..., None, :]

    def reward(self, state: RollingState) -> Float[Array, " B"]:
        """Reward for arriving in a state; the class gives the formula."""
        height = cloud(state.particles.x, self.size.points)[..., 2]
        base = self.size.ground if self.version.from_ground else 0.0
        thickness = (height.mean(1) - base) / THICK
        bonus = jnp.where(thickness <= FLAT, 2.0, 1.0)
        return bonus / (1 + thickness) ** 2 - height.var(1, ddof=1)

    def scene(self) -> dict[str, Any]:
        """Geoms and particles to draw, as `rfo.envs.base.Renderable.scene` describes."""
        tools = [
            {
                "type": tool.shape,
                "size": list(tool.size),
                "body": 0,
                "pos": list(tool.pos),
                "quat": list(tool.quat),
                "rgba": [0.72, 0.5, 0.3, 1],
            }
            for tool in self.simulator.tools
        ]
        return {"geoms": [floor(self.size), *tools], "points": {"radius": radius(self.simulator)}}

    def tint(self, particles: MPMState) -> Float[Array, "B n"]:
        """The deviatoric stress, from 0 to 1 at the yield stress."""
        return yielding(CLAY, drawn(particles.F))


def rolling_flat(threads: int | None = None, dtype: Any = np.float32) -> RollingFlat:
    """The task as Rewarped defines it."""
    return RollingFlat("rolling_flat", FULL, FAITHFUL, threads=threads, dtype=dtype)


def rolling_flat_corrected(threads: int | None = None, dtype: Any = np.float32) -> RollingFlat:
    """The same task with the corrections that `RollingVersion` lists."""
    return RollingFlat("rolling_flat_corrected", FULL, CORRECTED, threads=threads, dtype=dtype)


def rolling_flat_small(threads: int | None = None, dtype: Any = np.float32) -> RollingFlat:
    """A corrected task of 400 particles and a thicker pin, which is learned in minutes."""
    return RollingFlat("rolling_flat_small", SMALL, CORRECTED, STOUT_PIN, threads, dtype)
