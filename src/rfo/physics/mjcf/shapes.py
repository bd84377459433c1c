"""Shapes of geoms: the points by which they touch a plane, and primitives that stand in for them.

- Against a plane a sphere is itself, a capsule its two ends, a box its corners, an ellipsoid
  itself. A cylinder is a disc at each end, which finds its lowest point as it rolls or leans, and
  four points within the rim of each, so that it stands still. A mesh is the corners of its convex
  hull, at most `HULL_POINTS` of them, spread as far from one another as possible.
- Against other geoms spheres, capsules and boxes are themselves. A cylinder is the capsule of its
  radius and length, or a box where it is wider than long; an ellipsoid a capsule along its longest
  axis; a mesh the capsule or the box about its principal axes whose volume is nearer to that of its
  hull.
"""

# The mujoco package is compiled and has no type stubs:
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import copy
from collections.abc import Iterable
from itertools import product
from typing import NamedTuple

import mujoco
import numpy as np

from rfo.physics.mjcf.tree import IDENTITY, Frame

GEOM = mujoco.mjtGeom
HULL_POINTS = 16
FLATNESS = 0.02
"""Thickness of the disc at a cylinder's end, as a share of its radius."""
STANDING = 0.9
"""Distance of the points on which a cylinder stands from its axis, as a share of its radius."""


class Point(NamedTuple):
    """An ellipsoid by which a geom touches a plane."""

    geom: int
    link: int
    centre: np.ndarray
    """In the link's frame [m]."""
    quat: np.ndarray
    axes: np.ndarray
    """Semi-axes, all equal for a sphere, 0 for a corner [m]."""

    @property
    def radius(self) -> float:
        """Radius of a sphere, or the largest semi-axis of another ellipsoid [m]."""
        return float(self.axes.max())

    @property
    def round(self) -> bool:
        """Whether it is a sphere or a corner."""
        return bool(np.ptp(self.axes) == 0)


def points_of(m: mujoco.MjModel, frames: list[Frame], geom: int) -> list[Point]:
    """The points by which a geom touches a plane."""
    pose = frames[m.geom_bodyid[geom]].then(m.geom_pos[geom], m.geom_quat[geom])
    return [
        Point(geom, pose.link, pose.then(centre, IDENTITY).pos, pose.quat, axes)
        for centre, axes in _local_points(m, geom)
    ]


def _local_points(m: mujoco.MjModel, geom: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Centres and semi-axes in the geom's frame."""
    kind, size, none = m.geom_type[geom], m.geom_size[geom], np.zeros(3)
    if kind == GEOM.mjGEOM_SPHERE:
        return [(none, np.full(3, size[0]))]
    if kind == GEOM.mjGEOM_ELLIPSOID:
        return [(none, size.copy())]
    if kind == GEOM.mjGEOM_CAPSULE:
        return [(np.array([0, 0, end * size[1]]), np.full(3, size[0])) for end in (-1, 1)]
    if kind == GEOM.mjGEOM_BOX:
        return [(size * corner, none) for corner in product((-1.0, 1.0), repeat=3)]
    if kind == GEOM.mjGEOM_CYLINDER:
        return _cylinder(*size[:2])
    return [(corner, none) for corner in spread(hull(m, geom), HULL_POINTS)]


def _cylinder(radius: float, half: float) -> list[tuple[np.ndarray, np.ndarray]]:
    thick, reach = FLATNESS * radius, STANDING * radius
    found = []
    for end in (-1, 1):
        disc = np.array([0, 0, end * (half - thick)]), np.array([radius, radius, thick])
        inner = [(x, y, end * half) for x, y in ((reach, 0), (0, reach), (-reach, 0), (0, -reach))]
        found += [disc, *((np.array(place), np.zeros(3)) for place in inner)]
    return found


def hull(m: mujoco.MjModel, geom: int) -> np.ndarray:
    """Corners (n, 3) of the convex hull of a mesh geom, in the geom's frame [m]."""
    corners = vertices(m, geom)
    start = m.mesh_graphadr[m.geom_dataid[geom]]
    if start < 0:  # mujoco made no hull of a mesh that nothing may touch
        return corners
    count = m.mesh_graph[start]
    chosen = m.mesh_graph[start + 2 + count : start + 2 + 2 * count]
    return corners[chosen]


def vertices(m: mujoco.MjModel, geom: int) -> np.ndarray:
    """Vertices (n, 3) of a mesh geom, in the geom's frame [m]."""
    mesh = m.geom_dataid[geom]
    start = m.mesh_vertadr[mesh]
    return m.mesh_vert[start : start + m.mesh_vertnum[mesh]].astype(float)


def heights_of(m: mujoco.MjModel, field: int) -> np.ndarray:
    """Heights of a height field (rows along y, columns along x), in [0, 1] of its greatest."""
    rows, columns, start = m.hfield_nrow[field], m.hfield_ncol[field], m.hfield_adr[field]
    return m.hfield_data[start : start + rows * columns].reshape(rows, columns)


def spread(points: np.ndarray, most: int) -> np.ndarray:
    """At most so many of the points (n, 3), each as far as possible from those before it."""
    distance = np.linalg.norm(points - points.mean(axis=0), axis=1)
    chosen: list[int] = []
    while len(chosen) < min(most, len(points)):
        chosen.append(int(distance.argmax()))
        distance = np.minimum(
            np.inf if len(chosen) == 1 else distance,
            np.linalg.norm(points - points[chosen[-1]], axis=1),
        )
    return points[chosen]


STAND_INS = {
    GEOM.mjGEOM_CYLINDER: "cylinders touch other geoms as capsules, or as boxes if they are flat",
    GEOM.mjGEOM_ELLIPSOID: "ellipsoids touch other geoms as capsules",
    GEOM.mjGEOM_MESH: "meshes touch planes by corners of their hulls, and other geoms as the "
    "capsules or boxes that fit them",
}
"""What `with_stand_ins` does, by the kind of geom."""


def with_stand_ins(m: mujoco.MjModel, geoms: Iterable[int]) -> mujoco.MjModel:
    """A copy of a model in which spheres, capsules and boxes stand in for some of its geoms."""
    m = copy.copy(m)
    for geom in geoms:
        kind, size = m.geom_type[geom], m.geom_size[geom].copy()
        if kind == GEOM.mjGEOM_CYLINDER:
            _fit_cylinder(m, geom, size)
        elif kind == GEOM.mjGEOM_ELLIPSOID:
            _set_capsule(m, geom, size, np.zeros(3))
        elif kind == GEOM.mjGEOM_MESH:
            _fit_mesh(m, geom)
    return m


def _fit_cylinder(m: mujoco.MjModel, geom: int, size: np.ndarray) -> None:
    radius, half = size[:2]
    if half >= radius:
        _set_capsule(m, geom, np.array([radius, radius, half]), np.zeros(3))
    else:
        m.geom_type[geom] = GEOM.mjGEOM_BOX
        m.geom_size[geom] = radius * np.sqrt(np.pi) / 2, radius * np.sqrt(np.pi) / 2, half


def _fit_mesh(m: mujoco.MjModel, geom: int) -> None:
    corners = hull(m, geom)
    low, high = corners.min(axis=0), corners.max(axis=0)
    middle, size = (low + high) / 2, np.maximum((high - low) / 2, 1e-4)
    longest, radius = size.max(), _across(size)
    rod = np.pi * radius**2 * (2 * (longest - radius) + 4 / 3 * radius)
    volume = _volume(corners)
    if abs(np.log(rod / volume)) < abs(np.log(8 * size.prod() / volume)):
        _set_capsule(m, geom, size, middle)
    else:
        m.geom_type[geom] = GEOM.mjGEOM_BOX
        m.geom_size[geom] = size
        m.geom_pos[geom] += _turned(m.geom_quat[geom], middle)


def _volume(corners: np.ndarray) -> float:
    from scipy.spatial import ConvexHull, QhullError  # slow to import, and needed for meshes only

    try:
        return max(float(ConvexHull(corners).volume), 1e-12)
    except QhullError:  # flat
        return 1e-12


def _across(size: np.ndarray) -> float:
    """Radius of a capsule for half extents: the geometric mean of the two shorter ones."""
    return float(np.sqrt(np.sort(size)[:2].prod()))


def _set_capsule(m: mujoco.MjModel, geom: int, size: np.ndarray, middle: np.ndarray) -> None:
    """Make a geom the capsule of these half extents about a point in its frame."""
    axis, radius = int(size.argmax()), _across(size)
    m.geom_pos[geom] += _turned(m.geom_quat[geom], middle)
    turn, quat = np.array([np.sqrt(0.5), 0, 0, 0]), np.empty(4)
    if axis < 2:  # z to x, or to y
        turn[2 - axis] = np.sqrt(0.5) * (1 if axis == 0 else -1)
        mujoco.mju_mulQuat(quat, m.geom_quat[geom], turn)
        m.geom_quat[geom] = quat
    m.geom_type[geom] = GEOM.mjGEOM_CAPSULE
    m.geom_size[geom] = radius, max(size[axis] - radius, 0.0), 0.0


def _turned(quat: np.ndarray, vector: np.ndarray) -> np.ndarray:
    turned = np.empty(3)
    mujoco.mju_rotVecQuat(turned, vector, quat)
    return turned
