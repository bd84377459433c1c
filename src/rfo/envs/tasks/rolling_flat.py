"""A pin rolls a block of plasticine flat: Rewarped's RollingFlat (its ``rolling_pin``), from its constants.

Rewarped has y up; our (x, y, z) is its (z, x, y). The pin lies along x and rolls along y.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from rfo.envs.base import EnvSpec, Step
from rfo.envs.particles import (
    Size,
    cloud,
    disturbance,
    drawn,
    floor,
    lump,
    path,
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
GRAVITY = 90.0
BLOCK = (0.3, 0.3, 0.125)
THICK = BLOCK[2]
DROP = 0.7 * THICK - THICK / 2
"""Height of the block's underside above the ground at rest [m]."""
CLAY = Plasticine(young=5e3, poisson=0.2, density=1.0, yield_stress=50.0)
PIN, HANDLE = (0.03, 0.2), (0.012, 0.3)
"""Radius and half length of two capsules [m]."""
STOUT_PIN = (0.05, 0.2)
"""One that a coarse grid can resolve."""
REACH = np.array([0.01, 0.01, np.pi / 60])
"""Moves along y and z [m] and turn about z [rad] in a control step at full action."""
LIFT = 0.165
"""Of the pin at the start above its lowest place [m]."""
SHIFT, RISE = 0.1, 0.05
"""Largest shift of the block along x and y, and rise, at a reset [m]."""
STRETCH = 0.1
"""Largest change of scale of its places at a reset; it starts unstrained."""
FLAT = 0.33
"""Mean height, by the block's thickness, below which the reward doubles."""


class RollingState(NamedTuple):
    """State between two control steps."""

    particles: MPMState
    joints: Float[Array, "B 3"]
    """Of the pin: y, z [m] and angle about z [rad]."""


@dataclass(frozen=True)
class Version:
    """What two tasks on one block may differ in.

    The reference measures heights from below its ground, so that its doubled reward is out of reach; it turns
    the pin about a vertical axis half a metre beside it; and it scales the start about the world's origin,
    which also moves the block. `CORRECTED` measures from the ground, turns the pin about its own middle,
    scales about the block's, and has no jump in its contact (`rfo.physics.mpm.Contact.fading`).
    """

    from_ground: bool
    about_middle: bool
    contact_fades: bool


FAITHFUL = Version(from_ground=False, about_middle=False, contact_fades=False)
CORRECTED = Version(from_ground=True, about_middle=True, contact_fades=True)

FULL = Size((18, 18, 8), Grid((48, 48, 48), 1 / 48), substeps=40, points=250)
SMALL = Size((10, 10, 4), Grid((32, 32, 24), 1 / 32), substeps=12, points=100)


class RollingFlat:
    """A pin, moved and turned by the policy, rolls a block flat.

    Observation: ``particle_q`` (P, 3), every k-th of N particles; ``com_q`` (3,), their mean; ``joint_q``
    (3,), the pin's y, z and angle about z. Action: changes of these, times 0.01 m, 0.01 m and pi/60, within
    limits. With h the heights of the observed particles, r their mean by the block's thickness, the reward
    is ``1/(1 + r)^2``, doubled if r <= 0.33, less the variance of h [m^2]. Never terminates.

    Args:
        name: of the task.
        size: `FULL` or `SMALL`.
        version: `FAITHFUL` or `CORRECTED`.
        pin: radius and half length [m].
        threads: CPU threads of the physics.
        dtype: of the physics.
    """

    def __init__(
        self,
        name: str,
        size: Size,
        version: Version,
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
        self._limits = np.array([[0.12, low, -0.66 * np.pi], [0.88, low + 0.25, 0.66 * np.pi]])
        self._start = np.array([self._middle, low + LIFT, 0.0])
        self._block = lump(BLOCK, size.count) + np.array(
            [self._middle, self._middle, size.ground + DROP + THICK / 2]
        )
        self._spec = EnvSpec(
            name=name,
            observation={"particle_q": (size.points, 3), "com_q": (3,), "joint_q": (3,)},
            action_size=3,
            episode_length=EPISODE_LENGTH,
            dt=DT,
        )

    @property
    def spec(self) -> EnvSpec:
        """Sizes and facts of the task."""
        return self._spec

    def reset(self, key: PRNGKey, batch: int) -> RollingState:
        """Shifted by up to 0.1 m, raised by up to 0.05 m, in whole millimetres, and scaled by up to 10 %."""
        shift, scale = disturbance(key, batch, SHIFT, RISE, STRETCH)
        x = placed(self._block, jnp.round(shift, 3), scale, self.version.about_middle)
        joints = jnp.tile(jnp.asarray(self._start, self.simulator.dtype), (batch, 1))
        return RollingState(self.simulator.init(x), joints)

    def observe(self, state: RollingState) -> dict[str, Array]:
        """See the class."""
        points = cloud(state.particles.x, self.size.points)
        return {"particle_q": points, "com_q": points.mean(1), "joint_q": state.joints}

    def step(self, state: RollingState, action: Float[Array, "B A"]) -> Step:
        """One control step of S substeps."""
        action = jnp.clip(action, -1.0, 1.0)
        moved = jnp.clip(state.joints + REACH.astype(state.joints.dtype) * action, *self._limits)
        poses = self.poses(path(state.joints, moved, self.size.substeps))[:, :, None]
        after = RollingState(self.simulator.step(state.particles, poses), moved)
        return Step(
            state=after,
            observation=self.observe(after),
            reward=self.reward(after),
            terminated=jnp.zeros(len(action), bool),
        )

    def poses(self, joints: Float[Array, "*n 3"]) -> Float[Array, "*n 7"]:
        """Of the body that carries the pin: (x, y, z, qw, qx, qy, qz)."""
        y, z, angle = joints[..., 0], joints[..., 1], joints[..., 2]
        zero = jnp.zeros_like(y)
        x = zero + self._middle if self.version.about_middle else zero
        return jnp.stack([x, y, z, jnp.cos(angle / 2), zero, zero, jnp.sin(angle / 2)], axis=-1)

    def reward(self, state: RollingState) -> Float[Array, " B"]:
        """Of arriving in a state, see the class."""
        height = cloud(state.particles.x, self.size.points)[..., 2]
        base = self.size.ground if self.version.from_ground else 0.0
        thickness = (height.mean(1) - base) / THICK
        bonus = jnp.where(thickness <= FLAT, 2.0, 1.0)
        return bonus / (1 + thickness) ** 2 - height.var(1, ddof=1)

    def scene(self) -> dict[str, Any]:
        """See `rfo.envs.base.Renderable`."""
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

    def frame(self, state: RollingState) -> dict[str, Array]:
        """See `rfo.envs.base.Renderable`; tinted by the deviatoric stress, from none to yield."""
        return {
            "poses": self.poses(state.joints)[:, None],
            "points": drawn(state.particles.x),
            "tint": yielding(CLAY, drawn(state.particles.F)),
        }


def rolling_flat(threads: int | None = None, dtype: Any = np.float32) -> RollingFlat:
    """The reference's task."""
    return RollingFlat("rolling_flat", FULL, FAITHFUL, threads=threads, dtype=dtype)


def rolling_flat_corrected(threads: int | None = None, dtype: Any = np.float32) -> RollingFlat:
    """The same block, with what `Version` says mended."""
    return RollingFlat("rolling_flat_corrected", FULL, CORRECTED, threads=threads, dtype=dtype)


def rolling_flat_small(threads: int | None = None, dtype: Any = np.float32) -> RollingFlat:
    """Of 400 particles, that learns in minutes."""
    return RollingFlat("rolling_flat_small", SMALL, CORRECTED, STOUT_PIN, threads, dtype)
