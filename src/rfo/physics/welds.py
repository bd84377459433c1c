"""Welds: points of two links that a spring and a damper hold together, and their turn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Welds:
    """N welds of two links (-1: the world).

    With d from the point of the second link to that of the first, and e = 2 w v of the quaternion
    (w, v) by which the first link's frame is turned against the second's, the force on the first
    is -ke d - kd d', the torque -turn_ke e - turn_kd omega; both act on the second the other way.
    """

    link: np.ndarray  # (N, 2) int
    pos: np.ndarray  # (N, 6) the points, in the links' frames [m]
    quat: np.ndarray  # (N, 8) frames that are held parallel, in the links' (w, x, y, z)
    ke: np.ndarray  # (N,) [N/m]
    kd: np.ndarray  # (N,) [N s/m]
    turn_ke: np.ndarray  # (N,) [N m/rad], 0 where links may turn
    turn_kd: np.ndarray  # (N,) [N m s/rad]


NO_WELDS = Welds(
    np.zeros((0, 2), np.int32), *(np.zeros(shape) for shape in ((0, 6), (0, 8), 0, 0, 0, 0))
)
