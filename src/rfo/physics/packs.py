"""Kernels of simulators whose state is (q, qd), made of their native text: what they all share.

One thread, on CUDA a team of them, advances one pack of environments (``native/pack.h``).
"""

# Warp reads annotations as values and turns functions into kernels:
# pyright: reportInvalidTypeForm=false, reportArgumentType=false

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import warp as wp

from rfo.physics.native import Layout, lanes, snippet, warp_type


@dataclass(frozen=True)
class Source:
    """The native text of a simulator."""

    name: str
    layout: Layout
    step: tuple[str, ...]
    """Files of ``native/``, see `rfo.physics.native.snippet`."""
    adjoint: tuple[str, ...]
    team: int = 1
    """Threads that advance one pack on CUDA."""


class KernelSet(NamedTuple):
    """Kernels of one precision."""

    step: wp.Kernel
    adjoint: wp.Kernel


@cache
def kernels(source: Source, dtype_name: str) -> KernelSet:
    """Compile-on-demand kernels for ``"float32"`` or ``"float64"``."""
    dtype = np.dtype(dtype_name)
    real = wp.array(dtype=warp_type(dtype))
    ints = wp.array(dtype=wp.int32)
    struct = source.layout.struct()
    module = wp.get_module(f"rfo.{source.name}_{dtype_name}")

    @wp.func_native(snippet(dtype, struct, ("pack.h", *source.step), source.team))
    def step_native(
        tid: int, envs: int, ints: ints, reals: real, scratch: real,
        q_in: real, qd_in: real, control: real, q_out: real, qd_out: real, tape: real,
    ): ...  # fmt: skip

    @wp.func_native(snippet(dtype, struct, ("pack.h", *source.adjoint), source.team))
    def adjoint_native(
        tid: int, envs: int, ints: ints, reals: real, scratch: real,
        q_in: real, qd_in: real, control: real, tape: real, g_q_out: real, g_qd_out: real,
        g_q: real, g_qd: real, g_control: real,
    ): ...  # fmt: skip

    @wp.kernel(enable_backward=False, module=module)
    def step(
        envs: int, ints: ints, reals: real, scratch: real,
        q_in: real, qd_in: real, control: real, q_out: real, qd_out: real, tape: real,
    ):  # fmt: skip
        step_native(wp.tid(), envs, ints, reals, scratch, q_in, qd_in, control, q_out, qd_out, tape)

    @wp.kernel(enable_backward=False, module=module)
    def adjoint(
        envs: int, ints: ints, reals: real, scratch: real,
        q_in: real, qd_in: real, control: real, tape: real, g_q_out: real, g_qd_out: real,
        g_q: real, g_qd: real, g_control: real,
    ):  # fmt: skip
        adjoint_native(
            wp.tid(), envs, ints, reals, scratch,
            q_in, qd_in, control, tape, g_q_out, g_qd_out, g_q, g_qd, g_control,
        )  # fmt: skip

    return KernelSet(step, adjoint)


@dataclass
class Workspace:
    """A model with the scratch and tape of so many environments, on one device.

    It also holds the place where the adjoint's control step may leave its outputs.
    """

    envs: int
    packs: int
    model: tuple[wp.array, wp.array]
    scratch: wp.array
    tape: wp.array
    outputs: list[wp.array]


class PackedKernels:
    """Implements `rfo.physics.kernels.Kernels`.

    Args:
        source: of the kernels.
        values: everything in the source's layout, including ``substeps``, ``width`` (numbers on the
            tape per substep) and ``scratch`` (numbers).
        nq, nv, nu: widths of q, qd and control.
        dtype: float32 or float64.
    """

    def __init__(
        self, source: Source, values: dict[str, Any], nq: int, nv: int, nu: int, dtype: np.dtype
    ):
        self.source = source
        self.values = values
        self.dtype = dtype
        self.input_widths = (nq, nv, nu)
        self.output_widths = (nq, nv)
        self.work = values["substeps"] * values["width"]

    def pack_size(self, device: str) -> int:
        """Environments that one thread advances together."""
        return lanes(self.dtype, device)

    def workspace(self, envs: int, device: str) -> Workspace:
        """Scratch for `envs` environments."""
        size = self.pack_size(device)
        packs = -(-envs // size)
        alignment = 64 // self.dtype.itemsize
        return Workspace(
            envs=envs,
            packs=packs,
            model=self.source.layout.pack(self.values, self.dtype, device),
            scratch=self.zeros(packs * size * self.values["scratch"] + alignment, device),
            tape=self.zeros(envs * self.work, device),
            outputs=[self.zeros(envs * width, device) for width in self.output_widths],
        )

    def launch_forward(
        self, workspace: Workspace, inputs: Sequence[wp.array], outputs: Sequence[wp.array]
    ) -> None:
        """See `rfo.physics.kernels.Kernels.launch_forward`."""
        step = kernels(self.source, self.dtype.name).step
        self.launch(step, workspace, [*inputs, *outputs, workspace.tape], self.source.team)

    def launch_adjoint(
        self,
        workspace: Workspace,
        inputs: Sequence[wp.array],
        adj_outputs: Sequence[wp.array],
        adj_inputs: Sequence[wp.array],
    ) -> None:
        """See `rfo.physics.kernels.Kernels.launch_adjoint`."""
        self.launch_forward(workspace, inputs, workspace.outputs)
        adjoint = kernels(self.source, self.dtype.name).adjoint
        arrays = [*inputs, workspace.tape, *adj_outputs, *adj_inputs]
        self.launch(adjoint, workspace, arrays, self.source.team)

    def launch(
        self, kernel: wp.Kernel, ws: Workspace, arrays: list[wp.array], team: int = 1
    ) -> None:
        """Launch a kernel on all packs."""
        threads = team if str(ws.scratch.device).startswith("cuda") else 1
        wp.launch(
            kernel,
            dim=ws.packs * threads,
            inputs=[ws.envs, *ws.model, ws.scratch, *arrays],
            device=ws.scratch.device,
            block_dim=threads if threads > 1 else 256,
            record_tape=False,
        )

    def zeros(self, n: int, device: str) -> wp.array:
        """A flat array of the kernels' precision."""
        return wp.zeros(n, dtype=warp_type(self.dtype), device=device)
