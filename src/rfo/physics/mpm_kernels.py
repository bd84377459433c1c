"""Kernels of the particle simulator, made from its native code."""

# Warp evaluates annotations and turns functions into kernels:
# pyright: reportInvalidTypeForm=false, reportArgumentType=false

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import warp as wp

from rfo.physics.native import Layout, snippet, warp_type
from rfo.physics.packs import KernelSet

LAYOUT = Layout(
    scalars=(
        "law", "particles", "substeps", "bodies", "shapes", "nx", "ny", "nz", "wall",
        "node_numbers", "scratch", "slots",
    ),
    real_scalars=(
        "mu", "lambda", "yield", "dt", "dx", "mass", "volume",
        "softness", "halo", "cut", "friction", "ground_friction",
    ),
    arrays={
        "gravity": ("real", "3"),
        "shape_body": ("int", "shapes"),  # -1 for the world
        "shape_half_space": ("int", "shapes"),
        "shape_pose": ("real", "7 * shapes"),  # in the frame of its body
        "shape_core": ("real", "3 * shapes"),
        "shape_radius": ("real", "shapes"),
    },
)  # fmt: skip

TEAM = 128
"""Threads that advance one environment together on CUDA."""
SHARED = ("rows.h", "material.h", "mpm.h", "mpm_tools.h")
STATE, CACHE, SHAPE = 24, 30, 64
"""Numbers that the native code stores for a particle's state, a particle's cache, and a shape."""


@cache
def kernels(dtype_name: str) -> KernelSet:
    """Kernels for ``"float32"`` or ``"float64"``, compiled on first use."""
    dtype = np.dtype(dtype_name)
    real = wp.array(dtype=warp_type(dtype))
    ints = wp.array(dtype=wp.int32)
    module = wp.get_module(f"rfo.mpm_{dtype_name}")

    @wp.func_native(snippet(dtype, LAYOUT.struct(), (*SHARED, "mpm_step.h"), TEAM))
    def step_native(
        tid: int, ints: ints, reals: real, scratch: real,
        x_in: real, v_in: real, c_in: real, f_in: real, pose: real,
        x_out: real, v_out: real, c_out: real, f_out: real,
    ): ...  # fmt: skip

    @wp.func_native(snippet(dtype, LAYOUT.struct(), (*SHARED, "mpm_adjoint.h"), TEAM))
    def adjoint_native(
        tid: int, ints: ints, reals: real, scratch: real,
        x_in: real, v_in: real, c_in: real, f_in: real, pose: real,
        g_x_out: real, g_v_out: real, g_c_out: real, g_f_out: real,
        g_x: real, g_v: real, g_c: real, g_f: real, g_pose: real,
    ): ...  # fmt: skip

    @wp.kernel(enable_backward=False, module=module)
    def step(
        ints: ints, reals: real, scratch: real,
        x_in: real, v_in: real, c_in: real, f_in: real, pose: real,
        x_out: real, v_out: real, c_out: real, f_out: real,
    ):  # fmt: skip
        step_native(
            wp.tid(), ints, reals, scratch, x_in, v_in, c_in, f_in, pose, x_out, v_out, c_out, f_out
        )

    @wp.kernel(enable_backward=False, module=module)
    def adjoint(
        ints: ints, reals: real, scratch: real,
        x_in: real, v_in: real, c_in: real, f_in: real, pose: real,
        g_x_out: real, g_v_out: real, g_c_out: real, g_f_out: real,
        g_x: real, g_v: real, g_c: real, g_f: real, g_pose: real,
    ):  # fmt: skip
        adjoint_native(
            wp.tid(), ints, reals, scratch, x_in, v_in, c_in, f_in, pose,
            g_x_out, g_v_out, g_c_out, g_f_out, g_x, g_v, g_c, g_f, g_pose,
        )  # fmt: skip

    return KernelSet(step, adjoint)


class ParticleKernels:
    """Kernels of one control step; see `rfo.physics.kernels.Kernels`.

    The inputs are x, v, C, F and the poses of the bodies; the outputs are x, v, C, F.

    Args:
        values: the entries of `LAYOUT` by name, without the sizes of the scratch memory.
        dtype: float32 or float64.
    """

    def __init__(self, values: dict[str, Any], dtype: np.dtype):
        n, padded = values["particles"], -(-values["particles"] // 16) * 16
        grid = (values["nx"] + 2) * (values["ny"] + 2) * (values["nz"] + 2)
        nodes = -(-(4 * grid + 16) // 16) * 16
        shapes = values["shapes"]
        forward = padded + 2 * nodes + SHAPE * shapes + STATE * padded
        adjoint = padded * ((values["substeps"] + 1) * STATE + CACHE) + nodes + 27 * shapes + 64
        self.values = values | {
            "node_numbers": nodes,
            "scratch": -(-(forward + adjoint) // 16) * 16,
        }
        self.dtype = dtype
        self.output_widths = (3 * n, 3 * n, 9 * n, 9 * n)
        self.input_widths = (*self.output_widths, 7 * values["bodies"] * (values["substeps"] + 1))
        self.work = STATE * n * values["substeps"]

    def pack_size(self, device: str) -> int:
        """One environment; see `rfo.physics.kernels.Kernels.pack_size`."""
        return 1

    def workspace(self, envs: int, device: str) -> tuple[wp.array, ...]:
        """Constants and scratch memory.

        On the CPU, environments are advanced one after the other and share one scratch memory.
        """
        slots = envs if device.startswith("cuda") else 1
        scratch = wp.zeros(
            self.values["scratch"] * slots + 64 // self.dtype.itemsize,
            dtype=warp_type(self.dtype),
            device=device,
        )
        return (*LAYOUT.pack(self.values | {"slots": slots}, self.dtype, device), scratch)

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
        team = TEAM if str(device).startswith("cuda") else 1
        wp.launch(
            kernel,
            dim=arrays[0].size // self.input_widths[0] * team,
            inputs=[*workspace, *arrays],
            device=device,
            block_dim=team if team > 1 else 256,
            record_tape=False,
        )
