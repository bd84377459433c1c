"""A run from its experiment to its folder and back: train, resume, evaluate, finish."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

from rfo.envs.base import EnvSpec, Renderable
from rfo.envs.batch import Batch
from rfo.errors import RunError, SettingError
from rfo.experiment import build as experiments
from rfo.experiment import memory, own, robot
from rfo.experiment.catalogue import is_robot, short_name
from rfo.experiment.record import Experiment, TaskSettings
from rfo.training import checkpoint, trainer
from rfo.training.devices import Devices, sharing
from rfo.training.evaluate import Episodes, Evaluator, evaluation_key, shares, summarise
from rfo.training.output import outliving_output
from rfo.training.record import RunFolder, refuse_taken
from rfo.training.screen import Phase
from rfo.types import PyTree
from rfo.view.replay import write_html

FINISHED, DIVERGED, INTERRUPTED = 0, 1, 130
"""Exit statuses; the last as shells have it after Ctrl-C."""


PROGRESS = {"update": int, "env_steps": int, "seconds": float, "window": list}
"""What a checkpoint tells about a training, and its kind."""

CONFIG = "config.json"
PARTS = "parts"
"""Entry of `config.json` that lists the parts of a training, see `part_of`."""
ENDS = "ends"
"""Folder in which a run that was extended keeps what its earlier ends left."""
OWN_TASK = "task.json"
"""Where the code of a task of the user's own came from, see `rfo.experiment.own.source`."""

EVALUATION = "evaluation.json"
REPLAY = ("replay.npz", "replay.json", "replay.html")


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

    The source is kept to be read. What is run is the user's own file, see `rfo.experiment.own`."""
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
        task: where the code of its task is, for a task of the user's own that has moved.

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
        _tell(f"{folder.path} keeps no copy of its robot: {source} is used as it is now")
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
        _tell(f"{folder.path}: {complaint}")
    return experiment


def experiment_of(config: Mapping[str, Any]) -> Experiment:
    """The experiment in a run's `config.json`.

    Raises:
        SettingError: for a setting that is unknown, or refused.
    """
    plain = config if isinstance(config, Mapping) else {}
    return Experiment.from_json({name: value for name, value in plain.items() if name != PARTS})


def load_state(folder: RunFolder, experiment: Experiment) -> tuple[PyTree, dict[str, Any]]:
    """Newest intact training state of a run, and its progress; damaged ones are told on stderr.

    Raises:
        RunError: if there is none.
    """
    shapes = trainer.state_shapes(*experiments.build(experiment))
    state, progress = checkpoint.load_latest(folder.checkpoints, shapes, notice=_tell)
    for name, kind in PROGRESS.items():
        if not isinstance(progress.get(name), kind):
            raise RunError(f"a checkpoint in {folder.checkpoints} does not tell its {name}")
    return state, progress


def _tell(line: str) -> None:
    print(f"rfo: {line}", file=sys.stderr)


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
    folder = RunFolder.open(path)
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
        elif not lacking(folder, env):
            raise RunError(
                f"{path} is finished ({progress['env_steps']:,} steps): see it with "
                f"`rfo watch {path}`, or make it longer with `rfo train --resume {path} --steps N`"
            )
        complaint = folder.rewind(progress["update"])
        if complaint is not None:
            _tell(complaint)
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


def part_of(experiment: Experiment) -> dict[str, Any]:
    """What `config.json` tells of a part of a training: its course, and the length of the whole.

    A run has one part, and one more for each time that it was extended."""
    algorithm: Any = experiment.algorithm
    return {"steps": experiment.steps, **dataclasses.asdict(algorithm.schedule)}


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
    """Go through the construction of everything without computing anything.

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
        outcome = trainer.run(algorithm, env, folders, seeds, course, title, start, devices)
        if outcome.interrupted:
            _tell_how_to_resume(folders, outcome)
            return INTERRUPTED
        diverged = list(outcome.diverged)
        healthy = [i for i, reason in enumerate(diverged) if reason is None]
        if healthy:
            reasons = _finish(env, [(runs[i], folders[i], outcome.states[i]) for i in healthy])
            for i, reason in zip(healthy, reasons, strict=True):
                diverged[i] = reason
    except OSError as error:
        raise RunError(
            f"cannot write {error.filename or folders[0].path}: {error.strerror or error}; what "
            f"was saved before is intact: make room, then `rfo train --resume {folders[0].path}`"
        ) from error
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


class Evaluation:
    """One protocol of an experiment, for any of its training states.

    Args:
        experiment: what was trained; its environments and evaluation episodes are used.
        env: the environments it trained in, used again where the number fits.
        deterministic: act with noise zero.
    """

    def __init__(self, experiment: Experiment, env: Batch, deterministic: bool):
        size, self._per_environment = shares(
            experiment.evaluation_episodes, experiment.environments
        )
        self._algorithm = experiment.algorithm
        self.deterministic = deterministic
        self._evaluate = _evaluator(env if env.size == size else env.resized(size), deterministic)

    def __call__(self, state: PyTree, seed: int) -> Episodes:
        """Run the episodes of one state's policy."""
        key = evaluation_key(seed, self.deterministic)
        return self._evaluate(self._algorithm.policy(state), key, self._per_environment)


@lru_cache(maxsize=8)
def _evaluator(env: Batch, deterministic: bool) -> Evaluator:
    """One evaluator per batch and protocol, compiled once."""
    return Evaluator(env, deterministic)


def evaluate(
    run: Experiment, folder: RunFolder, deterministic: bool, seed: int, task: str | None = None
) -> dict[str, Any]:
    """Evaluate the newest state of a run, on its own task or another.

    Returns:
        `rfo.training.evaluate.summarise`'s statistics, `task` and `env_steps`.

    Raises:
        SettingError: for a task that is unknown or whose sizes are others than the run's.
    """
    there = run if task is None else dataclasses.replace(run, task=TaskSettings(task))
    _, env = experiments.build(there)
    if there is not run:
        _refuse_other_sizes(experiments.build(run)[1].spec, env.spec)
    state, progress = load_state(folder, run)
    with Phase(f"{there.title}: compiling and evaluating"):
        episodes = Evaluation(there, env, deterministic)(state, seed)
    return {
        **summarise(episodes, deterministic),
        "task": there.task.name,
        "env_steps": progress["env_steps"],
    }


def _refuse_other_sizes(trained: EnvSpec, other: EnvSpec) -> None:
    for what in ("observation", "action_size"):
        here, there = getattr(trained, what), getattr(other, what)
        if here != there:
            raise SettingError(
                f"a policy of {trained.name} cannot act in {other.name}: "
                f"{what} {here} against {there}"
            )


def describe(summary: dict[str, Any]) -> str:
    """One line about an evaluation."""
    low, high = summary["interval"]
    name = "deterministic" if summary["deterministic"] else "stochastic"
    line = (
        f"{name}: return {summary['mean']:,.4g} (95 % interval {low:,.4g} to {high:,.4g}, "
        f"std {summary['std']:,.4g}, iqm {summary['iqm']:,.4g}) over {summary['episodes']} "
        f"episodes of {summary['length_mean']:,.4g} steps"
    )
    contained = summary["nonfinite_episodes"]
    return line + (f"; {contained} were not finite" if contained else "")


def blown_up(summary: dict[str, Any]) -> str | None:
    """Why a run whose evaluation this is diverged, or None: most episodes ended non-finite."""
    contained, episodes = summary["nonfinite_episodes"], summary["episodes"]
    if 2 * contained <= episodes:
        return None
    return (
        f"{contained} of the {episodes} episodes of an evaluation ended because of NaN or infinity"
    )


def replay_page(path: Path) -> Path:
    """Write the replay of a run as one HTML file.

    Raises:
        RunError: if the run has no replay or a damaged one.
    """
    folder = RunFolder.open(path)
    try:
        return write_html(folder.path)
    except FileNotFoundError:
        raise RunError(
            f"{path} holds no replay: it is written when a training finishes, for tasks that can "
            f"be drawn"
        ) from None
    except (ValueError, EOFError, BadZipFile) as error:
        raise RunError(f"the replay of {path} is damaged: {error}") from None


def lacking(folder: RunFolder, env: Batch) -> list[str]:
    """Files that the end of a training leaves and that this run does not have."""
    wanted = [*(REPLAY if isinstance(env.task, Renderable) else ()), EVALUATION]
    return [name for name in wanted if not (folder.path / name).exists()]


def _finish(env: Batch, runs: Sequence[tuple[Experiment, RunFolder, PyTree]]) -> list[str | None]:
    """Evaluate trained runs by both protocols, and record replays.

    What a run has already is not done again. Its evaluation is written last: it says to others that
    the run is finished. A run whose episodes mostly end non-finite has not: its evaluation is left
    in ``diverged/report.json``.

    Returns:
        For each run None, or why it diverged.
    """
    protocols = [Evaluation(runs[0][0], env, deterministic) for deterministic in (False, True)]
    told, reasons = [], []
    with Phase("evaluating") as phase:
        for i, (run, folder, state) in enumerate(runs):
            missing = lacking(folder, env)
            reasons.append(None)
            if not missing:
                continue
            episodes = []
            for protocol in protocols:
                phase.now(f"evaluating {2 * i + len(episodes) + 1}/{2 * len(runs)}")
                episodes.append(protocol(state, run.seed))
            stochastic, deterministic = episodes
            if any(name in missing for name in REPLAY) and isinstance(env.task, Renderable):
                phase.now("writing the replay")
                description = {
                    "task": short_name(run.task.name),
                    "dt": env.spec.dt * env.stride,
                    **env.task.scene(),
                }
                folder.write_replay(description, deterministic.frames, deterministic.reward)
                told.append(f"replay: {write_html(folder.inside('.'))}")
            summaries = {
                "stochastic": summarise(stochastic, deterministic=False),
                "deterministic": summarise(deterministic, deterministic=True),
            }
            told += [describe(summary) for summary in summaries.values()]
            reasons[-1] = next(filter(None, map(blown_up, summaries.values())), None)
            if reasons[-1] is not None:
                report = {"reason": reasons[-1], **summaries}
                folder.write_json("diverged/report.json", report)
            elif EVALUATION in missing:
                folder.write_json(EVALUATION, summaries)
    for line in told:
        print(line, file=sys.stderr)
    return reasons
