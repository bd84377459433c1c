"""Articulated rigid bodies in reduced coordinates, with penalty contact: the simulator.

The equations are in ``native/articulated*.h``. Contact is a penalty with regularised Coulomb
friction, the reference tasks' law: for penetration depth d > 0 [m] of a contact sphere's lowest
point, normal and tangential velocity v_n, v_t of that point [m/s],

    N = k_e d + (k_d + k_h d) max(-v_n, 0),        F = N n - min(k_f, mu N / |v_t|) v_t.

Damping acts on approach only, so that the ground never pulls. Rewarped's tasks have k_h = 0, so
that a force sets in at once with touch-down; DFlex's have k_d = 0, damping that grows with depth
(Hunt and Crossley 1975). Two bodies push each other by the same law, along the normal between them,
where `rfo.physics.pairs` has them touch; `rfo.physics.supports` are ellipsoids on planes. Joint
limits are penalties too.
"""

from __future__ import annotations

from dataclasses import fields, replace
from functools import cache
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import warp as wp

from rfo.physics.bridge import Bridge
from rfo.physics.kernels import batch_size
from rfo.physics.model import Joint, Model
from rfo.physics.native import Native, native_module, run_kernel, warp_type
from rfo.physics.packs import PackedKernels
from rfo.physics.supports import Supports
from rfo.types import Array, Float

PAIRS = Native(
    "articulated",
    inputs={"q": "nq", "qd": "nv", "control": "nu"},
    outputs={"q": "nq", "qd": "nv"},
    work="substeps * (nq + 2 * nv + nm)",
)
ALONE = replace(PAIRS, macros={"ALONE": "1"})
"""For models whose bodies touch nothing but the ground."""


class ArticulatedState(NamedTuple):
    """Coordinates and velocities of B copies of a model, laid out as `rfo.physics.model.Joint`
    says."""

    q: Float[Array, "B nq"]
    qd: Float[Array, "B nv"]


class Articulated:
    """A model stepped with semi-implicit Euler; differentiable in state and control.

    Args:
        model: the articulated model.
        dt: duration of one control step [s].
        substeps: integration steps per control step.
        threads: CPU threads of the physics, by default as many as speed up the batch.
        dtype: precision, float32 or float64 (for gradient checks; needs JAX's x64 mode,
            set for the whole process).

    Raises:
        ValueError: if `substeps` or `dt` is not positive.
    """

    def __init__(
        self,
        model: Model,
        dt: float,
        substeps: int,
        *,
        threads: int | None = None,
        dtype: Any = np.float32,
    ):
        if substeps < 1 or dt <= 0:
            raise ValueError(f"substeps ({substeps}) and dt ({dt}) must be positive")
        self.model = model
        self.dt = dt
        self.substeps = substeps
        self.dtype = np.dtype(dtype)
        self.kernels = ArticulatedKernels(model, dt / substeps, substeps, self.dtype)
        self._bridge = Bridge(self.kernels, threads=threads)

    def init(self, batch: int) -> ArticulatedState:
        """B copies at rest in the reference configuration."""
        return ArticulatedState(
            q=jnp.tile(jnp.asarray(self.model.q0, self.dtype), (batch, 1)),
            qd=jnp.zeros((batch, self.model.nv), self.dtype),
        )

    def step(self, state: ArticulatedState, control: Float[Array, "B nu"]) -> ArticulatedState:
        """Advance by one control step under a constant control (times the model's gears).

        Raises:
            ValueError: if an array has another shape.
            TypeError: if an array has another dtype, or in forward mode.
        """
        self._check(self.dtype, state, control=(control, (self.model.nu,)))
        return ArticulatedState(*self._bridge(state.q, state.qd, control))

    def mass_matrix(self, state: ArticulatedState) -> np.ndarray:
        """Joint-space inertia with armature (B, nv, nv), in the coordinates of `Joint`.

        Raises:
            ValueError: if an array has another shape.
        """
        self._check(None, state)
        return self.kernels.dynamics(state)[0]

    def bias(self, state: ArticulatedState) -> np.ndarray:
        """All forces but the controls' (B, nv), so that M qdd + bias = control forces [N or N m].

        Coriolis and gravity, less contact, limits, springs and damping.

        Raises:
            ValueError: if an array has another shape.
        """
        self._check(None, state)
        mass, bias = self.kernels.dynamics(state)
        qd = np.asarray(state.qd)
        for j in self.model.v_start[self.model.joint == Joint.FREE]:
            # the kernels solve for spatial accelerations, users think of classical ones
            spatial = -np.cross(qd[:, j + 3 : j + 6], qd[:, j : j + 3])
            bias = bias + np.einsum("bij,bj->bi", mass[:, :, j : j + 3], spatial)
        return bias

    def _check(self, dtype: Any, state: ArticulatedState, **others: Any) -> None:
        q, qd = state
        batch_size(dtype, q=(q, (self.model.nq,)), qd=(qd, (self.model.nv,)), **others)


class ArticulatedKernels(PackedKernels):
    """The kernels of `Articulated`, as the bridge wants them, and one that looks into its
    dynamics."""

    def __init__(self, model: Model, dt: float, substeps: int, dtype: np.dtype):
        native = PAIRS if len(model.pairs.link) else ALONE
        super().__init__(native, _values(model, dt, substeps), dtype)
        self.model = model

    def dynamics(self, state: ArticulatedState) -> tuple[np.ndarray, np.ndarray]:
        """Mass matrix (B, nv, nv) and bias (B, nv) in the kernels' own coordinates."""
        nv, envs = self.model.nv, len(state.q)
        ws = self.workspace(envs, "cpu")
        rows, right = self.zeros(envs * self.values["nm"], "cpu"), self.zeros(envs * nv, "cpu")
        q, qd = (
            wp.array(np.ravel(np.asarray(x, self.dtype)), dtype=warp_type(self.dtype), device="cpu")
            for x in state
        )
        self.launch(_inspection(self.native, self.dtype.name), ws, [q, qd, rows, right])
        packed = rows.numpy().reshape(envs, -1)
        mass = np.zeros((envs, nv, nv), self.dtype)
        for j, ancestors in enumerate(_ancestors(self.values["dof_parent"])):
            start = self.values["row"][j]
            mass[:, j, ancestors] = packed[:, start : start + len(ancestors)]
            mass[:, ancestors, j] = mass[:, j, ancestors]
        return mass, -right.numpy().reshape(envs, nv)


@cache
def _inspection(native: Native, dtype_name: str) -> wp.Kernel:
    """Kernel from a state to the mass matrix and all forces but the controls'."""
    module = native_module(native, ["articulated_inspect.h"], dtype_name)
    return run_kernel(
        module, "inspect", "Inspection", ["q", "qd", "mass_matrix", "right"], dtype_name
    )


def _ancestors(dof_parent: np.ndarray) -> list[list[int]]:
    """For each degree of freedom, itself and its ancestors upwards."""
    chains: list[list[int]] = []
    for j, parent in enumerate(dof_parent):
        chains.append([j, *(chains[parent] if parent >= 0 else [])])
    return chains


def _values(model: Model, dt: float, substeps: int) -> dict[str, Any]:
    """The fields in memory: the model's own arrays and the indices derived from them."""
    dof_parent = np.full(model.nv, -1)
    last = np.full(model.links, -1)  # deepest degree of freedom at or above each link
    for i, parent in enumerate(model.parent):
        above = last[parent] if parent >= 0 else -1
        for j in range(model.v_start[i], model.v_start[i] + model.v_count[i]):
            dof_parent[j] = above
            above = j
        last[i] = above
    depth = np.array([len(chain) for chain in _ancestors(dof_parent)])
    dof_link = np.repeat(np.arange(model.links), model.v_count)
    scalar = np.isin(model.joint, (Joint.SLIDE, Joint.HINGE))
    nq, nv, nu, nm = model.nq, model.nv, model.nu, int(depth.sum())
    own = {x.name: getattr(model, x.name) for x in PAIRS.fields if hasattr(model, x.name)}
    return (
        own
        | _support_values(model.supports)
        | _pair_values(model)
        | {
            "links": model.links,
            "nq": nq,
            "nv": nv,
            "nu": nu,
            "nm": nm,
            "contacts": len(model.contact_link),
            "substeps": substeps,
            "control_dof": model.actuators.dof,
            "control_gear": model.actuators.gear,
            "dt": dt,
            "ground_height": model.ground_height,
            "quat": model.quat[:, [1, 2, 3, 0]],
            "dof_parent": dof_parent,
            "dof_q": np.where(scalar[dof_link], model.q_start[dof_link], -1),
            "row": np.concatenate([[0], np.cumsum(depth)[:-1]]),
        }
    )


def _support_values(supports: Supports) -> dict[str, Any]:
    """The part of `_values` that tells of ellipsoids on planes."""
    return {
        "supports": len(supports.link),
        **{f"support_{field.name}": getattr(supports, field.name) for field in fields(supports)},
        "support_quat": supports.quat[:, [1, 2, 3, 0]],
    }


def _pair_values(model: Model) -> dict[str, Any]:
    """The part of `_values` that tells of contact between bodies."""
    pairs = model.pairs
    return {
        "pairs": len(pairs.link),
        "pair_ends": len(pairs.start),
        "segments": len(pairs.segment_mid),
        "pair_link": pairs.link,
        "pair_target": pairs.target,
        "pair_box": pairs.box,
        "pair_start": pairs.start,
        "pair_centre": pairs.centre,
        "pair_reach": pairs.reach,
        "pair_radius": pairs.radius,
        "pair_thickness": pairs.thickness,
        "pair_target_pos": pairs.target_pos,
        "pair_target_quat": pairs.target_quat[:, [1, 2, 3, 0]],
        "pair_target_half": pairs.target_half,
        "pair_own_quat": pairs.own_quat[:, [1, 2, 3, 0]],
        "pair_own_half": pairs.own_half,
        "pair_sign": pairs.sign,
        "pair_law": pairs.law,
        "segment_mid": pairs.segment_mid,
        "segment_half": pairs.segment_half,
        "segment_length": np.linalg.norm(pairs.segment_half, axis=-1),
    }
