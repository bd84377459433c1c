"""Water is carried to a target in an open box: Rewarped's FluidMove (its ``transport``), from its constants.

Rewarped has y up; our (x, y, z) is its (z, x, y).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rfo.envs.base import EnvSpec, Step
from rfo.envs.particles import Size, cloud, drawn, floor, lump, path, radius
from rfo.physics.materials import Fluid
from rfo.physics.mpm import MPM, Contact, Grid, MPMState, Tool
from rfo.types import Array, Float, PRNGKey

DT = 0.02
"""Control step [s]."""
EPISODE_LENGTH = 300
GRAVITY = 9.8
WATER = Fluid(young=1e5, poisson=0.3, density=1000.0)
POOL = (0.2, 0.16, 0.094)
"""Of the water at the start, about the box's place [m]."""
INNER = np.array([0.22, 0.18, 0.16])
"""Of the box [m]."""
WALL, THICK_WALL = 0.05, 0.1
"""Its thickness, and the one that holds water on a coarse grid [m]."""
REACH = 0.01
"""Move along each axis in a control step at full action [m]."""
START = np.array([0.5, 0.5, 0.15])
LIMITS = np.array([INNER, 1 - INNER])
"""Lowest and highest places of the box [m]. It starts below the lowest, as in the reference."""
TARGET = np.array([0.2, 0.2, 0.3])
"""Largest way from the start to the target, up only along z [m]."""
CLOSE = 0.02
"""Distance below which the reward doubles [m]."""
SPEED = 1.0
"""Of water that is drawn in the brightest colour [m/s]."""


class FluidState(NamedTuple):
    """State between two control steps."""

    particles: MPMState
    joints: Float[Array, "B 3"]
    """Place of the box [m]."""
    target: Float[Array, "B 3"]
    """Where it should be [m]."""


FULL = Size((20, 16, 9), Grid((48, 48, 48), 1 / 48), substeps=40, points=250)
SMALL = Size((10, 8, 5), Grid((32, 32, 32), 1 / 32, wall=2), substeps=16, points=100)


@dataclass(frozen=True)
class Version:
    """What two tasks with one box may differ in.

    The reference's cost of spilling has practically no gradient, and its contact jumps
    (`rfo.physics.mpm.Contact.fading`).
    """

    width: float
    """Over which a particle counts as spilt [m]."""
    contact_fades: bool


FAITHFUL = Version(width=1e-5, contact_fades=False)
CORRECTED = Version(width=0.01, contact_fades=True)


class FluidMove:
    """An open box, moved by the policy, carries water to a target and spills none.

    Observation: ``particle_q`` (P, 3), every k-th of N particles; ``com_q`` (3,), their mean; ``joint_q``
    (3,), the box's place; ``target_q`` (3,). Action: moves of the box, times 0.01 m, within limits. With d
    the box's distance to the target the reward is ``0.1 / (1 + d^2)^2``, doubled if d <= 0.02, less the
    share of spilt water: the mean over observed particles of the largest over the axes of ``sigmoid((|p -
    box| - o) / w)``, with o the box's outer half extents. Never terminates.

    Args:
        name: of the task.
        size: `FULL` or `SMALL`.
        version: `FAITHFUL` or `CORRECTED`, with w its width.
        wall: thickness of the box [m].
        threads: CPU threads of the physics.
        dtype: of the physics.
    """

    def __init__(
        self,
        name: str,
        size: Size,
        version: Version,
        wall: float = WALL,
        threads: int | None = None,
        dtype: Any = np.float32,
    ):
        self.size = size
        self.version = version
        self._outer = INNER / 2 + np.array([wall, wall, wall / 2])
        self.simulator = MPM(
            WATER,
            size.count,
            float(np.prod(POOL)) / size.count,
            size.grid,
            DT,
            size.substeps,
            tools=_box(wall),
            contact=Contact(
                friction=0.5, softness=666.0, fading=version.contact_fades, ground_friction=0.0
            ),
            gravity=GRAVITY,
            threads=threads,
            dtype=dtype,
        )
        self._water = lump(POOL, size.count) + START
        vectors = {name: (3,) for name in ("com_q", "joint_q", "target_q")}
        self._spec = EnvSpec(
            name=name,
            observation={"particle_q": (size.points, 3), **vectors},
            action_size=3,
            episode_length=EPISODE_LENGTH,
            dt=DT,
        )

    @property
    def spec(self) -> EnvSpec:
        """Sizes and facts of the task."""
        return self._spec

    def reset(self, key: PRNGKey, batch: int) -> FluidState:
        """The same water each time, another target."""
        low = jnp.asarray(-TARGET).at[2].set(0.0)
        way = jax.random.uniform(key, (batch, 3), minval=low, maxval=jnp.asarray(TARGET))
        dtype = self.simulator.dtype
        start = jnp.tile(jnp.asarray(START, dtype), (batch, 1))
        particles = self.simulator.init(jnp.tile(jnp.asarray(self._water, dtype), (batch, 1, 1)))
        return FluidState(particles, start, (start + way).astype(dtype))

    def observe(self, state: FluidState) -> dict[str, Array]:
        """See the class."""
        points = cloud(state.particles.x, self.size.points)
        return {
            "particle_q": points,
            "com_q": points.mean(1),
            "joint_q": state.joints,
            "target_q": state.target,
        }

    def step(self, state: FluidState, action: Float[Array, "B A"]) -> Step:
        """One control step of S substeps."""
        action = jnp.clip(action, -1.0, 1.0)
        moved = jnp.clip(state.joints + REACH * action, *LIMITS.astype(state.joints.dtype))
        poses = _poses(path(state.joints, moved, self.size.substeps))[:, :, None]
        after = FluidState(self.simulator.step(state.particles, poses), moved, state.target)
        return Step(
            state=after,
            observation=self.observe(after),
            reward=self.reward(after),
            terminated=jnp.zeros(len(action), bool),
        )

    def reward(self, state: FluidState) -> Float[Array, " B"]:
        """Of arriving in a state, see the class."""
        square = jnp.sum((state.joints - state.target) ** 2, axis=1)
        near = jnp.where(square <= CLOSE**2, 0.2, 0.1) / (1 + square) ** 2
        beyond = (
            jnp.abs(cloud(state.particles.x, self.size.points) - state.joints[:, None])
            - self._outer
        )
        furthest = jnp.argmax(
            beyond, axis=-1, keepdims=True
        )  # jnp.max's gradient needs an equal element
        beyond = jnp.take_along_axis(beyond, furthest, axis=-1)
        return near - jax.nn.sigmoid(beyond / self.version.width).mean((1, 2))

    def scene(self) -> dict[str, Any]:
        """See `rfo.envs.base.Renderable`."""
        upright = {"quat": [1, 0, 0, 0]}
        sides = [
            {"type": "box", "size": list(t.size), "body": 0, "pos": list(t.pos), **upright}
            for t in self.simulator.tools
        ]
        target = {"type": "sphere", "size": [CLOSE], "body": 1, "pos": [0, 0, 0], **upright}
        return {
            "geoms": [
                floor(self.size),
                *(side | {"rgba": [0.75, 0.8, 0.85, 0.35]} for side in sides),
                target | {"rgba": [0.9, 0.45, 0.15, 1]},
            ],
            "points": {"radius": radius(self.simulator)},
        }

    def frame(self, state: FluidState) -> dict[str, Array]:
        """See `rfo.envs.base.Renderable`; tinted by the speed, from the fastest to rest."""
        speed = jnp.linalg.norm(drawn(state.particles.v), axis=-1)
        return {
            "poses": jnp.stack([_poses(state.joints), _poses(state.target)], axis=1),
            "points": drawn(state.particles.x),
            "tint": jnp.clip(speed / SPEED, 0.0, 1.0) - 1.0,
        }


def _poses(place: Float[Array, "*n 3"]) -> Float[Array, "*n 7"]:
    upright = jnp.broadcast_to(jnp.array([1.0, 0.0, 0.0, 0.0], place.dtype), (*place.shape[:-1], 4))
    return jnp.concatenate([place, upright], axis=-1)


def _box(wall: float) -> list[Tool]:
    """Bottom and four sides about the box's place; its top is open."""
    half = wall / 2
    x, y, z = (
        float(inner) / 2 + extra for inner, extra in zip(INNER, (wall, wall, half), strict=True)
    )
    bottom = -float(INNER[2]) / 2 - half
    tools = [Tool("box", (x, y, half), 0, (0.0, 0.0, bottom))]
    for side in (-1.0, 1.0):
        tools.append(Tool("box", (x, half, z), 0, (0.0, side * (y - half), -half)))
    for side in (-1.0, 1.0):
        tools.append(Tool("box", (half, y, z), 0, (side * (x - half), 0.0, -half)))
    return tools


def fluid_move(threads: int | None = None, dtype: Any = np.float32) -> FluidMove:
    """The reference's task."""
    return FluidMove("fluid_move", FULL, FAITHFUL, threads=threads, dtype=dtype)


def fluid_move_corrected(threads: int | None = None, dtype: Any = np.float32) -> FluidMove:
    """The same water, spilt over a width that a gradient can feel."""
    return FluidMove("fluid_move_corrected", FULL, CORRECTED, threads=threads, dtype=dtype)


def fluid_move_small(threads: int | None = None, dtype: Any = np.float32) -> FluidMove:
    """Of 400 particles, that learns in minutes."""
    return FluidMove("fluid_move_small", SMALL, CORRECTED, THICK_WALL, threads, dtype)
