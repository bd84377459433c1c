"""Warp kernels made of the C++ in ``native/``, whose numbers are lanes of environments.

Warp turns one thread into one scalar program. On a CPU that leaves the vector units idle. So the
simulators' inner loops are C++ on numbers of W lanes (16 floats with AVX-512, else 8), with one
environment in each lane. The compiler inside Warp compiles it; for CUDA the same headers have
W = 1. Nothing but Warp is needed to build it.

A simulator is declared once, by a `Native`: its headers, and its arrays by name and width. The
headers name the fields of its model and the scratch memory that they take; Python packs the model
by the same lines, and asks the compiled code for the memory's size.
"""

from __future__ import annotations

import linecache
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import warp as wp

FOLDER = Path(__file__).parent / "native"


@dataclass(frozen=True, eq=False)
class Native:
    """The native code of a simulator.

    ``native/<name>_step.h`` defines ``Model``, the model in memory, and ``Step``, whose ``run``
    takes the inputs and the outputs. ``native/<name>_adjoint.h`` defines ``Adjoint``, whose ``run``
    takes the inputs, the adjoints of the outputs and the adjoints of the inputs.
    """

    name: str
    inputs: dict[str, str]
    """Array -> numbers per environment, as an expression in the model's integers."""
    outputs: dict[str, str]
    work: str
    """Numbers per environment that a control step writes; see `rfo.physics.kernels.Kernels`."""
    tape: bool = True
    """Whether the adjoint finds in the scratch memory what the step has left there."""
    packed: bool = True
    """Whether a thread advances W environments (``native/pack.h``), or one."""
    team: int = 1
    """Threads that advance a pack together on CUDA."""
    macros: dict[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Name of this variant."""
        return "_".join([self.name, *self.macros]).lower()

    @cached_property
    def fields(self) -> list[Field]:
        """The model's, in the order in which they follow each other in memory."""
        text = "".join(path.read_text() for path in included([f"{self.name}_step.h"]))
        found = [Field(*match) for match in FIELD.findall(text)]
        assert len(found) == len(READ.findall(text)), f"{self.name}: one field of a model a line"
        return found

    @cached_property
    def parameters(self) -> dict[str, str]:
        """Parameter -> numbers of an environment, in the order of their memory
        (``native/parameters.h``); the length is an expression in the model's integers."""
        text = "".join(path.read_text() for path in included([f"{self.name}_step.h"]))
        return {name: length.replace("m.", "") for name, length in VARIED.findall(text)}

    @cached_property
    def varying(self) -> Native:
        """The variant that takes parameters as its last input and yields their adjoints."""
        width = " + ".join(self.parameters.values())
        return replace(
            self,
            inputs=self.inputs | {"parameters": width},
            macros=self.macros | {"PARAMETERS": "1"},
        )


class Field(NamedTuple):
    """A field of a model in memory."""

    kind: str
    """``int`` or ``real``."""
    name: str
    length: str
    """Length of an array, an expression in the fields before it; empty for a single number."""


READ = re.compile(r" =\s+(?:integer|number|integers|reals)\(")
FIELD = re.compile(r"(int|real)\*? (\w+)" + READ.pattern + r"(.*)\);")
VARIED = re.compile(r"(?:\*|At<F>) (\w+) = varied\((.*)\);")
INCLUDE = re.compile(r'^#include "(.+)"$', re.MULTILINE)


def included(names: Iterable[str]) -> list[Path]:
    """Headers in ``native/`` and all that they include, each after what it includes."""
    found: dict[Path, None] = {}

    def add(name: str) -> None:
        path = FOLDER / name
        if path not in found:
            for other in INCLUDE.findall(path.read_text()):
                add(other)
            found[path] = None

    for name in names:
        add(name)
    return list(found)


def pack_model(
    native: Native, values: dict[str, Any], dtype: np.dtype, device: str
) -> tuple[wp.array, wp.array]:
    """The model's integers and its reals, as ``native/model.h`` reads them."""
    parts: dict[str, list[np.ndarray]] = {"int": [], "real": []}
    for kind, name, length in native.fields:
        array = np.ravel(values[name])
        size = eval(length, {}, values) if length else 1
        assert array.size == size, f"{native.name}: {name} has {array.size} numbers, not {size}"
        parts[kind].append(array)
    ints, reals = (np.concatenate(x) if x else np.zeros(0) for x in parts.values())
    return (
        wp.array(ints.astype(np.int32), dtype=wp.int32, device=device),
        wp.array(reals.astype(dtype), dtype=warp_type(dtype), device=device),
    )


# ------------------------------------------------------------------------------------- compilation


class KernelSet(NamedTuple):
    """Kernels of one precision."""

    step: wp.Kernel
    adjoint: wp.Kernel
    measure: wp.Kernel
    """Writes how many numbers of scratch memory a pack takes."""


@cache
def kernels(native: Native, dtype_name: str) -> KernelSet:
    """Kernels for ``"float32"`` or ``"float64"``, compiled when they are first launched."""
    headers = f"{native.name}_step.h", f"{native.name}_adjoint.h"
    module = native_module(native, headers, dtype_name)
    outputs = [f"{name}_out" for name in native.outputs]
    given = [*native.inputs, *(f"g_{name}" for name in outputs)]
    wanted = [f"g_{name}" for name in native.inputs]
    size = "larger(Step(call, model).taken(), Adjoint(call, model).taken())"
    return KernelSet(
        run_kernel(module, "step", "Step", [*native.inputs, *outputs], dtype_name),
        run_kernel(module, "adjoint", "Adjoint", [*given, *wanted], dtype_name),
        kernel(module, "measure", f"size.data[0] = {size};", {"size": INTS}, dtype_name),
    )


def native_module(native: Native, headers: Sequence[str], dtype_name: str) -> wp.Module:
    """A Warp module that includes the headers."""
    start_warp()
    real = {"float32": "float", "float64": "double"}[dtype_name]

    def preamble(device: str, team: int) -> str:
        width = lanes(np.dtype(dtype_name), device)
        strided = {"STRIDED": 1} if device == "cuda" and native.packed and team == 1 else {}
        macros = {"REAL": real, "LANES": width, "TEAM": team} | strided | native.macros
        lines = [f"#define {name} {value}" for name, value in macros.items()]
        return "\n".join([*lines, *(f'#include "{header}"' for header in headers)])

    options = wp.ModuleBuildOptions(
        extra_cpu_include_dirs=[FOLDER],
        extra_cuda_include_dirs=[FOLDER],
        extra_cpu_preamble=preamble("cpu", 1),
        extra_cuda_preamble=preamble("cuda", native.team),
        extra_build_dependencies=included(headers),
    )
    module = wp.get_module(f"rfo.{native.key}_{Path(headers[-1]).stem}_{dtype_name}")
    wp.set_module_options({"extra_build_options": options, "enable_backward": False}, module)
    return module


INTS = wp.array(dtype=wp.int32)
CALL = """
const Model model{{ints.data, reals.data}};
const Call call{thread, envs, scratch.data, slot_size, slots};
"""


def run_kernel(
    module: wp.Module, name: str, struct: str, arrays: Sequence[str], dtype_name: str
) -> wp.Kernel:
    """A kernel that calls ``run`` of a native struct with these arrays."""
    real = wp.array(dtype=warp_type(dtype_name))
    body = f"{struct}(call, model).run({', '.join(f'{array}.data' for array in arrays)});"
    return kernel(module, name, body, dict.fromkeys(arrays, real), dtype_name)


def kernel(
    module: wp.Module, name: str, body: str, arrays: dict[str, Any], dtype_name: str
) -> wp.Kernel:
    """A kernel of C++ text, in which ``model`` and ``call`` are defined and the arrays named.

    It is launched with `envs`, the numbers of a slot of scratch memory, the number of slots, the
    model's integers and reals, the scratch memory, then the arrays.
    """
    real = wp.array(dtype=warp_type(dtype_name))
    types = dict.fromkeys(("envs", "slot_size", "slots"), int)
    types |= {"ints": INTS, "reals": real, "scratch": real} | arrays
    names = ", ".join(types)
    text = f"def {name}_native(thread, {names}): ...\n"
    text += f"def {name}({names}):\n    {name}_native(wp.tid(), {names})\n"
    # Warp reads a function's source, which this way it finds
    file = f"<{module.name}.{name}>"
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    scope: dict[str, Any] = {"wp": wp, "__name__": module.name}
    exec(compile(text, file, "exec", dont_inherit=True), scope)
    scope[f"{name}_native"].__annotations__ = {"thread": int} | types
    scope[name].__annotations__ = types
    scope[f"{name}_native"] = wp.func_native(CALL + body)(scope[f"{name}_native"])
    return wp.Kernel(scope[name], key=name, module=module)


def lanes(dtype: np.dtype, device: str) -> int:
    """Environments that one thread advances: W of ``native/lanes.h``."""
    return 1 if device.startswith("cuda") else register_bytes() // np.dtype(dtype).itemsize


@cache
def register_bytes() -> int:
    """Size of a vector register of this CPU: 64 with AVX-512, else 32.

    A pack that is wider than a register costs 10 to 30 % of the physics' speed.
    """
    try:
        facts = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:  # not Linux; few of these have AVX-512
        return 32
    return 64 if re.search(r"^flags\s*:.*\bavx512f\b", facts, re.MULTILINE) else 32


@cache
def warp_type(dtype: Any) -> Any:
    """Warp's scalar type for a NumPy one."""
    return wp.dtype_from_numpy(np.dtype(dtype))


@cache
def start_warp() -> None:
    """Start Warp without its warning that a machine has no GPU, which it writes past Python."""
    wp.config.log_level = wp.LOG_WARNING
    try:
        stderr = os.dup(2)
    except OSError:  # closed: nobody would read the warning
        wp.init()
        return
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        wp.init()
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(null)
