"""Contact of ellipsoids with planes that are fixed in the world: what rolls, stands and leans.

An ellipsoid touches a plane at the one of its points that is furthest against the plane's normal,
which moves smoothly as it turns. A sphere is an ellipsoid, a vertex one without extent, and a flat
one a disc: the end of a cylinder. ``native/articulated_supports.h`` has the equations.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Supports:
    """S ellipsoids, each with the plane that it may touch."""

    link: np.ndarray  # (S,) int, that carries the ellipsoid
    pos: np.ndarray  # (S, 3) its centre in the link's frame [m]
    quat: np.ndarray  # (S, 4) its orientation in the link's frame
    axes: np.ndarray  # (S, 3) its semi-axes [m]
    normal: np.ndarray  # (S, 3) of the plane, unit, in the world
    height: np.ndarray  # (S,) of the plane along its normal, with the margin [m]
    law: np.ndarray  # (S, 5) k_e, k_d, k_f, mu, k_h of `rfo.physics.articulated`


NO_SUPPORTS = Supports(
    np.zeros(0, np.int32),
    *(np.zeros(shape) for shape in ((0, 3), (0, 4), (0, 3), (0, 3), 0, (0, 5))),
)
