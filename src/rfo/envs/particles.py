"""Shared parts of the particle tasks: placing, observing and drawing particles, moving tools."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rfo.envs.base import EnvSpec, Step
from rfo.physics.materials import Plasticine, respond
from rfo.physics.mpm import MPM, Grid, MPMState
from rfo.physics.mpm_parameters import MPMParameters
from rfo.types import Array, Float, PRNGKey

DRAWN = 1000
"""Approximate number of particles that a replay draws."""


@dataclass(frozen=True)
class Size:
    """Resolution of a task."""

    particles: tuple[int, int, int]
    """Number of particles along x, y and z. Only the product counts: positions are random."""
    grid: Grid
    substeps: int
    """Substeps S of one control step."""
    points: int
    """Number P of observed particles, at most N."""

    @property
    def count(self) -> int:
        """Number of particles N."""
        return int(np.prod(self.particles))

    @property
    def ground(self) -> float:
        """Height of the ground [m]."""
        return self.grid.wall * self.grid.dx


class ParticleTask(ABC):
    """Base of the tasks in which the policy shifts the joints of a tool among particles.

    States are NamedTuples with `particles` and `joints`. A subclass sets the fields and gives what
    is abstract here, and `reset`.
    """

    size: Size
    spec: EnvSpec
    simulator: MPM
    reach: float | np.ndarray
    """Change of each joint at full action in one control step [m or rad]."""
    limits: np.ndarray
    """(2, J) lowest and highest joint positions [m or rad]."""

    def observe(self, state: Any) -> dict[str, Array]:
        """Observation of a state; the class lists its entries."""
        points = cloud(state.particles.x, self.size.points)
        return {"particle_q": points, "com_q": points.mean(1), "joint_q": state.joints}

    def step(
        self, state: Any, action: Float[Array, "B J"], parameters: MPMParameters | None = None
    ) -> Step:
        """Advance by one control step; the action is clipped to [-1, 1]."""
        action, dtype = jnp.clip(action, -1.0, 1.0), state.joints.dtype
        moved = state.joints + jnp.asarray(self.reach, dtype) * action
        moved = jnp.clip(moved, *self.limits.astype(dtype))
        poses = self.poses(path(state.joints, moved, self.size.substeps))
        particles = self.simulator.step(state.particles, poses, parameters)
        after = state._replace(particles=particles, joints=moved)
        never = jnp.zeros(len(action), bool)
        return Step(after, self.observe(after), self.reward(after), never)

    def frame(self, state: Any) -> dict[str, Array]:
        """Poses and particles to draw, as `rfo.envs.base.Renderable.frame` describes."""
        return {
            "poses": self.poses(state.joints),
            "points": drawn(state.particles.x),
            "tint": self.tint(state.particles),
        }

    @abstractmethod
    def poses(self, joints: Float[Array, "*n J"]) -> Float[Array, "*n bodies 7"]:
        """Poses of the tool's bodies: (x, y, z, qw, qx, qy, qz), positions in [m]."""

    @abstractmethod
    def reward(self, state: Any) -> Float[Array, " B"]:
        """Reward for arriving in a state; the class gives the formula."""

    @abstractmethod
    def tint(self, particles: MPMState) -> Float[Array, "B n"]:
        """Colours of the drawn particles, in [-1, 1]."""


def lump(extent: tuple[float, float, float], count: int) -> Float[np.ndarray, "N 3"]:
    """Random particles in a box around the origin, the same ones every time [m]."""
    return (np.random.default_rng(0).random((count, 3)) - 0.5) * np.array(extent)


def disturbance(
    key: PRNGKey, batch: int, shift: float, rise: float, stretch: float
) -> tuple[Float[Array, "B 1 3"], Float[Array, "B 1 1"]]:
    """Random shifts and scales of a lump at a reset, all uniform.

    Args:
        key: random key, used once.
        batch: number of environments B.
        shift: largest shift along x and y [m].
        rise: largest shift upwards [m].
        stretch: largest deviation of the scale from 1.

    Returns:
        Shifts [m] and scales.
    """
    shift_key, rise_key, scale_key = jax.random.split(key, 3)
    across = jax.random.uniform(shift_key, (batch, 1, 2), minval=-shift, maxval=shift)
    up = jax.random.uniform(rise_key, (batch, 1, 1), maxval=rise)
    scale = jax.random.uniform(scale_key, (batch, 1, 1), minval=1 - stretch, maxval=1 + stretch)
    return jnp.concatenate([across, up], axis=-1), scale


def placed(
    lump: Float[np.ndarray, "N 3"],
    shift: Float[Array, "B 1 3"],
    scale: Float[Array, "B 1 1"],
    about_middle: bool,
) -> Float[Array, "B N 3"]:
    """Positions of a shifted and scaled lump [m].

    Args:
        lump: positions before [m].
        shift: shift of each environment [m].
        scale: scale of each environment.
        about_middle: whether to scale about the lump's middle. If not, the shifted lump is scaled
            about the world's origin.
    """
    if about_middle:
        middle = lump.mean(0)
        return middle + shift + scale * (lump - middle)
    return scale * (lump + shift)


def cloud(x: Float[Array, "B N 3"], points: int) -> Float[Array, "B P 3"]:
    """Every k-th particle: the ones that observation and reward use."""
    return x[:, :: max(1, x.shape[1] // points)][:, :points]


def path(
    start: Float[Array, "B J"], end: Float[Array, "B J"], substeps: int
) -> Float[Array, "B S+1 J"]:
    """Joint positions at the start and after each substep, moving at a constant rate."""
    share = (jnp.arange(substeps + 1, dtype=start.dtype) / substeps)[:, None]
    return start[:, None] + share * (end - start)[:, None]


def floor(size: Size) -> dict[str, Any]:
    """The ground as a geom, as `rfo.envs.base.Renderable.scene` describes."""
    at = {"body": -1, "pos": [0, 0, size.ground], "quat": [1, 0, 0, 0]}
    return {"type": "plane", "size": [], "rgba": [0.8, 0.8, 0.8, 1], **at}


def drawn(x: Float[Array, "B N ..."]) -> Float[Array, "B n ..."]:
    """The particles that a replay draws."""
    return x[:, :: -(-x.shape[1] // DRAWN)]


def yielding(clay: Plasticine, F: Float[Array, "B n 3 3"]) -> Float[Array, "B n"]:
    """Deviatoric stress as a fraction of the yield stress, clipped to 1."""
    stress = respond(clay, F).stress
    deviator = stress - jnp.trace(stress, axis1=-2, axis2=-1)[..., None, None] / 3 * jnp.eye(3)
    share = jnp.sqrt(jnp.sum(deviator**2, axis=(-2, -1))) / clay.yield_stress
    return jnp.clip(share, 0.0, 1.0)


def radius(simulator: MPM) -> float:
    """Radius of a drawn particle [m], chosen so that all of them roughly fill the lump."""
    shown = -(-simulator.particles // -(-simulator.particles // DRAWN))
    return float(0.7 * (simulator.volume * simulator.particles / shown) ** (1 / 3))
