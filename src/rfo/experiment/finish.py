"""The end of a training: evaluation by both protocols, and the replay.

Finished runs are evaluated here again, on their own task or another.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from rfo.envs.base import EnvSpec, Renderable
from rfo.envs.batch import Batch
from rfo.errors import SettingError
from rfo.experiment import build as experiments
from rfo.experiment.catalogue import short_name
from rfo.experiment.folder import load_state
from rfo.experiment.record import Experiment, TaskSettings
from rfo.training.evaluate import Episodes, Evaluator, evaluation_key, shares, summarise
from rfo.training.record import RunFolder
from rfo.training.screen import Phase
from rfo.types import PyTree
from rfo.view.replay import write_html

EVALUATION = "evaluation.json"
REPLAY = ("replay.npz", "replay.json", "replay.html")


class Evaluation:
    """Evaluates an experiment's training states by one protocol.

    Args:
        experiment: what was trained; its environments and evaluation episodes are used.
        env: the environments to use; others of their kind where the number does not fit.
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


def evaluate_run(
    run: Experiment,
    folder: RunFolder,
    deterministic: bool,
    seed: int,
    task: str | None = None,
    randomised: bool = False,
) -> dict[str, Any]:
    """Evaluate the newest state of a run, on its own task or another.

    Without the run's domain randomisation, unless `randomised`.

    Returns:
        `rfo.training.evaluate.summarise`'s statistics, `task` and `env_steps`.

    Raises:
        SettingError: for a task that is unknown or whose sizes are others than the run's.
    """
    there, env = evaluated_on(run, task, randomised)
    state, progress = load_state(folder, run)
    with Phase(f"{there.title}: compiling and evaluating"):
        episodes = Evaluation(there, env, deterministic)(state, seed)
    return {
        **summarise(episodes, deterministic),
        "task": there.task.name,
        "env_steps": progress["env_steps"],
    }


def evaluated_on(
    run: Experiment, task: str | None, randomised: bool = False
) -> tuple[Experiment, Batch]:
    """What a run's policy is evaluated on: its own experiment and environments, or another task's.

    Without domain randomisation, unless `randomised`.

    Raises:
        SettingError: for a task that is unknown or whose sizes are others than the run's.
    """
    there = run if task is None else dataclasses.replace(run, task=TaskSettings(task))
    _, env = experiments.build(there if randomised else experiments.nominal(there))
    if there is not run:
        _refuse_other_sizes(experiments.build(run)[1].spec, env.spec)
    return there, env


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


def drawing(run: Experiment, env: Batch) -> dict[str, Any]:
    """What a replay of a run tells beside its frames: the task, its time step, and its scene."""
    task: Any = env.task
    return {
        "task": short_name(run.task.name),
        "dt": env.spec.dt * env.stride,
        **task.scene(),
    }


def lacking(folder: RunFolder, env: Batch) -> list[str]:
    """Files that the end of a training leaves and that this run does not have."""
    wanted = [*(REPLAY if isinstance(env.task, Renderable) else ()), EVALUATION]
    return [name for name in wanted if not (folder.path / name).exists()]


def finish(
    runs: Sequence[tuple[Experiment, RunFolder, PyTree]], trained: bool = True
) -> list[str | None]:
    """Evaluate trained runs by both protocols, and record replays, without domain randomisation.

    What a run already has is not made again. Its evaluation is written last, because it tells
    others that the run is finished. If a run's episodes mostly end non-finite, the run has
    diverged, and its evaluation goes to ``diverged/report.json``.

    Args:
        runs: each with its folder and its last state.
        trained: whether they have come to their last environment step; a clone has taken none.

    Returns:
        For each run None, or why it diverged.
    """
    env = experiments.build(experiments.nominal(runs[0][0]))[1]
    protocols = [Evaluation(runs[0][0], env, deterministic) for deterministic in (False, True)]
    told, reasons = [], []
    title = runs[0][0].title
    with Phase(f"{title}: evaluating") as phase:
        for i, (run, folder, state) in enumerate(runs):
            missing = lacking(folder, env)
            reasons.append(None)
            if not missing:
                continue
            episodes = []
            for protocol in protocols:
                number = 2 * i + len(episodes) + 1
                phase.now(f"{title}: evaluating {number}/{2 * len(runs)}")
                episodes.append(protocol(state, run.seed))
            stochastic, deterministic = episodes
            if any(name in missing for name in REPLAY) and isinstance(env.task, Renderable):
                phase.now(f"{title}: writing the replay")
                folder.write_replay(drawing(run, env), deterministic.frames, deterministic.reward)
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
                steps = trained * run.updates * run.algorithm.horizon * run.environments
                folder.append_evaluation(summaries, steps)
                folder.write_json(EVALUATION, summaries)
    for line in told:
        print(line, file=sys.stderr)
    return reasons
