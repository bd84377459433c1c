"""Speed and memory of the particle tasks' physics: writes particles_N.json, prints Markdown.

    python bench/speed/particles.py [TASK ...]

Measures a rollout of 4 control steps of 8 environments with random actions, alone and with the
gradient of its return, from states where the tool touches the material. It uses as many threads as
the process may. In addition to the wall clock, it measures the processor time of the kernels on one
thread, which other programs hardly affect. The best repetition counts. If tasks are named, the
others keep their results. N is the number of cores.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rfo.envs.base import open_loop
from rfo.experiment.build import build_task
from rfo.experiment.presets import TASKS as REGISTERED
from rfo.lab.cores import usable_cores
from rfo.training.record import provenance

REWARPED = {"rolling_flat": 0.97, "fluid_move": 1.55, "hand_flip": 0.83}
"""Rewarped's env-steps/s, forward and backward, on a CPU (recorded once, not measured here)."""
TASKS = (*REWARPED, *(f"{task}_small" for task in REWARPED))
ENVIRONMENTS, STEPS, REPETITIONS = 8, 4, 7
LIMIT = 8 * 2**30


def start(name: str, task: Any) -> Any:
    state = jax.jit(lambda key: task.reset(key, ENVIRONMENTS))(jax.random.key(0))
    if REGISTERED[name].approach is None:
        return state
    action, steps = REGISTERED[name].approach
    actions = jnp.tile(jnp.array(action), (steps, ENVIRONMENTS, 1))
    return jax.jit(lambda s: open_loop(task, s, actions)[0])(state)


def best(call: Callable[[], Any], clock: Callable[[], float]) -> float:
    call()
    times = []
    for _ in range(REPETITIONS):
        begun = clock()
        call()
        times.append(clock() - begun)
    return min(times)


def wall(name: str) -> dict[str, float]:
    """Wall-clock rates of the task, with rewards [env-steps/s]."""
    task = build_task(name)
    state = start(name, task)
    shape = (STEPS, ENVIRONMENTS, task.spec.action_size)
    actions = jax.random.uniform(jax.random.key(1), shape, minval=-1.0, maxval=1.0)
    forward = jax.jit(lambda a: open_loop(task, state, a)[1].sum())
    both = jax.jit(jax.value_and_grad(lambda a: open_loop(task, state, a)[1].sum()))
    return {
        kind: STEPS
        * ENVIRONMENTS
        / best(lambda f=f: jax.block_until_ready(f(actions)), time.perf_counter)
        for kind, f in (("forward", forward), ("forward_backward", both))
    }


def processor(name: str) -> dict[str, float]:
    """Rates of the kernels alone on one thread [env-steps per second of processor time]."""
    task = build_task(name, threads=1)
    simulator, state = task.simulator, start(name, task)
    still = task.poses(state.joints)
    poses = jnp.repeat(still.reshape(ENVIRONMENTS, 1, -1), simulator.substeps + 1, axis=1)
    inputs = [np.asarray(x).reshape(ENVIRONMENTS, -1) for x in (*state.particles, poses)]
    plan = simulator._bridge.plan(ENVIRONMENTS)
    outputs = plan.forward(*inputs)
    forward = best(lambda: plan.forward(*inputs), time.thread_time)
    adjoint = best(lambda: plan.adjoint(*inputs, *outputs), time.thread_time)
    return {
        "forward": ENVIRONMENTS / forward,
        "forward_backward": ENVIRONMENTS / (forward + adjoint),
        "ns_per_particle_and_substep": (forward + adjoint)
        * 1e9
        / ENVIRONMENTS
        / simulator.kernels.work
        * 24,
    }


def memory(name: str) -> dict[str, int]:
    """Memory that a rollout keeps per environment and control step, and scratch per thread
    [bytes]."""
    kernels = build_task(name, threads=1).simulator.kernels
    size = kernels.dtype.itemsize
    kept = size * sum(kernels.input_widths)
    return {
        "kept": kept,
        "scratch": size * kernels.workspace(1, "cpu").scratch.size,
        "env_steps_in_8_GiB": LIMIT // kept,
    }


def measure(name: str) -> dict[str, Any]:
    facts = {"load": os.getloadavg()[0], "machine": provenance()}
    return {"wall": wall(name), "processor": processor(name), "memory": memory(name), **facts}


def main(names: list[str]) -> None:
    cores = len(usable_cores())
    file = Path(__file__).with_name(f"particles_{cores}.json")
    rows = json.loads(file.read_text())["tasks"] if file.exists() else {}
    rows |= {name: measure(name) for name in names or TASKS}
    rows = {name: rows[name] for name in TASKS if name in rows}
    file.write_text(json.dumps({"cores": cores, "tasks": rows}, indent=1) + "\n")
    print(f"env-steps/s, {cores} cores")
    columns = (
        "task, forward, forward+backward, per core second, Rewarped, kept [B], 8 GiB holds, load"
    )
    print(f"| {columns.replace(', ', ' | ')} |")
    print("|---|---|---|---|---|---|---|---|")
    for name, row in rows.items():
        rates = [
            row["wall"]["forward"],
            row["wall"]["forward_backward"],
            row["processor"]["forward_backward"],
        ]
        kept = row["memory"]
        print(
            f"| `{name}` | {' | '.join(f'{rate:.1f}' for rate in rates)} "
            f"| {REWARPED.get(name, '')} | {kept['kept']:,} | {kept['env_steps_in_8_GiB']:,} "
            f"| {row['load']:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main(sys.argv[1:])
