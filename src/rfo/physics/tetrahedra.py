"""Soft bodies as finite elements: tetrahedra with muscles, on a ground. The simulator.

Stable neo-Hookean elasticity (Smith, de Goes and Kim 2018) on linear tetrahedra, volumetric activation,
damping of the deformation's rate, gravity, and penalty contact of the vertices with the ground; semi-implicit
Euler. The equations are in ``native/tetrahedra*.h``. Contact is the reference tasks' law: for a vertex of
radius r at height z, depth d = r + height of the ground - z > 0 [m], normal and tangential velocity v_n, v_t,

    N = k_e d + k_d max(-v_n, 0),        F = N n - min(k_f, mu N / |v_t|) v_t.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from rfo.physics.bridge import Bridge
from rfo.physics.kernels import batch_size
from rfo.physics.mesh import TetMesh
from rfo.physics.native import Layout
from rfo.physics.packs import PackedKernels, Source
from rfo.types import Array, Float

LAYOUT = Layout(
    scalars=("nodes", "elements", "nu", "substeps", "width", "scratch"),
    real_scalars=(
        "dt",
        "drag",
        "ground_height",
        "radius",
        "contact_ke",
        "contact_kd",
        "contact_kf",
        "contact_mu",
    ),
    arrays={
        "gravity": ("real", "3"),
        # per vertex
        "inverse_mass": ("real", "nodes"),
        # per tetrahedron
        "tets": ("int", "4 * elements"),
        "muscle": ("int", "elements"),  # the control that activates it, or -1
        "gain": ("real", "elements"),
        "shape": ("real", "6 * elements"),  # of A = D D^T: xx, yy, zz, xy, xz, yz
        "det": ("real", "elements"),
        "mu": ("real", "elements"),  # times the rest volume, like lambda and damping
        "lambda": ("real", "elements"),
        "damping": ("real", "elements"),
        "alpha": ("real", "elements"),
    },
)

SOURCE = Source(
    "tetrahedra",
    LAYOUT,
    step=("tetrahedra.h", "tetrahedra_step.h"),
    adjoint=("tetrahedra.h", "tetrahedra_adjoint.h"),
    team=128,
)


@dataclass(frozen=True)
class SoftMaterial:
    """Constants of the tissue."""

    density: float = 1.0
    """[kg/m^3]"""
    mu: float = 1000.0
    """Resistance to stretch and shear [Pa]."""
    lambda_: float = 1000.0
    """Resistance to a change of volume [Pa]."""
    damping: float = 1.0
    """Of the rates of the deformation gradient and of the volume [Pa s]. The first resists rigid spin too."""
    drag: float = 0.0
    """Part of the first vertex's velocity that the volume's rate leaves out. Rewarped leaves out all of it
    (1), so that a mere translation stresses its bodies; anything but 0 is for fidelity to it."""


@dataclass(frozen=True)
class SoftContact:
    """Constants of every vertex's contact with the ground."""

    radius: float = 0.05
    """Of a vertex [m]."""
    ke: float = 2e3
    """Stiffness [N/m]."""
    kd: float = 0.1
    """Damping on approach [N s/m]."""
    kf: float = 10.0
    """Friction per tangential speed while it sticks [N s/m]."""
    mu: float = 0.7
    """Coefficient of friction."""


class TetrahedraState(NamedTuple):
    """Positions [m] and velocities [m/s] of the N vertices of B bodies."""

    q: Float[Array, "B N 3"]
    qd: Float[Array, "B N 3"]


class Tetrahedra:
    """A mesh stepped with semi-implicit Euler; differentiable in state and control.

    Args:
        mesh: at rest.
        dt: duration of one control step [s].
        substeps: integration steps per control step.
        muscle: (M,) index of the control that activates each tetrahedron, -1 for none.
        gain: activation per unit of control, one number or (M,). Positive activation shrinks: the volume at
            rest falls by about that share.
        material, contact: constants.
        gravity: [m/s^2], along -z.
        ground_height: z of the ground [m].
        threads: CPU threads of the physics, by default as many as speed up the batch.
        dtype: precision, float32 or float64 (for gradient checks; needs JAX's x64 mode,
            set for the whole process).

    Raises:
        ValueError: if `substeps`, `dt` or a constant is out of range, or `muscle` has not one entry per
            tetrahedron.
    """

    def __init__(
        self,
        mesh: TetMesh,
        dt: float,
        substeps: int,
        *,
        muscle: np.ndarray | None = None,
        gain: float | np.ndarray = 1.0,
        material: SoftMaterial = SoftMaterial(),
        contact: SoftContact = SoftContact(),
        gravity: float = 9.81,
        ground_height: float = 0.0,
        threads: int | None = None,
        dtype: Any = np.float32,
    ):
        if substeps < 1 or dt <= 0:
            raise ValueError(f"substeps ({substeps}) and dt ({dt}) must be positive")
        if min(material.density, material.mu, material.lambda_) <= 0 or material.damping < 0:
            raise ValueError(
                f"density, mu and lambda_ must be positive, damping not negative: {material}"
            )
        muscle = np.full(len(mesh.tets), -1) if muscle is None else np.asarray(muscle)
        if muscle.shape != (len(mesh.tets),):
            raise ValueError(
                f"muscle needs one entry for each of {len(mesh.tets)} tetrahedra, not {muscle.shape}"
            )
        self.mesh = mesh
        self.dt = dt
        self.substeps = substeps
        self.dtype = np.dtype(dtype)
        self.mass = mesh.lumped_mass(material.density)
        self.controls = int(muscle.max(initial=-1)) + 1
        values = _elements(mesh, material) | {
            "muscle": muscle,
            "gain": np.broadcast_to(gain, muscle.shape),
            "inverse_mass": 1 / self.mass,
            "gravity": [0, 0, -gravity],
            "drag": material.drag,
            "ground_height": ground_height,
            "radius": contact.radius,
            **{f"contact_{name}": getattr(contact, name) for name in ("ke", "kd", "kf", "mu")},
        }
        self.kernels = _kernels(values, self.controls, dt / substeps, substeps, self.dtype)
        self._bridge = Bridge(self.kernels, threads=threads)

    def init(self, batch: int) -> TetrahedraState:
        """B bodies at rest where the mesh is."""
        q = jnp.tile(jnp.asarray(self.mesh.vertices, self.dtype), (batch, 1, 1))
        return TetrahedraState(q, jnp.zeros_like(q))

    def step(self, state: TetrahedraState, control: Float[Array, "B U"]) -> TetrahedraState:
        """Advance by one control step under constant controls; (B, 0) if there are no muscles.

        Raises:
            ValueError: if an array has another shape.
            TypeError: if an array has another dtype, or in forward mode.
        """
        nodes = (len(self.mesh.vertices), 3)
        controls = (control, (self.controls,))
        batch_size(self.dtype, q=(state.q, nodes), qd=(state.qd, nodes), control=controls)
        shape = state.q.shape
        flat = (x.reshape(shape[0], -1) for x in state)
        # a kernel's array cannot be empty
        control = control if self.controls else jnp.zeros((shape[0], 1), self.dtype)
        return TetrahedraState(*(x.reshape(shape) for x in self._bridge(*flat, control)))


def _kernels(
    values: dict[str, Any], controls: int, dt: float, substeps: int, dtype: np.dtype
) -> PackedKernels:
    """On the tape are the velocities after each substep: 12 bytes per vertex in single precision."""
    nodes, nu = len(values["inverse_mass"]), max(controls, 1)
    own = {
        "nodes": nodes,
        "elements": len(values["muscle"]),
        "nu": nu,
        "substeps": substeps,
        "width": 3 * nodes,
        # numbers that the native text takes from its scratch: tetrahedra.h, then tetrahedra_adjoint.h
        "scratch": (6 * nodes + nu) + (9 * nodes + nu),
        "dt": dt,
    }
    return PackedKernels(SOURCE, values | own, 3 * nodes, 3 * nodes, nu, dtype)


def _elements(mesh: TetMesh, material: SoftMaterial) -> dict[str, np.ndarray]:
    """Per tetrahedron: vertices, shape at rest and constants times the rest volume."""
    corners = mesh.vertices[mesh.tets]
    D = np.linalg.inv(np.swapaxes(corners[:, 1:] - corners[:, :1], 1, 2))
    A = D @ np.swapaxes(D, 1, 2)
    volume = mesh.volumes
    return {
        "tets": mesh.tets,
        "shape": A[:, [0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]],
        "det": np.linalg.det(D),
        "mu": material.mu * volume,
        "lambda": material.lambda_ * volume,
        "damping": material.damping * volume,
        "alpha": np.full(len(volume), 1 + 0.75 * material.mu / material.lambda_),
    }
