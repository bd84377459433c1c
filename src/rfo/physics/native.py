"""Native Warp kernels whose numbers are lanes of environments.

Warp turns one thread into one scalar program. On a CPU that leaves the vector units idle. So the
simulators' inner loops are C++ text in ``native/`` on numbers of W lanes (16 floats on AVX-512),
with one environment in each lane. The compiler inside Warp compiles it; for CUDA the same text has
W = 1. Nothing but Warp is needed to build it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import warp as wp

FOLDER = Path(__file__).parent / "native"
MACROS = ("REAL", "TEAM", "LANE", "SQRT", "MIN", "MAX", "ANY", "FN", "SYNC", "ADD", "EACH")


def lanes(dtype: np.dtype, device: str) -> int:
    """Environments that one thread advances: W of ``native/lanes.h``."""
    return 1 if device.startswith("cuda") else 64 // np.dtype(dtype).itemsize


def snippet(dtype: np.dtype, model_struct: str, files: Sequence[str], team: int = 1) -> str:
    """Body of a native function.

    It is the lanes, the model's struct, the teams, then the named files of ``native/``. `team`
    threads advance one pack on CUDA, one thread elsewhere.
    """
    real = "double" if np.dtype(dtype) == np.float64 else "float"
    lanes_text, *texts = [(FOLDER / name).read_text() for name in ("lanes.h", "team.h", *files)]
    return "\n".join(
        [
            f"#define REAL {real}",
            "#if defined(__CUDA_ARCH__)",
            f"#define TEAM {team}",
            "#else",
            "#define TEAM 1",
            "#endif",
            lanes_text,
            model_struct,
            *texts,
            *(f"#undef {name}" for name in MACROS),
            "",
        ]
    )


class Layout:
    """A model as one array of integers and one of reals, and the C++ struct that reads them.

    Args:
        scalars: names of single integers, first in the array of integers.
        real_scalars: names of single reals, first in the array of reals.
        arrays: name -> (C++ type ``"int"`` or ``"real"``, length as an expression in the scalars).
    """

    def __init__(
        self,
        scalars: Sequence[str],
        real_scalars: Sequence[str],
        arrays: dict[str, tuple[str, str]],
    ):
        self.scalars = scalars
        self.real_scalars = real_scalars
        self.arrays = arrays

    def struct(self) -> str:
        """C++ text that defines `Model` and fills `m` from the arguments `ints` and `reals`."""
        fields = [f"int {name};" for name in self.scalars]
        fields += [f"real {name};" for name in self.real_scalars]
        fields += [f"const {kind}* {name};" for name, (kind, _) in self.arrays.items()]
        fill = [f"m.{name} = *next_int++;" for name in self.scalars]
        fill += [f"m.{name} = *next_real++;" for name in self.real_scalars]
        for name, (kind, length) in self.arrays.items():
            size = " * ".join(
                part if part.isdigit() else f"m.{part}" for part in length.split(" * ")
            )
            fill.append(f"m.{name} = next_{kind}; next_{kind} += {size};")
        return "\n".join(
            [
                "struct Model {",
                *fields,
                "};",
                "Model m;",
                "const int* next_int = ints.data;",
                "const real* next_real = reals.data;",
                *fill,
            ]
        )

    def pack(
        self, values: dict[str, Any], dtype: np.dtype, device: str
    ) -> tuple[wp.array, wp.array]:
        """The two arrays that `struct` reads."""
        ints = [np.ravel(values[name]) for name in self.scalars]
        reals = [np.ravel(values[name]) for name in self.real_scalars]
        for name, (kind, _) in self.arrays.items():
            (ints if kind == "int" else reals).append(np.ravel(values[name]))
        return (
            wp.array(np.concatenate(ints).astype(np.int32), dtype=wp.int32, device=device),
            wp.array(np.concatenate(reals).astype(dtype), dtype=warp_type(dtype), device=device),
        )


@cache
def warp_type(dtype: Any) -> Any:
    """Warp's scalar type for a NumPy one."""
    return wp.dtype_from_numpy(np.dtype(dtype))
