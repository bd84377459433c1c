"""Process that measures one task; it is limited to its cores before JAX and Warp are imported.

Its only argument is `WorkerSettings` as a JSON object, and it prints a JSON object.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from rfo.lab.cores import keep_on, usable_cores

REPETITIONS = 5
"""Smallest number of repetitions of each measurement."""

MEMORY_LIMIT = 2**31
"""Memory that a physics rollout may keep for its gradient [bytes]."""


class WorkerSettings(NamedTuple):
    """Settings of the measurement."""

    task: str
    algorithm: str
    cores: list[int]
    """Numbers of the cores that this process may use."""
    horizon: int
    """Control steps of a physics rollout."""
    batches: list[int]
    """Numbers of environments for the physics."""
    seconds: float
    """Time for which each measurement is repeated [s]."""


def main(argument: str) -> None:
    """Measure and print the result; the module's docstring explains the argument."""
    settings = WorkerSettings(**json.loads(argument))
    limited = keep_on(settings.cores)
    os.environ["JAX_PLATFORMS"] = "cpu"
    from rfo.experiment.build import build_task
    from rfo.experiment.catalogue import find_task

    task = build_task(settings.task)
    simulator = getattr(task, "simulator", None)
    batches = affordable(simulator, settings)

    def measured(size: int, gradient: bool) -> dict[str, Any]:
        seconds = physics_seconds(task, size, settings.horizon, settings.seconds, gradient)
        return {"environments": size, "env_steps": size * settings.horizon, "seconds": seconds}

    result = {
        "cores": usable_cores() if limited else settings.cores,
        "substeps": simulator.substeps
        if find_task(settings.task).simulated and simulator
        else None,
        "mjcf": {
            "file": str(getattr(getattr(simulator, "model", None), "source", "")),
            "dt": task.spec.dt,
            "control_range": task.spec.control_range,
        },
        "forward": [measured(size, gradient=False) for size in batches],
        "physics": [measured(size, gradient=True) for size in batches],
        "train": train_seconds(settings.task, settings.algorithm, settings.seconds),
    }
    print(json.dumps(result))


def affordable(simulator: Any, settings: WorkerSettings) -> list[int]:
    """The first batch, and all others whose rollout keeps at most `MEMORY_LIMIT`."""
    kernels = getattr(simulator, "kernels", None)
    kept = sum(kernels.input_widths) if kernels else 0
    each = kept * kernels.dtype.itemsize * settings.horizon if kernels else 0
    return [
        size for i, size in enumerate(settings.batches) if i == 0 or size * each <= MEMORY_LIMIT
    ]


def physics_seconds(
    task: Any, batch: int, horizon: int, seconds: float, gradient: bool
) -> list[float]:
    """Times of a rollout with random actions, and the gradient of its return in the actions [s]."""
    import jax

    from rfo.envs.base import open_loop

    state = jax.jit(lambda key: task.reset(key, batch))(jax.random.key(0))
    shape = (horizon, batch, task.spec.action_size)
    actions = jax.random.uniform(jax.random.key(1), shape, minval=-1.0, maxval=1.0)

    def rollout(actions: Any, state: Any) -> Any:
        return open_loop(task, state, actions)[1].sum()

    run = jax.jit(jax.value_and_grad(rollout) if gradient else rollout)
    return repeat(lambda: jax.block_until_ready(run(actions, state)), seconds)


def train_seconds(task: str, algorithm: str, seconds: float) -> dict[str, Any]:
    """Times of whole updates at the start of a training [s], and the sizes of an update."""
    import jax

    from rfo.experiment.build import build
    from rfo.experiment.record import preset
    from rfo.training.trainer import compiled_update, initial_state

    experiment = preset(task, algorithm)
    method, env = build(experiment)
    update = compiled_update(method, env, seeds=1)
    state = initial_state(method, env, [experiment.seed])

    def train() -> None:
        nonlocal state
        state, metrics, finite = update(state)
        jax.device_get((metrics, finite))
        jax.block_until_ready(state)

    return {
        "environments": env.size,
        "horizon": method.horizon,
        "env_steps": env.size * method.horizon,
        "seconds": repeat(train, seconds),
    }


def repeat(call: Callable[[], Any], seconds: float) -> list[float]:
    """Times of calls that are repeated for a given time [s].

    Two calls before are not counted: the first compiles, the second warms up.
    """
    call()
    call()
    times: list[float] = []
    while len(times) < REPETITIONS or sum(times) < seconds:
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return times


if __name__ == "__main__":
    main(sys.argv[1])
