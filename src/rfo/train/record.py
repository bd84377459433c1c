"""The run folder: what a training run leaves on disk.

===================  =========================================================================
config.json          the resolved experiment
versions.json        packages, git revision, platform
metrics.jsonl        one object per update, see `RunFolder.append`
events.*             the same scalars for TensorBoard
checkpoints/         whole training states, see `rfo.train.checkpoint`
timing.json          where the time of an update goes, see `rfo.train.timing`
evaluation.json      both evaluation protocols, see `rfo.train.evaluate`
replay.json, .npz    one evaluated episode: scene, frames and rewards
wandb.json           where the metrics go at Weights & Biases, with `--wandb`
diverged/            dump of a run that diverged, see `rfo.train.guard`
===================  =========================================================================
"""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from importlib import metadata
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

FLUSH_INTERVAL = 5.0
"""Time after which TensorBoard sees the newest metrics [s]."""
REPORTED_PACKAGES = (
    "rfo",
    "jax",
    "jaxlib",
    "equinox",
    "optax",
    "warp-lang",
    "mujoco",
    "numpy",
    "scipy",
)


class RunError(Exception):
    """Something that the user of a run can put right: one line that says what to do."""


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a crash or a full disk leaves either the old content or the new one.

    Raises:
        OSError: if it cannot be written; the temporary file is removed.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
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
    """One run's folder, opened by `create` (new) or `open` (existing)."""

    def __init__(self, path: Path):
        self.path = path
        self._metrics: Any = None
        self._events: Any = None
        self._mirror: WandbMirror | None = None

    @classmethod
    def create(cls, path: Path, config: dict[str, Any]) -> RunFolder:
        """Start a folder with its configuration and provenance.

        Raises:
            RunError: if the folder exists already, unless it is empty.
        """
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise RunError(
                f"{path} exists already; choose another folder with --out, or go on with "
                f"`rfo train --resume {path}`"
            )
        path.mkdir(parents=True, exist_ok=True)
        folder = cls(path)
        folder.write_json("config.json", config)
        folder.write_json("versions.json", provenance())
        return folder

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """An existing run.

        Raises:
            RunError: if this is not a run folder.
        """
        if not path.is_dir():
            raise RunError(f"no run folder {path}; `rfo train TASK` makes one under runs/")
        if not (path / "config.json").is_file():
            raise RunError(f"{path} is not a run folder: it has no config.json")
        return cls(path)

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

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        """Write a JSON object atomically."""
        text = json.dumps(plain(content), indent=2, allow_nan=False) + "\n"
        write_atomically(self.path / name, text.encode())

    def write_replay(
        self, description: dict[str, Any], frames: dict[str, np.ndarray], reward: np.ndarray
    ) -> None:
        """Write an episode of N frames.

        Args:
            description: `task`, `dt` [s] and what `rfo.envs.base.Renderable.scene` holds.
            frames: arrays of `rfo.envs.base.Renderable.frame`, N in place of B, before each control step.
            reward: (N,) reward of each control step.
        """
        arrays = BytesIO()
        floats = {name: array.astype("<f4") for name, array in {**frames, "reward": reward}.items()}
        np.savez_compressed(arrays, allow_pickle=False, **floats)
        write_atomically(self.path / "replay.npz", arrays.getvalue())
        self.write_json("replay.json", {**description, "frames": len(reward)})

    def mirror(self, project: str) -> None:
        """Have metrics sent to a project of Weights & Biases too, by this process and those that resume."""
        self.write_json("wandb.json", {"project": project, "id": uuid.uuid4().hex[:12]})

    def connect(self) -> None:
        """Start to send, if the run has a mirror."""
        if (self.path / "wandb.json").exists():
            there = self.read_json("wandb.json")
            self._mirror = WandbMirror(
                self.path, there["project"], there["id"], self.read_json("config.json")
            )

    def append(self, line: dict[str, float | int | None]) -> None:
        """Add one update's metrics: `update`, `env_steps`, `seconds`, `return_mean` and more."""
        if self._metrics is None:
            self._metrics = (self.path / "metrics.jsonl").open("a", encoding="utf-8")
            self._events = EventFile(self.path, suffix=f".{line['update']}")
        self._metrics.write(json.dumps(plain(line), allow_nan=False) + "\n")
        self._metrics.flush()
        self._events.append(line)
        if self._mirror is not None:
            self._mirror.append(line)

    def rewind(self, update: int) -> None:
        """Drop the metrics lines after an update, before a run goes on from its checkpoint."""
        path = self.path / "metrics.jsonl"
        if not path.exists():
            return
        kept = []
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                if json.loads(line)["update"] > update:
                    break
            except (ValueError, KeyError):  # a line cut off by a crash
                break
            kept.append(line + "\n")
        write_atomically(path, "".join(kept).encode())

    def close(self) -> None:
        """Flush and close metrics and events."""
        if self._metrics is not None:
            self._metrics.close()
            self._events.close()
            self._metrics = self._events = None
        if self._mirror is not None:
            self._mirror.close()
            self._mirror = None


class EventFile:
    """TensorBoard events, written in the caller's thread.

    The library's `SummaryWriter` writes from a thread of its own, which on a full disk dies and leaves
    the training waiting on its queue for ever; here the error reaches the caller.
    """

    def __init__(self, folder: Path, suffix: str):
        from tensorboardX.event_file_writer import EventsWriter

        self._writer = EventsWriter(str(folder / "events"), filename_suffix=suffix)
        self._next_flush = 0.0

    def append(self, line: dict[str, float | int | None]) -> None:
        """Add the finite numbers of one metrics line, at its `env_steps`."""
        from tensorboardX.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]
        from tensorboardX.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]

        scalars = [
            Summary.Value(tag=name, simple_value=value) for name, value in _finite(line).items()
        ]
        step = int(line["env_steps"] or 0)
        self._writer.write_event(
            Event(wall_time=time.time(), step=step, summary=Summary(value=scalars))
        )
        if time.monotonic() >= self._next_flush:
            self._writer.flush()
            self._next_flush = time.monotonic() + FLUSH_INTERVAL

    def close(self) -> None:
        """Flush and close the file."""
        self._writer.close()


def _finite(line: dict[str, float | int | None]) -> dict[str, float]:
    """The numbers of a line that can be drawn."""
    return {
        name: float(value)
        for name, value in line.items()
        if value is not None and math.isfinite(value)
    }


def require_wandb() -> Any:
    """The package, imported only when it is asked for.

    Raises:
        RunError: if it is not installed.
    """
    try:
        import wandb  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise RunError(
            "wandb is not installed: pip install 'rfo[wandb]', or leave out --wandb"
        ) from None
    return wandb


class WandbMirror:
    """Sends metrics to Weights & Biases. What fails there is told once and never stops a training.

    Args:
        path: run folder; its name is the run's there.
        project, id: where a resumed run goes on.
        config: shown beside the metrics.
    """

    def __init__(self, path: Path, project: str, id: str, config: dict[str, Any]):
        self._run: Any = None
        self._attempt(lambda: self._start(path, project, id, config))

    def _start(self, path: Path, project: str, id: str, config: dict[str, Any]) -> None:
        self._run = require_wandb().init(
            project=project,
            id=id,
            resume="allow",
            name=path.name,
            config=config,
            dir=str(path),
            reinit="create_new",  # each seed of this process is a run of its own
        )
        # not wandb's own step, which must grow: a run resumed from an older checkpoint repeats some
        self._run.define_metric("*", step_metric="env_steps")

    def append(self, line: dict[str, float | int | None]) -> None:
        """Send the finite numbers of one metrics line; `env_steps` among them is the horizontal axis."""
        if self._run is not None:
            self._attempt(lambda: self._run.log(_finite(line)))

    def close(self) -> None:
        """Finish the run there."""
        if self._run is not None:
            self._attempt(lambda: self._run.finish())
            self._run = None

    def _attempt(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:
            self._run = None
            print(f"rfo: wandb failed ({error}); the training goes on without it", file=sys.stderr)


def provenance() -> dict[str, Any]:
    """Versions, git revision and platform of this process."""
    versions = {}
    for name in REPORTED_PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return {
        "packages": versions,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "git": git_revision(Path(__file__).parent),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
    }


def git_revision(folder: Path) -> str | None:
    """Revision of the source tree, `-dirty` appended if it has changes; None outside of a repository."""
    command = [
        "git",
        "-C",
        str(folder),
        "describe",
        "--always",
        "--dirty",
        "--abbrev=40",
        "--exclude=*",
    ]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()


def default_path(task: str, algorithm: str, seed: int) -> Path:
    """`runs/<task>-<algorithm>-s<seed>-<timestamp>`, with a number behind it if that is taken.

    A task that is a file is called by its name alone."""
    name = f"{Path(task).stem}-{algorithm}-s{seed}-{time.strftime('%Y%m%d-%H%M%S')}"
    path, copies = Path("runs") / name, 1
    while path.exists():
        copies += 1
        path = Path("runs") / f"{name}-{copies}"
    return path
