"""The training loop: compiled updates one after the other, recorded, guarded, checkpointed.

The loop keeps one update ahead of its records: while the device computes an update, the metrics of
the one before are fetched and written. Several seeds train as one program, vmapped over the state.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from rfo.algos.base import DROPPED, DROPPED_IN, Algorithm
from rfo.envs.batch import Batch
from rfo.training import checkpoint, processes
from rfo.training.devices import SEEDS, Devices
from rfo.training.guard import Guard, Interruption, all_finite, dropped_in
from rfo.training.record import RunFolder
from rfo.training.screen import Rate, Screen
from rfo.types import Array, Metrics, PRNGKey, PyTree

RETURN_WINDOW = 100
"""Finished episodes that `return_mean` averages."""
UNTRAINED: Mapping[str, Any] = {"update": 0, "seconds": 0.0, "window": ()}
"""What a trainer saves about a run, before its first update."""
DUMPED_LINES = 100
"""Metrics lines in the dump of a diverged run."""


@dataclass(frozen=True)
class Course:
    """How long to train and how often to checkpoint, both in updates."""

    updates: int
    checkpoint_every: int


@dataclass(frozen=True)
class Start:
    """Where a run goes on or begins: its state and what the trainer had saved about it."""

    state: PyTree
    progress: Mapping[str, Any] = field(default_factory=lambda: UNTRAINED)


@dataclass(frozen=True)
class Outcome:
    """How a training ended: one entry per run in `states` and `diverged` (a reason or None)."""

    states: list[PyTree]
    diverged: list[str | None]
    update: int
    interrupted: bool


class ReturnWindow:
    """Mean return of the last `RETURN_WINDOW` finished episodes.

    An update reports the number and the mean return of the episodes that it finished. Where the
    edge of the window falls inside an update, that update's mean is used for the part inside.
    """

    def __init__(self, content: Sequence[Sequence[float]] = ()):
        self._updates: deque[tuple[float, float]] = deque((n, mean) for n, mean in content)

    @property
    def content(self) -> list[tuple[float, float]]:
        """(episodes, mean return) of each update in the window, oldest first; JSON-ready."""
        return list(self._updates)

    @property
    def mean(self) -> float | None:
        """The mean, None before the first episode ended."""
        total, left = 0.0, float(RETURN_WINDOW)
        for episodes, mean in reversed(self._updates):
            used = min(episodes, left)
            total += used * mean
            left -= used
        counted = RETURN_WINDOW - left
        return total / counted if counted > 0 else None

    def add(self, episodes: float, mean: float) -> None:
        """Add an update's finished episodes."""
        if not (episodes > 0 and math.isfinite(mean)):
            return
        self._updates.append((episodes, mean))
        while sum(n for n, _ in self._updates) - self._updates[0][0] >= RETURN_WINDOW:
            self._updates.popleft()


@dataclass
class Track:
    """The books of one run (one seed) while it trains."""

    folder: RunFolder
    guard: Guard
    window: ReturnWindow
    diverged: str | None = None
    dropped_in: tuple[str, ...] = ()
    """Arrays whose gradient the newest update dropped."""
    recent: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=DUMPED_LINES))

    def record(
        self, line: dict[str, Any], metrics: dict[str, float], finite: bool
    ) -> dict[str, Any]:
        """Write one update's line and judge it; returns the line.

        Shares of dropped gradients by array are left out of the line: there is one for each array
        of the task's state.
        """
        self.window.add(metrics["episodes"], metrics["episode_return"])
        told = {name: x for name, x in metrics.items() if not name.startswith(DROPPED_IN)}
        line = {**line, "return_mean": self.window.mean, **told}
        self.recent.append(line)
        self.folder.append(line)
        self.dropped_in = dropped_in(metrics)
        self.diverged = self.guard.judge(finite, metrics)
        return line

    def dump(self, state: PyTree, progress: dict[str, Any]) -> None:
        """Leave the state and the last metrics of a diverged run in `diverged/`."""
        checkpoint.save(self.folder.inside("diverged") / "state.ckpt", state, progress)
        report = {"reason": self.diverged, **progress, "last_updates": list(self.recent)}
        self.folder.write_json("diverged/report.json", report)


def initial_state(algorithm: Algorithm, env: Batch, seeds: Sequence[int]) -> PyTree:
    """Training state of one seed, or of several stacked along a new leading axis.

    Each seed starts by the same compiled program, so that it starts the same in company as alone.
    """
    init = _compiled_init(algorithm, env)
    states = [init(jax.random.key(seed)) for seed in seeds]
    if len(states) == 1:
        return states[0]
    return jax.tree.map(lambda *x: jnp.stack(x) if eqx.is_array(x[0]) else x[0], *states)


@lru_cache(maxsize=8)
def _compiled_init(algorithm: Algorithm, env: Batch) -> Callable[[PRNGKey], PyTree]:
    return eqx.filter_jit(lambda key: _settled(algorithm.init(key, env)))


def state_shapes(algorithm: Algorithm, env: Batch) -> PyTree:
    """A single seed's training state with shapes in place of arrays, to load a checkpoint into."""
    return eqx.filter_eval_shape(lambda key: algorithm.init(key, env), jax.random.key(0))


@lru_cache(maxsize=8)
def compiled_update(
    algorithm: Algorithm, env: Batch, seeds: int, devices: Devices | None = None
) -> Callable[[PyTree], tuple[PyTree, Metrics, Array]]:
    """One update of `seeds` stacked states as one program: state -> state, metrics, finite."""

    def update(state: PyTree) -> tuple[PyTree, Metrics, Array]:
        state, metrics = algorithm.update(state, env)
        return _settled(state), metrics, all_finite(state)

    if devices is None:
        return eqx.filter_jit(update if seeds == 1 else eqx.filter_vmap(update))
    if seeds > 1:  # the axis goes on to jax.vmap
        update = eqx.filter_vmap(update, spmd_axis_name=SEEDS)  # pyright: ignore[reportCallIssue]
    return devices.compiled(update)


def _settled(state: PyTree) -> PyTree:
    """The state without weak types.

    A number of Python's in a state, as in `jnp.where(x, 0.0, 1.0)`, has one, and usually loses it
    in the first update. The second would then compile the whole program anew."""
    return jax.tree.map(lambda x: x.astype(x.dtype) if getattr(x, "weak_type", False) else x, state)


def single_state(state: PyTree, index: int, seeds: int) -> PyTree:
    """State of one of the seeds."""
    if seeds == 1:
        return state
    return jax.tree.map(lambda leaf: leaf[index] if eqx.is_array(leaf) else leaf, state)


def run(
    algorithm: Algorithm,
    env: Batch,
    folders: Sequence[RunFolder],
    seeds: Sequence[int],
    course: Course,
    title: str,
    start: Start | None = None,
    devices: Devices | None = None,
) -> Outcome:
    """Train one run per seed and leave each with its metrics and checkpoints.

    Args:
        algorithm, env: what to train, on what.
        folders: run folder of each seed; they stay open.
        seeds: random seeds; with several, all train in one compiled program.
        course: when to stop and to checkpoint.
        title: name shown with the progress.
        start: state to go on from (one seed only).
        devices: what shares the environments, or the seeds if there are several.

    Raises:
        OSError: if a record or checkpoint cannot be written; the checkpoints before it stay usable.
    """
    return _Loop(algorithm, env, folders, seeds, course, title, start, devices).run()


class _Loop:
    """State of one call of `run`."""

    def __init__(
        self,
        algorithm: Algorithm,
        env: Batch,
        folders: Sequence[RunFolder],
        seeds: Sequence[int],
        course: Course,
        title: str,
        start: Start | None,
        devices: Devices | None,
    ):
        progress = start.progress if start else UNTRAINED
        self.course, self.seeds = course, len(seeds)
        self.steps_per_update = algorithm.horizon * env.size
        self.tracks = [
            Track(
                folder,
                Guard(algorithm.horizon, env.spec.episode_length, progress.get("guard")),
                ReturnWindow(progress["window"]),
            )
            for folder in folders
        ]
        self.begin: int = progress["update"]
        self.recorded = self.begin
        self.seconds_before: float = progress["seconds"]
        self.clock = time.perf_counter()
        self.pending: deque[tuple[int, Metrics, Array]] = deque()
        self.rate = Rate()
        self.screen = Screen(
            title, course.updates * self.steps_per_update, self.begin * self.steps_per_update
        )
        self.devices = devices
        self.start = lambda: start.state if start else initial_state(algorithm, env, seeds)
        self.update = compiled_update(algorithm, env, self.seeds, devices)

    def run(self) -> Outcome:
        """Update until the course is done, every run diverged, or the user wants to stop."""
        update = self.begin
        with Interruption() as interruption, self.screen:
            self.state = self.start()
            if self.devices is not None:
                self.state = self.devices.share_out(self.state)
            while update < self.course.updates and self.training:
                if processes.any_says(interruption.requested):
                    break
                self.state, metrics, finite = self.update(self.state)
                update += 1
                self.pending.append((update, metrics, finite))
                self.record(ahead=1)
                if update % self.course.checkpoint_every == 0 and update < self.course.updates:
                    self.checkpoint(update)
            self.checkpoint(update)
        state = self.whole_state()
        return Outcome(
            states=[single_state(state, i, self.seeds) for i in range(self.seeds)],
            diverged=[track.diverged for track in self.tracks],
            update=update,
            interrupted=update < self.course.updates and self.training,
        )

    def whole_state(self) -> PyTree:
        """The state on one device."""
        return self.state if self.devices is None else self.devices.together(self.state)

    @property
    def training(self) -> bool:
        """Whether any run has not diverged."""
        return any(track.diverged is None for track in self.tracks)

    @property
    def seconds(self) -> float:
        """Time spent training, earlier processes included [s]."""
        return self.seconds_before + time.perf_counter() - self.clock

    def record(self, ahead: int) -> None:
        """Record the pending updates, except the newest `ahead`, which may still be running."""
        while len(self.pending) > ahead:
            update, metrics, finite = self.pending.popleft()
            fetched, healthy = jax.device_get((metrics, finite))
            values = {name: np.atleast_1d(value) for name, value in fetched.items()}
            rate = self.rate.add(self.steps_per_update)
            line = {
                "update": update,
                "env_steps": update * self.steps_per_update,
                "seconds": self.seconds,
                "steps_per_second": rate,
            }
            lines = []
            for i, track in enumerate(self.tracks):
                if track.diverged is None:
                    own = {name: float(value[i]) for name, value in values.items()}
                    lines.append(track.record(line, own, bool(np.atleast_1d(healthy)[i])))
                    self.dump_if_diverged(i, update)
            self.recorded = update
            self.show(lines)

    def show(self, lines: list[dict[str, Any]]) -> None:
        """Put the mean over the runs on the screen."""
        if not lines:
            return
        returns = [line["return_mean"] for line in lines if line["return_mean"] is not None]
        self.screen.show(
            steps=lines[0]["env_steps"],
            rate=lines[0]["steps_per_second"],
            return_mean=float(np.mean(returns)) if returns else None,
            grad_norm=float(np.mean([line["grad_norm"] for line in lines])),
            dropped=float(np.mean([line.get(DROPPED, 0.0) for line in lines])),
            dropped_in=max((track.dropped_in for track in self.tracks), key=len),
        )

    def progress(self, track: Track) -> dict[str, Any]:
        """What a checkpoint tells beside the state."""
        return {
            "update": self.recorded,
            "env_steps": self.recorded * self.steps_per_update,
            "seconds": self.seconds,
            "window": track.window.content,
            "guard": track.guard.counts,
        }

    def checkpoint(self, update: int) -> None:
        """Save the healthy runs' states after `update`, once all records up to it are judged."""
        self.record(ahead=0)
        done = update == self.course.updates
        state = self.whole_state()
        for i, track in enumerate(self.tracks):
            if track.diverged is None and done:
                track.diverged = track.guard.verdict()
                self.dump_if_diverged(i, update)
            if track.diverged is None:
                folder = track.folder.inside("checkpoints")
                path = folder / checkpoint.FINAL if done else checkpoint.path_after(folder, update)
                checkpoint.save(path, single_state(state, i, self.seeds), self.progress(track))
                checkpoint.prune(folder)

    def dump_if_diverged(self, index: int, update: int) -> None:
        """Dump a run that the last record found diverged; one more update may be in its state."""
        track = self.tracks[index]
        if track.diverged is not None:
            state = single_state(self.whole_state(), index, self.seeds)
            track.dump(state, {**self.progress(track), "update": update})
            self.screen.say(f"diverged after update {update}: {track.diverged}")
