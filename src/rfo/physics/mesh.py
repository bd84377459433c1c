"""Tetrahedral meshes: built from voxels or read from a file; volumes, surface and lumped masses."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import permutations
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

FACES = np.array([(1, 2, 3), (0, 3, 2), (0, 1, 3), (0, 2, 1)])
"""Corners of the faces of a positively oriented tetrahedron, facing outward. Face i is opposite to
corner i."""

Corner = tuple[int, int, int]
"""Grid coordinates of a corner."""

FLATNESS = 1e-9
"""A tetrahedron counts as flat if its volume is smaller than this times the cube of its longest
edge."""


@dataclass(frozen=True, eq=False)
class TetMesh:
    """A mesh of N vertices and M tetrahedra; the arrays are read-only copies.

    Attributes:
        vertices: (N, 3) float64 positions [m]; every vertex belongs to a tetrahedron.
        tets: (M, 4) int32 corners, positively oriented: det[x1 - x0, x2 - x0, x3 - x0] > 0.

    Raises:
        ValueError: for a wrong shape, an index out of range, an unused vertex, a non-finite
            position, or a tetrahedron that is flat or inverted.
    """

    vertices: Float[np.ndarray, "N 3"]
    tets: Int[np.ndarray, "M 4"]

    def __post_init__(self):
        for name, kind in (("vertices", np.float64), ("tets", np.int32)):
            array = np.array(getattr(self, name), kind)
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        _check(self.vertices, self.tets)

    @cached_property
    def volumes(self) -> Float[np.ndarray, " M"]:
        """Volume of each tetrahedron [m^3]."""
        return _signed_volumes(self.vertices, self.tets)

    @property
    def surface(self) -> Int[np.ndarray, "S 3"]:
        """Triangles of the surface, facing outward, in the order of the tetrahedra.

        These are the faces that belong to only one tetrahedron.
        """
        return self._boundary[0]

    @property
    def surface_tets(self) -> Int[np.ndarray, " S"]:
        """Index of the tetrahedron that each triangle of the surface belongs to."""
        return self._boundary[1]

    def lumped_mass(self, density: float) -> Float[np.ndarray, " N"]:
        """Mass of each vertex [kg] for a density [kg/m^3].

        Each tetrahedron gives a quarter of its mass to each of its vertices.
        """
        shares = np.repeat(density * self.volumes / 4, 4)
        return np.bincount(self.tets.ravel(), shares, len(self.vertices))

    @cached_property
    def _boundary(self) -> tuple[np.ndarray, np.ndarray]:
        faces = self.tets[:, FACES].reshape(-1, 3)
        _, kind, count = np.unique(
            np.sort(faces, axis=1), axis=0, return_inverse=True, return_counts=True
        )
        outer = np.flatnonzero(count[kind.ravel()] == 1)
        return faces[outer], (outer // 4).astype(np.int32)


def from_voxels(cells: Iterable[tuple[int, int, int]], edge: float) -> TetMesh:
    """Mesh of cubes with five tetrahedra each.

    Four corners of a cube have grid coordinates with an even sum. They form the middle tetrahedron.
    Each of the other four corners forms a tetrahedron with its three neighbours. By this rule,
    neighbouring cubes are mirror images of each other, so that their faces match.

    Vertices are in lexical order of their grid coordinates. Tetrahedra are in lexical order of the
    cells, with the middle tetrahedron of each cell first.

    Args:
        cells: grid coordinates (i, j, k) of the cubes, k up. Cell (i, j, k) extends from
            edge * (i, j, k) to edge * (i + 1, j + 1, k + 1).
        edge: edge length of a cube [m].

    Raises:
        ValueError: if there are no cells, a cell is not three integers, or the edge is not
            positive.
    """
    grid = np.array(list(cells))
    if grid.ndim != 2 or grid.shape[1] != 3 or grid.dtype.kind != "i":
        raise ValueError("cells must be at least one (i, j, k) of integers")
    _check_edge(edge)
    grid = np.unique(grid, axis=0)
    corners = grid[:, None, None] + _CUBE[grid.sum(axis=1) % 2]  # (cells, 5, 4, 3)
    vertices, tets = np.unique(corners.reshape(-1, 3), axis=0, return_inverse=True)
    return _oriented(edge * vertices, tets.reshape(-1, 4))


def from_boxes(boxes: Sequence[tuple[Corner, Corner]], edge: float) -> TetMesh:
    """Mesh of boxes on a grid with six tetrahedra each (Kuhn's: one for every order of the axes).

    Boxes that touch must share whole faces. Vertices are in lexical order of their grid
    coordinates, tetrahedra in the order of the boxes.

    Args:
        boxes: lowest and highest corner of each box, in grid coordinates.
        edge: edge length of the grid [m].

    Raises:
        ValueError: if there are no boxes, a corner is not three integers, or the edge is not
            positive.
    """
    ends = np.array(list(boxes))
    if ends.ndim != 3 or ends.shape[1:] != (2, 3) or ends.dtype.kind != "i":
        raise ValueError("boxes must be at least one pair of corners (i, j, k) of integers")
    _check_edge(edge)
    steps = np.cumsum(np.eye(3, dtype=int)[list(permutations(range(3)))], axis=1)  # (6, 3, 3)
    paths = np.concatenate([np.zeros((6, 1, 3), int), steps], axis=1)
    corners = ends[:, None, None, 0] + paths * (ends[:, 1] - ends[:, 0])[:, None, None]
    vertices, tets = np.unique(corners.reshape(-1, 3), axis=0, return_inverse=True)
    return _oriented(edge * vertices, tets.reshape(-1, 4))


def split(mesh: TetMesh, points: Float[np.ndarray, "K 3"]) -> TetMesh:
    """The mesh with new vertices in the middle of edges.

    Every tetrahedron on such an edge is split into two, which take its place in the order.

    Args:
        mesh: mesh to split.
        points: middles of edges of the mesh [m]. They are added after the existing vertices.

    Raises:
        ValueError: for a point that is not in the middle of an edge.
    """
    vertices, tets = mesh.vertices, mesh.tets
    for point in points:
        pairs = np.array([(a, b) for a in range(4) for b in range(a + 1, 4)])
        middles = vertices[tets[:, pairs]].mean(axis=2)  # (M, 6, 3)
        hit, pair = np.nonzero(np.linalg.norm(middles - point, axis=2) < 1e-9 * np.ptp(vertices))
        if not len(hit):
            raise ValueError(f"{point} is not in the middle of an edge")
        copies = np.ones(len(tets), int)
        copies[hit] = 2
        tets, last = np.repeat(tets, copies, axis=0), np.cumsum(copies)[hit] - 1
        tets[last - 1, pairs[pair, 0]] = tets[last, pairs[pair, 1]] = len(vertices)
        vertices = np.vstack([vertices, point])
    return TetMesh(vertices, tets)


def load(path: str | Path) -> TetMesh:
    """Read the tetrahedra of a mesh file, with positions in [m].

    The meshio package reads the file (Gmsh, VTK, MEDIT and other formats). Inverted tetrahedra are
    re-oriented. Vertices that no tetrahedron uses are dropped; the others keep their order.
    Triangles, lines and their data are ignored.

    Raises:
        FileNotFoundError: if there is no file at `path`.
        ValueError: if the file cannot be read, or has no tetrahedra or a flat one.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no mesh file at {path}")
    try:
        points, tets = _read(path)
        if not len(tets):
            raise ValueError("it has no linear tetrahedra; export a volume mesh of first order")
        used, tets = np.unique(tets, return_inverse=True)
        return _oriented(points[used], tets.reshape(-1, 4))
    except (ValueError, IndexError) as error:
        raise ValueError(f"the mesh {path} cannot be used: {error}") from None


def _read(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    import meshio  # imported here because it is slow to import and rarely needed

    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            mesh = meshio.read(path)
    except (Exception, SystemExit) as error:  # meshio's readers fail in many ways, even by exiting
        reason = " ".join(f"{said.getvalue()} {error}".split())
        raise ValueError(f"meshio cannot read it ({reason})") from None
    return np.asarray(mesh.points, float), mesh.get_cells_type("tetra")


def _corner_sets(parity: int) -> np.ndarray:
    """Corners (5, 4, 3) of the tetrahedra of a cube whose grid coordinates have this parity."""
    corners = np.indices((2, 2, 2)).reshape(3, 8).T
    even = (corners.sum(axis=1) + parity) % 2 == 0
    distance = np.abs(corners[:, None] - corners).sum(axis=2)
    cut_off = [corners[distance[i] <= 1] for i in np.flatnonzero(~even)]
    return np.stack([corners[even], *cut_off])


_CUBE = np.stack([_corner_sets(0), _corner_sets(1)])


def _check_edge(edge: float) -> None:
    if not (np.isfinite(edge) and edge > 0):
        raise ValueError(f"edge must be a positive length [m], not {edge}")


def _oriented(vertices: np.ndarray, tets: np.ndarray) -> TetMesh:
    """The mesh, with the last two corners of inverted tetrahedra swapped."""
    inverted = _signed_volumes(vertices, tets) < 0
    return TetMesh(vertices, np.where(inverted[:, None], tets[:, [0, 1, 3, 2]], tets))


def _signed_volumes(vertices: np.ndarray, tets: np.ndarray) -> np.ndarray:
    x = vertices[tets]
    return np.linalg.det(x[:, 1:] - x[:, :1]) / 6


def _check(vertices: np.ndarray, tets: np.ndarray) -> None:
    if (
        vertices.ndim != 2
        or vertices.shape[1] != 3
        or tets.ndim != 2
        or tets.shape[1] != 4
        or not len(tets)
    ):
        raise ValueError(
            f"a mesh needs vertices (N, 3) and at least one tetrahedron in tets (M, 4), "
            f"not {vertices.shape} and {tets.shape}"
        )
    if not np.isfinite(vertices).all():
        bad = int(np.argmin(np.isfinite(vertices).all(axis=1)))
        raise ValueError(f"vertex {bad} is not finite")
    if tets.min() < 0 or tets.max() >= len(vertices):
        raise ValueError(
            f"tets must be indices of vertices, 0 to {len(vertices) - 1}, "
            f"not {tets.min()} to {tets.max()}"
        )
    unused = np.setdiff1d(np.arange(len(vertices)), tets)
    if len(unused):
        raise ValueError(
            f"no tetrahedron uses vertex {unused[0]}; drop unused vertices ({len(unused)} in all)"
        )
    corners = vertices[tets]
    longest = np.linalg.norm(corners[:, :, None] - corners[:, None], axis=-1).max(axis=(1, 2))
    shape = _signed_volumes(vertices, tets) / np.where(longest > 0, longest, 1) ** 3
    bad = int(np.argmin(shape))
    if shape[bad] < FLATNESS:
        fault = "is flat" if shape[bad] > -FLATNESS else "is inverted: swap two of its corners"
        raise ValueError(f"tetrahedron {bad} {fault}")
