"""The Warp kernels of finite elements, float32 and float64: native text in ``native/tetrahedra*.h``."""

# Warp reads annotations as values and turns functions into kernels:
# pyright: reportInvalidTypeForm=false, reportArgumentType=false

from functools import cache
from typing import NamedTuple

import numpy as np
import warp as wp

from rfo.physics.native import Layout, snippet, warp_type

TEAM = 128
"""Threads that share the elements of one environment on CUDA."""

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


class KernelSet(NamedTuple):
    """Kernels of one precision; a thread, or on CUDA a team of them, advances one pack of environments."""

    step: wp.Kernel
    adjoint: wp.Kernel


@cache
def kernels(dtype_name: str) -> KernelSet:
    """Compile-on-demand kernels for ``"float32"`` or ``"float64"``."""
    dtype = np.dtype(dtype_name)
    real = wp.array(dtype=warp_type(dtype))
    ints = wp.array(dtype=wp.int32)
    struct = LAYOUT.struct()
    module = wp.get_module(f"rfo.tetrahedra_{dtype_name}")
    step_text = snippet(dtype, struct, ("tetrahedra.h", "tetrahedra_step.h"), TEAM)
    adjoint_text = snippet(dtype, struct, ("tetrahedra.h", "tetrahedra_adjoint.h"), TEAM)

    @wp.func_native(step_text)
    def step_native(
        tid: int, envs: int, ints: ints, reals: real, scratch: real,
        q_in: real, qd_in: real, control: real, q_out: real, qd_out: real, tape: real,
    ): ...  # fmt: skip

    @wp.func_native(adjoint_text)
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
