"""The run folder: what a training run leaves on disk.

===================  =========================================================================
config.json          the resolved experiment, and the `parts` of a run that was extended
versions.json        packages, git revision, platform
metrics.jsonl        one object per update, see `RunFolder.append` and `rfo.training.metrics`
events.*             the same scalars for TensorBoard
checkpoints/         whole training states, see `rfo.training.checkpoint`
evaluation.json      both evaluation protocols, see `rfo.training.evaluate`
replay.json, .npz    one evaluated episode: scene, frames and rewards
watched/             the same of a run that had not finished when it was watched
wandb.json           where the metrics go at Weights & Biases, with `--wandb`
robot/, source/      the robot or the code of a task that is a file
task.json            where that came from, and its hash
cloning.json         the demonstrations that a cloned policy was fitted to, and its loss
start.json           the run whose policy the training started from
ends/                what the earlier ends of a run left that was extended
.lock                which process writes here, see `rfo.training.lock`
diverged/            dump of a run that diverged, see `rfo.training.guard`
===================  =========================================================================
"""

from __future__ import annotations

import itertools
import json
import math
import os
import shutil
import time
import uuid
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from rfo.errors import RunError
from rfo.training import metrics
from rfo.training.lock import Lock
from rfo.training.loggers import EventFile, WandbMirror
from rfo.training.provenance import provenance

CONFIG, METRICS, LOCK = "config.json", "metrics.jsonl", ".lock"
FOREIGN = "wandb"
"""A folder that another package keeps in a run folder, with links of its own."""


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a crash or a full disk leaves either the old content or the new one.

    Raises:
        OSError: if it cannot be written; the temporary file is removed.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def plain(value: Any) -> Any:
    """JSON-ready copy: arrays to lists, numbers that JSON lacks (NaN, infinity) to None."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


class RunFolder:
    """One run's folder, opened by `create` (new) or `open` (existing).

    Whoever writes holds its lock: `create` takes it, and `lock` does for a run that is there.
    """

    def __init__(self, path: Path):
        self.path = path
        self._identity = _identity(path)
        self._lock: Lock | None = None
        self._metrics: Any = None
        self._events: Any = None
        self._mirror: WandbMirror | None = None

    @classmethod
    def create(
        cls, path: Path, config: dict[str, Any], files: Mapping[str, bytes] | None = None
    ) -> RunFolder:
        """Start a folder with its configuration and provenance, and lock it.

        Args:
            path: where; it must not exist, or be an empty folder.
            config: content of `config.json`, which is written last.
            files: more content by path inside the folder.

        Raises:
            RunError: if there is something at the path, or another process is making a run there.
        """
        refuse_taken(path)
        path.mkdir(parents=True, exist_ok=True)
        folder = cls(path)
        folder.lock()
        try:
            refuse_taken(path)  # by a process that was faster
            for name, content in (files or {}).items():
                folder.write(name, content)
            folder.write_json("versions.json", provenance())
            folder.write_json(CONFIG, config)
        except BaseException:
            folder.unlock()
            raise
        return folder

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """An existing run.

        Raises:
            RunError: if this is not a run folder, or a link in it leads out of it.
        """
        if not path.is_dir():
            raise RunError(f"no run folder {path}; `rfo train TASK` makes one under runs/")
        if not (path / CONFIG).is_file():
            raise RunError(f"{path} is not a run folder: it has no {CONFIG}")
        refuse_links(path)
        return cls(path)

    def lock(self) -> None:
        """Become the one process that writes here, until `unlock`.

        Raises:
            RunError: if another process writes; the line names it.
        """
        self._lock = Lock(self.inside(LOCK))

    def unlock(self) -> None:
        """Let others write."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def discard(self) -> None:
        """Remove a folder that `create` has just made."""
        self.unlock()
        shutil.rmtree(self.inside("."), ignore_errors=True)

    def inside(self, name: str) -> Path:
        """Path in this folder of a file that is about to be written.

        Raises:
            RunError: if the folder has been moved or removed since it was opened.
        """
        if _identity(self.path) != self._identity:
            raise RunError(
                f"{self.path} was moved or removed while this process wrote there; what was saved "
                f"is where it is now: go on there with `rfo train --resume`"
            )
        return self.path / name

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    def read_json(self, name: str) -> dict[str, Any]:
        """A JSON object of this folder.

        Raises:
            RunError: if the file is missing or damaged.
        """
        path = self.path / name
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise RunError(f"{path} is missing") from None
        except ValueError as error:
            raise RunError(f"{path} is damaged ({error}); restore it from a copy") from None
        if not isinstance(content, dict):
            raise RunError(f"{path} is damaged: it does not hold a JSON object")
        return content

    def write(self, name: str, content: bytes) -> None:
        """Write a file atomically; `name` is its path in this folder.

        Raises:
            RunError: see `inside`.
            OSError: if it cannot be written.
        """
        path = self.inside(name)
        for parent in reversed(Path(name).parents[:-1]):
            (self.path / parent).mkdir(exist_ok=True)
        write_atomically(path, content)

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        """Write a JSON object atomically."""
        text = json.dumps(plain(content), indent=2, allow_nan=False) + "\n"
        self.write(name, text.encode())

    def write_replay(
        self, description: dict[str, Any], frames: dict[str, np.ndarray], reward: np.ndarray
    ) -> None:
        """Write an episode of N frames.

        Args:
            description: `task`, `dt` [s] and what `rfo.envs.base.Renderable.scene` holds.
            frames: arrays of `rfo.envs.base.Renderable.frame`, N in place of B, before each step.
            reward: (N,) reward of each control step.
        """
        arrays = BytesIO()
        floats = {name: array.astype("<f4") for name, array in {**frames, "reward": reward}.items()}
        np.savez_compressed(arrays, allow_pickle=False, **floats)
        self.write("replay.npz", arrays.getvalue())
        self.write_json("replay.json", {**description, "frames": len(reward)})

    def mirror(self, project: str) -> None:
        """Have metrics sent to a project of Weights & Biases too, also by processes that resume."""
        self.write_json("wandb.json", {"project": project, "id": uuid.uuid4().hex[:12]})

    def connect(self) -> None:
        """Start to send, if the run has a mirror.

        Raises:
            RunError: if `wandb.json` is damaged.
        """
        if (self.path / "wandb.json").exists():
            there = self.read_json("wandb.json")
            project, run = there.get("project"), there.get("id")
            if not (isinstance(project, str) and isinstance(run, str)):
                raise RunError(f"{self.path / 'wandb.json'} is damaged: it lacks project or id")
            self._mirror = WandbMirror(self.path, project, run, self.read_json(CONFIG))

    def append(self, line: dict[str, float | int | None]) -> None:
        """Add one update's metrics: `update`, `env_steps`, `seconds`, `return_mean` and more.

        Raises:
            RunError: see `inside`.
        """
        path = self.inside(METRICS)
        if self._metrics is None:
            self._metrics = path.open("a", encoding="utf-8")
            self._events = EventFile(self.path, suffix=f".{line['update']}")
        self._metrics.write(json.dumps(plain(line), allow_nan=False) + "\n")
        self._metrics.flush()
        self._events.append(line)
        if self._mirror is not None:
            self._mirror.append(line)

    def append_evaluation(self, summaries: Mapping[str, Mapping[str, Any]], env_steps: int) -> None:
        """Show an evaluation where the metrics go, as ``evaluation/stochastic/mean`` and so on.

        Args:
            summaries: numbers by protocol, see `rfo.training.evaluate.summarise`; what is no
                number is left out.
            env_steps: environment steps that the policy was trained for.
        """
        line: dict[str, float | int | None] = {
            f"evaluation/{protocol}/{name}": value
            for protocol, summary in summaries.items()
            for name, value in summary.items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        }
        line["env_steps"] = env_steps
        events = EventFile(self.path, suffix=".evaluation")
        events.append(line)
        events.close()
        if self._mirror is not None:
            self._mirror.append(line)

    def metrics(self) -> metrics.MetricsFile:
        """The metrics of all updates so far."""
        return metrics.read(self.path / METRICS)

    def rewind(self, update: int) -> str | None:
        """Drop the metrics after an update, before a run goes on from its checkpoint.

        A damaged line among those that stay is left where it is.

        Returns:
            one line about damaged lines; None if there is none.
        """
        path = self.inside(METRICS)
        there = metrics.read(path)
        if path.exists():
            self.write(METRICS, there.until(update))
        return there.complaint

    def close(self) -> None:
        """Flush and close metrics and events, and finish the run at Weights & Biases."""
        if self._metrics is not None:
            self._metrics.close()
            self._events.close()
            self._metrics = self._events = None
        if self._mirror is not None:
            self._mirror.close()
            self._mirror = None


def _identity(path: Path) -> tuple[int, int] | None:
    """Identity of a folder among all on this machine; None if there is no such folder."""
    try:
        there = path.stat()
    except OSError:
        return None
    return there.st_dev, there.st_ino


def status_of(run: Path) -> str:
    """``finished``, ``diverged``, or ``unfinished``: stopped, or in training."""
    if (run / "evaluation.json").exists():
        return "finished"
    return "diverged" if (run / "diverged").exists() else "unfinished"


def refuse_taken(path: Path) -> None:
    """Check that a run folder can be made.

    Raises:
        RunError: if there is something already, but an empty folder.
    """
    if not path.exists():
        return
    if not path.is_dir() or any(there.name != LOCK for there in path.iterdir()):
        raise RunError(
            f"{path} exists already; choose another folder with --out, or go on with "
            f"`rfo train --resume {path}`"
        )


def refuse_links(folder: Path) -> None:
    """Check that what is written into a run folder stays in it.

    Raises:
        RunError: naming the first symbolic link that leads elsewhere.
    """
    home = folder.resolve()
    for path in folder.rglob("*"):
        own = path.relative_to(folder).parts[0] != FOREIGN or path.parent == folder
        if own and path.is_symlink() and not path.resolve().is_relative_to(home):
            raise RunError(
                f"{path} is a link that leads out of the run folder: put a copy of what it points "
                f"to in its place"
            )


def default_path(task: str, algorithm: str, seed: int) -> Path:
    """Make a new, empty folder `runs/<task>-<algorithm>-s<seed>-<timestamp>`.

    Where that is taken, a number is put behind it. A task that is a file gives its name alone.

    Returns:
        path of the folder, which no other call has got.
    """
    name = f"{Path(task).stem}-{algorithm}-s{seed}-{time.strftime('%Y%m%d-%H%M%S')}"
    for copy in itertools.count(1):
        path = Path("runs") / (name if copy == 1 else f"{name}-{copy}")
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        return path
    raise AssertionError("unreachable")
