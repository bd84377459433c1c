"""What a simulator shows the bridge, and how a batch is cut into launches."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import warp as wp


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

Range = tuple[int, int]
"""Environments from the first up to, not including, the second."""


class Kernels(Protocol):
    """The launches of one control step and of its adjoint.

    Every array is flat and environment-major, but for the tape.
    """

    dtype: np.dtype
    input_widths: tuple[int, ...]
    """Numbers per environment of each input (state, then control)."""
    output_widths: tuple[int, ...]
    tape_width: int
    """Numbers per environment that the forward pass keeps for the adjoint. Their order is the simulator's own
    and may mix the environments of a pack, so a tape is read in the packs that it was written in."""

    work: int
    """Numbers per environment that a control step writes in all its substeps, as a measure of its cost."""

    def pack_size(self, device: str) -> int:
        """Environments that are advanced together."""
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
        """Launch one control step. Writes every entry of `outputs` and `tape`, and nothing else but the
        workspace."""
        ...

    def launch_adjoint(
        self,
        workspace: Any,
        inputs: Sequence[wp.array],
        tape: wp.array,
        adj_outputs: Sequence[wp.array],
        adj_inputs: Sequence[wp.array],
    ) -> None:
        """Launch its adjoint. Writes every entry of `adj_inputs`, and nothing else but the workspace."""
        ...


def shares(envs: int, groups: int, threads: int, pack_size: int) -> list[list[Range]]:
    """For each thread the ranges of environments to launch, as equal as whole packs allow.

    The batch is `groups` equal batches one after the other. No pack spans two of them, so each one's part
    of the tape can be read, moved and selected on its own.
    """
    size = envs // groups
    packs = [
        (lo, min(lo + pack_size, first + size))
        for first in range(0, envs, size)
        for lo in range(first, first + size, pack_size)
    ]
    cuts = np.linspace(0, len(packs), min(threads, len(packs)) + 1).astype(int)
    return [_merged(packs[a:b], pack_size) for a, b in pairwise(cuts)]


def _merged(packs: list[Range], pack_size: int) -> list[Range]:
    """Consecutive packs as one range, as long as only its last one is not full."""
    ranges = packs[:1]
    for lo, hi in packs[1:]:
        first, last = ranges[-1]
        if (last - first) % pack_size == 0:
            ranges[-1] = (first, hi)
        else:
            ranges.append((lo, hi))
    return ranges


def cut(arrays: Sequence[wp.array], envs: int, part: Range) -> list[Any]:
    """The parts of flat arrays that belong to a range of their `envs` environments."""
    lo, hi = part
    widths = [x.size // envs for x in arrays]
    return [
        x if hi - lo == envs or not width else x[lo * width : hi * width]
        for x, width in zip(arrays, widths, strict=True)
    ]
