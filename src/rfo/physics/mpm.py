"""Plasticine and fluids as particles on a grid: MLS-MPM. The simulator.

Moving least squares material point method (Hu et al. 2018) with APIC transfers and quadratic B-splines;
explicit Euler. Kinematic tools, walls and ground act on the nodes of the grid, one way: particles never
push a tool. The equations are in ``native/mpm*.h``, the constitutive laws in ``native/material.h``.

An environment's substep runs on one thread; its grid is the box of nodes that particles reach, scratch that
is cleared at every substep. The adjoint runs the control step again from its start and keeps the particles
of its substeps for as long as that takes, so a rollout holds 96 bytes per particle and control step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from rfo.physics.bridge import Bridge
from rfo.physics.kernels import batch_size
from rfo.physics.materials import Material
from rfo.physics.mpm_kernels import ParticleKernels
from rfo.types import Array, Float

LEAST_INFLUENCE = 0.1
"""Influence of a tool below which a node is free."""


class MPMState(NamedTuple):
    """N particles of B environments."""

    x: Float[Array, "B N 3"]
    """Position [m]."""
    v: Float[Array, "B N 3"]
    """Velocity [m/s]."""
    C: Float[Array, "B N 3 3"]
    """Affine part of the velocity, about its gradient [1/s]."""
    F: Float[Array, "B N 3 3"]
    """Deformation gradient, before the plastic flow of the next substep."""


@dataclass(frozen=True)
class Grid:
    """Cubic cells that fill the box from the origin to `cells` times `dx`."""

    cells: tuple[int, int, int]
    dx: float
    """Edge of a cell [m]."""
    wall: int = 3
    """Nodes at each side through which nothing passes outwards: the ground is below z = `wall` dx."""


@dataclass(frozen=True)
class Tool:
    """A shape on a kinematic body.

    MuJoCo's sizes: radius of a sphere; radius and half length (along z) of a capsule; half extents of a
    box. A half-space has none and lies below z = 0 of its frame.
    """

    shape: str
    size: tuple[float, ...] = ()
    body: int = 0
    """-1 for the world."""
    pos: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """In its body [m]."""
    quat: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 0.0)
    """In its body, (w, x, y, z)."""

    def rounded_box(self) -> tuple[tuple[float, ...], float]:
        """Half extents of its core and the radius about it."""
        return {
            "sphere": lambda r: ((0.0, 0.0, 0.0), r),
            "capsule": lambda r, half: ((0.0, 0.0, half), r),
            "box": lambda *half: (half, 0.0),
            "half-space": lambda: ((0.0, 0.0, 0.0), 0.0),
        }[self.shape](*self.size)


SIZES = {"sphere": 1, "capsule": 2, "box": 3, "half-space": 0}


@dataclass(frozen=True)
class Contact:
    """How tools and ground hold on to the material."""

    friction: float = 0.5
    """Coulomb's coefficient on the tools."""
    softness: float = 666.0
    """A tool draws in nodes at a distance d with the share exp(-softness d), as far as that is above 0.1
    [1/m]."""
    fading: bool = True
    """Whether that share falls to nothing there. Rewarped's jumps from 0.1 to nothing, which no gradient
    sees; anything but True is for fidelity to it."""
    ground_friction: float = 0.5
    """Coulomb's coefficient on the ground; 100 and more is as good as sticky."""


class MPM:
    """Particles of one material, stepped explicitly; differentiable in the state and the tools' poses.

    Args:
        material: of all particles.
        particles: N.
        volume: of one particle at rest [m^3].
        grid: where they move.
        dt: duration of one control step [s].
        substeps: S, integration steps per control step.
        tools: shapes on bodies.
        contact: constants.
        gravity: [m/s^2], along -z.
        threads: CPU threads of the physics, by default as many as speed up the batch.
        dtype: precision, float32 or float64 (for gradient checks; needs JAX's x64 mode,
            set for the whole process).

    Raises:
        ValueError: for an unknown shape, or sizes and constants that are not positive.
    """

    def __init__(
        self,
        material: Material,
        particles: int,
        volume: float,
        grid: Grid,
        dt: float,
        substeps: int,
        tools: Sequence[Tool] = (),
        contact: Contact = Contact(),
        gravity: float = 9.81,
        threads: int | None = None,
        dtype: Any = np.float32,
    ):
        _refuse(particles, volume, grid, dt, substeps, tools, contact)
        self.material = material
        self.particles = particles
        self.volume = volume
        self.grid = grid
        self.tools = tuple(tools)
        self.bodies = max((tool.body for tool in tools), default=-1) + 1
        self.substeps = substeps
        self.dtype = np.dtype(dtype)
        values = material.values() | _shapes(self.tools)
        values |= dict(zip(("nx", "ny", "nz"), grid.cells, strict=True))
        values |= {
            "particles": particles,
            "bodies": self.bodies,
            "substeps": substeps,
            "wall": grid.wall,
            "dx": grid.dx,
            "dt": dt / substeps,
            "mass": material.density * volume,
            "volume": volume,
            "softness": contact.softness,
            "halo": -np.log(LEAST_INFLUENCE) / contact.softness,
            "cut": LEAST_INFLUENCE if contact.fading else 0.0,
            "friction": contact.friction,
            "ground_friction": contact.ground_friction,
            "gravity": [0.0, 0.0, -gravity],
        }
        self.kernels = ParticleKernels(values, self.dtype)
        self._bridge = Bridge(self.kernels, threads=threads)

    def init(self, x: Float[Array, "B N 3"]) -> MPMState:
        """Particles at rest, undeformed.

        Raises:
            ValueError: if `x` has another shape.
        """
        x = jnp.asarray(x, self.dtype)
        batch_size(self.dtype, x=(x, (self.particles, 3)))
        zeros = jnp.zeros((*x.shape, 3), self.dtype)
        return MPMState(x, jnp.zeros_like(x), zeros, zeros + jnp.eye(3, dtype=self.dtype))

    def step(self, state: MPMState, poses: Float[Array, "B S+1 M 7"] | None = None) -> MPMState:
        """Advance by one control step, the tools' bodies moving through the given poses.

        Args:
            state: of the particles.
            poses: of the M bodies at the start and after each substep: (x, y, z, qw, qx, qy, qz) [m],
                quaternions of unit length. None if there are no bodies.

        Raises:
            ValueError: if an array has another shape.
            TypeError: if an array has another dtype, or in forward mode.
        """
        if poses is None:
            poses = jnp.zeros((len(state.x), self.substeps + 1, 0, 7), self.dtype)
        vector, matrix = (self.particles, 3), (self.particles, 3, 3)
        envs = batch_size(
            self.dtype,
            x=(state.x, vector),
            v=(state.v, vector),
            C=(state.C, matrix),
            F=(state.F, matrix),
            poses=(poses, (self.substeps + 1, self.bodies, 7)),
        )
        poses = poses.reshape(envs, math.prod(poses.shape[1:]))
        results = self._bridge(*(x.reshape(envs, -1) for x in state), poses)
        return MPMState(*(x.reshape(old.shape) for x, old in zip(results, state, strict=True)))


def _refuse(
    particles: int,
    volume: float,
    grid: Grid,
    dt: float,
    substeps: int,
    tools: Sequence[Tool],
    contact: Contact,
) -> None:
    positive = {
        "particles": particles,
        "volume": volume,
        "dx": grid.dx,
        "dt": dt,
        "substeps": substeps,
    }
    for name, value in (positive | {"softness": contact.softness}).items():
        if not value > 0:
            raise ValueError(f"{name} must be positive, not {value}")
    if min(grid.cells) <= 2 * grid.wall:
        raise ValueError(
            f"a grid with walls of {grid.wall} nodes needs more cells, not {grid.cells}"
        )
    for tool in tools:
        if tool.shape not in SIZES:
            raise ValueError(f"a tool is a {', a '.join(SIZES)}, not a {tool.shape}")
        if len(tool.size) != SIZES[tool.shape]:
            raise ValueError(f"a {tool.shape} needs {SIZES[tool.shape]} sizes, not {tool.size}")


def _shapes(tools: Sequence[Tool]) -> dict[str, Any]:
    cores = [tool.rounded_box() for tool in tools]
    return {
        "shapes": len(tools),
        "shape_body": np.array([tool.body for tool in tools], int),
        "shape_half_space": np.array([tool.shape == "half-space" for tool in tools], int),
        "shape_pose": np.array([(*tool.pos, *tool.quat) for tool in tools], float),
        "shape_core": np.array([core for core, _ in cores], float),
        "shape_radius": np.array([radius for _, radius in cores], float),
    }
