"""The Warp kernels of articulated dynamics, float32 and float64: native text in ``native/articulated*.h``."""

# Warp reads annotations as values and turns functions into kernels:
# pyright: reportInvalidTypeForm=false, reportArgumentType=false

from functools import cache
from typing import NamedTuple

import numpy as np
import warp as wp

from rfo.physics.native import Layout, snippet, warp_type

LAYOUT = Layout(
    scalars=("links", "nq", "nv", "nu", "nm", "contacts", "substeps", "width", "scratch"),
    real_scalars=("dt", "ground_height"),
    arrays={
        "gravity": ("real", "3"),
        "ground_normal": ("real", "3"),
        # per link
        "parent": ("int", "links"),
        "joint": ("int", "links"),
        "q_start": ("int", "links"),
        "v_start": ("int", "links"),
        "v_count": ("int", "links"),
        "pos": ("real", "3 * links"),
        "quat": ("real", "4 * links"),  # (x, y, z, w)
        "axis": ("real", "3 * links"),
        "mass": ("real", "links"),
        "com": ("real", "3 * links"),
        "inertia": ("real", "9 * links"),
        # per degree of freedom
        "dof_parent": ("int", "nv"),
        "dof_q": ("int", "nv"),  # coordinate of a SLIDE or HINGE, else -1
        "row": ("int", "nv"),  # where a row of H starts: its diagonal, then its ancestors upwards
        "armature": ("real", "nv"),
        "damping": ("real", "nv"),
        "stiffness": ("real", "nv"),
        "spring_reference": ("real", "nv"),
        "limit_lower": ("real", "nv"),
        "limit_upper": ("real", "nv"),
        "limit_ke": ("real", "nv"),
        "limit_kd": ("real", "nv"),
        # per control
        "control_dof": ("int", "nu"),
        "control_gear": ("real", "nu"),
        # per contact sphere
        "contact_link": ("int", "contacts"),
        "contact_pos": ("real", "3 * contacts"),
        "contact_radius": ("real", "contacts"),
        "contact_ke": ("real", "contacts"),
        "contact_kd": ("real", "contacts"),
        "contact_kf": ("real", "contacts"),
        "contact_mu": ("real", "contacts"),
    },
)


class KernelSet(NamedTuple):
    """Kernels of one precision; a thread advances one pack of environments."""

    step: wp.Kernel
    adjoint: wp.Kernel
    dynamics: wp.Kernel


@cache
def kernels(dtype_name: str) -> KernelSet:
    """Compile-on-demand kernels for ``"float32"`` or ``"float64"``."""
    dtype = np.dtype(dtype_name)
    real = wp.array(dtype=warp_type(dtype))
    ints = wp.array(dtype=wp.int32)
    struct = LAYOUT.struct()
    module = wp.get_module(f"rfo.articulated_{dtype_name}")
    shared = ("articulated.h",)
    step_text = snippet(
        dtype, struct, (*shared, "articulated_equations.h", "articulated_solve.h", "articulated_step.h")
    )
    adjoint_text = snippet(dtype, struct, (*shared, "articulated_solve.h", "articulated_adjoint.h"))
    dynamics_text = snippet(dtype, struct, (*shared, "articulated_equations.h", "articulated_inspect.h"))

    @wp.func_native(step_text)
    def step_native(
        tid: int, envs: int, ints: ints, reals: real, scratch: real,
        q_in: real, qd_in: real, control: real, q_out: real, qd_out: real, tape: real,
    ): ...  # fmt: skip

    @wp.func_native(adjoint_text)
    def adjoint_native(
        tid: int, envs: int, ints: ints, reals: real, scratch: real,
        tape: real, g_q_out: real, g_qd_out: real,
        g_q: real, g_qd: real, g_control: real,
    ): ...  # fmt: skip

    @wp.func_native(dynamics_text)
    def dynamics_native(
        tid: int, envs: int, ints: ints, reals: real, scratch: real,
        q_in: real, qd_in: real, tape: real, mass_matrix: real, right: real,
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
        tape: real, g_q_out: real, g_qd_out: real,
        g_q: real, g_qd: real, g_control: real,
    ):  # fmt: skip
        adjoint_native(
            wp.tid(), envs, ints, reals, scratch,
            tape, g_q_out, g_qd_out, g_q, g_qd, g_control,
        )  # fmt: skip

    @wp.kernel(enable_backward=False, module=module)
    def dynamics(
        envs: int, ints: ints, reals: real, scratch: real,
        q_in: real, qd_in: real, tape: real, mass_matrix: real, right: real,
    ):  # fmt: skip
        dynamics_native(wp.tid(), envs, ints, reals, scratch, q_in, qd_in, tape, mass_matrix, right)

    return KernelSet(step, adjoint, dynamics)
