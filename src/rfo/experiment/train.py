"""A training from its start to its end: train, resume, extend."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rfo.errors import RunError, SettingError
from rfo.experiment import build as experiments
from rfo.experiment import memory
from rfo.experiment.finish import EVALUATION, REPLAY, finish, lacking
from rfo.experiment.folder import (
    CONFIG,
    PARTS,
    load_state,
    part_of,
    read_experiment,
    tell,
    with_kept_robot,
)
from rfo.experiment.record import Experiment
from rfo.training import checkpoint, processes, trainer
from rfo.training.devices import Devices, sharing
from rfo.training.output import outliving_output
from rfo.training.record import RunFolder
from rfo.types import PyTree

FINISHED, DIVERGED, INTERRUPTED = 0, 1, 130
"""Exit statuses; the last one is what shells use after Ctrl-C."""

ENDS = "ends"
"""Folder in which a run that was extended keeps what its earlier ends left."""


def resume(
    path: Path,
    threads: int | None = None,
    steps: int | None = None,
    task: str | None = None,
    devices: int | None = None,
) -> int:
    """Go on with an interrupted run, finish what its end left out, or extend it.

    Args:
        path: the run folder.
        threads: CPU threads of the physics, in place of the run's own.
        steps: length of the whole training in environment steps, in place of the run's own.
        task: where the code of its task is, for a task of the user's own that has moved.
        devices: how many share the environments, in place of the run's own.

    Returns:
        the exit status, as `train`.

    Raises:
        RunError: if there is nothing to go on with, or another process is at it.
    """
    folder = RunFolder.open(processes.own_copy(path))
    folder.lock()
    try:
        experiment = read_experiment(folder, threads, task)
        if devices is not None:
            experiment = experiment.edited({"devices": devices})
        _devices(experiment)
        state, progress = load_state(folder, experiment)
        if steps is not None:
            longer = extend(experiment, progress, steps)
            if longer != experiment:
                _write_part(folder, experiment, longer)
                experiment = longer
        algorithm, env = experiments.build(experiment)
        if progress["update"] < experiment.updates:
            _reopen(folder, trainer.state_shapes(algorithm, env))
        elif not lacking(folder, experiments.build(experiments.nominal(experiment))[1]):
            raise RunError(
                f"{path} is finished ({progress['env_steps']:,} steps): see it with "
                f"`rfo watch {path}`, or make it longer with `rfo train --resume {path} --steps N`"
            )
        complaint = folder.rewind(progress["update"])
        if complaint is not None:
            tell(complaint)
        return train([experiment], [folder], trainer.Start(state, progress))
    finally:
        folder.unlock()


def extend(experiment: Experiment, progress: Mapping[str, Any], steps: int) -> Experiment:
    """The experiment of a run that goes on from where it is until another length.

    The learning rate goes on from its present value, and reaches its final one at the new end.
    With the run's own length nothing changes, so that the run is the uninterrupted one.

    Args:
        experiment: the run's.
        progress: `update` and `env_steps` that it has come to.
        steps: the new length of the whole training, in environment steps.

    Raises:
        RunError: if so many steps are done already.
    """
    longer = dataclasses.replace(experiment, steps=max(1, steps))
    if longer.updates == experiment.updates:
        return experiment
    done = progress["update"]
    if longer.updates <= done:
        raise RunError(
            f"{progress['env_steps']:,} steps are trained already: the new length must be larger, "
            f"not {steps:,}"
        )
    algorithm: Any = experiment.algorithm
    schedule = algorithm.schedule.extended(done, longer.updates)
    return dataclasses.replace(longer, algorithm=dataclasses.replace(algorithm, schedule=schedule))


def _write_part(folder: RunFolder, before: Experiment, now: Experiment) -> None:
    """Add a part to a run's configuration, in which only what it changes is changed."""
    config = folder.read_json(CONFIG)
    there = config.pop(PARTS, None)
    parts = there if isinstance(there, list) else [part_of(before)]
    now_part = part_of(now)
    config["steps"] = now_part["steps"]
    config["algorithm"]["schedule"] = {k: v for k, v in now_part.items() if k != "steps"}
    folder.write_json(CONFIG, {**config, PARTS: [*parts, now_part]})


def _reopen(folder: RunFolder, shapes: PyTree) -> None:
    """Put what an end of the training left in its place among the earlier ones.

    Does nothing for a run that has not come to an end, or whose end was put away already."""
    checkpoint.reopen(folder.inside("checkpoints"), shapes)
    left = [name for name in (EVALUATION, *REPLAY) if (folder.path / name).exists()]
    if left:
        ends = folder.inside(ENDS)
        ends.mkdir(exist_ok=True)
        place = ends / f"{1 + sum(1 for _ in ends.iterdir())}"
        place.mkdir()
        for name in left:
            os.replace(folder.path / name, place / name)


def refuse_misfit(experiment: Experiment, seeds: int = 1) -> None:
    """Construct everything as for a training, without computing anything.

    Args:
        experiment: what to train.
        seeds: runs that train together in one program.

    Raises:
        SettingError: for the first setting that cannot work, or if the machine lacks the memory.
    """
    try:
        state = trainer.state_shapes(*experiments.build(experiment))
        _devices(experiment, seeds)
        memory.require_room(experiment, state, seeds)
    except SettingError:
        raise
    except ValueError as error:
        raise SettingError(str(error)) from None


def _devices(experiment: Experiment, seeds: int = 1) -> Devices | None:
    """The devices that share a training.

    Raises:
        SettingError: if there are fewer, or shares would not be equal.
    """
    algorithm, env = experiments.build(experiment)
    return sharing(experiment.devices, env.size, algorithm.horizon // env.stride, seeds)


def train(
    runs: Sequence[Experiment], folders: Sequence[RunFolder], start: trainer.Start | None = None
) -> int:
    """Train runs that differ in their seeds only, and evaluate them.

    The folders are locked, and unlocked in the end.

    Returns:
        the exit status: `FINISHED`, `DIVERGED` if any run did, or `INTERRUPTED`.

    Raises:
        RunError: if the disk refuses; the checkpoints written before stay usable.
    """
    try:
        runs = [with_kept_robot(*pair) for pair in zip(folders, runs, strict=True)]
        with outliving_output():
            return _train(runs, folders, start)
    finally:
        for folder in folders:
            folder.unlock()


def _train(
    runs: Sequence[Experiment], folders: Sequence[RunFolder], start: trainer.Start | None
) -> int:
    first = runs[0]
    algorithm, env = experiments.build(first)
    seeds = [run.seed for run in runs]
    title = first.title + (f" x {len(seeds)} seeds" if len(seeds) > 1 else "")
    course = trainer.Course(first.updates, first.checkpoint_every)
    for folder in folders:
        folder.connect()
    try:
        devices = _devices(first, len(seeds))
        with processes.watched(folders[0].path):
            outcome = trainer.run(algorithm, env, folders, seeds, course, title, start, devices)
        processes.part()
        if outcome.interrupted:
            _tell_how_to_resume(folders, outcome)
            return INTERRUPTED
        diverged = list(outcome.diverged)
        healthy = [i for i, reason in enumerate(diverged) if reason is None and processes.leads()]
        if healthy:
            reasons = finish([(runs[i], folders[i], outcome.states[i]) for i in healthy])
            for i, reason in zip(healthy, reasons, strict=True):
                diverged[i] = reason
    except OSError as error:
        raise RunError(
            f"cannot write {error.filename or folders[0].path}: {error.strerror or error}; what "
            f"was saved before is intact: make room, then `rfo train --resume {folders[0].path}`"
        ) from error
    finally:
        for folder in folders:
            folder.close()
    for folder, reason in zip(folders, diverged, strict=True):
        if reason is not None:
            print(f"rfo: {folder.path} diverged: {reason}; see its diverged/", file=sys.stderr)
    return DIVERGED if any(diverged) else FINISHED


def _tell_how_to_resume(folders: Sequence[RunFolder], outcome: trainer.Outcome) -> None:
    for folder, reason in zip(folders, outcome.diverged, strict=True):
        if reason is None:
            print(
                f"stopped after update {outcome.update}; "
                f"go on with: rfo train --resume {folder.path}",
                file=sys.stderr,
            )
