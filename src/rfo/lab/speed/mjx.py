"""Speed of a peer, MJX (MuJoCo in JAX), on the MJCF file of one of our tasks.

This file is a program that imports nothing of `rfo`, so that any interpreter that has `mujoco-mjx`
can run it. Its only argument is `MJXSettings` as a JSON object, and it prints a JSON object.
Forward, MJX has the file's time step, solver and tolerance. Its reverse mode cannot pass the
solver's loop, so that the gradient is taken with one iteration of the solver. Whether the numbers
are finite is reported.
"""

# The mujoco package is compiled and has no type stubs:
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import json
import math
import os
import sys
import time
from typing import Any, NamedTuple

REPETITIONS = 3
"""Smallest number of repetitions."""


class MJXSettings(NamedTuple):
    """Settings of the measurement."""

    cores: list[int]
    """Numbers of the cores that this process may use."""
    file: str
    """MJCF text."""
    dt: float
    """Duration of a control step [s]."""
    control_range: list[tuple[float, float]]
    """Controls that actions of -1 and 1 stand for."""
    environments: int
    horizon: int
    """Control steps of a rollout."""
    seconds: float
    """Time for which the measurement is repeated [s]."""
    gradient: bool
    """Whether the gradient of the return in the actions is taken, too."""


def limit_cores(cores: list[int]) -> None:
    """Keep this process on some cores, where the system can do that.

    Call it before JAX is imported, because JAX sets the number of its threads only once.
    """
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)
    os.environ["JAX_PLATFORMS"] = "cpu"


def program(settings: MJXSettings) -> tuple[Any, Any, int]:
    """Compiled rollout of a batch or its gradient, the actions (B, T, A) to call it with, and the
    integration steps of a control step."""
    import jax
    import mujoco  # pyright: ignore[reportMissingImports]
    from mujoco import mjx  # pyright: ignore[reportMissingImports]

    m = mujoco.MjModel.from_xml_string(settings.file)
    substeps = math.ceil(settings.dt / m.opt.timestep - 1e-6)
    m.opt.timestep = settings.dt / substeps
    if settings.gradient:
        m.opt.iterations = 1
    low, high = jax.numpy.array(settings.control_range).T
    data = mujoco.MjData(m)
    mujoco.mj_resetDataKeyframe(m, data, 0)
    mujoco.mj_forward(m, data)
    model, start = mjx.put_model(m), mjx.put_data(m, data)

    def step(state: Any, action: Any) -> tuple[Any, Any]:
        state = state.replace(ctrl=(low + high) / 2 + (high - low) / 2 * action)
        after, _ = jax.lax.scan(lambda s, _: (mjx.step(model, s), None), state, length=substeps)
        return after, after.qvel[0]

    def rollout(actions: Any) -> Any:
        return jax.lax.scan(step, start, actions)[1].sum()

    one = jax.value_and_grad(rollout) if settings.gradient else rollout
    shape = (settings.environments, settings.horizon, m.nu)
    actions = jax.random.uniform(jax.random.key(1), shape, minval=-1.0, maxval=1.0)
    return jax.jit(jax.vmap(one)), actions, substeps


def main(argument: str) -> None:
    """Measure and print the result; the module's docstring explains the argument."""
    settings = MJXSettings(**json.loads(argument))
    limit_cores(settings.cores)
    from importlib.metadata import version

    import jax

    run, actions, substeps = program(settings)
    begin = time.perf_counter()
    results = jax.tree.leaves(jax.block_until_ready(run(actions)))
    compile_seconds = time.perf_counter() - begin
    seconds: list[float] = []
    while len(seconds) < REPETITIONS or sum(seconds) < settings.seconds:
        begin = time.perf_counter()
        jax.block_until_ready(run(actions))
        seconds.append(time.perf_counter() - begin)
    print(
        json.dumps(
            {
                "name": f"MJX {version('mujoco-mjx')}, the same file",
                "environments": settings.environments,
                "env_steps": settings.environments * settings.horizon,
                "substeps": substeps,
                "finite": all(bool(jax.numpy.isfinite(x).all()) for x in results),
                "compile_seconds": compile_seconds,
                "seconds": seconds,
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1])
