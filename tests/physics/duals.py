"""Hand-written adjoints against dual numbers, to rounding.

The native headers are compiled twice: with dual numbers, which carry a tangent v through a function
to J v, and in double precision, for the adjoint J^T w. Then <w, J v> = <J^T w, v>.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import warp as wp

from rfo.physics.native import FOLDER, included, pack_model, start_warp
from rfo.physics.packs import PackedKernels

TOLERANCE = 1e-12
"""Of the two products, relative to the numbers that they sum."""

INTS, REALS = wp.array(dtype=wp.int32), wp.array(dtype=wp.float64)
PROLOGUE = """
const real* const numbers = (const real*)reals.data;
const real* const x = (const real*)x_array.data + (long long)thread * inputs;
const real* const w = (const real*)w_array.data + (long long)thread * outputs;
real* const y = (real*)y_array.data + (long long)thread * (is_adjoint ? inputs : outputs);
const Call call{0, 1, (real*)scratch.data + (long long)thread * size, size, 1};
"""


class Code(NamedTuple):
    """Functions of the same headers, as C++ that reads x and writes y."""

    headers: tuple[str, ...]
    functions: tuple[str, ...]
    """Outputs y of inputs x."""
    adjoints: tuple[str, ...]
    """Adjoints y of the inputs, of inputs x and adjoints w of the outputs."""
    macros: tuple[tuple[str, str], ...] = ()
    helpers: str = ""


@cache
def kernel(code: Code, adjoint: bool) -> wp.Kernel:
    """Its functions with dual numbers, or their adjoints in double precision."""
    start_warp()
    macros = {"REAL": "double" if adjoint else "Dual", "LANES": "1"} | dict(code.macros)
    lines = [f"#define {name} {value}" for name, value in macros.items()]
    lines += [f'#include "{header}"' for header in ("dual.h", *code.headers)]
    options = wp.ModuleBuildOptions(
        extra_cpu_include_dirs=[FOLDER, Path(__file__).parent],
        extra_cpu_preamble="\n".join([*lines, code.helpers]),
        extra_build_dependencies=included(code.headers),
    )
    module = wp.get_module(f"rfo_tests.{hash(code):x}_{adjoint}")
    wp.set_module_options(
        {"extra_build_options": options, "enable_backward": False, "optimization_level": 0}, module
    )
    bodies = code.adjoints if adjoint else code.functions
    cases = "".join(f"case {i}: {{\n{body}\nbreak;\n}}\n" for i, body in enumerate(bodies))

    @wp.func_native(
        f"const bool is_adjoint = {str(adjoint).lower()};{PROLOGUE}switch (number) {{\n{cases}}}"
    )
    def native(
        thread: int, number: int, inputs: int, outputs: int, size: int,
        ints: INTS, reals: REALS, scratch: REALS, x_array: REALS, w_array: REALS, y_array: REALS,
    ): ...  # fmt: skip

    @wp.kernel(module=module, enable_backward=False)
    def run(
        number: int, inputs: int, outputs: int, size: int,
        ints: INTS, reals: REALS, scratch: REALS, x_array: REALS, w_array: REALS, y_array: REALS,
    ):  # fmt: skip
        native(
            wp.tid(), number, inputs, outputs, size,
            ints, reals, scratch, x_array, w_array, y_array,
        )  # fmt: skip

    return run


def launch(run: wp.Kernel, number: int, x, w, width: int, model=None, size: int = 0) -> np.ndarray:
    """Numbers y (N, width) of N threads; x, w and y may have a last axis of dual numbers."""
    tail = x.shape[2:]
    ints, reals = model or (np.zeros(0), np.zeros(0))
    arrays = [reals, np.zeros((len(x), size, *tail)), x, w, np.zeros((len(x), width, *tail))]
    if tail:
        arrays[0] = dual(reals, np.zeros_like(reals))
    ints = wp.array(ints.astype(np.int32), dtype=wp.int32, device="cpu")
    flat = [wp.array(np.ravel(a), dtype=wp.float64, device="cpu") for a in arrays]
    widths = [x.shape[1], w.shape[1]]
    wp.launch(run, len(x), [number, *widths, size, ints, *flat], device="cpu", record_tape=False)
    return flat[-1].numpy().reshape(arrays[-1].shape)


def dual(value: np.ndarray, tangent: np.ndarray) -> np.ndarray:
    """Arrays of dual numbers, with a last axis of 2."""
    return np.stack(np.broadcast_arrays(value, tangent), -1).astype(float)


def mismatch(code: Code, number: int, x: np.ndarray, fixed: int, outputs: int, model=None):
    """How far the two products are apart (N,), for random v and w; the last `fixed` inputs stay."""
    rng = np.random.default_rng(number)
    v, w = rng.normal(size=x.shape), rng.normal(size=(len(x), outputs))
    v[:, x.shape[1] - fixed :] = 0
    zero = np.zeros_like(w)
    y = launch(kernel(code, False), number, dual(x, v), dual(w, zero), outputs, model)
    g = launch(kernel(code, True), number, x, w, x.shape[1], model)
    return apart(w, y[..., 1], g, v)


def apart(w: np.ndarray, Jv: np.ndarray, g: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Difference of <w, J v> and <g, v>, relative to the numbers that they sum."""
    assert np.isfinite(Jv).all() and np.isfinite(g).all() and (np.abs(Jv) > 0).any()
    ours, theirs = np.sum(w * Jv, 1), np.sum(g * v, 1)
    scale = np.sum(np.abs(w * Jv), 1) + np.sum(np.abs(g * v), 1)
    return np.abs(ours - theirs) / np.maximum(scale, 1e-300)


def step_mismatch(kernels: PackedKernels, inputs: Sequence[np.ndarray]) -> np.ndarray:
    """The same for a whole control step of a simulator, the worst of its inputs.

    Each input (N, width), in double precision, is moved alone, and so is each array of the
    parameters, if the last input holds these: so none hides behind another. A parameter may be
    without effect.
    """
    envs, native, rng = len(inputs[0]), kernels.native, np.random.default_rng(7)
    x = np.concatenate(inputs, 1)
    v, w = rng.normal(size=x.shape), rng.normal(size=(envs, sum(kernels.output_widths)))
    workspace = kernels.workspace(envs, "cpu")

    arrays = [*parts("x", kernels.input_widths), *parts("y", kernels.output_widths)]
    run = "const Model model{{ints.data, numbers}}; Step(call, model).run({});"
    run = run.replace("({})", f"({', '.join(arrays)})")
    code = Code((f"{native.name}_step.h",), (run,), (), tuple(native.macros.items()))
    model = [x.numpy() for x in pack_model(native, kernels.values, kernels.dtype, "cpu")]
    size = 16 * workspace.slot[0] + 4096  # more than enough: slots are measured for lanes
    given = [*inputs, *np.split(w, np.cumsum(kernels.output_widths)[:-1], axis=1)]
    flat = [wp.array(np.ravel(a), dtype=wp.float64, device="cpu") for a in given]
    adjoints = [kernels.zeros(envs * width, "cpu") for width in kernels.input_widths]
    kernels.launch_adjoint(workspace, flat[: len(inputs)], flat[len(inputs) :], adjoints)
    g = np.concatenate([a.numpy().reshape(envs, -1) for a in adjoints], 1)

    widths, varied = list(kernels.input_widths), "parameters" in native.inputs
    if varied:
        widths[-1:] = [eval(length, {}, kernels.values) for length in native.parameters.values()]
    errors, of_input = [], np.repeat(np.arange(len(widths)), widths)
    for moved in set(of_input):
        alone = np.where(of_input == moved, v, 0)
        y = launch(kernel(code, False), 0, dual(x, alone), dual(w, 0 * w), w.shape[1], model, size)
        if varied and moved >= len(inputs) - 1 and not y[..., 1].any():
            assert not (g * alone).any()
            continue
        errors.append(apart(w, y[..., 1], g, alone))
    return np.max(errors, axis=0)


def parts(array: str, widths: Sequence[int]) -> list[str]:
    """C++ pointers to consecutive parts of an array."""
    return [f"{array} + {sum(widths[:i])}" for i in range(len(widths))]
