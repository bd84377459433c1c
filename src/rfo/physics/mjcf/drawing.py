"""The geoms of a compiled MJCF model as the replay draws them."""

# The mujoco package is compiled and has no type stubs:
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np

from rfo.physics.mjcf.shapes import GEOM, heights_of, vertices
from rfo.physics.mjcf.support import SHAPES
from rfo.physics.mjcf.tree import Frame

DRAWN = SHAPES | {GEOM.mjGEOM_CYLINDER: ("cylinder", 2), GEOM.mjGEOM_ELLIPSOID: ("ellipsoid", 3)}
"""Geoms that are drawn by their sizes: name, and how many there are."""
VISIBLE_GROUPS = 3
"""Geoms of the groups below are drawn, as MuJoCo's viewer does."""
MOST_TRIANGLES = 16_000
"""Triangles in all meshes of a model. Beyond that, meshes are simplified to keep replays small."""
LEAST_TRIANGLES = 60
"""Triangles that a mesh may always keep."""
FIELD_CELLS = 64
"""Cells along each side of a height field that are drawn at most."""
GREY = (0.5, 0.5, 0.5, 1.0)
"""Colour of a geom that the file gives none."""


def drawn_geoms(m: mujoco.MjModel, frames: list[Frame]) -> tuple[dict, ...]:
    """See `rfo.envs.base.Renderable`."""
    seen = [geom for geom in range(m.ngeom) if _colour(m, geom)[3] > 0]
    seen = [geom for geom in seen if m.geom_group[geom] < VISIBLE_GROUPS] or seen
    share = min(1.0, MOST_TRIANGLES / max(1, sum(_triangles(m, geom) for geom in seen)))
    geoms = []
    for geom in seen:
        frame = frames[m.geom_bodyid[geom]]
        pose = frame.then(m.geom_pos[geom], m.geom_quat[geom])
        shape = _shape(m, geom, share)
        if shape is not None:
            geoms.append(
                shape
                | {
                    "body": frame.link,
                    "pos": pose.pos.tolist(),
                    "quat": pose.quat.tolist(),
                    "rgba": _colour(m, geom),
                }
            )
    return tuple(geoms)


def _shape(m: mujoco.MjModel, geom: int, share: float) -> dict[str, Any] | None:
    """Type and size; of a mesh its vertices and triangles; None for what is not drawn."""
    kind = GEOM(m.geom_type[geom])
    if kind in DRAWN:
        name, sizes = DRAWN[kind]
        return {"type": name, "size": m.geom_size[geom, :sizes].tolist()}
    if kind == GEOM.mjGEOM_MESH:
        mesh = m.geom_dataid[geom]
        start = m.mesh_faceadr[mesh]
        faces = m.mesh_face[start : start + m.mesh_facenum[mesh]]
        most = max(LEAST_TRIANGLES, int(share * len(faces)))
        return _mesh(*simplified(vertices(m, geom), faces, most))
    if kind == GEOM.mjGEOM_HFIELD:
        return _mesh(*_height_field(m, m.geom_dataid[geom]))
    return None


def _mesh(points: np.ndarray, triangles: np.ndarray) -> dict[str, Any]:
    extent = np.abs(points).max(axis=0, initial=0)
    digits = 4 - int(np.floor(np.log10(max(extent.max(), 1e-9))))
    return {
        "type": "mesh",
        "size": extent.tolist(),
        "vertices": points.round(digits).tolist(),
        "triangles": triangles.tolist(),
    }


def simplified(
    points: np.ndarray, triangles: np.ndarray, most: int
) -> tuple[np.ndarray, np.ndarray]:
    """A mesh with at most so many triangles: the vertices in each cell of a grid become one.

    Args:
        points: vertices (n, 3).
        triangles: (k, 3), indices of vertices.
        most: triangles to keep.
    """
    if len(triangles) <= most:
        return points, triangles
    low, extent = points.min(axis=0), float(np.ptp(points, axis=0).max())
    fine, coarse = extent / 1000, extent
    while coarse / fine > 1.1:
        cell = np.sqrt(fine * coarse)
        few = len(_clustered(points, triangles, low, cell)[1]) <= most
        fine, coarse = (fine, cell) if few else (cell, coarse)
    return _clustered(points, triangles, low, coarse)


def _clustered(
    points: np.ndarray, triangles: np.ndarray, low: np.ndarray, cell: float
) -> tuple[np.ndarray, np.ndarray]:
    cells = np.floor((points - low) / cell).astype(int) @ (1, 1 << 20, 1 << 40)
    _, owner, count = np.unique(cells, return_inverse=True, return_counts=True)
    merged = np.stack([np.bincount(owner, column) for column in points.T], axis=-1)
    corners = owner[triangles]
    whole = np.all(corners != np.roll(corners, 1, axis=1), axis=1)
    return merged / count[:, None], corners[whole]


def _height_field(m: mujoco.MjModel, field: int) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and triangles of a height field's surface, in its frame."""
    heights = heights_of(m, field)
    rows, columns = heights.shape
    half_x, half_y, top, _ = m.hfield_size[field]
    at_y, at_x = (
        np.unique(np.linspace(0, n - 1, min(n, FIELD_CELLS + 1)).round().astype(int))
        for n in (rows, columns)
    )
    x, y = np.meshgrid(
        np.linspace(-half_x, half_x, columns)[at_x], np.linspace(-half_y, half_y, rows)[at_y]
    )
    points = np.stack([x, y, top * heights[np.ix_(at_y, at_x)]], axis=-1).reshape(-1, 3)
    corner = np.arange(len(at_y) * len(at_x)).reshape(len(at_y), len(at_x))
    a, b, c, d = corner[:-1, :-1], corner[:-1, 1:], corner[1:, 1:], corner[1:, :-1]
    return points, np.concatenate(
        [np.stack(t, axis=-1).reshape(-1, 3) for t in ((a, b, c), (a, c, d))]
    )


def _triangles(m: mujoco.MjModel, geom: int) -> int:
    mesh = m.geom_type[geom] == GEOM.mjGEOM_MESH
    return int(m.mesh_facenum[m.geom_dataid[geom]]) if mesh else 0


def _colour(m: mujoco.MjModel, geom: int) -> list[float]:
    """Colour of a geom: its own, or its material's."""
    own, material = m.geom_rgba[geom], m.geom_matid[geom]
    if material >= 0 and np.allclose(own, GREY):
        return m.mat_rgba[material].tolist()
    return own.tolist()
