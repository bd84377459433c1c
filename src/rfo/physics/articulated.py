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

from dataclasses import replace
from functools import cache, cached_property
from typing import Any, NamedTuple, TypeVar

import jax.numpy as jnp
import numpy as np
import warp as wp

from rfo.physics.articulated_parameters import ArticulatedParameters, quantities
from rfo.physics.articulated_values import chains, values
from rfo.physics.bridge import Bridge
from rfo.physics.kernels import batch_size
from rfo.physics.model import Joint, Model
from rfo.physics.native import Native, native_module, run_kernel, warp_type
from rfo.physics.packs import PackedKernels
from rfo.physics.parameters import Quantity, checked, nominal, packed
from rfo.types import Array, Float

NATIVE = Native(
    "articulated",
    inputs={"q": "nq", "qd": "nv", "control": "nu"},
    outputs={"q": "nq", "qd": "nv"},
    work="substeps * (nq + 2 * nv + nm)",
)


def native_of(model: Model) -> Native:
    """The variant without what the model lacks, because unused parts take long to compile."""
    lacks = {
        "ALONE": not len(model.pairs.link),
        "MOTORS": model.motorised,
        "CORDLESS": not len(model.cords),
    }
    return _variant(tuple(name for name, lacking in lacks.items() if lacking))


@cache
def _variant(macros: tuple[str, ...]) -> Native:
    return replace(NATIVE, macros=dict.fromkeys(macros, "1"))


class ArticulatedState(NamedTuple):
    """Coordinates and velocities of B copies of a model, laid out as `rfo.physics.model.Joint`
    says."""

    q: Float[Array, "B nq"]
    qd: Float[Array, "B nv"]


class ActivatedState(NamedTuple):
    """State of a model with activations, in the order of `Actuators.activations`."""

    q: Float[Array, "B nq"]
    qd: Float[Array, "B nv"]
    act: Float[Array, "B na"]


State = ArticulatedState | ActivatedState
S = TypeVar("S", bound=State)


class Articulated:
    """A model stepped with semi-implicit Euler; differentiable in state, control and parameters.

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

    def init(self, batch: int) -> State:
        """B copies at rest in the reference configuration, activations 0."""
        rest = jnp.zeros((batch, self.model.na), self.dtype)
        q = jnp.tile(jnp.asarray(self.model.q0, self.dtype), (batch, 1))
        qd = jnp.zeros((batch, self.model.nv), self.dtype)
        parts = self._parts(jnp.concatenate([q, rest], axis=-1), qd)
        return ActivatedState(*parts) if self.model.na else ArticulatedState(*parts)

    @property
    def parameters(self) -> ArticulatedParameters:
        """The model's own constants, with one row."""
        return nominal(ArticulatedParameters, self.kernels.values, self.dtype)

    @cached_property
    def quantities(self) -> dict[str, Quantity]:
        """What of `parameters` can be scaled by name, see `rfo.physics.parameters.scaled`."""
        return quantities(self.model)

    def step(
        self,
        state: S,
        control: Float[Array, "B nu"],
        parameters: ArticulatedParameters | None = None,
    ) -> S:
        """Advance by one control step under a constant control, in the units of its actuators.

        It is taken as it is: `Actuators.control_range` is for whoever chooses it.

        Args:
            state: of B copies.
            control: of each.
            parameters: of each, or one row for all; None: the model's own, by kernels that know no
                others.

        Raises:
            ValueError: if an array has another shape.
            TypeError: if an array has another dtype, or in forward mode.
        """
        self._check(self.dtype, state, control=(control, (self.model.nu,)))
        inputs = (_coordinates(state, jnp), state.qd, control)
        if parameters is None:
            q, qd = self._bridge(*inputs)
        else:
            given = checked(parameters, self.parameters, len(control))._asdict()
            q, qd = self._bridge.varying(*inputs, packed(given, NATIVE.parameters, len(control)))
        return type(state)(*self._parts(q, qd))

    def mass_matrix(self, state: State) -> np.ndarray:
        """Joint-space inertia with armature (B, nv, nv), in the coordinates of `Joint`.

        Raises:
            ValueError: if an array has another shape.
        """
        self._check(None, state)
        return self.kernels.dynamics(state)[0]

    def bias(self, state: State) -> np.ndarray:
        """All forces but the actuators' (B, nv), so that M qdd + bias = theirs [N or N m].

        Coriolis and gravity, less contact, limits, springs, damping, friction and couplings.

        Raises:
            ValueError: if an array has another shape.
        """
        self._check(None, state)
        mass, bias, _ = self.kernels.dynamics(state)
        qd = np.asarray(state.qd)
        for j in self.model.v_start[self.model.joint == Joint.FREE]:
            # the kernels solve for spatial accelerations, users think of classical ones
            spatial = -np.cross(qd[:, j + 3 : j + 6], qd[:, j : j + 3])
            bias = bias + np.einsum("bij,bj->bi", mass[:, :, j : j + 3], spatial)
        return bias

    def actuator_forces(self, state: State, control: Float[Array, "B nu"]) -> np.ndarray:
        """Forces of the actuators on each degree of freedom (B, nv) [N or N m].

        Raises:
            ValueError: if an array has another shape.
        """
        self._check(None, state, control=(control, (self.model.nu,)))
        return self.kernels.dynamics(state, control)[2]

    def _parts(self, q: Array, qd: Array) -> tuple[Array, ...]:
        """Arrays of a state, with the activations behind the coordinates."""
        nq = self.model.nq
        return (q[:, :nq], qd, q[:, nq:]) if self.model.na else (q, qd)

    def _check(self, dtype: Any, state: State, **others: Any) -> None:
        sizes = self.model.nq, self.model.nv, self.model.na
        if len(state) != (3 if self.model.na else 2):
            raise ValueError(f"a state of this model has {self.model.na} activations")
        own = {name: (x, (n,)) for name, x, n in zip(state._fields, state, sizes, strict=False)}
        batch_size(dtype, **own, **others)


class ArticulatedKernels(PackedKernels):
    """The kernels of `Articulated`, as the bridge wants them, and one that looks into its
    dynamics."""

    def __init__(self, model: Model, dt: float, substeps: int, dtype: np.dtype):
        super().__init__(native_of(model), values(NATIVE.fields, model, dt, substeps), dtype)
        self.model = model

    def dynamics(
        self, state: State, control: Any = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Mass matrix (B, nv, nv), bias (B, nv) and forces of the actuators (B, nv), in the
        kernels' own coordinates."""
        nv, envs = self.model.nv, len(state.q)
        control = np.zeros((envs, self.model.nu)) if control is None else control
        ws = self.workspace(envs, "cpu")
        rows, right, driven = (self.zeros(envs * n, "cpu") for n in (self.values["nm"], nv, nv))
        inputs = [
            wp.array(np.ravel(np.asarray(x, self.dtype)), dtype=warp_type(self.dtype), device="cpu")
            for x in (_coordinates(state, np), state.qd, control)
        ]
        self.launch(_inspection(self.native, self.dtype.name), ws, [*inputs, rows, right, driven])
        packed = rows.numpy().reshape(envs, -1)
        mass = np.zeros((envs, nv, nv), self.dtype)
        for j, above in enumerate(chains(self.values["dof_above"])):
            start = self.values["row"][j]
            mass[:, j, above] = packed[:, start : start + len(above)]
            mass[:, above, j] = mass[:, j, above]
        return mass, -right.numpy().reshape(envs, nv), driven.numpy().reshape(envs, nv)


@cache
def _inspection(native: Native, dtype_name: str) -> wp.Kernel:
    """Kernel from a state and controls to the mass matrix, all other forces, the actuators'."""
    module = native_module(native, ["articulated_inspect.h"], dtype_name)
    arrays = ["q", "qd", "control", "mass_matrix", "right", "driven"]
    return run_kernel(module, "inspect", "Inspection", arrays, dtype_name)


def _coordinates(state: State, numpy: Any) -> Any:
    """Coordinates, then activations, as the kernels have them."""
    return numpy.concatenate([state.q, *state[2:]], axis=-1)
