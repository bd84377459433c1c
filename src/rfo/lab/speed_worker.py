"""The process in which one task is measured: limited to its cores before JAX and Warp are imported.

It reads `Settings` as one JSON object, its only argument, and prints one.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

REPETITIONS = 5
"""Of each measurement, at least."""


MEMORY_LIMIT = 2**31
"""Memory that the physics of a measurement may keep for its gradient [bytes]."""


class Settings(NamedTuple):
    """What to measure."""

    task: str
    algorithm: str
    cores: list[int]
    """CPUs that this process may use."""
    horizon: int
    """Control steps of the physics' rollout."""
    batches: list[int]
    """Numbers of environments for the physics."""
    seconds: float
    """Time for which each measurement is repeated [s]."""


def main(argument: str) -> None:
    """Measure and print; see the module."""
    settings = Settings(**json.loads(argument))
    os.sched_setaffinity(0, settings.cores)
    os.environ["JAX_PLATFORMS"] = "cpu"
    from rfo.experiment.build import build_task, task_entry

    task = build_task(settings.task)
    simulator = getattr(task, "simulator", None)
    result = {
        "cores": sorted(os.sched_getaffinity(0)),
        "substeps": simulator.substeps
        if task_entry(settings.task).simulated and simulator
        else None,
        "physics": [
            {
                "environments": size,
                "env_steps": size * settings.horizon,
                "seconds": physics_seconds(task, size, settings.horizon, settings.seconds),
            }
            for size in affordable(simulator, settings)
        ],
        "train": train_seconds(settings.task, settings.algorithm, settings.seconds),
    }
    print(json.dumps(result))


def affordable(simulator: Any, settings: Settings) -> list[int]:
    """The batches but for those, beyond the first, whose rollout would keep more than `MEMORY_LIMIT`."""
    kernels = getattr(simulator, "kernels", None)
    kept = sum(kernels.input_widths) if kernels else 0
    each = kept * kernels.dtype.itemsize * settings.horizon if kernels else 0
    return [
        size for i, size in enumerate(settings.batches) if i == 0 or size * each <= MEMORY_LIMIT
    ]


def physics_seconds(task: Any, batch: int, horizon: int, seconds: float) -> list[float]:
    """Times of one rollout under random actions, with the gradient of its return in them [s]."""
    import jax

    from rfo.envs.base import open_loop

    state = jax.jit(lambda key: task.reset(key, batch))(jax.random.key(0))
    shape = (horizon, batch, task.spec.action_size)
    actions = jax.random.uniform(jax.random.key(1), shape, minval=-1.0, maxval=1.0)

    @jax.jit
    @jax.value_and_grad
    def gradient(actions: Any, state: Any) -> Any:
        return open_loop(task, state, actions)[1].sum()

    return repeat(lambda: jax.block_until_ready(gradient(actions, state)), seconds)


def train_seconds(task: str, algorithm: str, seconds: float) -> dict[str, Any]:
    """Times of whole updates of a training from its start [s], and the steps of each."""
    import jax

    from rfo.experiment.build import build, preset
    from rfo.train.trainer import compiled_update, initial_state

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
    """Times of calls repeated for so long [s], after two that are not counted: one compiles, one warms up."""
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
