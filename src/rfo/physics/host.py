"""Kernels on the CPU: static buffers, one captured graph per thread.

A Warp launch runs on one core, so the batch is shared out to threads. The launches of a whole
control step, and those of its adjoint, are captured once per thread as a graph over static buffers.
A call is then a few copies and one replay per thread, outside the interpreter lock.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Protocol

import numpy as np
import warp as wp

from rfo.physics.kernels import Kernels, Range, cut, shares


def available_threads() -> int:
    """Threads that CPU physics uses by default: RFO_THREADS, or the cores this process may run on.

    Raises:
        ValueError: if RFO_THREADS is set to anything but a positive number.
    """
    setting = os.environ.get("RFO_THREADS", "")
    if not setting:
        if hasattr(os, "sched_getaffinity"):
            return len(os.sched_getaffinity(0))
        return os.cpu_count() or 1
    if not setting.isdecimal() or int(setting) < 1:
        raise ValueError(f"RFO_THREADS must be a positive number, not {setting!r}")
    return int(setting)


NUMBERS_PER_THREAD = 100_000
"""A share of the batch with at least so many numbers of work is worth a thread.

For numbers of work see `rfo.physics.kernels.Kernels.work`. This is the work of 50 ants with 16
substeps, 0.3 ms forward and backward. A smaller share gains nothing, and loses on a busy
machine."""


def useful_threads(kernels: Kernels, envs: int) -> int:
    """Threads among the available ones that speed up a batch of `envs`."""
    return max(1, min(available_threads(), envs * kernels.work // NUMBERS_PER_THREAD))


class Host(Protocol):
    """What advances a batch on the CPU, from NumPy arrays (B, width) to NumPy arrays."""

    def forward(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        """A control step: inputs to outputs."""
        ...

    def adjoint(self, *operands: np.ndarray) -> tuple[np.ndarray, ...]:
        """Inputs, adjoints of the outputs to adjoints of the inputs."""
        ...


class Plan:
    """A control step of a fixed number of environments, from NumPy arrays to NumPy arrays.

    Each thread takes its packs one after the other through one workspace, which stays in the core's
    cache.

    Args:
        kernels: the simulator.
        envs: environments of the whole batch.
        threads: to share it out to.
    """

    def __init__(self, kernels: Kernels, envs: int, threads: int):
        self._lock = threading.Lock()
        self._inputs = _Buffers(kernels.input_widths, envs, kernels.dtype)
        self._outputs = _Buffers(kernels.output_widths, envs, kernels.dtype)
        self._adj_outputs = _Buffers(kernels.output_widths, envs, kernels.dtype)
        self._adj_inputs = _Buffers(kernels.input_widths, envs, kernels.dtype)
        self._forward: list[wp.Graph] = []
        self._adjoint: list[wp.Graph] = []
        self._memory = []  # what the graphs point into; a graph does not keep it alive
        for share in shares(envs, threads, kernels.pack_size("cpu")):
            self._capture(kernels, envs, share)

    def _capture(self, kernels: Kernels, envs: int, share: list[Range]) -> None:
        """Graphs of one thread's share."""
        sizes = {hi - lo for lo, hi in share}  # at most two: only the last pack may be smaller
        workspaces = {size: kernels.workspace(size, "cpu") for size in sizes}
        buffers = (self._inputs, self._outputs, self._adj_outputs, self._adj_inputs)
        packs = [
            (workspaces[pack[1] - pack[0]], *(cut(arrays.flat, envs, pack) for arrays in buffers))
            for pack in share
        ]

        def forward():
            for workspace, inputs, outputs, _, _ in packs:
                kernels.launch_forward(workspace, inputs, outputs)

        def adjoint():
            for workspace, inputs, _, adj_outputs, adj_inputs in packs:
                kernels.launch_adjoint(workspace, inputs, adj_outputs, adj_inputs)

        self._memory.append(packs)
        self._forward.append(_captured(forward))
        self._adjoint.append(_captured(adjoint))

    def forward(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        """Inputs to outputs."""
        with self._lock:
            self._inputs.write(inputs)
            _run(self._forward)
            return self._outputs.read()

    def adjoint(self, *operands: np.ndarray) -> tuple[np.ndarray, ...]:
        """Inputs, adjoints of the outputs to adjoints of the inputs."""
        n = len(self._inputs.arrays)
        with self._lock:
            self._inputs.write(operands[:n])
            self._adj_outputs.write(operands[n:])
            _run(self._adjoint)
            return self._adj_inputs.read()


class _Buffers:
    """Static arrays (envs, width), seen by Warp as flat ones."""

    def __init__(self, widths: Sequence[int], envs: int, dtype: np.dtype):
        self.arrays = [np.zeros((envs, width), dtype) for width in widths]
        self.flat = [
            wp.array(
                ptr=x.ctypes.data, shape=x.size, dtype=wp.dtype_from_numpy(dtype), device="cpu"
            )
            for x in self.arrays
        ]

    def write(self, values: Sequence[np.ndarray]) -> None:
        for x, value in zip(self.arrays, values, strict=True):
            np.copyto(x, value)

    def read(self) -> tuple[np.ndarray, ...]:
        return tuple(x.copy() for x in self.arrays)


def _captured(launches: Callable[[], None]) -> wp.Graph:
    launches()  # loads the module: nothing may be compiled while capturing
    with wp.ScopedCapture(device="cpu") as capture:
        launches()
    assert capture.graph is not None
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
