"""How well trained robots follow single commands, in our physics and in MuJoCo.

    python bench/robots/following.py RUN ...

Takes runs of `go2_velocity`, of `g1_velocity`, or of one robot's own task with commands. Each
policy gets each command for the whole of four seconds, from eight starts, with noise zero. What
counts are the last two seconds. Prints a table of means over runs and starts, and writes
following-TASK.json.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import rfo
from rfo.envs.judge import in_mujoco
from rfo.envs.moment import Moment
from rfo.envs.robot import Robot
from rfo.experiment.build import build, nominal

COMMANDS = (
    (0.0, 0.0, 0.0),
    (0.5, 0.0, 0.0),
    (1.0, 0.0, 0.0),
    (-0.5, 0.0, 0.0),
    (0.0, 0.3, 0.0),
    (0.5, 0.3, 0.0),
    (0.0, 0.0, 0.5),
    (0.5, 0.0, 0.5),
)
"""Forward and to the left [m/s], turning to the left [rad/s]."""
STARTS = 8
SECONDS, COUNTED = 4.0, 2.0
PLACES = {"rfo": lambda task: task, "mujoco": in_mujoco}
"""Simulators by name."""


def follower(task: Any, policy: Any) -> Callable[[tuple[float, ...]], dict[str, Any]]:
    """Tells of one command what robots did: mean velocities, and the share that did not fall.

    The velocities are those of the robots that stood to the end; NaN if none did.
    """

    def step(carry: tuple[Any, Any], _: None) -> tuple[tuple[Any, Any], Any]:
        state, fell = carry
        out = task.step(state, policy(task.observe(state)))
        physics = out.state.physics
        now = Moment(task.body, physics, out.state.action, out.state.goal)
        moved = jnp.concatenate([now.velocity[:, :2], now.spin[:, 2:]], axis=-1)
        return (out.state, fell | out.terminated), moved

    @jax.jit
    def run(key: jax.Array, command: jax.Array) -> tuple[jax.Array, jax.Array]:
        state = task.reset(key, STARTS)._replace(goal=jnp.tile(command, (STARTS, 1)))
        start = state, jnp.zeros(STARTS, bool)
        (_, fell), moved = jax.lax.scan(step, start, None, round(SECONDS / task.spec.dt))
        return fell, moved[-round(COUNTED / task.spec.dt) :].mean(0)

    def follow(command: tuple[float, ...]) -> dict[str, Any]:
        fell, moved = map(np.asarray, run(jax.random.key(0), jnp.array(command)))
        mean = moved[~fell].mean(0) if not fell.all() else np.full(3, np.nan)
        return {"moved": mean.tolist(), "standing": float(1 - fell.mean())}

    return follow


def measured(run: Any) -> dict[str, list[dict[str, Any]]]:
    """Rows of one run, by simulator and in the order of the commands."""
    task = build(nominal(run.experiment))[1].task
    if not isinstance(task, Robot) or task.goal != "command":
        raise SystemExit(
            f"{run.path} follows no commands: name runs of a task such as go2_velocity"
        )
    rows: dict[str, list[dict[str, Any]]] = {}
    for place, moved_by in PLACES.items():
        follow = follower(moved_by(task), run.policy)
        rows[place] = [follow(command) for command in COMMANDS]
    return rows


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    found = [rfo.load(folder) for folder in parser.parse_args().runs]
    name = found[0].experiment.task.name
    every = {}
    for run in found:
        print(f"{run.path} ...", flush=True)
        every[str(run.experiment.seed)] = measured(run)
    print("| command: forward, left, turning | physics | forward | left | turning | standing |")
    print("|---|---|---|---|---|---|")
    for i, command in enumerate(COMMANDS):
        for place in PLACES:
            rows = [rows[place][i] for rows in every.values()]
            moved = np.nanmean([row["moved"] for row in rows], axis=0)
            standing = np.mean([row["standing"] for row in rows])
            cells = " | ".join(f"{x:.2f}" for x in moved)
            told = ", ".join(f"{x:g}" for x in command)
            print(f"| {told} | {place} | {cells} | {100 * standing:.0f} % |")
    file = Path(__file__).with_name(f"following-{name}.json")
    content = {"commands": COMMANDS, "seeds": every}
    file.write_text(json.dumps(content, indent=None) + "\n", encoding="utf-8")
    print(file)


if __name__ == "__main__":
    main()
