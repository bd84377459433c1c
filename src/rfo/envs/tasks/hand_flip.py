"""HandFlip: a hand folds a thin disc of plasticine in half.

This is Rewarped's HandFlip (its ``flip``), built from its constants. Rewarped has y up; our
(x, y, z) is its (z, x, y). The fingers point along x, and the disc is folded about y.
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
    placed,
    radius,
    yielding,
)
from rfo.envs.rigid import asset
from rfo.physics.kinematics import link_poses
from rfo.physics.materials import Plasticine
from rfo.physics.mjcf import ContactParameters
from rfo.physics.model import Model
from rfo.physics.mpm import MPM, Contact, Grid, MPMState, Tool
from rfo.types import Array, Float, PRNGKey

DT = 0.002
"""Control step [s]."""
EPISODE_LENGTH = 300
"""Control steps."""
GRAVITY = 90.0
"""[m/s^2]"""
RADIUS, HALF_THICKNESS = 0.1, 0.003
"""Dimensions of the disc [m]."""
CLAY = Plasticine(young=4e3, poisson=0.2, density=1.0, yield_stress=130.0)
JOINTS = 24
REACH = 0.0264
"""Angle that full action turns a joint in one control step [rad]."""
WRIST = (-0.1651434, -0.3197329)
FIRST = (0.1434051, 0.3202821, 0.7126054, 0.6705281)
MIDDLE_FINGER = (0.0002464, 0.3152655, 0.76598, 0.7323157)
RING = (0.0003852, 0.3674355, 0.7119514, 0.6699446)
LITTLE = (0.0525442, -0.1361554, 0.3987203, 0.741557, 0.7040964)
THUMB = (0.0036738, 0.5506291, -0.0145152, -0.0015229, -0.7894883)
START = np.array([*WRIST, *FIRST, *MIDDLE_FINGER, *RING, *LITTLE, *THUMB])
"""Joint angles at the start, from the wrist outwards: half a fist with the palm up [rad]."""
STRETCH = 0.05
"""Largest relative change of the disc's size at a reset. The disc starts without strain."""
LEAST_DISTANCE = 1e-6
"""Distance of a pair of points below which the gradient is cut off [m]."""


class FlipState(NamedTuple):
    """State between two control steps."""

    particles: MPMState
    joints: Float[Array, "B 24"]
    """Joint angles of the hand [rad]."""
    distance: Float[Array, " B"]
    """Mean distance d0 of the pairs of points at the start [m]."""


@dataclass(frozen=True)
class FlipVersion:
    """Differences between the faithful, the corrected and the small task.

    Rewarped scales the disc about the world's origin, which also moves it by up to 4 cm, and its
    contact force jumps (`rfo.physics.mpm.Contact.fading`). In `NEAR` the disc starts just above the
    fingers, where the hand can fold most discs. In the other versions it starts up to 10 cm to the
    side, and the hand must fetch some discs first.
    """

    about_middle: bool
    """Whether the disc is scaled about its own middle."""
    contact_fades: bool
    """Whether the contact force fades to zero; see `rfo.physics.mpm.Contact.fading`."""
    place: tuple[float, float, float] = (0.6, 0.5, 0.38)
    """Middle of the disc before the random shift [m]."""
    shift: float = 0.1
    """Largest shift along x and y at a reset [m]."""
    rise: float = 0.1
    """Largest shift upwards at a reset [m]."""


FAITHFUL = FlipVersion(about_middle=False, contact_fades=False)
CORRECTED = FlipVersion(about_middle=True, contact_fades=True)
NEAR = FlipVersion(
    about_middle=True, contact_fades=True, place=(0.64, 0.5, 0.32), shift=0.03, rise=0.02
)

FULL = Size((50, 50, 1), Grid((48, 48, 48), 1 / 48), substeps=40, points=250)
SMALL = Size((20, 20, 1), Grid((32, 32, 32), 1 / 32, wall=2), substeps=12, points=100)


class HandFlip(ParticleTask):
    """The policy moves a hand of 24 joints, which folds a thin disc that falls into its palm.

    **Action** (24): changes of the joint angles, 0.0264 rad times the action, within limits.

    **Observation**: ``particle_q`` (P, 3), positions of every k-th of the N particles [m];
    ``com_q`` (3,), their mean [m]; ``joint_q`` (24,), joint angles [rad].

    **Reward**: ``(d0 - d) / d0``, clipped to [-1, 1]. At the start the second half of the observed
    points mirrors the first half, which gives P / 2 pairs. d is their mean distance and d0 its
    value at the start. The episode never terminates; it is truncated after 300 steps of 0.002 s.

    (Rewarped takes d0 after the first control step. The disc falls freely by 0.2 mm in that step.)

    Args:
        name: name of the task.
        size: `FULL` or `SMALL`.
        version: `FAITHFUL`, `CORRECTED` or `NEAR`.
        threads: CPU threads of the physics; by default as many as speed up the batch.
        dtype: precision of the physics, float32 or float64.
    """

    def __init__(
        self,
        name: str,
        size: Size,
        version: FlipVersion,
        threads: int | None = None,
        dtype: Any = np.float32,
    ):
        self.size = size
        self.version = version
        # The hand touches nothing but particles, and the particle simulator handles that contact.
        self.hand = asset("shadow_hand", ContactParameters(0.0, 0.0, 0.0, 0.0), 1e3, 1e1)
        self.reach = REACH
        self.limits = np.array([self.hand.limit_lower, self.hand.limit_upper])
        self.simulator = MPM(
            CLAY,
            size.count,
            np.pi * RADIUS**2 * 2 * HALF_THICKNESS / size.count,
            size.grid,
            DT,
            size.substeps,
            tools=_tools(self.hand),
            contact=Contact(
                friction=0.5, softness=666.0, fading=version.contact_fades, ground_friction=500.0
            ),
            gravity=GRAVITY,
            threads=threads,
            dtype=dtype,
        )
        self._disc = _disc(size.count) + np.array(version.place)
        self.spec = EnvSpec(
            name=name,
            observation={"particle_q": (size.points, 3), "com_q": (3,), "joint_q": (JOINTS,)},
            action_size=JOINTS,
            episode_length=EPISODE_LENGTH,
            dt=DT,
        )

    def reset(self, key: PRNGKey, batch: int) -> FlipState:
        """Shift, raise and scale the disc at random; the hand always starts the same.

        The version gives the shift and the rise; the scale is within 5 % of 1.
        """
        version = self.version
        shift, scale = disturbance(key, batch, version.shift, version.rise, STRETCH)
        particles = self.simulator.init(placed(self._disc, shift, scale, version.about_middle))
        joints = jnp.tile(jnp.asarray(START, self.simulator.dtype), (batch, 1))
        return FlipState(particles, joints, self.distance(particles))

    def poses(self, joints: Float[Array, "*n 24"]) -> Float[Array, "*n 24 7"]:
        """Poses of the hand's links."""
        return link_poses(self.hand, joints)

    def distance(self, particles: MPMState) -> Float[Array, " B"]:
        """Mean distance of the pairs of observed points [m]."""
        first, second = jnp.split(cloud(particles.x, self.size.points), 2, axis=1)
        square = jnp.sum((first - second) ** 2, axis=-1)
        return jnp.sqrt(jnp.maximum(square, LEAST_DISTANCE**2)).mean(1)

    def reward(self, state: FlipState) -> Float[Array, " B"]:
        """Reward for arriving in a state; the class gives the formula."""
        return jnp.clip(1 - self.distance(state.particles) / state.distance, -1.0, 1.0)

    def scene(self) -> dict[str, Any]:
        """Geoms and particles to draw, as `rfo.envs.base.Renderable.scene` describes."""
        return {
            "geoms": [floor(self.size), *self.hand.geoms],
            "points": {"radius": radius(self.simulator)},
        }

    def tint(self, particles: MPMState) -> Float[Array, "B n"]:
        """The deviatoric stress, from 0 to 1 at the yield stress."""
        return yielding(CLAY, drawn(particles.F))


def _disc(count: int) -> Float[np.ndarray, "N 3"]:
    """Random particles around the origin, always the same; the second half mirrors the first."""
    angle, area, height = np.random.default_rng(0).random((3, count // 2))
    distance, turn = RADIUS * np.sqrt(area), np.pi * (angle - 0.5)
    z = HALF_THICKNESS * (2 * height - 1)
    half = np.stack([distance * np.cos(turn), distance * np.sin(turn), z], axis=-1)
    return np.concatenate([half, half * [-1, 1, 1]])


def _tools(hand: Model) -> list[Tool]:
    return [
        Tool(g["type"], tuple(g["size"]), g["body"], tuple(g["pos"]), tuple(g["quat"]))
        for g in hand.geoms
    ]


def hand_flip(threads: int | None = None, dtype: Any = np.float32) -> HandFlip:
    """The task as Rewarped defines it."""
    return HandFlip("hand_flip", FULL, FAITHFUL, threads, dtype)


def hand_flip_corrected(threads: int | None = None, dtype: Any = np.float32) -> HandFlip:
    """The same task with the corrections that `FlipVersion` lists."""
    return HandFlip("hand_flip_corrected", FULL, CORRECTED, threads, dtype)


def hand_flip_small(threads: int | None = None, dtype: Any = np.float32) -> HandFlip:
    """A corrected task of 400 particles that start above the fingers; it is learned in minutes."""
    return HandFlip("hand_flip_small", SMALL, NEAR, threads, dtype)
