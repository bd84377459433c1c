"""Where metrics go besides the run folder's own file: TensorBoard, Weights & Biases."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rfo.errors import RunError

FLUSH_INTERVAL = 5.0
"""Time after which TensorBoard sees the newest metrics [s]."""


class EventFile:
    """TensorBoard events, written in the caller's thread.

    The library's `SummaryWriter` writes from its own thread. On a full disk that thread dies, and
    the training waits on its queue forever. Here the error reaches the caller.
    """

    def __init__(self, folder: Path, suffix: str):
        from tensorboardX.event_file_writer import EventsWriter

        self._writer = EventsWriter(str(folder / "events"), filename_suffix=suffix)
        self._next_flush = 0.0

    def append(self, line: dict[str, float | int | None]) -> None:
        """Add the finite numbers of one metrics line, at its `env_steps`."""
        from tensorboardX.proto.event_pb2 import Event  # pyright: ignore
        from tensorboardX.proto.summary_pb2 import Summary  # pyright: ignore

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
        """Send the finite numbers of one metrics line; `env_steps` is the horizontal axis."""
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
