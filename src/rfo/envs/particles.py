"""What the tasks on particles share: how a lump is filled, seen and drawn, and how a tool moves."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from rfo.physics.mpm import MPM, Grid
from rfo.types import Array, Float

DRAWN = 1000
"""Particles in a replay, about."""


@dataclass(frozen=True)
class Size:
    """How finely a task is resolved."""

    particles: tuple[int, int, int]
    """Particles along x, y and z; their places are random in the whole lump."""
    grid: Grid
    substeps: int
    points: int
    """Observed particles P, at most as many as there are."""

    @property
    def count(self) -> int:
        """Particles N."""
        return int(np.prod(self.particles))

    @property
    def ground(self) -> float:
        """Height of the ground [m]."""
        return self.grid.wall * self.grid.dx


def lump(extent: tuple[float, float, float], count: int) -> Float[np.ndarray, "N 3"]:
    """Particles at random, the same ones each time, in a box about the origin [m]."""
    return (np.random.default_rng(0).random((count, 3)) - 0.5) * np.array(extent)


def cloud(x: Float[Array, "B N 3"], points: int) -> Float[Array, "B P 3"]:
    """Every k-th particle: no more than that is observed, and rewarded."""
    return x[:, :: max(1, x.shape[1] // points)][:, :points]


def path(start: Float[Array, "B J"], end: Float[Array, "B J"], substeps: int) -> Float[Array, "B S+1 J"]:
    """Joints at the start and after each substep, at a constant rate."""
    share = (jnp.arange(substeps + 1, dtype=start.dtype) / substeps)[:, None]
    return start[:, None] + share * (end - start)[:, None]


def drawn(x: Float[Array, "B N ..."]) -> Float[Array, "B n ..."]:
    """Particles to draw."""
    return x[:, :: -(-x.shape[1] // DRAWN)]


def radius(simulator: MPM) -> float:
    """Of a drawn particle [m]: together they fill about the lump."""
    shown = -(-simulator.particles // -(-simulator.particles // DRAWN))
    return float(0.7 * (simulator.volume * simulator.particles / shown) ** (1 / 3))
