"""Tetrahedral meshes: matching voxels, outward surfaces, lumped masses, and files of other
programs."""

from collections import Counter

import numpy as np
import pytest

from rfo.physics.mesh import TetMesh, from_boxes, from_voxels, load, split

UNIT = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], float)
TABLE = [(i, j, 2) for i in range(3) for j in range(3)] + [
    (i, j, k) for i in (0, 2) for j in (0, 2) for k in (0, 1)
]
RING = [(i, j, 0) for i in range(3) for j in range(3) if (i, j) != (1, 1)]
SHAPES = {
    "one cube": ([(0, 0, 0)], 2),
    "an odd cube below the origin": ([(-1, -3, -1)], 2),
    "a bar": ([(i, 0, 0) for i in range(4)], 2),
    "a table": (TABLE, 2),
    "a ring": (RING, 0),
}
"""Cells, and the Euler characteristic of the surface: 2 for a ball, 0 for a torus."""


def faces(mesh):
    corners = [np.delete(tet, i) for tet in mesh.tets for i in range(4)]
    return Counter(frozenset(face.tolist()) for face in corners)


def edges(triangles):
    return Counter((int(t[i]), int(t[(i + 1) % 3])) for t in triangles for i in range(3))


@pytest.mark.parametrize("shape", SHAPES)
def test_voxels_fill_their_cubes_and_neighbours_match(shape):
    """A cube has 5 tetrahedra with one third and four sixths of its volume. If two faces of
    neighbours did not match, the surface would have more than two triangles for each free
    square."""
    cells, _ = SHAPES[shape]
    mesh = from_voxels(cells, 0.5)
    np.testing.assert_allclose(mesh.volumes.reshape(-1, 5), [[1 / 24, *[1 / 48] * 4]] * len(cells))
    assert set(faces(mesh).values()) <= {1, 2}
    free = sum(
        tuple(np.add(cell, side)) not in cells
        for cell in cells
        for side in [*np.eye(3, dtype=int), *-np.eye(3, dtype=int)]
    )
    assert len(mesh.surface) == 2 * free
    assert {frozenset(t.tolist()) for t in mesh.surface} == {
        f for f, n in faces(mesh).items() if n == 1
    }


@pytest.mark.parametrize("shape", SHAPES)
def test_surface_is_closed_outward_and_of_the_right_kind(shape):
    cells, characteristic = SHAPES[shape]
    mesh = from_voxels(cells, 0.5)
    directed = edges(mesh.surface)
    assert set(directed.values()) == {1} and all((b, a) in directed for a, b in directed)
    corners = np.unique(mesh.surface)
    assert len(corners) - len(directed) // 2 + len(mesh.surface) == characteristic
    x = mesh.vertices[mesh.surface]
    assert np.linalg.det(x).sum() / 6 == pytest.approx(mesh.volumes.sum()), (
        "divergence theorem: outward"
    )
    normal = np.cross(x[:, 1] - x[:, 0], x[:, 2] - x[:, 0])
    inward = mesh.vertices[mesh.tets[mesh.surface_tets]].mean(axis=1) - x.mean(axis=1)
    assert (np.sum(normal * inward, axis=1) < 0).all(), "away from the tetrahedron that owns it"


def test_voxels_are_ordered_whatever_the_order_of_the_cells():
    mesh = from_voxels(TABLE, 0.1)
    shuffled = from_voxels([*reversed(TABLE), TABLE[3]], 0.1)
    np.testing.assert_array_equal(mesh.vertices, shuffled.vertices)
    np.testing.assert_array_equal(mesh.tets, shuffled.tets)
    grid = np.rint(mesh.vertices / 0.1).astype(int)
    assert grid.tolist() == sorted(grid.tolist())
    middles = mesh.vertices[mesh.tets[::5]].mean(axis=1) / 0.1 - 0.5
    np.testing.assert_allclose(middles, sorted(TABLE), atol=1e-12)
    assert mesh.tets.dtype == np.int32 and mesh.vertices.dtype == np.float64


def test_lumped_mass_by_hand():
    """A corner of the middle tetrahedron carries a quarter of 1/3 and of three times 1/6 of the
    cube's mass. Each other corner carries a quarter of 1/6."""
    mesh = from_voxels([(0, 0, 0)], 1.0)
    even = mesh.vertices.sum(axis=1) % 2 == 0
    np.testing.assert_allclose(mesh.lumped_mass(24.0), np.where(even, 5.0, 1.0))


def test_arrays_cannot_be_changed():
    mesh = TetMesh(UNIT, [[0, 1, 2, 3]])
    with pytest.raises(ValueError, match="read-only"):
        mesh.vertices[0] = 1


@pytest.mark.parametrize(
    ("vertices", "tets", "complaint"),
    [
        (UNIT, [[0, 1, 2, 4]], "0 to 3, not 0 to 4"),
        (UNIT, [[0, 1, 2, -1]], "0 to 3, not -1 to 2"),
        (UNIT, [[0, 1, 2]], r"tets \(M, 4\)"),
        (UNIT, np.zeros((0, 4)), "at least one"),
        (UNIT[:, :2], [[0, 1, 2, 3]], r"vertices \(N, 3\)"),
        (UNIT, [[0, 1, 3, 2]], "tetrahedron 0 is inverted"),
        (1e-3 * UNIT * [1, 1, 0], [[0, 1, 2, 3]], "tetrahedron 0 is flat"),
        (np.zeros((4, 3)), [[0, 1, 2, 3]], "tetrahedron 0 is flat"),
        (UNIT * [1, np.nan, 1], [[0, 1, 2, 3]], "vertex 0 is not finite"),
        ([*UNIT, [2, 2, 2]], [[0, 1, 2, 3]], "uses vertex 4"),
    ],
)
def test_what_is_no_mesh_is_refused(vertices, tets, complaint):
    with pytest.raises(ValueError, match=complaint):
        TetMesh(vertices, tets)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_flatness_knows_no_unit(scale):
    assert TetMesh(scale * UNIT, [[0, 1, 2, 3]]).volumes == pytest.approx(scale**3 / 6)


@pytest.mark.parametrize(
    ("cells", "edge", "complaint"),
    [
        ([], 1, "at least one"),
        ([(0, 0)], 1, "at least one"),
        ([(0.5, 0, 0)], 1, "integers"),
        ([(0, 0, 0)], 0, "edge"),
    ],
)
def test_what_are_no_voxels_is_refused(cells, edge, complaint):
    with pytest.raises(ValueError, match=complaint):
        from_voxels(cells, edge)


GMSH = """$MeshFormat
2.2 0 8
$EndMeshFormat
$Nodes
6
1 9 9 9
2 0 0 0
3 1 0 0
4 0 1 0
5 0 0 1
6 0 0 -2
$EndNodes
$Elements
3
1 2 2 0 1 2 3 4
2 4 2 0 1 2 3 4 5
3 4 2 0 1 2 3 4 6
$EndElements
"""
MEDIT = """MeshVersionFormatted 2
Dimension 3
Vertices
6
9 9 9 0
0 0 0 0
1 0 0 0
0 1 0 0
0 0 1 0
0 0 -2 0
Tetrahedra
2
2 3 4 5 0
2 3 4 6 0
End
"""
VTK = """# vtk DataFile Version 3.0
two tetrahedra
ASCII
DATASET UNSTRUCTURED_GRID
POINTS 6 double
9 9 9  0 0 0  1 0 0  0 1 0  0 0 1  0 0 -2
CELLS 2 10
4 1 2 3 4
4 1 2 3 5
CELL_TYPES 2
10
10
"""


@pytest.mark.parametrize(("name", "text"), [("a.msh", GMSH), ("a.mesh", MEDIT), ("a.vtk", VTK)])
def test_files_are_read_reoriented_and_freed_of_unused_vertices(tmp_path, name, text):
    """The file has the same two tetrahedra, an unused vertex (9, 9, 9), and the second one
    inverted."""
    (tmp_path / name).write_text(text)
    mesh = load(tmp_path / name)
    np.testing.assert_array_equal(mesh.vertices, [*UNIT, [0, 0, -2]])
    np.testing.assert_array_equal(mesh.tets, [[0, 1, 2, 3], [0, 1, 4, 2]])
    np.testing.assert_allclose(mesh.volumes, [1 / 6, 2 / 6])
    assert len(mesh.surface) == 6


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("a.mesh", MEDIT.replace("0 0 -2", "5 5 0"), "tetrahedron 1 is flat"),
        ("a.mesh", MEDIT[: MEDIT.index("Tetra")] + "End\n", "no linear tetrahedra"),
        ("a.mesh", MEDIT.replace("2 3 4 6 0", "2 3 4 60 0"), "cannot be used"),
        ("a.msh", "hello", "meshio cannot read it"),
        ("a.colour", "hello", "meshio cannot read it"),
    ],
)
def test_a_file_that_is_no_mesh_is_refused_in_one_line(tmp_path, capsys, name, text, complaint):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=complaint) as refusal:
        load(tmp_path / name)
    assert name in str(refusal.value) and "\n" not in str(refusal.value)
    assert capsys.readouterr() == ("", "")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.msh"):
        load(tmp_path / "absent.msh")


BOXES = [
    ((0, 0, 0), (1, 1, 2)),
    ((1, 0, 0), (2, 1, 2)),
    ((0, 1, 0), (1, 2, 2)),
    ((0, 0, 2), (1, 1, 3)),
]


def test_boxes_fill_their_volume_in_six_equal_parts_and_neighbours_match():
    mesh = from_boxes(BOXES, 0.5)
    np.testing.assert_allclose(
        mesh.volumes.reshape(4, 6), np.repeat([[2], [2], [2], [1]], 6, 1) * 0.125 / 6
    )
    assert set(faces(mesh).values()) <= {1, 2}
    x = mesh.vertices[mesh.surface]
    area = np.linalg.norm(np.cross(x[:, 1] - x[:, 0], x[:, 2] - x[:, 0]), axis=1).sum() / 2
    assert area == pytest.approx(0.25 * (3 + 3 + 16 + 4)) and len(mesh.surface) == 2 * (
        3 + 3 + 8 + 4
    )


def test_splitting_an_edge_halves_what_is_on_it_and_keeps_the_mesh_conforming():
    mesh = from_boxes(BOXES, 0.5)
    middle = np.array([0.5, 0.5, 0.5])  # middle of the inner vertical edge that three boxes share
    halves = split(mesh, middle[None])
    ends = [np.flatnonzero((mesh.vertices == [0.5, 0.5, z]).all(1))[0] for z in (0.0, 1.0)]
    around = np.isin(mesh.tets, ends).sum(axis=1) == 2
    assert 0 < around.sum() == len(halves.tets) - len(mesh.tets)
    assert halves.volumes.sum() == pytest.approx(mesh.volumes.sum())
    np.testing.assert_array_equal(halves.vertices[-1], middle)
    assert set(faces(halves).values()) <= {1, 2}
    first = np.argmax(around)  # the parts take the place of the whole
    np.testing.assert_array_equal(halves.tets[:first], mesh.tets[:first])
    assert (halves.tets[first : first + 2] == len(mesh.vertices)).sum() == 2
    with pytest.raises(ValueError, match="not in the middle of an edge"):
        split(mesh, np.array([[0.1, 0.2, 0.3]]))
