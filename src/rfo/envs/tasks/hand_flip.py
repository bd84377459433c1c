"""A hand folds a thin disc of plasticine in half: Rewarped's HandFlip (its ``flip``), from its constants.

Rewarped has y up; our (x, y, z) is its (z, x, y). The fingers point along x, the disc is folded about y.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
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
    path,
    placed,
    radius,
    yielding,
)
from rfo.physics.kinematics import link_poses
from rfo.physics.materials import Plasticine
from rfo.physics.mjcf import ContactParameters, load
from rfo.physics.model import Model
from rfo.physics.mpm import MPM, Contact, Grid, MPMState, Tool
from rfo.types import Array, Float, PRNGKey

DT = 0.002
"""Control step [s]."""
EPISODE_LENGTH = 300
GRAVITY = 90.0
RADIUS, HALF_THICKNESS = 0.1, 0.003
"""Of the disc [m]."""
CLAY = Plasticine(young=4e3, poisson=0.2, density=1.0, yield_stress=130.0)
JOINTS = 24
REACH = 0.0264
"""Turn of a joint in a control step at full action [rad]."""
WRIST = (-0.1651434, -0.3197329)
FIRST = (0.1434051, 0.3202821, 0.7126054, 0.6705281)
MIDDLE_FINGER = (0.0002464, 0.3152655, 0.76598, 0.7323157)
RING = (0.0003852, 0.3674355, 0.7119514, 0.6699446)
LITTLE = (0.0525442, -0.1361554, 0.3987203, 0.741557, 0.7040964)
THUMB = (0.0036738, 0.5506291, -0.0145152, -0.0015229, -0.7894883)
START = np.array([*WRIST, *FIRST, *MIDDLE_FINGER, *RING, *LITTLE, *THUMB])
"""Angles of the joints, from the wrist outwards [rad]: half a fist, palm up."""
STRETCH = 0.05
"""Largest change of its scale at a reset; it starts unstrained."""
LEAST_DISTANCE = 1e-6
"""Of a pair; below it the distance has no gradient [m]."""


class FlipState(NamedTuple):
    """State between two control steps."""

    particles: MPMState
    joints: Float[Array, "B 24"]
    """Of the hand [rad]."""
    distance: Float[Array, " B"]
    """Mean distance d0 of the pairs at the start [m]."""


@dataclass(frozen=True)
class Version:
    """What two tasks with one hand may differ in.

    The reference scales the start about the world's origin, which also moves the disc, by up to 4 cm; and its
    contact jumps (`rfo.physics.mpm.Contact.fading`). `NEAR` starts just above the fingers, where most discs
    can be folded; from up to 10 cm beside that place a hand must fetch some of them first.
    """

    about_middle: bool
    contact_fades: bool
    place: tuple[float, float, float] = (0.6, 0.5, 0.38)
    """Middle of the disc before it is shifted [m]."""
    shift: float = 0.1
    """Largest shift along x and y at a reset [m]."""
    rise: float = 0.1
    """Largest rise at a reset [m]."""


FAITHFUL = Version(about_middle=False, contact_fades=False)
CORRECTED = Version(about_middle=True, contact_fades=True)
NEAR = Version(
    about_middle=True, contact_fades=True, place=(0.64, 0.5, 0.32), shift=0.03, rise=0.02
)

FULL = Size((50, 50, 1), Grid((48, 48, 48), 1 / 48), substeps=40, points=250)
SMALL = Size((20, 20, 1), Grid((32, 32, 32), 1 / 32, wall=2), substeps=12, points=100)


class HandFlip:
    """A hand of 24 joints, moved by the policy, folds a thin disc that falls into its palm.

    Observation: ``particle_q`` (P, 3), every k-th of N particles; ``com_q`` (3,), their mean; ``joint_q``
    (24,), the joints' angles. Action: changes of these, times 0.0264 rad, within limits. The second half of
    the points mirrors the first at the start: with d the mean distance of the P / 2 pairs and d0 that of the
    start, the reward is ``(d0 - d) / d0``, clipped to [-1, 1]. Never terminates.

    (The reference takes d0 after the first control step, in which the disc falls freely, 0.2 mm.)

    Args:
        name: of the task.
        size: `FULL` or `SMALL`.
        version: `FAITHFUL`, `CORRECTED` or `NEAR`.
        threads: CPU threads of the physics.
        dtype: of the physics.
    """

    def __init__(
        self,
        name: str,
        size: Size,
        version: Version,
        threads: int | None = None,
        dtype: Any = np.float32,
    ):
        self.size = size
        self.version = version
        self.hand = _hand()
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
        self._spec = EnvSpec(
            name=name,
            observation={"particle_q": (size.points, 3), "com_q": (3,), "joint_q": (JOINTS,)},
            action_size=JOINTS,
            episode_length=EPISODE_LENGTH,
            dt=DT,
        )

    @property
    def spec(self) -> EnvSpec:
        """Sizes and facts of the task."""
        return self._spec

    def reset(self, key: PRNGKey, batch: int) -> FlipState:
        """The disc shifted and raised as the version says and scaled by up to 5 %; the same hand."""
        version = self.version
        shift, scale = disturbance(key, batch, version.shift, version.rise, STRETCH)
        particles = self.simulator.init(placed(self._disc, shift, scale, version.about_middle))
        joints = jnp.tile(jnp.asarray(START, self.simulator.dtype), (batch, 1))
        return FlipState(particles, joints, self.distance(particles))

    def observe(self, state: FlipState) -> dict[str, Array]:
        """See the class."""
        points = cloud(state.particles.x, self.size.points)
        return {"particle_q": points, "com_q": points.mean(1), "joint_q": state.joints}

    def step(self, state: FlipState, action: Float[Array, "B A"]) -> Step:
        """One control step of S substeps."""
        action = jnp.clip(action, -1.0, 1.0)
        moved = jnp.clip(state.joints + REACH * action, *self.limits.astype(state.joints.dtype))
        poses = self.poses(path(state.joints, moved, self.size.substeps))
        after = FlipState(self.simulator.step(state.particles, poses), moved, state.distance)
        return Step(
            state=after,
            observation=self.observe(after),
            reward=self.reward(after),
            terminated=jnp.zeros(len(action), bool),
        )

    @property
    def limits(self) -> Float[np.ndarray, "2 24"]:
        """Lowest and highest angles of the joints [rad]."""
        return np.array([self.hand.limit_lower, self.hand.limit_upper])

    def poses(self, joints: Float[Array, "*n 24"]) -> Float[Array, "*n 24 7"]:
        """Of the hand's links: (x, y, z, qw, qx, qy, qz)."""
        return link_poses(self.hand, joints)

    def distance(self, particles: MPMState) -> Float[Array, " B"]:
        """Mean over the pairs [m]."""
        first, second = jnp.split(cloud(particles.x, self.size.points), 2, axis=1)
        square = jnp.sum((first - second) ** 2, axis=-1)
        return jnp.sqrt(jnp.maximum(square, LEAST_DISTANCE**2)).mean(1)

    def reward(self, state: FlipState) -> Float[Array, " B"]:
        """Of arriving in a state, see the class."""
        return jnp.clip(1 - self.distance(state.particles) / state.distance, -1.0, 1.0)

    def scene(self) -> dict[str, Any]:
        """See `rfo.envs.base.Renderable`."""
        return {
            "geoms": [floor(self.size), *self.hand.geoms],
            "points": {"radius": radius(self.simulator)},
        }

    def frame(self, state: FlipState) -> dict[str, Array]:
        """See `rfo.envs.base.Renderable`; tinted by the deviatoric stress, from none to yield."""
        return {
            "poses": self.poses(state.joints),
            "points": drawn(state.particles.x),
            "tint": yielding(CLAY, drawn(state.particles.F)),
        }


def _disc(count: int) -> Float[np.ndarray, "N 3"]:
    """Particles at random, the same ones each time, about the origin; the second half mirrors the first."""
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


@cache
def _hand() -> Model:
    text = files("rfo.envs").joinpath("assets/shadow_hand.xml").read_text()
    return load(
        text, contact=ContactParameters(0.0, 0.0, 0.0, 0.0)
    )  # it touches nothing but particles


def hand_flip(threads: int | None = None, dtype: Any = np.float32) -> HandFlip:
    """The reference's task."""
    return HandFlip("hand_flip", FULL, FAITHFUL, threads, dtype)


def hand_flip_corrected(threads: int | None = None, dtype: Any = np.float32) -> HandFlip:
    """The same hand and disc, with what `Version` says mended."""
    return HandFlip("hand_flip_corrected", FULL, CORRECTED, threads, dtype)


def hand_flip_small(threads: int | None = None, dtype: Any = np.float32) -> HandFlip:
    """Of 400 particles, above the fingers, that learns in minutes."""
    return HandFlip("hand_flip_small", SMALL, NEAR, threads, dtype)
