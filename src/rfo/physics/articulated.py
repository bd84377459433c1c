"""Articulated rigid bodies in reduced coordinates, with penalty contact: the simulator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import warp as wp

from rfo.physics import articulated_adjoint as adjoint
from rfo.physics import articulated_kernels as kernels
from rfo.physics.bridge import Bridge
from rfo.physics.model import Joint, Model
from rfo.types import Array, Float


class ArticulatedState(NamedTuple):
    """Coordinates and velocities of B copies of a model, laid out as `rfo.physics.model.Joint` says."""

    q: Float[Array, "B nq"]
    qd: Float[Array, "B nv"]


class Articulated:
    """A model stepped with semi-implicit Euler; differentiable in state and control.

    Args:
        model: the articulated model.
        dt: duration of one control step [s].
        substeps: integration steps per control step.
        device: ``"cpu"``, ``"cuda"`` or None for JAX's default.
        threads: CPU threads of the physics, by default all cores of the process.

    Raises:
        ValueError: if `substeps` or `dt` is not positive.
    """

    def __init__(
        self,
        model: Model,
        dt: float,
        substeps: int,
        *,
        device: str | None = None,
        threads: int | None = None,
    ):
        if substeps < 1 or dt <= 0:
            raise ValueError(f"substeps ({substeps}) and dt ({dt}) must be positive")
        self.model = model
        self.dt = dt
        self.substeps = substeps
        self._kernels = ArticulatedKernels(model, dt / substeps, substeps)
        self._bridge = Bridge(self._kernels, device=device, threads=threads)

    def init(self, batch: int) -> ArticulatedState:
        """B copies at rest in the reference configuration."""
        return ArticulatedState(
            q=jnp.tile(jnp.asarray(self.model.q0, jnp.float32), (batch, 1)),
            qd=jnp.zeros((batch, self.model.nv), jnp.float32),
        )

    def step(self, state: ArticulatedState, control: Float[Array, "B nu"]) -> ArticulatedState:
        """Advance by one control step under a constant control (times the model's gears)."""
        return ArticulatedState(*self._bridge(state.q, state.qd, control))

    def mass_matrix(self, state: ArticulatedState) -> np.ndarray:
        """Joint-space inertia with armature (B, nv, nv), in the coordinates of `Joint`."""
        return self._kernels.dynamics(state)[0]

    def bias(self, state: ArticulatedState) -> np.ndarray:
        """Velocity-dependent, gravity, contact and passive forces (B, nv): M qdd + bias = control forces [N or N m]."""
        mass, bias = self._kernels.dynamics(state)
        qd = np.asarray(state.qd)
        for j in self.model.v_start[self.model.joint == Joint.FREE]:
            # the kernels solve for spatial accelerations, users think of classical ones
            spatial = -np.cross(qd[:, j + 3 : j + 6], qd[:, j : j + 3])
            bias = bias + np.einsum("bij,bj->bi", mass[:, :, j : j + 3], spatial)
        return bias


@dataclass
class _Workspace:
    envs: int
    arrays: kernels.ModelArrays
    forces: kernels.Forces
    sweep: _Sweep
    adj_sweep: _Sweep
    power: wp.array
    adj_power: wp.array
    multiplier: wp.array
    adj_multiplier: wp.array
    adj_tape: wp.array


class ArticulatedKernels:
    """The kernels of `Articulated`, as the bridge wants them (`rfo.physics.bridge.Kernels`)."""

    def __init__(self, model: Model, dt: float, substeps: int):
        self.model = model
        self.constants = _constants(model, dt, substeps)
        self.input_widths = (model.nq, model.nv, model.nu)
        self.output_widths = (model.nq, model.nv)
        self.substeps = substeps
        self.width = self.constants["width"]
        self.tape_width = substeps * self.width

    def workspace(self, envs: int, device: str) -> _Workspace:
        """Scratch for `envs` environments; the adjoint's scratch is one block so that one call clears it."""
        links, nv = envs * self.model.links, envs * self.model.nv
        sweep, adj_sweep = _Sweep(links, nv, device), _Sweep(links, nv, device)
        for name in kernels.Motion.vars:
            array = getattr(sweep.motion, name)
            array.grad = getattr(adj_sweep.motion, name)
            setattr(sweep.motion, name, array)  # the struct copies the pointers when assigned
        forces = kernels.Forces()
        for name, dtype in _FORCES.items():
            setattr(forces, name, wp.zeros(links, dtype=dtype, device=device))
        return _Workspace(
            envs=envs,
            arrays=_model_arrays(self.constants, device),
            forces=forces,
            sweep=sweep,
            adj_sweep=adj_sweep,
            power=_zeros(envs, device),
            adj_power=wp.full(envs, -1.0, dtype=float, device=device),
            multiplier=_zeros(nv, device),
            adj_multiplier=_zeros(nv, device),
            adj_tape=_zeros(envs * self.tape_width, device),
        )

    def launch_forward(
        self, ws: _Workspace, inputs: Sequence[wp.array], outputs: Sequence[wp.array], tape: wp.array
    ) -> None:
        """See `rfo.physics.bridge.Kernels.launch_forward`."""
        wp.launch(
            kernels.step_kernel,
            dim=ws.envs,
            inputs=[ws.arrays, *inputs, ws.sweep.motion, ws.forces, *outputs, tape],
            device=tape.device,
            record_tape=False,
        )

    def launch_adjoint(
        self,
        ws: _Workspace,
        inputs: Sequence[wp.array],
        tape: wp.array,
        adj_outputs: Sequence[wp.array],
        adj_inputs: Sequence[wp.array],
    ) -> None:
        """See `rfo.physics.bridge.Kernels.launch_adjoint`."""
        q, qd, control = inputs
        adj_control = adj_inputs[2]
        adj_q, adj_qd = adj_outputs
        m, launch = ws.arrays, _Launcher(ws.envs, tape.device)
        ws.adj_tape.zero_()
        adj_control.zero_()
        for k in reversed(range(self.substeps)):
            # q and qd serve as the integrator's outputs: only their adjoint matters here
            launch(
                adjoint.integrate_kernel,
                [m, k, tape, q, qd],
                [m, k, ws.adj_tape, adj_q, adj_qd],
            )
            launch(adjoint.multiplier_kernel, [m, k, tape, ws.adj_tape, ws.multiplier])
            primal = [m, k, tape, control, ws.multiplier, *ws.sweep.arguments, ws.power]
            launch(adjoint.power_kernel, primal)
            ws.adj_sweep.block.zero_()
            launch(
                adjoint.power_kernel,
                primal,
                [m, k, ws.adj_tape, adj_control, ws.adj_multiplier, *ws.adj_sweep.arguments, ws.adj_power],
            )
            launch(adjoint.collect_kernel, [m, k, ws.adj_tape, adj_q, adj_qd])
        wp.copy(adj_inputs[0], adj_q)
        wp.copy(adj_inputs[1], adj_qd)

    def dynamics(self, state: ArticulatedState) -> tuple[np.ndarray, np.ndarray]:
        """Mass matrix (B, nv, nv) and bias (B, nv) in the kernels' own coordinates."""
        m, nv = self.model, self.model.nv
        envs = len(state.q)
        ws = self.workspace(envs, "cpu")
        x = wp.array(np.concatenate([state.q, state.qd], axis=1).astype(np.float32).ravel(), device="cpu")
        rows = wp.zeros(envs * self.constants["nm"], dtype=float, device="cpu")
        right = wp.zeros(envs * (m.nq + 2 * nv), dtype=float, device="cpu")
        wp.launch(
            kernels.dynamics_kernel,
            dim=envs,
            inputs=[ws.arrays, x, ws.sweep.motion, ws.forces, rows, right],
            device="cpu",
        )
        packed = rows.numpy().reshape(envs, -1)
        mass = np.zeros((envs, nv, nv), np.float32)
        for j, ancestors in enumerate(_ancestors(self.constants["dof_parent"])):
            start = self.constants["row"][j]
            mass[:, j, ancestors] = packed[:, start : start + len(ancestors)]
            mass[:, ancestors, j] = mass[:, j, ancestors]
        return mass, -right.numpy().reshape(envs, -1)[:, m.nq + nv :]


_FORCES: dict[str, Any] = {
    "fa": wp.vec3,
    "fl": wp.vec3,
    "inertia": wp.mat33,
    "moment": wp.vec3,
    "mass": float,
}


class _Launcher:
    """Launch over all environments; with adjoints given, launch the kernel's adjoint."""

    def __init__(self, envs: int, device: Any):
        self.envs = envs
        self.device = device

    def __call__(self, kernel: wp.Kernel, primal: list[Any], adjoints: list[Any] | None = None) -> None:
        wp.launch(
            kernel,
            dim=self.envs,
            inputs=primal,
            adj_inputs=adjoints or [],
            adjoint=adjoints is not None,
            device=self.device,
            record_tape=False,
        )


class _Sweep:
    """Scratch of the kinematic sweep and the virtual velocities: views of one block, cleared at once."""

    def __init__(self, links: int, nv: int, device: str):
        sizes = {name: (wp.vec3, links) for name in ("pos", "va", "vl", "aa", "al", "wa", "wl")}
        sizes |= {"rot": (wp.quat, links), "sa": (wp.vec3, nv), "sl": (wp.vec3, nv)}
        floats = {name: (4 if dtype is wp.quat else 3) * n for name, (dtype, n) in sizes.items()}
        self.block = _zeros(sum(floats.values()), device)
        starts = dict(zip(floats, np.cumsum([0, *floats.values()]).tolist(), strict=False))
        views = {
            name: wp.array(ptr=self.block.ptr + 4 * starts[name], shape=n, dtype=dtype, device=device)
            for name, (dtype, n) in sizes.items()
        }
        self.motion = kernels.Motion()
        for name in kernels.Motion.vars:
            setattr(self.motion, name, views[name])
        self.arguments = [self.motion, views["wa"], views["wl"]]


def _zeros(n: int, device: str) -> wp.array:
    return wp.zeros(n, dtype=float, device=device)


def _ancestors(dof_parent: np.ndarray) -> list[list[int]]:
    """For each degree of freedom, itself and its ancestors upwards."""
    chains: list[list[int]] = []
    for j, parent in enumerate(dof_parent):
        chains.append([j, *(chains[parent] if parent >= 0 else [])])
    return chains


def _constants(model: Model, dt: float, substeps: int) -> dict[str, Any]:
    """Everything in `ModelArrays`, as plain numbers and NumPy arrays."""
    counts = np.array([6, 3, 1, 1])[model.joint]
    dof_parent = np.full(model.nv, -1)
    root = np.arange(model.links)
    last = np.full(model.links, -1)  # deepest degree of freedom at or above each link
    for i, parent in enumerate(model.parent):
        above = last[parent] if parent >= 0 else -1
        for j in range(model.v_start[i], model.v_start[i] + counts[i]):
            dof_parent[j] = above
            above = j
        last[i] = above
        if parent >= 0:
            root[i] = root[parent]
    depth = np.array([len(chain) for chain in _ancestors(dof_parent)])
    dof_link = np.repeat(np.arange(model.links), counts)
    scalar = np.isin(model.joint, (Joint.SLIDE, Joint.HINGE))
    dof_q = np.where(scalar[dof_link], model.q_start[dof_link], -1)
    nm = int(depth.sum())
    names = set(Model.__dataclass_fields__) & set(kernels.ModelArrays.vars)
    return {
        **{name: getattr(model, name) for name in names},
        "links": model.links,
        "nq": model.nq,
        "nv": model.nv,
        "nu": model.nu,
        "nm": nm,
        "contacts": len(model.contact_link),
        "substeps": substeps,
        "width": model.nq + 2 * model.nv + nm,
        "dt": dt,
        "root": root,
        "q_start": model.q_start,
        "v_start": model.v_start,
        "v_count": counts,
        "quat": model.quat[:, [1, 2, 3, 0]],
        "dof_parent": dof_parent,
        "dof_link": dof_link,
        "dof_q": dof_q,
        "row": np.concatenate([[0], np.cumsum(depth)[:-1]]),
    }


def _model_arrays(constants: dict[str, Any], device: str) -> kernels.ModelArrays:
    m = kernels.ModelArrays()
    for name, variable in kernels.ModelArrays.vars.items():
        value = constants[name]
        if isinstance(variable.type, wp.array):
            dtype = variable.type.dtype
            host = np.asarray(value, np.int32 if dtype in (int, wp.int32) else np.float32)
            setattr(m, name, wp.array(host, dtype=dtype, device=device))
        elif np.ndim(value):
            setattr(m, name, wp.vec3(*np.asarray(value, float)))
        else:
            setattr(m, name, value)
    return m
