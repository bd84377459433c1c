"""What the kernels of articulated dynamics are made of: native text in ``native/articulated*.h``."""

# Warp reads annotations as values and turns functions into kernels:
# pyright: reportInvalidTypeForm=false, reportArgumentType=false

from functools import cache
from typing import Any

import numpy as np
import warp as wp

from rfo.physics.native import Layout, snippet, warp_type
from rfo.physics.packs import Source

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


SOURCE = Source(
    "articulated",
    LAYOUT,
    step=("articulated.h", "articulated_equations.h", "articulated_solve.h", "articulated_step.h"),
    adjoint=("articulated.h", "articulated_solve.h", "articulated_adjoint.h"),
)


@cache
def dynamics_kernel(dtype_name: str) -> Any:
    """Mass matrix and bias, in ``"float32"`` or ``"float64"``."""
    dtype = np.dtype(dtype_name)
    real = wp.array(dtype=warp_type(dtype))
    ints = wp.array(dtype=wp.int32)
    files = ("pack.h", "articulated.h", "articulated_equations.h", "articulated_inspect.h")

    @wp.func_native(snippet(dtype, LAYOUT.struct(), files))
    def dynamics_native(
        tid: int, envs: int, ints: ints, reals: real, scratch: real,
        q_in: real, qd_in: real, tape: real, mass_matrix: real, right: real,
    ): ...  # fmt: skip

    @wp.kernel(enable_backward=False, module=wp.get_module(f"rfo.dynamics_{dtype_name}"))
    def dynamics(
        envs: int, ints: ints, reals: real, scratch: real,
        q_in: real, qd_in: real, tape: real, mass_matrix: real, right: real,
    ):  # fmt: skip
        dynamics_native(wp.tid(), envs, ints, reals, scratch, q_in, qd_in, tape, mass_matrix, right)

    return dynamics
