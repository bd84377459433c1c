"""Draw docs/images/tasks/NAME.png, a picture of each body.

python bench/environments/pictures.py [NAME ...]
"""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.collections import PolyCollection

from rfo.envs.base import open_loop
from rfo.experiment.build import build_task
from rfo.experiment.catalogue import find_task
from rfo.physics.kinematics import rotate

OUTPUT = Path(__file__).parents[2] / "docs" / "images" / "tasks"
STEPS = {
    "ant": 40,
    "hopper": 20,
    "cheetah": 12,
    "humanoid": 6,
    "hand_reorient": 6,
    "go2": 20,
    "g1": 10,
    "cartpole": 20,
    "soft_jumper": 24,
    "soft_jumper_small": 24,
    "soft_worm": 24,
    "rolling_flat": 0,
    "rolling_flat_small": 0,
    "fluid_move": 3,
    "fluid_move_small": 3,
    "hand_flip": 10,
    "hand_flip_small": 10,
}
"""Control steps of small random actions before the picture is taken."""

WIDTH, HEIGHT = 210, 150
AHEAD = np.array([-0.55, 1.0, -0.5]) / np.linalg.norm([0.55, 1.0, 0.5])
"""Viewing direction."""
RIGHT = np.cross(AHEAD, [0, 0, 1]) / np.linalg.norm(np.cross(AHEAD, [0, 0, 1]))
VIEW = np.stack([RIGHT, np.cross(RIGHT, AHEAD)])
LIGHT = np.array([0.3, -0.5, 0.9]) / np.linalg.norm([0.3, -0.5, 0.9])
"""Direction to the light."""
GROUND, SHADOW, FLUID, CLAY = (0.95,) * 3, (0.82, 0.83, 0.85), (0.45, 0.65, 0.85), (0.85, 0.6, 0.35)


def main(names: list[str]) -> None:
    """Draw and save."""
    OUTPUT.mkdir(exist_ok=True)
    for name in names or STEPS:
        plt.imsave(OUTPUT / f"{name}.png", draw(*still(name)), pil_kwargs={"optimize": True})


def still(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, float | None]:
    """A state of a task, ready to draw.

    Returns:
        Faces (n, 4, 3) [m], their colours (n, 4), whether they move (n,), and the height of the
        ground,
        or None if there is no ground.
    """
    task = build_task("g1_velocity" if name == "g1" else name)
    state = task.reset(jax.random.key(0), 1)
    if approach := find_task(task.spec.name).approach:
        action, steps = approach
        state, _ = open_loop(task, state, jnp.tile(jnp.array(action), (steps, 1, 1)))
    shape = (STEPS[name], 1, task.spec.action_size)
    actions = jax.random.uniform(jax.random.key(1), shape, minval=-0.3, maxval=0.3)
    state, _ = jax.jit(lambda state: open_loop(task, state, actions))(state)
    scene, frame = (
        task.scene(),
        {key: np.asarray(rows)[0] for key, rows in task.frame(state).items()},
    )
    parts = list(rigid(scene.get("geoms", []), frame.get("poses")))
    loose = FLUID if name.startswith("fluid") else CLAY
    for point in frame.get("points", ()):
        parts.append((ball(scene["points"]["radius"], 0.0, 4) + point, (*loose, 1.0), True))
    if "vertices" in frame:
        triangles = np.array(scene["surface"]["triangles"])
        parts.append((frame["vertices"][triangles[:, [0, 1, 2, 2]]], (*FLUID, 1.0), True))
    faces = np.concatenate([part for part, _, _ in parts])
    colours = np.concatenate([np.tile(colour, (len(part), 1)) for part, colour, _ in parts])
    moving = np.concatenate([np.full(len(part), moves) for part, _, moves in parts])
    planes = [g["pos"][2] for g in scene.get("geoms", []) if g["type"] == "plane"]
    return faces, colours, moving, 0.0 if "vertices" in frame else next(iter(planes), None)


def rigid(geoms, poses):
    """For each geom except planes: its faces, its colour and whether it moves."""
    for geom in (g for g in geoms if g["type"] not in ("plane", "half-space")):
        size = geom["size"]
        faces = box(size) if geom["type"] == "box" else ball(size[0], (*size, 0.0)[1], 8)
        faces = place(faces, geom["pos"], geom["quat"])
        if geom["body"] >= 0:
            pose = poses[geom["body"]]
            faces = place(faces, pose[:3], pose[3:])
        yield faces, geom["rgba"], geom["body"] >= 0


def box(half) -> np.ndarray:
    """Outward faces (n, 4, 3) of a box; each side has 4 x 4 faces, so that sorting by depth
    works."""
    cuts = np.linspace(-1, 1, 5)
    y, z = (corner.ravel() for corner in np.meshgrid(cuts[:-1], cuts[:-1]))
    y, z = np.stack([y, y + 0.5, y + 0.5, y], axis=1), np.stack([z, z, z + 0.5, z + 0.5], axis=1)
    front = np.stack([np.ones_like(y), y, z], axis=-1)
    back = front[:, ::-1] * [-1, 1, 1]
    sides = np.concatenate([front, back])
    return np.concatenate([np.roll(sides, axis, axis=-1) for axis in range(3)]) * np.array(half)


def ball(radius: float, half: float, fine: int) -> np.ndarray:
    """Outward faces (n, 4, 3) of a sphere, or of a capsule with a half length along z."""
    south = np.linspace(-np.pi / 2, 0, fine // 2 + 1)
    # The equator occurs twice, which gives a cylinder of height 2 `half`.
    latitude = np.concatenate([south, -south[::-1]])
    height = radius * np.sin(latitude) + np.repeat([-half, half], len(south))
    longitude = np.linspace(0, 2 * np.pi, 2 * fine + 1)
    ring = radius * np.stack([np.cos(longitude), np.sin(longitude)], axis=-1)
    grid = np.concatenate(
        [
            np.cos(latitude)[:, None, None] * ring,
            np.broadcast_to(height[:, None, None], (*height.shape, len(ring), 1)),
        ],
        axis=-1,
    )
    corners = [grid[:-1, :-1], grid[:-1, 1:], grid[1:, 1:], grid[1:, :-1]]
    return np.stack(corners, axis=2).reshape(-1, 4, 3)


def place(faces: np.ndarray, pos, quat) -> np.ndarray:
    """Faces rotated by a quaternion (w, x, y, z) and moved."""
    return np.asarray(rotate(jnp.asarray(quat, jnp.float32), jnp.asarray(faces))) + np.asarray(pos)


def draw(
    faces: np.ndarray, colours: np.ndarray, moving: np.ndarray, ground: float | None
) -> np.ndarray:
    """Pixels (HEIGHT, WIDTH, 3) of the shaded faces and their shadow; moving faces fill the
    picture."""
    normal = np.cross(faces[:, 2] - faces[:, 0], faces[:, 3] - faces[:, 1])
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    seen = np.flatnonzero((normal @ AHEAD < 0) | (colours[:, 3] < 1))
    order = seen[np.argsort(-(faces[seen].mean(1) @ AHEAD))]
    light = 0.55 + 0.45 * np.clip(normal @ LIGHT, 0, 1)
    shaded = colours[order] * np.insert(np.tile(light[order, None], 3), 3, 1.0, axis=1)

    figure = plt.figure(figsize=(WIDTH / 50, HEIGHT / 50), dpi=100, facecolor=GROUND)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    framed = faces[moving]
    if ground is not None:
        fall = np.maximum(faces[..., 2:] - ground, 0) / LIGHT[2]
        shadow = faces - fall * LIGHT
        axes.add_collection(PolyCollection(shadow @ VIEW.T, facecolors=SHADOW, edgecolors=SHADOW))
        framed = np.concatenate([framed, shadow[moving]])
    edges = np.where(shaded[:, 3:] < 1, 0.0, shaded)
    axes.add_collection(
        PolyCollection(faces[order] @ VIEW.T, facecolors=shaded, edgecolors=edges, linewidths=0.3)
    )
    flat = framed.reshape(-1, 3) @ VIEW.T
    low, high = flat.min(0), flat.max(0)
    reach = 0.55 * max((high - low) / (WIDTH, HEIGHT)) * np.array([WIDTH, HEIGHT])
    (left, bottom), (right, top) = (low + high) / 2 - reach, (low + high) / 2 + reach
    axes.set(xlim=(left, right), ylim=(bottom, top))
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3] / 255
    plt.close(figure)
    return pixels.reshape(HEIGHT, 2, WIDTH, 2, 3).mean((1, 3))


if __name__ == "__main__":
    main(sys.argv[1:])
