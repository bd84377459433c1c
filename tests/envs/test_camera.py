"""The depth camera: its points against brute-force ray casting, and their gradient."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compiled import reset
from rfo.envs.camera import DepthCamera
from rfo.envs.tasks.soft_jumper import table
from rfo.experiment.build import build_task
from rfo.physics.mesh import from_voxels

CUBE = from_voxels([(0, 0, 0)], 1.0)
PAIR = np.concatenate([CUBE.surface, CUBE.surface + 8])
visible_points = jax.jit(DepthCamera.visible_points, static_argnums=0)
AXES = [(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)]


def look(camera, vertices, triangles=None):
    """Visible points (P, 3) of one body."""
    triangles = CUBE.surface if triangles is None else triangles
    return np.asarray(
        visible_points(camera, jnp.asarray(vertices, jnp.float32)[None], triangles)[0]
    )


def distinct(points):
    return np.unique(np.asarray(points), axis=0)


@cache
def crumpled():
    """Vertices (N, 3) and triangles (S, 3) of a deformed table, some parts of which hide others."""
    x = table().vertices
    bend = np.stack([0 * x[:, 0], 0.3 * np.sin(3 * x[:, 0]), 0.4 * np.cos(2 * x[:, 1])], axis=1)
    noise = np.random.default_rng(0).normal(size=x.shape)
    return x @ (np.eye(3) + 0.2 * np.eye(3, k=1)) + bend + 0.05 * noise, table().surface


def moller_trumbore(origins, direction, vertices, triangles):
    """Distances (R, S) along parallel rays to each triangle, infinite for a miss; float64."""
    a, b, c = np.moveaxis(vertices[triangles], 1, 0)
    h = np.cross(direction, c - a)
    det = np.sum((b - a) * h, axis=1)
    s = origins[:, None] - a
    u = np.sum(s * h, axis=2) / det
    q = np.cross(s, b - a)
    v = q @ direction / det
    t = np.sum((c - a) * q, axis=2) / det
    return np.where((u >= 0) & (v >= 0) & (u + v <= 1), t, np.inf)


def rays(camera, vertices):
    """Distant origins (R, 3) and the direction (3,) of one ray per pixel, in the pixels' order."""
    right, up, ahead = camera.axes
    line = (np.arange(camera.pixels) + 0.5) / camera.pixels - 0.5
    rows = [camera.window * (x * right - y * up) for y in line for x in line]
    return vertices.mean(0) + np.array(rows) - 10 * ahead, ahead


@pytest.mark.parametrize("direction", [*AXES, (0, 0, -5), (3, 4, 0), (1, -2, -0.5)])
def test_image_axes(direction):
    """The axes are orthonormal: ahead is the view's direction, up is as close to z as possible."""
    axes = DepthCamera(direction, 1.0).axes
    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-12)
    right, up, ahead = axes
    np.testing.assert_allclose(ahead * np.linalg.norm(direction), direction, atol=1e-12)
    np.testing.assert_allclose(np.cross(right, up), -ahead, atol=1e-12)
    assert right[2] == 0 and up[2] >= 0


@pytest.mark.parametrize("direction", AXES)
def test_a_cube_along_an_axis_shows_its_near_face(direction):
    """4 x 4 of the 8 x 8 pixels see the cube, because the window is twice as wide as the cube."""
    points = look(DepthCamera(direction, 2.0, pixels=8, points=64), CUBE.vertices)
    axis = np.flatnonzero(direction)[0]
    np.testing.assert_allclose(points[:, axis], 0 if direction[axis] > 0 else 1, atol=1e-6)
    grid = np.array([1, 3, 5, 7]) / 8
    expected = [(a, b) for a in grid for b in grid]
    np.testing.assert_allclose(distinct(np.delete(points, axis, 1).round(5)), expected, atol=1e-5)


def test_what_is_near_hides_what_is_behind():
    """Along x, a cube behind a plate is visible only above the plate, in either order of the
    mesh."""
    plate = CUBE.vertices * [0.1, 1.0, 0.5] - [2.0, 0.0, 0.0]
    camera = DepthCamera((1, 0, 0), 4.0, pixels=40, points=1600)
    for bodies in ([CUBE.vertices, plate], [plate, CUBE.vertices]):
        points = look(camera, np.concatenate(bodies), PAIR)
        behind = points[:, 0] > -0.5
        np.testing.assert_allclose(points[behind, 0], 0, atol=1e-6)
        np.testing.assert_allclose(points[~behind, 0], -2, atol=1e-6)
        assert points[behind, 2].min() > 0.5 > points[~behind, 2].max()
        # 10 x 5 pixels each
        assert len(distinct(points[behind])) == len(distinct(points[~behind])) == 50


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_ray_casting(seed):
    """For a deformed table and a random direction: the same pixels hit, at equal depths, in
    order."""
    vertices, triangles = crumpled()
    camera = DepthCamera(
        tuple(np.random.default_rng(seed).normal(size=3)), 4.0, pixels=24, points=576
    )
    origins, ahead = rays(camera, vertices)
    depth = moller_trumbore(origins, ahead, vertices, triangles).min(axis=1)
    hit = np.isfinite(depth)
    expected = (origins + np.where(hit, depth, 0)[:, None] * ahead)[hit]
    assert 100 < len(expected) < 500
    points = look(camera, vertices, triangles)
    chosen = np.arange(576) * len(expected) // 576
    np.testing.assert_allclose(points, expected[chosen], atol=2e-5)
    assert set(chosen) == set(range(len(expected)))


def test_hidden_parts_are_part_of_that_comparison():
    """Some rays cross the crumpled table more than twice, so the nearest crossing must win."""
    vertices, triangles = crumpled()
    origins, ahead = rays(DepthCamera((-1, 1, -0.5), 4.0, pixels=24), vertices)
    crossings = np.isfinite(moller_trumbore(origins, ahead, vertices, triangles)).sum(axis=1)
    assert (crossings > 2).sum() > 20


def test_grid_lines_leave_no_cracks():
    """Pixels lie on corners that triangles share, up to rounding, and still see the near face."""
    plate = from_voxels([(i, j, 0) for i in range(7) for j in range(7)], 0.1)
    for angle in np.linspace(0.1, 3, 5):
        camera = DepthCamera((np.cos(angle), np.sin(angle), -0.3), 0.6, pixels=6, points=36)
        points = look(
            camera, plate.vertices @ (camera.axes * [[1], [1], [-1]]) + 0.37, plate.surface
        )
        assert len(distinct(points)) == 36
        np.testing.assert_allclose((points - 0.37) @ camera.axes[2], -0.1, atol=1e-6)


def test_order_and_orientation_of_the_triangles_do_not_matter():
    vertices, triangles = crumpled()
    camera = DepthCamera((-1, 1, -0.5), 4.0)
    shuffled = np.random.default_rng(1).permutation(triangles)
    points = look(camera, vertices, triangles)
    np.testing.assert_allclose(look(camera, vertices, shuffled), points, atol=2e-6)
    np.testing.assert_allclose(look(camera, vertices, triangles[:, ::-1]), points, atol=2e-6)


def test_the_camera_travels_along():
    """The camera sees the same points of a body wherever the body is."""
    vertices, triangles = crumpled()
    camera = DepthCamera((-1, 1, -0.5), 4.0)
    shift = np.array([7.0, -3.0, 2.0])
    moved = look(camera, vertices + shift, triangles)
    np.testing.assert_allclose(moved - shift, look(camera, vertices, triangles), atol=1e-5)


@pytest.mark.parametrize("points", [1, 3, 20])
def test_number_of_points_is_fixed(points):
    """Fewer points than the 16 hits are chosen evenly; more points repeat each hit equally often,
    up to one."""
    camera = DepthCamera((0, 0, -1), 2.0, pixels=8, points=points)
    every = look(DepthCamera((0, 0, -1), 2.0, pixels=8, points=16), CUBE.vertices)
    assert len(distinct(every)) == 16
    seen = look(camera, CUBE.vertices)
    assert seen.shape == (points, 3)
    indices = np.argmax((seen[:, None] == every).all(-1), axis=1)
    counts = np.bincount(indices, minlength=16)
    assert np.all(np.diff(indices) >= 0) and counts.max() - counts.min() <= 1
    gaps = np.diff(np.unique(indices), append=16)
    assert gaps.max() - gaps.min() <= 1


def test_bodies_of_a_batch_do_not_influence_each_other():
    """Different shapes, one of them out of view, give the same points together and alone."""
    rng = np.random.default_rng(2)
    shapes = CUBE.vertices + 0.2 * rng.normal(size=(4, 8, 3))
    shapes[2] = 100 * np.sign(CUBE.vertices - 0.5)  # its front alone would fill the window
    camera = DepthCamera((-1, 1, -0.5), 2.0)
    together = visible_points(camera, jnp.asarray(shapes, jnp.float32), CUBE.surface)
    alone = np.stack([look(camera, shape) for shape in shapes])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def two_cubes(distance):
    """Vertices (16, 3) and triangles of two cubes side by side along y, centred between them."""
    shift = np.array([0, distance / 2, 0])
    return np.concatenate([CUBE.vertices - shift, CUBE.vertices + shift]), PAIR


def test_an_empty_view_gives_the_mean_and_its_gradient():
    vertices, triangles = two_cubes(20.0)
    camera = DepthCamera((1, 0, 0), 2.0, points=5)
    np.testing.assert_allclose(
        look(camera, vertices, triangles), np.tile(vertices.mean(0), (5, 1)), atol=1e-5
    )
    gradient = jax.jit(jax.grad(lambda x: camera.visible_points(x, triangles)[..., 1].sum()))(
        jnp.array([vertices])
    )
    np.testing.assert_allclose(gradient[0, :, 1], 5 / 16, rtol=1e-5)
    assert not np.any(gradient[0, :, ::2])


def test_gradient_is_the_barycentric_weights():
    """A pixel in the middle of a triangle moves with 1/3 of each corner; elsewhere it moves with
    the barycentric weights, computed by hand."""
    corners = jnp.array([[[0.0, 0.0, 0.0], [0.0, 3.0, 0.3], [0.3, 0.0, 3.0]]])

    def jacobian_of(camera):
        triangle = np.array([[0, 1, 2]])
        return jax.jit(jax.jacobian(lambda x: camera.visible_points(x, triangle)[0]))(corners)

    jacobian = jacobian_of(DepthCamera((1, 0, 0), 0.1, pixels=1, points=1))[0, :, 0]
    np.testing.assert_allclose(
        jacobian, np.einsum("ij,k->ikj", np.eye(3), np.ones(3) / 3), atol=1e-6
    )

    # Along x, right is -y and up is z: pixels of 1 m around (y, z) = (1, 1.1), row by row from the
    # top left.
    camera = DepthCamera((1, 0, 0), 2.0, pixels=2, points=4)
    jacobian = jacobian_of(camera)[:, 1]
    matrix = np.vstack([np.asarray(corners)[0].T[1:], np.ones(3)])
    places = [(1.5, 1.6), (0.5, 1.6), (1.5, 0.6), (0.5, 0.6)]
    by_hand = [np.linalg.solve(matrix, [y, z, 1]) for y, z in places]
    np.testing.assert_allclose(jacobian[:, 0, :, 1], by_hand, atol=1e-5)


def test_gradient_follows_the_material():
    """The gradient agrees with finite differences of the material points, found again on a moved
    body by their weights."""
    vertices, triangles = crumpled()
    camera = DepthCamera((-1, 1, -0.5), 4.0)
    rng = np.random.default_rng(3)
    motion, out = rng.normal(size=vertices.shape), rng.normal(size=(camera.points, 3))
    points = look(camera, vertices, triangles)
    corners, moved = vertices[triangles], (vertices + 1e-3 * motion)[triangles]
    weights = np.linalg.solve(
        np.swapaxes(corners, 1, 2)[None],
        np.tile(points[:, None, :, None], (1, len(triangles), 1, 1)),
    )[..., 0]
    on = (np.abs(weights.sum(-1) - 1) < 1e-4) & (weights.min(-1) > -1e-4)
    assert on.any(axis=1).all()
    triangle = np.argmax(on, axis=1)
    weight = weights[np.arange(len(points)), triangle][..., None]
    change = np.sum(out * np.sum(weight * (moved - corners)[triangle], axis=1)) / 1e-3
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(out * camera.visible_points(x, triangles)[0])))(
        jnp.asarray(vertices, jnp.float32)[None]
    )
    np.testing.assert_allclose(np.sum(gradient[0] * motion), change, rtol=1e-3)


def test_gradient_of_a_mean_is_that_of_motion_across_the_image():
    """One of two cubes rises by several pixels. The mean over the points changes as the gradient
    predicts, although what a single pixel sees has no derivative."""
    vertices, triangles = two_cubes(2.0)
    second = np.arange(16)[:, None] >= 8
    camera = DepthCamera((1, 0, 0), 4.0, pixels=160, points=3200)

    @jax.jit
    @jax.value_and_grad
    def pooled(height):
        moved = vertices + height * second * jnp.array([0.0, 0.0, 1.0])
        return jnp.mean(jnp.tanh(2 * camera.visible_points(moved[None], triangles)[..., 2]))

    (low, _), (high, _) = pooled(0.4), pooled(0.6)
    promise = np.mean([pooled(h)[1] for h in (0.4, 0.45, 0.5, 0.55, 0.6)])
    assert promise > 0.05
    np.testing.assert_allclose((high - low) / 0.2, promise, rtol=0.03)


@pytest.mark.parametrize("degenerate", ["edge-on", "to a line", "to a point"])
def test_degenerate_triangles_leave_all_finite(degenerate):
    """A cube seen along an axis has edge-on sides, and moving a corner onto another turns triangles
    into lines. The weights of each of the 10 points still sum to 1."""
    vertices = CUBE.vertices.copy()
    if degenerate == "to a line":
        vertices[0] = vertices[1]
    if degenerate == "to a point":
        vertices[:] = vertices[0]
    body = jnp.asarray(vertices, jnp.float32)[None]
    for direction in AXES[::5]:
        camera = DepthCamera(direction, 2.0, points=10)
        total = partial(lambda camera, x: visible_points(camera, x, CUBE.surface).sum(), camera)
        value, gradient = jax.value_and_grad(total)(body)
        assert np.isfinite(value)
        np.testing.assert_allclose(gradient.sum(axis=1), 10, rtol=1e-5)


@pytest.mark.parametrize(
    "wrong",
    [
        {"direction": (0, 0, 0)},
        {"direction": (np.nan, 0, 1)},
        {"window": 0},
        {"pixels": 0},
        {"points": 0},
    ],
)
def test_wrong_cameras_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        DepthCamera(**({"direction": (1, 0, 0), "window": 1.0} | wrong))


def test_a_task_sees_through_its_camera():
    """The task observes 0.1 times the points, relative to the point on the ground below the body.
    The body's horizontal position does not matter, its height does."""
    task = build_task("soft_jumper_small_camera")
    state, observe = reset(task, 0, 2), jax.jit(task.observe)
    points = observe(state)["points"]
    q = np.asarray(state.physics.q)
    seen = np.stack([look(task.camera, body, task.simulator.mesh.surface) for body in q])
    origin = q.mean(1, keepdims=True) * [1, 1, 0]
    np.testing.assert_allclose(points, 0.1 * (seen - origin), atol=1e-6)
    walked = state._replace(physics=state.physics._replace(q=q + jnp.array([5.0, -2.0, 1.0])))
    np.testing.assert_allclose(
        observe(walked)["points"], points + jnp.array([0, 0, 0.1]), atol=2e-6
    )
    assert "particle_q" not in observe(state)
