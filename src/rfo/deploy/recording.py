"""Recordings of a robot's motion, as `rfo.deploy.identify` takes them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rfo.errors import SettingError
from rfo.physics.kinematics import mujoco_velocities
from rfo.physics.model import Model

ARRAYS = ("qpos", "qvel", "ctrl")


@dataclass(frozen=True)
class Recording:
    """T rows of a robot's motion at a constant rate, in MuJoCo's coordinates."""

    dt: float
    """Time between two rows [s]."""
    qpos: np.ndarray
    """(T, nq)"""
    qvel: np.ndarray
    """(T, nv); a free joint spins in the body's axes."""
    ctrl: np.ndarray
    """(T, nu) controls from a row to the next."""
    episode: np.ndarray
    """(T,) number of the episode; a change means that the row does not follow the one before."""

    def windows(self, model: Model, rows: int) -> tuple[np.ndarray, np.ndarray]:
        """Disjoint windows in our coordinates; what is left over at an episode's end is dropped.

        An episode that is shorter than a window gives none, unless all are: then the shortest
        decides.

        Returns:
            States (W, rows, nq + nv) and controls (W, rows, nu).

        Raises:
            SettingError: for arrays of other sizes than the model's, or numbers that are not
                finite.
        """
        for name, size in (("qpos", model.nq), ("qvel", model.nv), ("ctrl", model.nu)):
            array = getattr(self, name)
            if array.shape != (len(self.qpos), size):
                raise SettingError(
                    f"{name} has the shape {array.shape}, the robot wants ({len(self.qpos)}, "
                    f"{size})",
                    "data",
                )
            if not np.isfinite(array).all():
                raise SettingError(f"{name} holds numbers that are not finite", "data")
        if model.na:
            raise SettingError("a robot with activations cannot be identified yet", "robot")
        velocities = mujoco_velocities(model, self.qpos, self.qvel, back=True)
        states = np.concatenate([self.qpos, velocities], axis=-1)
        cuts = np.flatnonzero(np.diff(self.episode)) + 1
        parts = np.split(np.arange(len(states)), cuts)
        rows = min(rows, max(len(part) for part in parts))
        if rows < 2:
            raise SettingError("a recording needs at least 2 rows that follow one another", "data")
        windows = [
            part[i : i + rows] for part in parts for i in range(0, len(part) - rows + 1, rows)
        ]
        return states[np.array(windows)], self.ctrl[np.array(windows)]


def read(path: Path) -> Recording:
    """A recording from a file.

    ``.npz``: arrays ``qpos`` (T, nq), ``qvel`` (T, nv), ``ctrl`` (T, nu), and ``dt`` [s] or
    ``time`` (T,) [s]; ``episode`` (T,) may number the episodes. ``.csv``: a header with ``time``,
    ``qpos0``, ``qpos1``, ..., ``qvel0``, ..., ``ctrl0``, ..., and ``episode``, if there is one.

    Raises:
        FileNotFoundError: no such file.
        SettingError: for another suffix, a missing array, or a time that does not run evenly.
    """
    readers = {".npz": _read_npz, ".csv": _read_csv}
    if path.suffix not in readers:
        raise SettingError(f"a recording ends in .npz or .csv, not '{path}'", "data")
    arrays = readers[path.suffix](path)
    lacking = [name for name in ARRAYS if name not in arrays]
    if lacking or not {"dt", "time"} & set(arrays):
        raise SettingError(
            f"{path} lacks {', '.join(lacking) or 'dt or time'}: it needs qpos, qvel, ctrl, and "
            "dt or time",
            "data",
        )
    episode = np.asarray(arrays.get("episode", np.zeros(len(arrays["qpos"]))))
    dt = float(arrays["dt"]) if "dt" in arrays else _interval(np.asarray(arrays["time"]), episode)
    qpos, qvel, ctrl = (np.asarray(arrays[name], float) for name in ARRAYS)
    return Recording(dt, qpos, qvel, ctrl, episode)


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as file:
        return dict(file)


def _read_csv(path: Path) -> dict[str, np.ndarray]:
    table = np.genfromtxt(path, delimiter=",", names=True)
    columns = table.dtype.names or ()
    arrays = {name: table[name] for name in ("time", "episode", "dt") if name in columns}
    if "dt" in arrays:
        arrays["dt"] = arrays["dt"][0]
    for name in ARRAYS:
        own = [column for column in columns if column.removeprefix(name).isdecimal()]
        own.sort(key=lambda column, name=name: int(column.removeprefix(name)))
        if own or name == "ctrl":
            arrays[name] = np.stack([table[c] for c in own], axis=-1) if own else table[[]]
    return arrays


def _interval(time: np.ndarray, episode: np.ndarray) -> float:
    steps = np.diff(time)[np.diff(episode) == 0]
    dt = float(np.median(steps)) if len(steps) else 0.0
    if dt <= 0 or np.abs(steps - dt).max() > 0.01 * dt:
        raise SettingError("time must run evenly: interpolate the recording to one rate", "data")
    return dt
