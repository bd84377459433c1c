"""Replay of a run's recorded episode as one HTML file that opens offline.

The page holds the poses, the rewards, the viewer (`replay.js`) and three.js; its content security
policy forbids it to load anything else.
"""

from __future__ import annotations

import base64
import html
import json
import re
from importlib import resources
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

GEOM_SIZES = {"sphere": 1, "capsule": 2, "box": 3, "plane": 0}
"""Geoms that the viewer draws and how many numbers of `size` each needs."""

GEOM_FIELDS = {"type", "size", "body", "pos", "quat", "rgba"}


def write_html(run_folder: Path) -> Path:
    """Write `replay.html` into a run folder from its `replay.json` and `replay.npz`.

    `replay.json` holds the task, dt [s] and the geoms of `rfo.envs.base.Renderable.scene`;
    `replay.npz` holds `poses` (N, M, 7) [m] (x, y, z, qw, qx, qy, qz) of M bodies over N frames and
    `reward` (N,). `config.json`, where present, adds the algorithm and the seed to the title.

    Returns:
        Path of the page.

    Raises:
        FileNotFoundError: if the folder holds no replay.
        ValueError: if the replay is malformed; the message names the field.
    """
    run_folder = Path(run_folder)
    scene = _read_json(run_folder / "replay.json")
    poses, reward = _read_arrays(run_folder / "replay.npz")
    _check_scene(scene, bodies=poses.shape[1])
    config_file = run_folder / "config.json"
    config = _read_json(config_file) if config_file.exists() else {}

    page = run_folder / "replay.html"
    page.write_text(_page(scene, poses, reward, config), encoding="utf-8")
    return page


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(f"no replay here: {path} does not exist") from None
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold an object, not a {type(content).__name__}")
    return content


def _read_arrays(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Poses (N, M, 7) and reward (N,), checked, float32."""
    if not path.exists():
        raise FileNotFoundError(f"no replay here: {path} does not exist")
    try:
        with np.load(path) as file:
            poses, reward = (np.asarray(file[name], dtype="<f4") for name in ("poses", "reward"))
    except (KeyError, OSError, ValueError, BadZipFile) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    if poses.ndim != 3 or poses.shape[2] != 7 or len(poses) == 0:
        raise ValueError(f"poses in {path} must have the shape (frames, bodies, 7), not {poses.shape}")
    if reward.shape != (len(poses),):
        raise ValueError(f"reward in {path} must have the shape ({len(poses)},), not {reward.shape}")
    finite = np.isfinite(poses).all(axis=(1, 2)) & np.isfinite(reward)
    if not finite.all():
        raise ValueError(f"{path} is not finite at frame {int(np.argmin(finite))}")
    return poses, reward


def _check_scene(scene: dict[str, Any], bodies: int) -> None:
    missing = {"task", "dt", "geoms"} - scene.keys()
    if missing:
        raise ValueError(f"replay.json lacks {', '.join(sorted(missing))}")
    if not scene["dt"] > 0:
        raise ValueError(f"dt in replay.json must be positive, not {scene['dt']}")
    for geom in scene["geoms"]:
        missing = GEOM_FIELDS - geom.keys()
        if missing:
            raise ValueError(f"a geom in replay.json lacks {', '.join(sorted(missing))}")
        kind = geom["type"]
        if kind not in GEOM_SIZES:
            raise ValueError(f"the viewer draws {', '.join(GEOM_SIZES)}, not {kind}")
        if len(geom["size"]) < GEOM_SIZES[kind]:
            raise ValueError(f"a {kind} needs {GEOM_SIZES[kind]} sizes, not {geom['size']}")
        if not -1 <= geom["body"] < bodies:
            raise ValueError(f"a geom hangs on body {geom['body']}, but poses has {bodies} bodies")


def _page(scene: dict[str, Any], poses: np.ndarray, reward: np.ndarray, config: dict[str, Any]) -> str:
    task = str(scene["task"])
    algorithm = _algorithm(config)
    heading = " · ".join(part for part in (task, algorithm) if part)
    seconds = len(poses) * scene["dt"]
    details = [f"{len(poses)} steps, {seconds:.1f} s of simulated time"]
    if "seed" in config:
        details.append(f"seed {config['seed']}")
    data = {
        "dt": scene["dt"],
        "frames": poses.shape[0],
        "bodies": poses.shape[1],
        "geoms": scene["geoms"],
        "poses": _base64(poses),
        "reward": _base64(reward),
    }
    return _fill(
        _asset("replay.html"),
        {
            "TITLE": html.escape(f"{heading} · rfo"),
            "HEADING": html.escape(heading),
            "SUBTITLE": html.escape(" · ".join(details)),
            "RETURN": _number(float(reward.sum(dtype=np.float64))),
            "DATA": json.dumps(data).replace("</", "<\\/"),
            "LICENSE": _asset("vendor/LICENSE.three"),
            "THREE": _asset("vendor/three.js"),
            "SCRIPT": _asset("replay.js"),
        },
    )


def _algorithm(config: dict[str, Any]) -> str:
    """Name of the algorithm in a run's configuration, empty if it is not told."""
    algorithm = config.get("algorithm", "")
    name = algorithm.get("name", "") if isinstance(algorithm, dict) else algorithm
    return str(name).upper()


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _base64(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array, dtype="<f4").tobytes()).decode("ascii")


def _asset(name: str) -> str:
    return resources.files("rfo.view").joinpath(name).read_text(encoding="utf-8")


def _fill(template: str, fields: dict[str, str]) -> str:
    """Put fields at their @NAME@ in one pass, so that no content is taken for a placeholder."""
    return re.sub("@([A-Z]+)@", lambda match: fields[match[1]], template)
