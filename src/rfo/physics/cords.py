"""Cords: straight segments from point to point of links, as spatial tendons without wrapping."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

HAIR = 1e-6
"""Distance below which the direction of a segment fades, so that it can be differentiated where
the points meet [m]."""


@dataclass(frozen=True, eq=False)
class Cords:
    """N cords of n segments, each between points of two links (-1: the world).

    With d from the second point of a segment to the first, a cord has the length

        sum of scale sqrt(d^2 + HAIR^2)

    and a tension along it pulls the two points of each segment together, scale times as hard.
    """

    start: np.ndarray  # (N + 1,) int, where the segments of each begin
    link: np.ndarray  # (n, 2) int
    pos: np.ndarray  # (n, 6) the points, in the links' frames [m]
    scale: np.ndarray  # (n,) one over the divisor of a pulley

    def __len__(self) -> int:
        return len(self.start) - 1


NO_CORDS = Cords(np.zeros(1, np.int32), np.zeros((0, 2), np.int32), np.zeros((0, 6)), np.zeros(0))
