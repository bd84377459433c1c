"""Draw docs/images/camera.png, which shows the table and the points that its camera sees.

python bench/speed/camera_figure.py
"""

from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.collections import PolyCollection

from rfo.envs.base import open_loop
from rfo.envs.tasks.soft_jumper import soft_jumper_camera

OUTPUT = Path(__file__).parents[2] / "docs" / "images" / "camera.png"
STEPS = 24
OTHER_SIDE = (1.0, -0.6, -0.5)
"""Direction of the second view."""


def main() -> None:
    """Deform the body, observe it, draw and save."""
    task = soft_jumper_camera()
    vertices, points = deformed(task)
    triangles = task.simulator.mesh.surface
    plt.rcParams.update({"font.size": 9})
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 4.1), layout="constrained")
    draw(left, vertices[triangles], points, task.camera.axes)
    half = task.camera.window / 2
    grid = np.linspace(-half, half, task.camera.pixels + 1)
    left.hlines(grid, -half, half, color="0.6", linewidth=0.3, zorder=0)
    left.vlines(grid, -half, half, color="0.6", linewidth=0.3, zorder=0)
    left.set_title("what the camera sees")
    draw(right, vertices[triangles], points, replace(task.camera, direction=OTHER_SIDE).axes)
    right.set_title("from the other side, hollow where hidden")
    figure.savefig(OUTPUT, dpi=110)


def deformed(task):
    """Vertices (N, 3) and points (P, 3) relative to the vertices' mean, after some random steps."""
    state = task.reset(jax.random.key(1), 1)
    action = jax.random.uniform(
        jax.random.key(2), (1, task.spec.action_size), minval=-1.0, maxval=1.0
    )
    swing = jnp.sin(jnp.arange(STEPS) / 3)[:, None, None]
    state, _ = jax.jit(lambda a: open_loop(task, state, a))(jnp.sign(action) * swing)
    q = state.physics.q
    middle = q.mean(1)
    points = task.camera.visible_points(q, task.simulator.mesh.surface)
    return np.asarray(q - middle)[0], np.asarray(points - middle)[0]


def draw(axes, corners, points, view):
    """Draw the shaded triangles from far to near, and the points, which are hollow where hidden."""
    order = np.argsort(-(corners.mean(1) @ view[2]))
    corners = corners[order]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    facing = -(normal / np.linalg.norm(normal, axis=1, keepdims=True)) @ view[2]
    shade = plt.get_cmap("Blues")(0.15 + 0.35 * np.clip(facing, 0, 1))
    axes.add_collection(
        PolyCollection(corners @ view[:2].T, facecolors=shade, edgecolors="0.45", linewidths=0.4)
    )
    right, up = view[:2] @ points.T
    fill = np.where(hidden(corners, points, view), "none", "tab:red")
    axes.scatter(right, up, s=11, facecolors=fill, edgecolors="tab:red", linewidths=0.7, zorder=3)
    axes.set(aspect="equal", xlim=(-2.1, 2.1), ylim=(-2.1, 2.1), xlabel="[m]", ylabel="[m]")


def hidden(corners, points, view):
    """Whether each point (P,) is hidden by one of the triangles (S, 3, 3)."""
    image = np.concatenate([corners @ view[:2].T, np.ones((*corners.shape[:2], 1))], axis=2)
    places = np.concatenate([points @ view[:2].T, np.ones((len(points), 1))], axis=1)
    weights = np.einsum("pj,sji->psi", places, np.linalg.inv(image))
    nearer = np.sum(weights * (corners @ view[2]), axis=2) < (points @ view[2])[:, None] - 1e-3
    return np.any((weights.min(axis=2) > 0) & nearer, axis=1)


if __name__ == "__main__":
    main()
