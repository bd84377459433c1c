"""Speed of a peer, Brax, on its own ant.

This file is a program that imports nothing of `rfo`, so that any interpreter that has `brax` can
run it. Its only argument is `PeerSettings` as a JSON object, and it prints a JSON object. Brax gets
the settings that are fastest on a CPU and still stable: its fastest pipeline ``spring``
(approximate dynamics in maximal coordinates), the ant that Brax ships and tunes for that pipeline,
four substeps of 1/240 s per control step of 1/60 s, a large batch, and one XLA device per core.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any, NamedTuple

DT, SUBSTEPS = 1 / 60, 4
REPETITIONS = 5
"""Smallest number of repetitions."""


class PeerSettings(NamedTuple):
    """Settings of the measurement."""

    cores: list[int]
    """Numbers of the cores that this process may use."""
    environments: int
    horizon: int
    seconds: float
    """Time for which the measurement is repeated [s]."""


def limit_cores(cores: list[int]) -> None:
    """Keep this process on some cores, where the system can do that.

    Call it before JAX is imported, because JAX sets the number of its threads only once.
    """
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)
    os.environ["JAX_PLATFORMS"] = "cpu"
    flags = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = f"{flags} --xla_force_host_platform_device_count={len(cores)}"


def rollout():
    """A function from actions (T, A) of one ant to rewards (T,), and the size A of an action."""
    import jax
    from brax.envs.ant import Ant  # pyright: ignore[reportMissingImports]
    from brax.spring import pipeline  # pyright: ignore[reportMissingImports]

    ant: Any = Ant(backend="spring")
    system = ant.sys.tree_replace({"opt.timestep": DT / SUBSTEPS})
    start = pipeline.init(system, system.init_q, jax.numpy.zeros(system.qd_size()))

    def step(state: Any, action: Any) -> tuple[Any, Any]:
        state, _ = jax.lax.scan(
            lambda s, _: (pipeline.step(system, s, action), None), state, length=SUBSTEPS
        )
        return state, state.xd.vel[0, 0] + state.x.pos[0, 2]

    return (lambda actions: jax.lax.scan(step, start, actions)[1]), system.act_size()


def gradient_program(settings: PeerSettings):
    """Compiled gradient of a batch's returns, and the actions (B, T, A) to call it with."""
    import jax

    rewards, size = rollout()
    shape = (settings.environments, settings.horizon, size)
    mesh = jax.make_mesh((len(settings.cores),), ("core",))
    split = jax.sharding.PartitionSpec("core")
    actions = jax.random.uniform(jax.random.key(1), shape, minval=-1.0, maxval=1.0)
    actions = jax.device_put(actions, jax.sharding.NamedSharding(mesh, split))
    gradient = jax.vmap(jax.value_and_grad(lambda actions: rewards(actions).sum()))
    program = jax.jit(
        jax.shard_map(gradient, mesh=mesh, in_specs=split, out_specs=split, check_vma=False)
    )
    return program, actions


def main(argument: str) -> None:
    """Measure and print the result; the module's docstring explains the argument."""
    settings = PeerSettings(**json.loads(argument))
    limit_cores(settings.cores)
    import brax  # pyright: ignore[reportMissingImports]
    import jax

    program, actions = gradient_program(settings)
    begin = time.perf_counter()
    for values in jax.block_until_ready(program(actions)):
        if not jax.numpy.isfinite(values).all():
            sys.exit("the peer's rollout or its gradient is not finite")
    compile_seconds = time.perf_counter() - begin
    seconds: list[float] = []
    while len(seconds) < REPETITIONS or sum(seconds) < settings.seconds:
        begin = time.perf_counter()
        jax.block_until_ready(program(actions))
        seconds.append(time.perf_counter() - begin)
    print(
        json.dumps(
            {
                "name": f"Brax {brax.__version__}, spring pipeline, its own ant",
                "environments": settings.environments,
                "substeps": SUBSTEPS,
                "compile_seconds": compile_seconds,
                "seconds": seconds,
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1])
