"""What the kernels of articulated dynamics are made of: native text in
``native/articulated*.h``."""

# Warp reads annotations as values and turns functions into kernels:
# pyright: reportInvalidTypeForm=false, reportArgumentType=false

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import warp as wp

from rfo.physics.native import Layout, snippet, warp_type
from rfo.physics.packs import Source

LAYOUT = Layout(
    scalars=(
        "links",
        "nq",
        "nv",
        "nu",
        "nm",
        "contacts",
        "pairs",
        "pair_ends",
        "segments",
        "substeps",
        "width",
        "scratch",
    ),
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
        "contact_law": ("real", "5 * contacts"),
        # per directed pair, see rfo.physics.pairs.Pairs
        "pair_link": ("int", "pairs"),
        "pair_target": ("int", "pairs"),
        "pair_box": ("int", "pairs"),  # 0 an axis, 1 a box, 2 a box on a box
        "pair_start": ("int", "pair_ends"),
        "pair_centre": ("real", "3 * pairs"),
        "pair_reach": ("real", "pairs"),
        "pair_radius": ("real", "pairs"),
        "pair_thickness": ("real", "pairs"),
        "pair_target_pos": ("real", "3 * pairs"),
        "pair_target_quat": ("real", "4 * pairs"),  # (x, y, z, w)
        "pair_target_half": ("real", "3 * pairs"),
        "pair_own_quat": ("real", "4 * pairs"),  # (x, y, z, w)
        "pair_own_half": ("real", "3 * pairs"),
        "pair_sign": ("real", "pairs"),
        "pair_law": ("real", "5 * pairs"),
        # per segment
        "segment_mid": ("real", "3 * segments"),
        "segment_half": ("real", "3 * segments"),
        "segment_length": ("real", "segments"),
    },
)


def _source(name: str, forward: Sequence[str], backward: Sequence[str] = ()) -> Source:
    """`forward` and `backward`: what bodies do to one another."""
    return Source(
        name,
        LAYOUT,
        step=(
            "articulated.h",
            *forward,
            "articulated_equations.h",
            "articulated_solve.h",
            "articulated_step.h",
        ),
        adjoint=(
            "articulated.h",
            *forward,
            *backward,
            "articulated_solve.h",
            "articulated_adjoint.h",
        ),
    )


SOURCE = _source("articulated", ["articulated_alone.h"])
PAIR_SOURCE = _source(
    "articulated_pairs",
    ["articulated_boxes.h", "articulated_pairs.h"],
    ["articulated_boxes_adjoint.h", "articulated_pairs_adjoint.h"],
)
"""For models whose bodies touch one another."""


@cache
def dynamics_kernel(source: Source, dtype_name: str) -> Any:
    """Mass matrix and bias, in ``"float32"`` or ``"float64"``."""
    dtype = np.dtype(dtype_name)
    real = wp.array(dtype=warp_type(dtype))
    ints = wp.array(dtype=wp.int32)
    files = ("pack.h", *source.step[:-2], "articulated_inspect.h")

    @wp.func_native(snippet(dtype, LAYOUT.struct(), files))
    def dynamics_native(
        tid: int, envs: int, ints: ints, reals: real, scratch: real,
        q_in: real, qd_in: real, tape: real, mass_matrix: real, right: real,
    ): ...  # fmt: skip

    @wp.kernel(
        enable_backward=False, module=wp.get_module(f"rfo.{source.name}_dynamics_{dtype_name}")
    )
    def dynamics(
        envs: int, ints: ints, reals: real, scratch: real,
        q_in: real, qd_in: real, tape: real, mass_matrix: real, right: real,
    ):  # fmt: skip
        dynamics_native(wp.tid(), envs, ints, reals, scratch, q_in, qd_in, tape, mass_matrix, right)

    return dynamics
