"""Replay of a recorded episode as one HTML file that works offline.

The page contains the frames, the rewards, the viewer (`figure.js`, `replay.js`) and three.js. Its
content security policy forbids loading anything else.
"""

from __future__ import annotations

import base64
import html
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np

GEOM_SIZES = {
    "sphere": 1, "capsule": 2, "cylinder": 2, "box": 3, "ellipsoid": 3, "mesh": 3, "plane": 0,
}  # fmt: skip
"""Geoms that the viewer draws, and how many numbers their `size` needs. A mesh also has `vertices`
and `triangles`; its size is how far it reaches along each axis."""

FRAME_SHAPES = {
    "poses": ("bodies", 7),
    "vertices": ("vertices", 3),
    "activation": ("triangles",),
    "points": ("points", 3),
    "tint": ("points",),
}
"""Arrays that the viewer plays, and their axes after the first one, the frames. Each is
optional."""

GEOM_FIELDS = {"type", "size", "body", "pos", "quat", "rgba"}
"""Fields that every geom needs."""


class Replay(NamedTuple):
    """A recorded episode of N frames."""

    scene: dict[str, Any]
    """The task's name, dt [s] and the entries of `rfo.envs.base.Renderable.scene`."""
    frames: dict[str, np.ndarray]
    """The arrays of `FRAME_SHAPES` that the scene needs, with the leading axis N."""
    reward: np.ndarray
    """(N,)"""


def read(run_folder: Path) -> Replay:
    """The replay in a run folder, checked.

    Raises:
        FileNotFoundError: if the folder has no replay.
        ValueError: if the replay is malformed; the message names the field.
    """
    scene = _read_json(run_folder / "replay.json")
    reward, frames = _read_arrays(run_folder / "replay.npz")
    with _malformed():
        check_drawing(scene, frames)
    return Replay(scene, frames, reward)


@contextmanager
def _malformed() -> Iterator[None]:
    """Report a value of a wrong kind, at any depth, as a fault of the file."""
    try:
        yield
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"replay.json is malformed: {error}") from None


def write_html(run_folder: Path) -> Path:
    """Write `replay.html` into a run folder, from its `replay.json` and `replay.npz`.

    `replay.json` holds the task, dt [s] and the entries of `rfo.envs.base.Renderable.scene`:
    `geoms`, `surface` and `points`. `replay.npz` holds the arrays of N frames: `reward` (N,) and
    those of the following that the scene needs:

    - `poses` (N, bodies, 7): (x, y, z, qw, qx, qy, qz), positions in [m];
    - `vertices` (N, vertices, 3) and `points` (N, points, 3): positions [m];
    - `activation` (N, triangles) and `tint` (N, points): colours, in [-1, 1].

    If there is a `config.json`, the title shows its algorithm and seed.

    Args:
        run_folder: folder with the two files.

    Returns:
        Path of the page.

    Raises:
        FileNotFoundError: if the folder has no replay.
        ValueError: if the replay is malformed; the message names the field.
    """
    run_folder = Path(run_folder)
    fields = fields_of(run_folder)
    page = run_folder / "replay.html"
    replace(page, fill(template(), fields))
    return page


def fields_of(run_folder: Path, about: Path | None = None) -> dict[str, str]:
    """`page_fields` of the replay in a folder.

    Args:
        run_folder: folder with the replay.
        about: folder with the ``config.json`` of the run, if it is another.

    Raises:
        FileNotFoundError: if the folder has no replay.
        ValueError: if the replay is malformed; the message names the field.
    """
    replay = read(run_folder)
    config_file = (about or run_folder) / "config.json"
    config = _read_json(config_file) if config_file.exists() else {}
    with _malformed():
        return page_fields(replay, config)


def replace(path: Path, text: str) -> None:
    """Write a file in one go; a link in its place is replaced and not followed."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    try:
        with temporary.open("x", encoding="utf-8") as file:
            file.write(text)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no replay: {path} does not exist") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} must be a JSON object, not a {type(content).__name__}")
    return content


def _read_arrays(path: Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The reward (N,) and the arrays of `FRAME_SHAPES` that the file has; checked, in float32."""
    if not path.exists():
        raise FileNotFoundError(f"there is no replay: {path} does not exist")
    try:
        with np.load(path, allow_pickle=False) as file:
            reward = np.asarray(file["reward"], dtype="<f4")
            frames = {
                name: np.asarray(file[name], dtype="<f4") for name in FRAME_SHAPES if name in file
            }
    except (KeyError, OSError, ValueError, BadZipFile) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    if reward.ndim != 1 or len(reward) == 0:
        raise ValueError(f"reward in {path} must have the shape (frames,), not {reward.shape}")
    for name, array in {"reward": reward, **frames}.items():
        _check_array(name, array, len(reward), path)
    return reward, frames


def _check_array(name: str, array: np.ndarray, length: int, path: Path) -> None:
    axes = (length, *FRAME_SHAPES.get(name, ()))
    fits = array.ndim == len(axes) and all(
        isinstance(axis, str) or axis == size for axis, size in zip(axes, array.shape, strict=True)
    )
    if not fits:
        wanted = f"({', '.join(map(str, axes))}{',' if len(axes) == 1 else ''})"
        raise ValueError(f"{name} in {path} must have the shape {wanted}, not {array.shape}")
    finite = np.isfinite(array).reshape(length, -1).all(axis=1)
    if not finite.all():
        raise ValueError(f"{name} in {path} is not finite at frame {int(np.argmin(finite))}")


def check_drawing(scene: dict[str, Any], frames: dict[str, np.ndarray]) -> None:
    """Check that a scene and its N frames can be drawn.

    Raises:
        ValueError: naming what is missing or malformed.
    """
    for name, array in frames.items():
        if name in FRAME_SHAPES:
            _check_array(name, array, len(array), Path("replay.npz"))
    _check_scene(scene, bodies=frames["poses"].shape[1] if "poses" in frames else 0)
    _check_surface(scene, frames)
    _check_points(scene, frames)


def _check_scene(scene: dict[str, Any], bodies: int) -> None:
    missing = {"task", "dt"} - scene.keys()
    if missing:
        raise ValueError(f"replay.json lacks {', '.join(sorted(missing))}")
    if not scene["dt"] > 0:
        raise ValueError(f"dt in replay.json must be positive, not {scene['dt']}")
    for geom in scene.get("geoms", []):
        missing = GEOM_FIELDS - geom.keys()
        if missing:
            raise ValueError(f"a geom in replay.json lacks {', '.join(sorted(missing))}")
        kind = geom["type"]
        if kind not in GEOM_SIZES:
            raise ValueError(f"the viewer draws {', '.join(GEOM_SIZES)}, not {kind}")
        if len(geom["size"]) < GEOM_SIZES[kind]:
            raise ValueError(f"a {kind} needs {GEOM_SIZES[kind]} sizes, not {geom['size']}")
        if kind == "mesh":
            _check_mesh(geom)
        if not -1 <= geom["body"] < bodies:
            raise ValueError(
                f"a geom belongs to body {geom['body']}, but poses has {bodies} bodies"
            )


def _check_mesh(geom: dict[str, Any]) -> None:
    missing = {"vertices", "triangles"} - geom.keys()
    if missing:
        raise ValueError(f"a mesh in replay.json lacks {', '.join(sorted(missing))}")
    if any(len(vertex) != 3 for vertex in geom["vertices"]):
        raise ValueError("vertices of a mesh in replay.json need three numbers each")
    _check_triangles("a mesh", geom["triangles"], len(geom["vertices"]))


def _check_triangles(owner: str, triangles: list, count: int) -> None:
    if not all(
        len(corners) == 3 and all(type(corner) is int for corner in corners)
        for corners in triangles
    ):
        raise ValueError(f"triangles of {owner} in replay.json need three whole numbers each")
    strangers = [corner for corners in triangles for corner in corners if not 0 <= corner < count]
    if strangers:
        raise ValueError(f"a triangle has corner {strangers[0]}, but vertices has {count} vertices")


def _check_surface(scene: dict[str, Any], frames: dict[str, np.ndarray]) -> None:
    triangles = scene.get("surface", {}).get("triangles", [])
    count = frames["vertices"].shape[1] if "vertices" in frames else 0
    _check_triangles("the surface", triangles, count)
    activation = frames.get("activation", np.zeros((1, len(triangles))))
    if activation.shape[1] != len(triangles):
        raise ValueError(
            f"activation has {activation.shape[1]} triangles, but the surface has {len(triangles)}"
        )
    _check_unit("activation", activation)


def _check_points(scene: dict[str, Any], frames: dict[str, np.ndarray]) -> None:
    points = frames.get("points", np.zeros((1, 0, 3)))
    if points.shape[1] and not scene.get("points", {}).get("radius", 0) > 0:
        raise ValueError("points in replay.json needs a positive radius")
    tint = frames.get("tint", np.zeros(points.shape[:2]))
    if tint.shape[1] != points.shape[1]:
        raise ValueError(f"tint has {tint.shape[1]} points, but points has {points.shape[1]}")
    _check_unit("tint", tint)


def _check_unit(name: str, values: np.ndarray) -> None:
    if np.abs(values).max(initial=0) > 1:
        raise ValueError(f"{name} must be in [-1, 1], not {values.flat[np.abs(values).argmax()]}")


def template() -> str:
    """The page with the viewer in it, and without what `page_fields` gives."""
    return fill(
        with_head("replay.html"),
        {
            "LICENSE": asset("vendor/LICENSE.three"),
            "THREE": asset("vendor/three.js"),
            "SCRIPT": asset("figure.js") + asset("replay.js"),
        },
    )


def page_fields(replay: Replay, config: dict[str, Any]) -> dict[str, str]:
    """What the page of one replay tells and plays, by placeholder."""
    scene, frames, reward = replay
    task = str(scene["task"])
    algorithm = _algorithm(config)
    heading = " · ".join(part for part in (task, algorithm) if part)
    seconds = len(reward) * scene["dt"]
    details = [f"{len(reward)} steps, {seconds:.1f} s of simulated time"]
    if "seed" in config:
        details.append(f"seed {config['seed']}")
    if "env_steps" in scene:
        details.append(f"after {int(scene['env_steps']):,} steps of training")
    data = {
        "dt": scene["dt"],
        "frames": len(reward),
        "geoms": scene.get("geoms", []),
        "triangles": scene.get("surface", {}).get("triangles", []),
        "radius": scene.get("points", {}).get("radius", 0),
        **{name: _base64(array) for name, array in {"reward": reward, **frames}.items()},
    }
    return {
        "TITLE": html.escape(f"{heading} · rfo"),
        "HEADING": html.escape(heading),
        "SUBTITLE": html.escape(" · ".join(details)),
        "RETURN": _number(float(reward.sum(dtype=np.float64))),
        "DATA": script_json(data),
    }


def script_json(content: Any) -> str:
    """JSON that may stand in a script of a page."""
    # no "<" at all: besides "</script", "<!--" too changes how a script is read
    return json.dumps(content, allow_nan=False).replace("<", "\\u003c")


def _algorithm(config: dict[str, Any]) -> str:
    """Name of the algorithm in a run's configuration; empty if it has none."""
    algorithm = config.get("algorithm", "")
    name = algorithm.get("name", "") if isinstance(algorithm, dict) else algorithm
    return str(name).upper()


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _base64(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array, dtype="<f4").tobytes()).decode("ascii")


def with_head(name: str) -> str:
    """A page of this room, with the head that all share."""
    return fill(asset(name), {"HEAD": asset("head.html").rstrip()})


def asset(name: str) -> str:
    """Text of a file of this room."""
    return resources.files("rfo.view").joinpath(name).read_text(encoding="utf-8")


def fill(template: str, fields: dict[str, str]) -> str:
    """Replace every @NAME@ that there is a field for, in one pass: no content is a placeholder."""
    return re.sub("@([A-Z]+)@", lambda match: fields.get(match[1], match[0]), template)
