"""Simulator of plasticine and fluids: particles on a grid (MLS-MPM).

The moving least squares material point method (Hu et al. 2018) with APIC transfers, quadratic
B-splines and explicit Euler steps. Kinematic tools, walls and the ground act on the nodes of the
grid. The coupling is one-way: particles never push a tool. The equations are in ``native/mpm*.h``,
the constitutive laws in ``native/material.h``.

On the CPU, one thread advances an environment. Its grid covers only the nodes that particles reach,
and is cleared in every substep. The adjoint computes the control step again from its start and
keeps the particles of all substeps while it runs. A rollout therefore stores only 96 bytes per
particle and control step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from rfo.physics.bridge import Bridge
from rfo.physics.kernels import batch_size
from rfo.physics.materials import Material, Plasticine
from rfo.physics.mpm_parameters import MPMParameters, constants, quantities
from rfo.physics.native import Native
from rfo.physics.packs import PackedKernels
from rfo.physics.parameters import Quantity, checked, nominal, packed
from rfo.types import Array, Float

STATE = {"x": "3 * particles", "v": "3 * particles", "c": "9 * particles", "f": "9 * particles"}
NATIVE = Native(
    "mpm",
    inputs=STATE | {"pose": "7 * bodies * (substeps + 1)"},
    outputs=STATE,
    work="24 * particles * substeps",
    tape=False,
    packed=False,
    team=128,
)

LEAST_INFLUENCE = 0.1
"""Influence of a tool below which the tool does not affect a node."""


class MPMState(NamedTuple):
    """State of the N particles of B environments."""

    x: Float[Array, "B N 3"]
    """Position [m]."""
    v: Float[Array, "B N 3"]
    """Velocity [m/s]."""
    C: Float[Array, "B N 3 3"]
    """Affine velocity matrix of APIC, which approximates the velocity gradient [1/s]."""
    F: Float[Array, "B N 3 3"]
    """Trial deformation gradient, to which the next substep applies plastic flow."""


@dataclass(frozen=True)
class Grid:
    """Grid of cubic cells that fills the box from the origin to `cells` times `dx`."""

    cells: tuple[int, int, int]
    """Number of cells along x, y and z."""
    dx: float
    """Edge length of a cell [m]."""
    wall: int = 3
    """Thickness in nodes of the walls on all sides, which nothing passes outwards. The ground is at
    z = `wall` dx."""


@dataclass(frozen=True)
class Tool:
    """A collision shape on a kinematic body."""

    shape: str
    """One of the names in `SIZES`."""
    size: tuple[float, ...] = ()
    """Sizes as in MuJoCo [m]: radius of a sphere; radius and half length (along z) of a capsule;
    half extents of a box. A half-space has no size and lies below z = 0 of its frame."""
    body: int = 0
    """Index of the body; -1 for the world."""
    pos: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Position in the body's frame [m]."""
    quat: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 0.0)
    """Orientation in the body's frame, (w, x, y, z)."""

    def rounded_box(self) -> tuple[tuple[float, ...], float]:
        """The shape as a rounded box: half extents of its core and radius around it [m]."""
        return {
            "sphere": lambda r: ((0.0, 0.0, 0.0), r),
            "capsule": lambda r, half: ((0.0, 0.0, half), r),
            "box": lambda *half: (half, 0.0),
            "half-space": lambda: ((0.0, 0.0, 0.0), 0.0),
        }[self.shape](*self.size)


SIZES = {"sphere": 1, "capsule": 2, "box": 3, "half-space": 0}
"""Shapes of a tool, and the number of sizes that each needs."""


@dataclass(frozen=True)
class Contact:
    """Contact of the material with tools and ground."""

    friction: float = 0.5
    """Coulomb friction coefficient of the tools."""
    softness: float = 666.0
    """Decay of a tool's influence with the distance [1/m]: a node at distance d is influenced by
    exp(-softness d), as long as that is above 0.1."""
    fading: bool = True
    """Whether the influence falls to zero continuously at that distance. Rewarped's jumps from 0.1
    to 0, and no gradient sees the jump; use False only to reproduce Rewarped."""
    ground_friction: float = 0.5
    """Coulomb friction coefficient of the ground; from 100 on, the ground is practically sticky."""


class MPM:
    """Simulator of particles of one material, differentiable in state, tools' poses, parameters.

    Args:
        material: material of all particles.
        particles: number of particles N.
        volume: volume of one particle at rest [m^3].
        grid: grid in which the particles move.
        dt: duration of one control step [s].
        substeps: integration steps S of one control step.
        tools: collision shapes on kinematic bodies.
        contact: contact constants.
        gravity: gravitational acceleration along -z [m/s^2].
        threads: CPU threads of the physics; by default as many as speed up the batch.
        dtype: precision, float32 or float64. float64 is meant for gradient checks; it needs JAX's
            x64 mode, set for the whole process.

    Raises:
        ValueError: for an unknown shape, a wrong number of sizes, a constant that is not positive,
            or a grid that is smaller than its walls.
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
        own: dict[str, Any] = {
            "gravity": np.array([0.0, 0.0, -gravity]),
            "density": np.array(material.density),
            "young": np.array(material.young),
            "poisson": np.array(material.poisson),
            "yield_stress": np.array(
                [material.yield_stress] if isinstance(material, Plasticine) else []
            ),
            "friction": np.array(contact.friction),
            "ground_friction": np.array(contact.ground_friction),
        }
        self._own = MPMParameters(**own)
        values = {"law": material.law} | constants(self._own, volume) | _shapes(self.tools)
        values |= dict(zip(("nx", "ny", "nz"), grid.cells, strict=True))
        values |= {
            "particles": particles,
            "bodies": self.bodies,
            "substeps": substeps,
            "wall": grid.wall,
            "dx": grid.dx,
            "dt": dt / substeps,
            "volume": volume,
            "softness": contact.softness,
            "halo": -np.log(LEAST_INFLUENCE) / contact.softness,
            "cut": LEAST_INFLUENCE if contact.fading else 0.0,
        }
        self.kernels = PackedKernels(NATIVE, values, self.dtype)
        self._bridge = Bridge(self.kernels, threads=threads)

    def init(self, x: Float[Array, "B N 3"]) -> MPMState:
        """State of undeformed particles at rest at positions x [m].

        Raises:
            ValueError: if `x` does not have this shape.
        """
        x = jnp.asarray(x, self.dtype)
        batch_size(self.dtype, x=(x, (self.particles, 3)))
        zeros = jnp.zeros((*x.shape, 3), self.dtype)
        return MPMState(x, jnp.zeros_like(x), zeros, zeros + jnp.eye(3, dtype=self.dtype))

    @property
    def parameters(self) -> MPMParameters:
        """The simulator's own constants, with one row."""
        return nominal(MPMParameters, self._own._asdict(), self.dtype)

    @cached_property
    def quantities(self) -> dict[str, Quantity]:
        """What of `parameters` can be scaled by name, see `rfo.physics.parameters.scaled`."""
        return quantities(yields=self._own.yield_stress.size > 0)

    def step(
        self,
        state: MPMState,
        poses: Float[Array, "B S+1 M 7"] | None = None,
        parameters: MPMParameters | None = None,
    ) -> MPMState:
        """Advance by one control step while the tools' bodies move through the given poses.

        Args:
            state: state of the particles.
            poses: poses of the M bodies at the start and after each substep, (x, y, z, qw, qx, qy,
                qz) with positions in [m] and unit quaternions. None if there are no bodies.
            parameters: of each environment, or one row for all; None: the simulator's own, by
                kernels that know no others.

        Raises:
            ValueError: if an array has a wrong shape.
            TypeError: if an array has a wrong dtype, or in forward-mode differentiation.
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
        inputs = (*(x.reshape(envs, -1) for x in state), poses)
        if parameters is None:
            results = self._bridge(*inputs)
        else:
            given = checked(parameters, self.parameters, envs)
            rows = packed(constants(given, self.volume), NATIVE.parameters, envs)
            results = self._bridge.varying(*inputs, rows)
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
