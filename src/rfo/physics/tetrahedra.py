"""Simulator of soft bodies: finite elements with muscles, on a ground.

Stable neo-Hookean elasticity (Smith, de Goes and Kim 2018) on linear tetrahedra, with volumetric
muscle activation, damping of the rate of deformation, gravity, and penalty contact of the vertices
with the ground. Time steps are semi-implicit Euler. The equations are in ``native/tetrahedra*.h``.

The contact law is Rewarped's. For a vertex of radius r at height z above the ground, with depth
d = r - z > 0 [m] and normal and tangential velocities v_n and v_t [m/s], the force is

    N = k_e d + k_d max(-v_n, 0),        F = N n - min(k_f, mu N / |v_t|) v_t.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from rfo.physics.bridge import Bridge
from rfo.physics.kernels import batch_size
from rfo.physics.mesh import TetMesh
from rfo.physics.native import Native
from rfo.physics.packs import PackedKernels
from rfo.physics.parameters import Quantity, checked, nominal, packed
from rfo.physics.tetrahedra_parameters import TetrahedraParameters, constants, quantities
from rfo.types import Array, Float

NATIVE = Native(
    "tetrahedra",
    inputs={"q": "3 * nodes", "qd": "3 * nodes", "control": "nu"},
    outputs={"q": "3 * nodes", "qd": "3 * nodes"},
    work="substeps * 3 * nodes",
    team=128,
)


@dataclass(frozen=True)
class SoftMaterial:
    """Constants of the tissue."""

    density: float = 1.0
    """Density [kg/m^3]."""
    mu: float = 1000.0
    """Resistance to stretch and shear [Pa]."""
    lambda_: float = 1000.0
    """Resistance to a change of volume [Pa]."""
    damping: float = 1.0
    """Damping of the rates of the deformation gradient and of the volume [Pa s]. The first part
    also resists rigid rotation."""
    drag: float = 0.0
    """Fraction of the first vertex's velocity that is missing in the rate of the volume. The
    correct value is 0. In Rewarped it is 1, so that a pure translation stresses the body; use 1
    only to reproduce Rewarped."""


@dataclass(frozen=True)
class SoftContact:
    """Constants of the contact of every vertex with the ground."""

    radius: float = 0.05
    """Radius of a vertex [m]."""
    ke: float = 2e3
    """Stiffness [N/m]."""
    kd: float = 0.1
    """Damping during approach [N s/m]."""
    kf: float = 10.0
    """Friction force per tangential speed while the vertex sticks [N s/m]."""
    mu: float = 0.7
    """Friction coefficient."""


class TetrahedraState(NamedTuple):
    """State of the N vertices of B bodies."""

    q: Float[Array, "B N 3"]
    """Positions [m]."""
    qd: Float[Array, "B N 3"]
    """Velocities [m/s]."""


class Tetrahedra:
    """Simulator of a soft body on a mesh, differentiable in state, control and parameters.

    Args:
        mesh: mesh of the body at rest.
        dt: duration of one control step [s].
        substeps: integration steps of one control step.
        muscle: (M,) index of the control that activates each tetrahedron, -1 for none.
        gain: activation per unit of control, one number or (M,). A positive activation shrinks the
            rest volume by about that fraction.
        material: constants of the tissue.
        contact: constants of the contact with the ground.
        gravity: gravitational acceleration along -z [m/s^2].
        ground_height: height of the ground [m].
        threads: CPU threads of the physics; by default as many as speed up the batch.
        dtype: precision, float32 or float64. float64 is meant for gradient checks; it needs JAX's
            x64 mode, set for the whole process.

    Raises:
        ValueError: if `substeps`, `dt` or a constant is out of range, or if `muscle` does not have
            one entry per tetrahedron.
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
                f"muscle needs one entry for each of {len(mesh.tets)} tetrahedra, "
                f"not the shape {muscle.shape}"
            )
        self.mesh = mesh
        self.dt = dt
        self.substeps = substeps
        self.dtype = np.dtype(dtype)
        self.mass = mesh.lumped_mass(material.density)
        self.controls = int(muscle.max(initial=-1)) + 1
        self._muscle = muscle
        own: dict[str, Any] = {
            "gravity": np.array([0, 0, -gravity]),
            "mass": self.mass,
            "mu": np.full(muscle.shape, material.mu),
            "lambda_": np.full(muscle.shape, material.lambda_),
            "damping": np.full(muscle.shape, material.damping),
            "gain": np.broadcast_to(gain, muscle.shape),
            "contact_law": np.array([contact.ke, contact.kd, contact.kf, contact.mu, 0.0]),
        }
        self._own = TetrahedraParameters(**own)
        values = (
            _elements(mesh)
            | constants(self._own, mesh.volumes)
            | {
                "muscle": muscle,
                "drag": material.drag,
                "ground_height": ground_height,
                "radius": contact.radius,
                "nodes": len(self.mass),
                "elements": len(muscle),
                "nu": max(self.controls, 1),
                "substeps": substeps,
                "dt": dt / substeps,
            }
        )
        self.kernels = PackedKernels(NATIVE, values, self.dtype)
        self._bridge = Bridge(self.kernels, threads=threads)

    def init(self, batch: int) -> TetrahedraState:
        """State of B bodies at rest in the position of the mesh."""
        q = jnp.tile(jnp.asarray(self.mesh.vertices, self.dtype), (batch, 1, 1))
        return TetrahedraState(q, jnp.zeros_like(q))

    @property
    def parameters(self) -> TetrahedraParameters:
        """The body's own constants, with one row."""
        return nominal(TetrahedraParameters, self._own._asdict(), self.dtype)

    @cached_property
    def quantities(self) -> dict[str, Quantity]:
        """What of `parameters` can be scaled by name, see `rfo.physics.parameters.scaled`."""
        return quantities(self._muscle)

    def step(
        self,
        state: TetrahedraState,
        control: Float[Array, "B U"],
        parameters: TetrahedraParameters | None = None,
    ) -> TetrahedraState:
        """Advance by one control step with constant controls, (B, 0) if there are no muscles.

        Args:
            state: of B bodies.
            control: of each.
            parameters: of each, or one row for all; None: the body's own, by kernels that know no
                others.

        Raises:
            ValueError: if an array has a wrong shape.
            TypeError: if an array has a wrong dtype, or in forward-mode differentiation.
        """
        nodes = (len(self.mesh.vertices), 3)
        controls = (control, (self.controls,))
        batch_size(self.dtype, q=(state.q, nodes), qd=(state.qd, nodes), control=controls)
        shape = state.q.shape
        flat = (x.reshape(shape[0], -1) for x in state)
        # The array of a kernel must not be empty.
        control = control if self.controls else jnp.zeros((shape[0], 1), self.dtype)
        if parameters is None:
            after = self._bridge(*flat, control)
        else:
            given = checked(parameters, self.parameters, shape[0])
            rows = packed(
                constants(given, self.mesh.volumes.astype(self.dtype)), NATIVE.parameters, shape[0]
            )
            after = self._bridge.varying(*flat, control, rows)
        return TetrahedraState(*(x.reshape(shape) for x in after))


def _elements(mesh: TetMesh) -> dict[str, np.ndarray]:
    """Vertices and rest shape of each tetrahedron."""
    corners = mesh.vertices[mesh.tets]
    D = np.linalg.inv(np.swapaxes(corners[:, 1:] - corners[:, :1], 1, 2))
    A = D @ np.swapaxes(D, 1, 2)
    return {
        "tets": mesh.tets,
        "shape": A[:, [0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]],
        "det": np.linalg.det(D),
    }
