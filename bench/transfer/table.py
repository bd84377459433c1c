"""What trained policies earn in MuJoCo, and which difference of the physics takes how much.

    python bench/transfer/table.py RUN ... [--rows "our physics" MuJoCo] [--name TASK-LABEL]

Takes runs of one robot task. Every row has the same policies, starts and noise, and one thing
changed. All act without the domain randomisation of their training. Writes results-NAME.json here
and prints the table; rows that are there are not run again.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

import rfo
from rfo.envs.judge import in_mujoco
from rfo.experiment import build
from rfo.experiment.folder import load_state
from rfo.physics.articulated import Articulated
from rfo.physics.mjcf import load
from rfo.training.evaluate import Evaluator, evaluation_key, mean_interval
from rfo.training.record import RunFolder


def ours(task: Any) -> Any:
    """Our physics."""
    return task


def shorter(task: Any) -> Any:
    """Our physics with twice the substeps."""
    of = task.simulator
    return changed(task, Articulated(of.model, of.dt, 2 * of.substeps))


FINE = 64
"""Substeps of a control step with which the file's constants are stable."""


def all_of_the_file(task: Any) -> Any:
    """Our laws with the constants that follow from the file's solref, solimp and friction."""
    return changed(task, Articulated(_of_the_file(task), task.simulator.dt, FINE))


def limits_of_the_file(task: Any) -> Any:
    """Only the joint limits' constants."""
    of, file = task.simulator, _of_the_file(task)
    model = replace(of.model, limit_ke=file.limit_ke, limit_kd=file.limit_kd)
    return changed(task, Articulated(model, of.dt, FINE))


def contact_of_the_file(task: Any) -> Any:
    """Only the contacts' stiffness, damping and friction slope."""
    of, file = task.simulator, _of_the_file(task)
    names = ("contact_ke", "contact_kd", "contact_kf", "contact_kh")
    model = replace(of.model, **{name: getattr(file, name) for name in names})
    return changed(task, Articulated(model, of.dt, FINE))


def damping_of_the_file(task: Any) -> Any:
    """Only the contacts' damping."""
    of, file = task.simulator, _of_the_file(task)
    names = ("contact_kd", "contact_kh")
    model = replace(of.model, **{name: getattr(file, name) for name in names})
    return changed(task, Articulated(model, of.dt, FINE))


def _of_the_file(task: Any) -> Any:
    of = task.simulator
    return replace(load(of.model.source, substep=of.dt / FINE), axis=of.model.axis)


def friction_of_the_file(task: Any) -> Any:
    """Our physics with MuJoCo's coefficient of friction."""
    of, m = task.simulator, in_mujoco(task).simulator.mjcf
    friction = np.full_like(of.model.contact_mu, m.geom_friction[:, 0].max())
    return changed(task, Articulated(replace(of.model, contact_mu=friction), of.dt, of.substeps))


def changed(task: Any, simulator: Articulated) -> Any:
    """The task with another simulator."""
    other = copy.copy(task)
    other.simulator = simulator
    return other


def mujoco_with(change: Callable[[Any, mujoco.MjModel], None]) -> Callable[[Any], Any]:
    """MuJoCo after a change of its model."""

    def made(task: Any) -> Any:
        judged = in_mujoco(task)
        change(task.simulator.model, judged.simulator.mjcf)
        return judged

    return made


def set_friction(model: Any, m: mujoco.MjModel) -> None:
    """Our coefficient."""
    m.geom_friction[:, 0] = model.contact_mu[0]


def set_cone(model: Any, m: mujoco.MjModel) -> None:
    """An elliptic cone."""
    m.opt.cone = mujoco.mjtCone.mjCONE_ELLIPTIC


def set_soft(model: Any, m: mujoco.MjModel) -> None:
    """Contacts of twice the time constant."""
    m.geom_solref[:, 0] *= 2


def set_limits(model: Any, m: mujoco.MjModel) -> None:
    """Joint limits of twice the time constant."""
    m.jnt_solref[:, 0] *= 2


def set_integrator(model: Any, m: mujoco.MjModel) -> None:
    """MuJoCo's fourth-order integrator."""
    m.opt.integrator = mujoco.mjtIntegrator.mjINT_RK4


ROWS: dict[str, Callable[[Any], Any]] = {
    "our physics": ours,
    "ours, twice the substeps": shorter,
    "ours, MuJoCo's friction": friction_of_the_file,
    "ours, the file's joint limits": limits_of_the_file,
    "ours, the file's contact damping": damping_of_the_file,
    "ours, the file's contact stiffness, damping and slope": contact_of_the_file,
    "ours, all constants from the file": all_of_the_file,
    "MuJoCo": mujoco_with(lambda model, m: None),
    "MuJoCo, our friction": mujoco_with(set_friction),
    "MuJoCo, elliptic cone": mujoco_with(set_cone),
    "MuJoCo, contacts twice as soft": mujoco_with(set_soft),
    "MuJoCo, limits twice as soft": mujoco_with(set_limits),
    "MuJoCo, Runge-Kutta": mujoco_with(set_integrator),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--episodes", type=int, default=8)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--name", help="of the file; by default the task's")
    options = parser.parse_args()
    runs = [rfo.load(path) for path in options.runs]
    experiment = runs[0].experiment
    _, env = build.build(build.nominal(experiment))
    states = [load_state(RunFolder.open(run.path), run.experiment) for run in runs]
    policies = [experiment.algorithm.policy(state) for state, _ in states]
    found: dict[str, Any] = {
        "task": experiment.task.name,
        "method": experiment.title,
        "env_steps": [progress["env_steps"] for _, progress in states],
        "seeds": [run.experiment.seed for run in runs],
        "episodes": options.episodes,
        "rows": {},
    }
    path = Path(__file__).parent / f"results-{options.name or experiment.task.name}.json"
    before = json.loads(path.read_text()) if path.exists() else {}
    if {**before, "rows": {}} == found:
        found["rows"] = before["rows"]
    for name in options.rows:
        if name in found["rows"]:
            tell(name, **found["rows"][name])
            continue
        batch = env.resized(options.episodes)
        batch.task = ROWS[name](env.task)
        evaluator = Evaluator(batch, deterministic=True)
        key = evaluation_key(0, deterministic=True)
        episodes = [evaluator(policy, key, 1) for policy in policies]
        means = [float(each.returns.mean()) for each in episodes]
        lengths = [float(each.lengths.mean()) for each in episodes]
        found["rows"][name] = {"returns": means, "lengths": lengths}
        tell(name, means, lengths)
        path.write_text(json.dumps(found, indent=1) + "\n")


def tell(name: str, returns: list[float], lengths: list[float]) -> None:
    """Print a row: mean over the seeds and its 95 % interval, each seed, length of an episode."""
    low, high = mean_interval(np.array(returns))
    each = ", ".join(f"{x:,.0f}" for x in returns)
    print(
        f"| {name} | {np.mean(returns):,.0f} | {low:,.0f} to {high:,.0f} | {each} | "
        f"{np.mean(lengths):,.0f} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
