"""A run is its robot: its folder keeps the MJCF file that was trained, with what belongs to it."""

from __future__ import annotations

import json
from pathlib import Path

from rfo.errors import RunError, SettingError
from rfo.physics.mjcf.pack import MODEL, digest, model_name, pack
from rfo.training.record import RunFolder

FOLDER = "robot"
ABOUT = "task.json"
"""File in a run folder: where the robot came from, what it calls itself, and its hash."""


def content_hash(source: str) -> str:
    """Hash of a robot, by what it is made of and not by where it lies.

    Raises:
        SettingError: see `keep`.
    """
    return digest(_packed(source))


def keep(source: str) -> dict[str, bytes]:
    """What a run folder keeps of a robot, by the path in the folder.

    Args:
        source: path of the MJCF file.

    Raises:
        SettingError: if it cannot be kept, because a file that it names cannot be found, say.
    """
    files = _packed(source)
    name = f"{Path(source).stem}.xml"
    about = {
        "task": source,
        "file": f"{FOLDER}/{name}",
        "model": model_name(files),
        "sha256": digest(files),
    }
    content = {f"{FOLDER}/{name if n == MODEL else n}": text for n, text in files.items()}
    return {**content, ABOUT: json.dumps(about, indent=2).encode() + b"\n"}


def _packed(source: str) -> dict[str, bytes]:
    try:
        return pack(Path(source))
    except FileNotFoundError as error:
        missing = f"no MJCF file at {source}" if error.filename is not None else str(error)
        raise SettingError(missing, "task") from None
    except (OSError, ValueError) as error:
        raise SettingError(f"{source} cannot be kept with its run: {error}", "task") from None


def kept(folder: RunFolder) -> Path | None:
    """The MJCF file that a run keeps; None for a run that keeps none.

    Raises:
        RunError: if it is not what was trained, or not there.
    """
    if not (folder.path / ABOUT).exists():
        return None
    about = folder.read_json(ABOUT)
    path = folder.path / FOLDER / Path(str(about.get("file"))).name
    try:
        there = {file.name: file.read_bytes() for file in path.parent.iterdir()}
        files = {MODEL if name == path.name else name: text for name, text in there.items()}
    except OSError as error:
        raise RunError(f"{path.parent} cannot be read: {error.strerror}") from None
    if MODEL not in files or digest(files) != about.get("sha256"):
        raise RunError(
            f"{path.parent} is not the robot that was trained: its content does not match the "
            f"hash in {folder.path / ABOUT}; restore it from a copy"
        )
    return path
