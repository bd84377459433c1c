"""A run judged by MuJoCo: its policy there and in our physics, from the same starts."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from rfo.experiment import build as experiments
from rfo.experiment.finish import describe, evaluated_on
from rfo.experiment.folder import load_state
from rfo.experiment.record import Experiment
from rfo.training.evaluate import Evaluator, evaluation_key, mean_interval, summarise
from rfo.training.record import RunFolder
from rfo.training.screen import Phase


def judge_run(
    run: Experiment,
    folder: RunFolder,
    deterministic: bool,
    seed: int,
    episodes: int,
    task: str | None = None,
) -> dict[str, Any]:
    """Evaluate the newest state of a run in MuJoCo and in our physics.

    Every environment runs one episode, so that both have the same starts, and the same noise at
    the same step.

    Args:
        run: what was trained.
        folder: its run folder.
        deterministic: act with noise zero.
        seed: seed of the episodes.
        episodes: how many.
        task: another task of the same sizes.

    Returns:
        `rfo.training.evaluate.summarise`'s statistics in MuJoCo, ``task``, ``env_steps``, and
        ``physics``: "mujoco";
        ``rfo``: the statistics in our physics;
        ``difference``: of MuJoCo's returns from ours, ``mean`` and ``interval`` (95 %, of paired
        episodes);
        ``randomisation_left_out``: whether the run was trained with domain randomisation, which
        both go without;
        ``differs``: what MuJoCo computes in another way, a line each.

    Raises:
        SettingError: for a task that MuJoCo cannot move, or of other sizes than the run's.
    """
    from rfo.envs.judge import differences, in_mujoco

    there, env = evaluated_on(run, task)
    judged: Any = in_mujoco(env.task, run.threads)
    ours = env.resized(episodes)
    theirs = copy.copy(ours)
    theirs.task = judged
    state, progress = load_state(folder, run)
    policy, key = run.algorithm.policy(state), evaluation_key(seed, deterministic)
    told = f"{there.title}: compiling and evaluating in"
    with Phase(f"{told} our physics") as phase:
        here = Evaluator(ours, deterministic)(policy, key, 1)
        phase.now(f"{told} MuJoCo")
        other = Evaluator(theirs, deterministic)(policy, key, 1)
    paired = (other.returns - here.returns).ravel()
    return {
        **summarise(other, deterministic),
        "physics": "mujoco",
        "rfo": summarise(here, deterministic),
        "difference": {"mean": float(np.mean(paired)), "interval": mean_interval(paired)},
        "randomisation_left_out": task is None and experiments.nominal(run) != run,
        "differs": differences(judged.simulator),
        "task": there.task.name,
        "env_steps": progress["env_steps"],
    }


def describe_both(summary: dict[str, Any]) -> str:
    """Lines about what `judge_run` returned."""
    difference = summary["difference"]
    low, high = difference["interval"]
    plain = ["both without the domain randomisation that the run was trained with"]
    return "\n".join(
        [
            *(plain if summary["randomisation_left_out"] else []),
            f"our physics  {describe(summary['rfo'])}",
            f"MuJoCo       {describe(summary)}",
            f"difference   {difference['mean']:,.4g} (95 % interval {low:,.4g} to {high:,.4g}, "
            "episodes paired by their starts)",
            "MuJoCo computes in another way",
            *(f"  {line}" for line in summary["differs"]),
        ]
    )
