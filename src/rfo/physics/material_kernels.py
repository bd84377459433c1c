"""Kernels that evaluate a material's response by itself."""

# Warp evaluates annotations and turns functions into kernels:
# pyright: reportInvalidTypeForm=false, reportArgumentType=false

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import warp as wp

from rfo.physics.native import Layout, lanes, snippet, warp_type
from rfo.physics.packs import KernelSet

LAW = Layout(scalars=("law",), real_scalars=("mu", "lambda", "yield"), arrays={})


@cache
def kernels(dtype_name: str) -> KernelSet:
    """Kernels for ``"float32"`` or ``"float64"``, compiled on first use."""
    dtype = np.dtype(dtype_name)
    real = wp.array(dtype=warp_type(dtype))
    ints = wp.array(dtype=wp.int32)
    text = ("material.h", "material_step.h")
    module = wp.get_module(f"rfo.material_{dtype_name}")

    @wp.func_native(snippet(dtype, LAW.struct(), (*text, "material_forward.h")))
    def forward_native(
        tid: int, numbers: int, ints: ints, reals: real, f_in: real, fe_out: real, tau_out: real
    ): ...

    @wp.func_native(snippet(dtype, LAW.struct(), (*text, "material_adjoint.h")))
    def adjoint_native(
        tid: int,
        numbers: int,
        ints: ints,
        reals: real,
        f_in: real,
        g_fe: real,
        g_tau: real,
        g_f: real,
    ): ...

    @wp.kernel(enable_backward=False, module=module)
    def forward(numbers: int, ints: ints, reals: real, f_in: real, fe_out: real, tau_out: real):
        forward_native(wp.tid(), numbers, ints, reals, f_in, fe_out, tau_out)

    @wp.kernel(enable_backward=False, module=module)
    def adjoint(
        numbers: int, ints: ints, reals: real, f_in: real, g_fe: real, g_tau: real, g_f: real
    ):
        adjoint_native(wp.tid(), numbers, ints, reals, f_in, g_fe, g_tau, g_f)

    return KernelSet(forward, adjoint)


class ResponseKernels:
    """Kernels from F to the elastic F and the Kirchhoff stress; see `rfo.physics.kernels.Kernels`.

    Args:
        values: the entries of `LAW`, by name.
        width: numbers per environment, 9 for each particle.
        dtype: float32 or float64.
    """

    def __init__(self, values: dict[str, Any], width: int, dtype: np.dtype):
        self.values = values
        self.dtype = dtype
        self.input_widths = (width,)
        self.output_widths = (width, width)
        self.work = width

    def pack_size(self, device: str) -> int:
        """One environment; see `rfo.physics.kernels.Kernels.pack_size`."""
        return 1

    def workspace(self, envs: int, device: str) -> tuple[wp.array, wp.array]:
        """Arrays of the material's constants on the device."""
        return LAW.pack(self.values, self.dtype, device)

    def launch_forward(
        self, workspace: Any, inputs: Sequence[wp.array], outputs: Sequence[wp.array]
    ) -> None:
        """See `rfo.physics.kernels.Kernels.launch_forward`."""
        self._launch(kernels(self.dtype.name).step, workspace, [*inputs, *outputs])

    def launch_adjoint(
        self,
        workspace: Any,
        inputs: Sequence[wp.array],
        adj_outputs: Sequence[wp.array],
        adj_inputs: Sequence[wp.array],
    ) -> None:
        """See `rfo.physics.kernels.Kernels.launch_adjoint`."""
        self._launch(
            kernels(self.dtype.name).adjoint, workspace, [*inputs, *adj_outputs, *adj_inputs]
        )

    def _launch(self, kernel: wp.Kernel, workspace: Any, arrays: list[wp.array]) -> None:
        device = arrays[0].device
        numbers = arrays[0].size
        size = 9 * lanes(self.dtype, str(device))
        wp.launch(
            kernel, dim=-(-numbers // size), inputs=[numbers, *workspace, *arrays], device=device
        )
