"""An experiment and its run folder: written when a training begins, and read back.

The folder keeps the task that is a file: a robot with all that belongs to it, or the source of a
task of the user's own.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rfo.errors import RunError, SettingError
from rfo.experiment import build as experiments
from rfo.experiment import own, robot
from rfo.experiment.catalogue import is_robot
from rfo.experiment.record import Experiment
from rfo.training import checkpoint, trainer
from rfo.training.record import RunFolder, refuse_taken
from rfo.types import PyTree

PROGRESS = {"update": int, "env_steps": int, "seconds": float, "window": list}
"""What a checkpoint tells about a training, and its kind."""

CONFIG = "config.json"
PARTS = "parts"
"""Entry of `config.json` that lists the parts of a training, see `part_of`."""
OWN_TASK = "task.json"
"""Where the code of a task of the user's own came from, see `rfo.experiment.own.source`."""


def create(runs: Sequence[Experiment], paths: Sequence[Path]) -> list[RunFolder]:
    """Make the folders of runs, all of them or none. This process writes there until `train` ends.

    Raises:
        RunError: if one exists already.
    """
    for path in paths:
        refuse_taken(path)
    folders: list[RunFolder] = []
    try:
        for run, path in zip(runs, paths, strict=True):
            config = {**run.to_json(), PARTS: [part_of(run)]}
            folders.append(RunFolder.create(path, config, _kept_files(run.task.name)))
    except BaseException:
        for folder in folders:
            folder.discard()
        raise
    return folders


def _kept_files(task: str) -> dict[str, bytes]:
    """What a run folder keeps of a task that is a file: the robot, or the source of its code.

    The source is kept for readers only. rfo runs the user's own file, see `rfo.experiment.own`."""
    if is_robot(task):
        return robot.keep(task)
    if not own.is_own(task):
        return {}
    about = own.source(task)
    files = {OWN_TASK: json.dumps(about, indent=2).encode() + b"\n"}
    if about["file"] is not None:
        source = Path(about["file"])
        files[f"source/{source.name}"] = source.read_bytes()
    return files


def open_run(
    path: Path, threads: int | None = None, task: str | None = None
) -> tuple[RunFolder, Experiment]:
    """A run folder and its experiment, see `read_experiment`.

    Raises:
        RunError: if there is no readable run.
    """
    folder = RunFolder.open(path)
    return folder, read_experiment(folder, threads, task)


def read_experiment(
    folder: RunFolder, threads: int | None = None, task: str | None = None
) -> Experiment:
    """The experiment of a run.

    Args:
        folder: the run's folder.
        threads: CPU threads of the physics, in place of the run's own.
        task: where the code of its task is now, if the user's own task has moved.

    Raises:
        RunError: if it cannot be read.
        SettingError: if its task is code that the user has not named before.
    """
    try:
        experiment = experiment_of(folder.read_json(CONFIG))
    except SettingError as error:
        raise RunError(
            f"{folder.path / CONFIG} does not fit this version of rfo: {error}"
        ) from None
    experiment = with_kept_robot(folder, _with_own_task(folder, experiment, task))
    return experiment if threads is None else experiment.edited({"threads": threads})


def with_kept_robot(folder: RunFolder, experiment: Experiment) -> Experiment:
    """The experiment with the robot that the run keeps, in place of the file it was copied from.

    Raises:
        RunError: if the robot that the run keeps is not what was trained, or there is none at all.
    """
    source = experiment.task.name
    if not is_robot(source):
        return experiment
    kept = robot.kept(folder)
    if kept is None:
        if not Path(source).is_file():
            raise RunError(f"{folder.path} keeps no copy of its robot, and there is no {source}")
        tell(f"{folder.path} keeps no copy of its robot: {source} is used as it is now")
        return experiment
    settings = dataclasses.replace(experiment.task, name=str(kept))
    return dataclasses.replace(experiment, task=settings)


def _with_own_task(folder: RunFolder, experiment: Experiment, task: str | None) -> Experiment:
    """The experiment with its task where its code is now; says so if that code has changed."""
    if not own.is_own(experiment.task.name):
        if task is not None:
            raise SettingError(
                f"{folder.path} was trained on {experiment.task.name}, which needs no --task",
                "task",
            )
        return experiment
    if task is not None:
        if not own.is_own(task):
            raise SettingError(
                f"{folder.path} was trained on a task of its own: --task names its code, as in "
                f"my_task.py:Reach, not {task}",
                "task",
            )
        own.trust(task)
        experiment = experiment.edited({"task.name": own.located(task)})
    own.require_trust(experiment.task.name, folder.path)
    complaint = own.changes(experiment.task.name, folder.read_json(OWN_TASK))
    if complaint is not None:
        tell(f"{folder.path}: {complaint}")
    return experiment


def experiment_of(config: Mapping[str, Any]) -> Experiment:
    """The experiment in a run's `config.json`.

    Raises:
        SettingError: for a setting that is unknown, or refused.
    """
    plain = config if isinstance(config, Mapping) else {}
    return Experiment.from_json({name: value for name, value in plain.items() if name != PARTS})


def load_state(folder: RunFolder, experiment: Experiment) -> tuple[PyTree, dict[str, Any]]:
    """Newest intact training state of a run, and its progress; names damaged ones on stderr.

    Raises:
        RunError: if there is none.
    """
    shapes = trainer.state_shapes(*experiments.build(experiment))
    state, progress = checkpoint.load_latest(folder.checkpoints, shapes, notice=tell)
    for name, kind in PROGRESS.items():
        if not isinstance(progress.get(name), kind):
            raise RunError(f"a checkpoint in {folder.checkpoints} does not tell its {name}")
    return state, progress


def part_of(experiment: Experiment) -> dict[str, Any]:
    """What `config.json` tells of a part of a training: its course, and the length of the whole.

    A run has one part, and one more for each time that it was extended."""
    algorithm: Any = experiment.algorithm
    return {"steps": experiment.steps, **dataclasses.asdict(algorithm.schedule)}


def tell(line: str) -> None:
    """Print one line about a run on stderr."""
    print(f"rfo: {line}", file=sys.stderr)
