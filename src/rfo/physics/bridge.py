"""The one crossing between Warp and JAX.

A simulator hands over its kernels (`Kernels`); `Bridge` makes of them one differentiable JAX function of a
control step. It works under jit, scan, vmap (which folds into the batch), grad and checkpoint, from any number of
compiled programs. Reverse mode only, first derivatives only: anything else is refused.

On the CPU a Warp launch runs on one core, so the batch is cut into one chunk of environments per thread. The
launches of a whole control step, and those of its adjoint, are captured once per chunk as a graph over static
buffers; a call then is a few copies and one replay per thread, outside the interpreter lock. On CUDA the launches go
to JAX's stream through Warp's own foreign-function interface, whose graphs JAX captures.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import warp as wp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from rfo.types import Array


def _start_warp() -> None:
    """Start Warp without its native warning, written past Python, that a machine has no GPU."""
    wp.config.log_level = wp.LOG_WARNING
    stderr, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        wp.init()
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(null)


_start_warp()


class Kernels(Protocol):
    """What a simulator shows the bridge. Every array is flat and environment-major, but the tape."""

    dtype: np.dtype
    input_widths: tuple[int, ...]
    """Numbers per environment of each input (state, then control)."""
    output_widths: tuple[int, ...]
    tape_width: int
    """Numbers per environment that the forward pass keeps for the adjoint. Their order is the simulator's own and
    may mix the environments of a pack, so a tape is only ever used by the batch that made it."""

    def pack_size(self, device: str) -> int:
        """Environments that are advanced together: chunks are multiples of it."""
        ...

    def workspace(self, envs: int, device: str) -> Any:
        """Scratch arrays for that many environments."""
        ...

    def launch_forward(
        self,
        workspace: Any,
        inputs: Sequence[wp.array],
        outputs: Sequence[wp.array],
        tape: wp.array,
    ) -> None:
        """Launch one control step. Writes every entry of `outputs` and `tape`."""
        ...

    def launch_adjoint(
        self,
        workspace: Any,
        inputs: Sequence[wp.array],
        tape: wp.array,
        adj_outputs: Sequence[wp.array],
        adj_inputs: Sequence[wp.array],
    ) -> None:
        """Launch its adjoint. Writes every entry of `adj_inputs`; may overwrite `adj_outputs`."""
        ...


def available_threads() -> int:
    """Threads that CPU physics uses by default: RFO_THREADS, or the cores this process may run on."""
    return int(os.environ.get("RFO_THREADS", 0)) or len(os.sched_getaffinity(0))


class Bridge:
    """A differentiable JAX function over a simulator's kernels.

    Args:
        kernels: the simulator.
        device: ``"cpu"`` or ``"cuda"``; None takes JAX's default backend.
        threads: CPU threads, by default `available_threads()`.

    Raises:
        ValueError: if `threads` is not positive.
    """

    def __init__(self, kernels: Kernels, device: str | None = None, threads: int | None = None):
        threads = available_threads() if threads is None else threads
        if threads < 1:
            raise ValueError(f"physics needs at least one thread, not {threads}")
        self.kernels = kernels
        self.device = device or ("cpu" if jax.default_backend() == "cpu" else "cuda")
        self.threads = threads
        self._plans: dict[int, _Plan] = {}
        self._lock = threading.Lock()
        self._step = self._differentiable()

    def __call__(self, *inputs: Array) -> tuple[Array, ...]:
        """One control step: inputs (B, width) each, outputs (B, width) each."""
        return self._step(*inputs)

    def plan(self, envs: int) -> _Plan:
        """Static buffers and captured graphs for a batch of `envs`, made at the first call."""
        with self._lock:
            if envs not in self._plans:
                self._plans[envs] = _Plan(self.kernels, envs, self.threads)
            return self._plans[envs]

    def _differentiable(self):
        @jax.custom_vjp
        def step(*inputs):
            return tuple(_forward_p.bind(*inputs, bridge=self, keep_tape=False))

        def forward(*inputs):
            *outputs, tape = _forward_p.bind(*inputs, bridge=self, keep_tape=True)
            return tuple(outputs), (inputs, tape)

        def backward(residuals, cotangents):
            inputs, tape = residuals
            return tuple(_adjoint_p.bind(*inputs, tape, *cotangents, bridge=self))

        step.defvjp(forward, backward)
        return step


# --------------------------------------------------------------------------------------------------- CPU: plans


@dataclass
class _Chunk:
    """The environments that one thread advances."""

    forward: wp.Graph
    adjoint: wp.Graph
    memory: tuple[Any, ...]  # what the graphs point into; a graph does not keep it alive


class _Plan:
    """Buffers for a batch, their environments cut into chunks, and the chunks' captured graphs."""

    def __init__(self, kernels: Kernels, envs: int, threads: int):
        self.lock = threading.Lock()
        self.inputs = _Buffers(kernels.input_widths, envs, kernels.dtype)
        self.outputs = _Buffers(kernels.output_widths, envs, kernels.dtype)
        self.tape = _Buffers((kernels.tape_width,), envs, kernels.dtype)
        self.adj_outputs = _Buffers(kernels.output_widths, envs, kernels.dtype)
        self.adj_inputs = _Buffers(kernels.input_widths, envs, kernels.dtype)
        self.chunks = [
            self._capture(kernels, lo, hi) for lo, hi in _bounds(envs, threads, kernels.pack_size("cpu"))
        ]

    def _capture(self, kernels: Kernels, lo: int, hi: int) -> _Chunk:
        workspace = kernels.workspace(hi - lo, "cpu")
        inputs, outputs = self.inputs.cut(lo, hi), self.outputs.cut(lo, hi)
        (tape,) = self.tape.cut(lo, hi)
        adj_outputs, adj_inputs = self.adj_outputs.cut(lo, hi), self.adj_inputs.cut(lo, hi)

        def forward():
            kernels.launch_forward(workspace, inputs, outputs, tape)

        def adjoint():
            kernels.launch_adjoint(workspace, inputs, tape, adj_outputs, adj_inputs)

        memory = (workspace, inputs, outputs, tape, adj_outputs, adj_inputs)
        return _Chunk(_captured(forward), _captured(adjoint), memory)

    def forward(self, *inputs: np.ndarray, keep_tape: bool) -> tuple[np.ndarray, ...]:
        """Operands of the forward primitive to its results."""
        with self.lock:
            self.inputs.write(inputs)
            _run([chunk.forward for chunk in self.chunks])
            return self.outputs.read() + (self.tape.read() if keep_tape else ())

    def adjoint(self, *operands: np.ndarray) -> tuple[np.ndarray, ...]:
        """Operands of the adjoint primitive (inputs, tape, cotangents) to its results."""
        n = len(self.inputs.arrays)
        inputs, tape, cotangents = operands[:n], operands[n], operands[n + 1 :]
        with self.lock:
            self.inputs.write(inputs)
            self.tape.write([tape])
            self.adj_outputs.write(cotangents)
            _run([chunk.adjoint for chunk in self.chunks])
            return self.adj_inputs.read()


class _Buffers:
    """Static arrays (envs, width), seen by NumPy as a whole and by Warp in slices of environments."""

    def __init__(self, widths: Sequence[int], envs: int, dtype: np.dtype):
        self.arrays = [np.zeros((envs, width), dtype) for width in widths]

    def cut(self, lo: int, hi: int) -> list[wp.array]:
        dtype = wp.dtype_from_numpy(self.arrays[0].dtype)
        return [
            wp.array(ptr=x[lo:hi].ctypes.data, shape=(hi - lo) * x.shape[1], dtype=dtype, device="cpu")
            for x in self.arrays
        ]

    def write(self, values: Sequence[np.ndarray]) -> None:
        for x, value in zip(self.arrays, values, strict=True):
            np.copyto(x, value)

    def read(self) -> tuple[np.ndarray, ...]:
        return tuple(x.copy() for x in self.arrays)


def _bounds(envs: int, threads: int, pack_size: int) -> list[tuple[int, int]]:
    """Ranges of environments, one a thread: whole packs, as equal as they can be."""
    packs = -(-envs // pack_size)
    cuts = np.linspace(0, packs, min(threads, packs) + 1).astype(int) * pack_size
    cuts[-1] = envs
    return list(zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True))


def _captured(launches) -> wp.Graph:
    launches()  # loads the module: nothing may be compiled while capturing
    with wp.ScopedCapture(device="cpu") as capture:
        launches()
    return capture.graph


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="rfo-physics")


def _run(graphs: Sequence[wp.Graph]) -> None:
    """Replay the graphs in parallel, the first one on this thread."""
    waiting = [_pool(len(graphs)).submit(wp.capture_launch, graph) for graph in graphs[1:]]
    wp.capture_launch(graphs[0])
    for future in waiting:
        future.result()


# ------------------------------------------------------------------------------------------------ JAX primitives


def _avals(bridge: Bridge, widths: Sequence[int], like) -> list[Any]:
    return [like.update(shape=(like.shape[0], width), dtype=bridge.kernels.dtype) for width in widths]


def _check(bridge: Bridge, inputs: Sequence[Any]) -> None:
    """Refuse what the kernels would read wrongly."""
    widths = bridge.kernels.input_widths
    shapes = [x.shape for x in inputs]
    envs = shapes[0][0] if shapes[0] else 0
    if shapes != [(envs, width) for width in widths]:
        raise ValueError(f"physics expects arrays (B, width) of widths {widths}, not {shapes}")
    dtype = bridge.kernels.dtype
    if any(x.dtype != dtype for x in inputs):
        raise TypeError(f"physics expects {dtype}, not {[str(x.dtype) for x in inputs]}")


def _forward_abstract(*inputs, bridge: Bridge, keep_tape: bool):
    _check(bridge, inputs)
    widths = bridge.kernels.output_widths + ((bridge.kernels.tape_width,) if keep_tape else ())
    return _avals(bridge, widths, inputs[0])


def _adjoint_abstract(*operands, bridge: Bridge):
    return _avals(bridge, bridge.kernels.input_widths, operands[0])


def _lower_to_host(host):
    """Lowering to a plain host callback: NumPy views in, no transfer of operands as JAX arrays.

    `jax.pure_callback` puts its operands on the device first, which costs 0.1 ms a call and needs a free
    XLA thread while one is waiting here."""

    def lowering(ctx, *args, bridge: Bridge, **params):
        plan = bridge.plan(ctx.avals_in[0].shape[0])  # compiled and captured here, not inside a callback
        results, _, _ = mlir.emit_python_callback(
            ctx,
            lambda *operands: host(plan, *operands, **params),
            None,
            list(args),
            ctx.avals_in,
            ctx.avals_out,
            has_side_effect=False,
        )
        return results

    return lowering


def _fold(primitive: Primitive):
    """A mapped axis V joins the batch: (V, B, width) -> (V * B, width).

    Not where the adjoint's tape is shared by all V, as in a Jacobian: a tape fits only the batch that made it, so
    there the calls are made one after another."""

    def rule(args, dims, *, bridge: Bridge, **params):
        params = {"bridge": bridge, **params}
        n = len(bridge.kernels.input_widths)
        if len(args) > n and dims[n] is None:
            return _one_by_one(primitive, args, dims, params)
        size = next(x.shape[d] for x, d in zip(args, dims, strict=True) if d is not None)
        moved = [
            jnp.broadcast_to(x, (size, *x.shape)) if d is None else jnp.moveaxis(x, d, 0)
            for x, d in zip(args, dims, strict=True)
        ]
        results = primitive.bind(*(x.reshape(-1, *x.shape[2:]) for x in moved), **params)
        return [x.reshape(size, -1, *x.shape[1:]) for x in results], [0] * len(results)

    return rule


def _one_by_one(primitive: Primitive, args, dims, params):
    mapped = [jnp.moveaxis(x, d, 0) for x, d in zip(args, dims, strict=True) if d is not None]

    def call(slices):
        remaining = iter(slices)
        operands = [x if d is None else next(remaining) for x, d in zip(args, dims, strict=True)]
        return primitive.bind(*operands, **params)

    results = jax.lax.map(call, mapped)
    return results, [0] * len(results)


def _refuse_derivative(primals, tangents, **params):
    raise NotImplementedError(
        "the physics offers reverse-mode first derivatives only: "
        "neither jvp nor a derivative of its gradient is available"
    )


def _primitive(name: str, abstract, host) -> Primitive:
    primitive = Primitive(name)
    primitive.multiple_results = True
    primitive.def_abstract_eval(abstract)
    primitive.def_impl(lambda *args, **params: jax.jit(lambda *a: primitive.bind(*a, **params))(*args))
    mlir.register_lowering(primitive, _lower_to_host(host))
    batching.primitive_batchers[primitive] = _fold(primitive)
    ad.primitive_jvps[primitive] = _refuse_derivative
    return primitive


_forward_p = _primitive("physics_forward", _forward_abstract, _Plan.forward)
_adjoint_p = _primitive("physics_adjoint", _adjoint_abstract, _Plan.adjoint)
