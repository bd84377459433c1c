"""A run from its experiment to its folder and back: train, resume, evaluate, finish."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import jax

from rfo.envs.base import EnvSpec, Renderable
from rfo.envs.batch import Batch
from rfo.experiment import build as experiments
from rfo.experiment.build import Experiment, ExperimentError
from rfo.train import checkpoint, timing, trainer
from rfo.train.evaluate import Episodes, Evaluator, shares, summarise
from rfo.train.record import RunError, RunFolder
from rfo.types import PyTree
from rfo.view.replay import write_html

FINISHED, DIVERGED, INTERRUPTED = 0, 1, 130
"""Exit statuses; the last as shells have it after Ctrl-C."""


def open_run(path: Path, threads: int | None = None) -> tuple[RunFolder, Experiment]:
    """A run folder and its experiment, with another number of physics threads if given.

    Raises:
        RunError: if there is no readable run.
    """
    folder = RunFolder.open(path)
    try:
        experiment = Experiment.from_json(folder.read_json("config.json"))
    except ExperimentError as error:
        raise RunError(
            f"{path / 'config.json'} does not fit this version of rfo: {error}"
        ) from None
    return folder, dataclasses.replace(
        experiment, threads=threads
    ) if threads is not None else experiment


def load_state(folder: RunFolder, experiment: Experiment) -> tuple[PyTree, dict[str, Any]]:
    """Newest intact training state of a run, and its progress; damaged ones are told on stderr.

    Raises:
        RunError: if there is none.
    """
    shapes = trainer.state_shapes(*experiments.build(experiment))
    return checkpoint.load_latest(
        folder.checkpoints, shapes, notice=lambda line: print(f"rfo: {line}", file=sys.stderr)
    )


def resume(path: Path, threads: int | None = None) -> int:
    """Go on with an interrupted run; returns the exit status.

    Raises:
        RunError: if there is nothing to go on with.
    """
    folder, experiment = open_run(path, threads)
    state, progress = load_state(folder, experiment)
    if progress["update"] >= experiment.updates and (path / "evaluation.json").exists():
        raise RunError(
            f"{path} is finished ({progress['env_steps']:,} steps): see it with `rfo watch {path}`, or "
            f"train another run with `rfo train {experiment.task} --steps ...`"
        )
    folder.rewind(progress["update"])
    return train([experiment], [folder], trainer.Start(state, progress))


def refuse_misfit(experiment: Experiment) -> None:
    """Go through the construction of everything without computing anything.

    Raises:
        ExperimentError: for the first setting that cannot work.
    """
    try:
        trainer.state_shapes(*experiments.build(experiment))
    except ValueError as error:
        raise ExperimentError(str(error)) from None


def train(
    runs: Sequence[Experiment], folders: Sequence[RunFolder], start: trainer.Start | None = None
) -> int:
    """Train runs that differ in their seeds only, evaluate them, and print their folders last.

    Returns:
        the exit status: `FINISHED`, `DIVERGED` if any run did, or `INTERRUPTED`.

    Raises:
        RunError: if the disk refuses; the checkpoints written before stay usable.
    """
    first = runs[0]
    algorithm, env = experiments.build(first)
    seeds = [run.seed for run in runs]
    title = f"{first.task} {first.label}" + (f" x {len(seeds)} seeds" if len(seeds) > 1 else "")
    plan = trainer.Plan(first.updates, first.checkpoint_every)
    for folder in folders:
        folder.connect()
    try:
        outcome = trainer.run(algorithm, env, folders, seeds, plan, title, start)
        if outcome.interrupted:
            _tell_how_to_resume(folders, outcome)
            return INTERRUPTED
        healthy = [i for i, reason in enumerate(outcome.diverged) if reason is None]
        if healthy:
            _finish(env, [(runs[i], folders[i], outcome.states[i]) for i in healthy])
    except OSError as error:
        raise RunError(
            f"cannot write {error.filename or folders[0].path}: {error.strerror or error}; what was saved "
            f"before is intact: make room, then `rfo train --resume {folders[0].path}`"
        ) from error
    for folder, reason in zip(folders, outcome.diverged, strict=True):
        if reason is not None:
            print(
                f"rfo: {folder.path} diverged: {reason}; its last state is in diverged/",
                file=sys.stderr,
            )
    for folder in folders:
        print(folder.path)
    return FINISHED if len(healthy) == len(folders) else DIVERGED


def _tell_how_to_resume(folders: Sequence[RunFolder], outcome: trainer.Outcome) -> None:
    for folder, reason in zip(folders, outcome.diverged, strict=True):
        if reason is None:
            print(
                f"stopped after update {outcome.update}; go on with: rfo train --resume {folder.path}",
                file=sys.stderr,
            )
        print(folder.path)


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
        key = jax.random.fold_in(jax.random.key(seed), 1 + self.deterministic)
        return self._evaluate(self._algorithm.policy(state), key, self._per_environment)


@lru_cache(maxsize=8)
def _evaluator(env: Batch, deterministic: bool) -> Evaluator:
    """One evaluator per batch and protocol, compiled once."""
    return Evaluator(env, deterministic)


def evaluate(
    run: Experiment, folder: RunFolder, deterministic: bool, seed: int, task: str | None = None
) -> dict[str, Any]:
    """Evaluate the newest state of a run, on its own task or another; `run.evaluation_episodes` episodes.

    Returns:
        `rfo.train.evaluate.summarise`'s statistics, `task` and `env_steps`.

    Raises:
        ExperimentError: for a task that is unknown or whose sizes are others than the run's.
    """
    there = run if task is None else dataclasses.replace(run, task=task)
    _, env = experiments.build(there)
    if there is not run:
        _refuse_other_sizes(experiments.build(run)[1].spec, env.spec)
    state, progress = load_state(folder, run)
    episodes = Evaluation(there, env, deterministic)(state, seed)
    return {
        **summarise(episodes, deterministic),
        "task": there.task,
        "env_steps": progress["env_steps"],
    }


def _refuse_other_sizes(trained: EnvSpec, other: EnvSpec) -> None:
    for what in ("observation", "action_size"):
        here, there = getattr(trained, what), getattr(other, what)
        if here != there:
            raise ExperimentError(
                f"a policy of {trained.name} cannot act in {other.name}: {what} {here} against {there}"
            )


def describe(summary: dict[str, Any]) -> str:
    """One line about an evaluation."""
    low, high = summary["interval"]
    name = "deterministic" if summary["deterministic"] else "stochastic"
    line = (
        f"{name}: return {summary['mean']:,.4g} (95 % interval {low:,.4g} to {high:,.4g}, "
        f"std {summary['std']:,.4g}, iqm {summary['iqm']:,.4g}) over {summary['episodes']} episodes "
        f"of {summary['length_mean']:,.4g} steps"
    )
    contained = summary["nonfinite_episodes"]
    return line + (f"; {contained} were not finite" if contained else "")


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
            f"{path} holds no replay: it is written when a training finishes, for tasks that can be drawn"
        ) from None
    except (ValueError, EOFError, BadZipFile) as error:
        raise RunError(f"the replay of {path} is damaged: {error}") from None


def _finish(env: Batch, runs: Sequence[tuple[Experiment, RunFolder, PyTree]]) -> None:
    """Evaluate trained runs by both protocols, record replays, and time an update's parts."""
    print("evaluating", file=sys.stderr)
    first, _, first_state = runs[0]
    protocols = [Evaluation(first, env, deterministic) for deterministic in (False, True)]
    speeds = timing.split(first.algorithm, env, first_state)
    for run, folder, state in runs:
        stochastic, deterministic = (protocol(state, run.seed) for protocol in protocols)
        summaries = {
            "stochastic": summarise(stochastic, deterministic=False),
            "deterministic": summarise(deterministic, deterministic=True),
        }
        folder.write_json("evaluation.json", summaries)
        folder.write_json("timing.json", speeds)
        for summary in summaries.values():
            print(describe(summary))
        if isinstance(env.task, Renderable):
            description = {"task": run.task, "dt": env.spec.dt * env.stride, **env.task.scene()}
            folder.write_replay(description, deterministic.frames, deterministic.reward)
            print(f"replay: {write_html(folder.path)}")
    parts = ("update", "physics", "policy", "critic")
    rates = ", ".join(f"{part} {speeds[f'{part}_steps_per_second']:,.0f}" for part in parts)
    print(f"steps per second, each part alone: {rates}")
