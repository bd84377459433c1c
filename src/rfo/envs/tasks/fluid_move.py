"""FluidMove: an open box carries water to a target.

This is Rewarped's FluidMove (its ``transport``), built from its constants. Rewarped has y up; our
(x, y, z) is its (z, x, y).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rfo.envs.base import EnvSpec
from rfo.envs.particles import ParticleTask, Size, cloud, drawn, floor, lump, radius
from rfo.physics.materials import Fluid
from rfo.physics.mpm import MPM, Contact, Grid, MPMState, Tool
from rfo.types import Array, Float, PRNGKey

DT = 0.02
"""Control step [s]."""
EPISODE_LENGTH = 300
"""Control steps."""
GRAVITY = 9.8
"""[m/s^2]"""
WATER = Fluid(young=1e5, poisson=0.3, density=1000.0)
POOL = (0.2, 0.16, 0.094)
"""Edge lengths of the water at the start, centred in the box [m]."""
INNER = np.array([0.22, 0.18, 0.16])
"""Inner edge lengths of the box [m]."""
WALL, THICK_WALL = 0.05, 0.1
"""Thickness of the box's walls; a coarse grid needs the thick ones to hold water [m]."""
REACH = 0.01
"""Distance that full action moves the box along each axis in one control step [m]."""
START = np.array([0.5, 0.5, 0.15])
"""Position of the box at the start [m]."""
LIMITS = np.array([INNER, 1 - INNER])
"""Smallest and largest position of the box [m]. As in Rewarped, it starts below the smallest
height."""
TARGET = np.array([0.2, 0.2, 0.3])
"""Largest distance from the start to the target along each axis [m]; along z only upwards."""
CLOSE = 0.02
"""Distance to the target below which the reward doubles [m]."""
SPEED = 1.0
"""Speed at which water is drawn in the brightest colour [m/s]."""


class FluidState(NamedTuple):
    """State between two control steps."""

    particles: MPMState
    joints: Float[Array, "B 3"]
    """Position of the box [m]."""
    target: Float[Array, "B 3"]
    """Position that the box should reach [m]."""


FULL = Size((20, 16, 9), Grid((48, 48, 48), 1 / 48), substeps=40, points=250)
SMALL = Size((10, 8, 5), Grid((32, 32, 32), 1 / 32, wall=2), substeps=16, points=100)


@dataclass(frozen=True)
class FluidVersion:
    """Differences between the faithful and the corrected task.

    Rewarped's cost of spilling has practically no gradient, and its contact force jumps
    (`rfo.physics.mpm.Contact.fading`).
    """

    width: float
    """Width of the boundary over which a particle starts to count as spilt [m]."""
    contact_fades: bool
    """Whether the contact force fades to zero; see `rfo.physics.mpm.Contact.fading`."""


FAITHFUL = FluidVersion(width=1e-5, contact_fades=False)
CORRECTED = FluidVersion(width=0.01, contact_fades=True)


class FluidMove(ParticleTask):
    """The policy moves an open box that carries water to a target without spilling it.

    **Action** (3): displacement of the box along each axis, 0.01 m times the action, within limits.

    **Observation**: ``particle_q`` (P, 3), positions of every k-th of the N particles [m];
    ``com_q`` (3,), their mean [m]; ``joint_q`` (3,), position of the box [m]; ``target_q`` (3,),
    position of the target [m].

    **Reward**: ``0.1 / (1 + d^2)^2`` with d the distance of the box to the target, doubled if
    d <= 0.02 m, minus the share of spilt water. That share is the mean of
    ``sigmoid(max(|p - box| - o) / w)`` over the observed particles p, with the maximum over the
    axes, o the outer half extents of the box and w the version's width. The episode never
    terminates; it is truncated after 300 steps of 0.02 s.

    Args:
        name: name of the task.
        size: `FULL` or `SMALL`.
        version: `FAITHFUL` or `CORRECTED`.
        wall: thickness of the box's walls [m].
        threads: CPU threads of the physics; by default as many as speed up the batch.
        dtype: precision of the physics, float32 or float64.
    """

    def __init__(
        self,
        name: str,
        size: Size,
        version: FluidVersion,
        wall: float = WALL,
        threads: int | None = None,
        dtype: Any = np.float32,
    ):
        self.size = size
        self.version = version
        self.reach, self.limits = REACH, LIMITS
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
        self.spec = EnvSpec(
            name=name,
            observation={"particle_q": (size.points, 3), **vectors},
            action_size=3,
            episode_length=EPISODE_LENGTH,
            dt=DT,
        )

    def reset(self, key: PRNGKey, batch: int) -> FluidState:
        """Draw a target for each environment; box and water always start the same."""
        low = jnp.asarray(-TARGET).at[2].set(0.0)
        way = jax.random.uniform(key, (batch, 3), minval=low, maxval=jnp.asarray(TARGET))
        dtype = self.simulator.dtype
        start = jnp.tile(jnp.asarray(START, dtype), (batch, 1))
        particles = self.simulator.init(jnp.tile(jnp.asarray(self._water, dtype), (batch, 1, 1)))
        return FluidState(particles, start, (start + way).astype(dtype))

    def observe(self, state: FluidState) -> dict[str, Array]:
        """Observation of a state; the class lists its entries."""
        return {**super().observe(state), "target_q": state.target}

    def poses(self, joints: Float[Array, "*n 3"]) -> Float[Array, "*n 1 7"]:
        """Pose of the box."""
        return _upright(joints)[..., None, :]

    def reward(self, state: FluidState) -> Float[Array, " B"]:
        """Reward for arriving in a state; the class gives the formula."""
        square = jnp.sum((state.joints - state.target) ** 2, axis=1)
        near = jnp.where(square <= CLOSE**2, 0.2, 0.1) / (1 + square) ** 2
        beyond = (
            jnp.abs(cloud(state.particles.x, self.size.points) - state.joints[:, None])
            - self._outer
        )
        # Not jnp.max: its gradient needs an element equal to the maximum, and rounding may leave
        # none.
        furthest = jnp.argmax(beyond, axis=-1, keepdims=True)
        beyond = jnp.take_along_axis(beyond, furthest, axis=-1)
        return near - jax.nn.sigmoid(beyond / self.version.width).mean((1, 2))

    def scene(self) -> dict[str, Any]:
        """Geoms and particles to draw, as `rfo.envs.base.Renderable.scene` describes."""
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
        """Poses and particles to draw, as `rfo.envs.base.Renderable.frame` describes."""
        poses = jnp.stack([_upright(state.joints), _upright(state.target)], axis=1)
        return {**super().frame(state), "poses": poses}

    def tint(self, particles: MPMState) -> Float[Array, "B n"]:
        """The speed, from -1 at rest to 0 at `SPEED` and above."""
        speed = jnp.linalg.norm(drawn(particles.v), axis=-1)
        return jnp.clip(speed / SPEED, 0.0, 1.0) - 1.0


def _upright(place: Float[Array, "*n 3"]) -> Float[Array, "*n 7"]:
    upright = jnp.broadcast_to(jnp.array([1.0, 0.0, 0.0, 0.0], place.dtype), (*place.shape[:-1], 4))
    return jnp.concatenate([place, upright], axis=-1)


def _box(wall: float) -> list[Tool]:
    """Bottom and four walls around the box's position; the top is open."""
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
    """The task as Rewarped defines it."""
    return FluidMove("fluid_move", FULL, FAITHFUL, threads=threads, dtype=dtype)


def fluid_move_corrected(threads: int | None = None, dtype: Any = np.float32) -> FluidMove:
    """The same task with a cost of spilling that has a gradient; see `FluidVersion`."""
    return FluidMove("fluid_move_corrected", FULL, CORRECTED, threads=threads, dtype=dtype)


def fluid_move_small(threads: int | None = None, dtype: Any = np.float32) -> FluidMove:
    """A corrected task of 400 particles, which is learned in minutes."""
    return FluidMove("fluid_move_small", SMALL, CORRECTED, THICK_WALL, threads, dtype)
