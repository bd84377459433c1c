"""What a simulator shows the bridge, and how a batch is cut into launches."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import warp as wp

Range = tuple[int, int]
"""Environments from the first up to, not including, the second."""


class Kernels(Protocol):
    """The launches of one control step and of its adjoint.

    Every array is flat and environment-major. The adjoint takes what the step took. It runs the
    step again and keeps what it needs in its workspace. To hand this over from the step would take
    tens of kilobytes per environment and control step. Writing and reading them costs more than
    the step, all the more if many threads share the memory.
    """

    dtype: np.dtype
    input_widths: tuple[int, ...]
    """Numbers per environment of each input (state, then control)."""
    output_widths: tuple[int, ...]
    work: int
    """Numbers per environment that a control step writes in all its substeps, as a measure of its
    cost."""

    def varying(self) -> Kernels:
        """Those that take parameters as their last input."""
        ...

    def pack_size(self, device: str) -> int:
        """Environments that are advanced together."""
        ...

    def workspace(self, envs: int, device: str) -> Any:
        """Scratch arrays for that many environments."""
        ...

    def launch_forward(
        self, workspace: Any, inputs: Sequence[wp.array], outputs: Sequence[wp.array]
    ) -> None:
        """Launch one control step. Writes every entry of `outputs`, and nothing else but the
        workspace."""
        ...

    def launch_adjoint(
        self,
        workspace: Any,
        inputs: Sequence[wp.array],
        adj_outputs: Sequence[wp.array],
        adj_inputs: Sequence[wp.array],
    ) -> None:
        """Launch its adjoint. Writes every entry of `adj_inputs`, and nothing else but the
        workspace."""
        ...


def batch_size(dtype: np.dtype | None, **arrays: tuple[Any, tuple[int, ...]]) -> int:
    """The batch B that the arrays of a call share.

    Args:
        dtype: of every array; None: of any.
        arrays: each array, and the shape (B, ...) that it must have without its B.

    Raises:
        ValueError: names the first array that has another shape.
        TypeError: names the first array of another dtype.
    """
    first = next(iter(arrays.values()))[0].shape
    envs = first[0] if first else 0
    for name, (array, rest) in arrays.items():
        if not envs or array.shape != (envs, *rest):
            wanted = ", ".join(["B", *map(str, rest)])
            batch = "" if name == next(iter(arrays)) else f", B = {envs} as in {next(iter(arrays))}"
            raise ValueError(
                f"{name} must have the shape ({wanted}) with B >= 1{batch}, not {array.shape}"
            )
        if dtype is not None and array.dtype != dtype:
            raise TypeError(f"{name} must be {dtype}, not {array.dtype}")
    return envs


def shares(envs: int, threads: int, pack_size: int) -> list[list[Range]]:
    """The packs of environments that each thread launches, as equal as whole packs allow."""
    packs = [(lo, min(lo + pack_size, envs)) for lo in range(0, envs, pack_size)]
    cuts = np.linspace(0, len(packs), min(threads, len(packs)) + 1).astype(int)
    return [packs[a:b] for a, b in pairwise(cuts)]


def cut(arrays: Sequence[wp.array], envs: int, part: Range) -> list[Any]:
    """The parts of flat arrays that belong to a range of their `envs` environments."""
    lo, hi = part
    widths = [x.size // envs for x in arrays]
    return [x[lo * n : hi * n] if n else x for x, n in zip(arrays, widths, strict=True)]
