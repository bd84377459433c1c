"""Cost of a camera observation: `taskset -c 0 python bench/speed/camera.py`.

Compares two observations of the soft walkers, on the cores that the process may use: all vertices,
and the points that a depth camera sees. The two are measured alternately, call by call, so that
other programs slow both equally. Writes camera.json.
"""

import json
import os
import statistics
import time
from pathlib import Path

import jax
import jax.numpy as jnp

from rfo.experiment.build import build, build_task
from rfo.experiment.record import preset
from rfo.lab.cores import usable_cores
from rfo.training.trainer import compiled_update, initial_state

OUTPUT = Path(__file__).with_name("camera.json")
PAIRS = {
    "soft_jumper_small": ("soft_jumper_small", "soft_jumper_small_camera"),
    "soft_jumper": ("soft_jumper_corrected", "soft_jumper_camera"),
}
ENVIRONMENTS = 32
HORIZON = 32
SECONDS = 30.0
"""Duration of each comparison [s]."""


def main() -> None:
    """Measure and write."""
    results = {}
    for name, tasks in PAIRS.items():
        results[name] = {
            measure.__name__: compare(*(measure(task) for task in tasks))
            for measure in (step, observe, update)
        }
        print(name, json.dumps(results[name], indent=1), flush=True)
    versions = {"jax": jax.__version__, "load": os.getloadavg()[0]}
    settings = {
        "environments": ENVIRONMENTS,
        "horizon": HORIZON,
        "cores": len(usable_cores()),
    }
    OUTPUT.write_text(json.dumps({**settings, **versions, "tasks": results}, indent=1) + "\n")


def step(name):
    """A rollout of the task, with the gradient of rewards and observations in the actions."""
    task = build_task(name)
    state = jax.jit(lambda key: task.reset(key, ENVIRONMENTS))(jax.random.key(0))
    shape = (HORIZON, ENVIRONMENTS, task.spec.action_size)
    actions = jax.random.uniform(jax.random.key(1), shape, minval=-1.0, maxval=1.0)

    @jax.jit
    @jax.value_and_grad
    def gradient(actions):
        def one(state, action):
            after = task.step(state, action)
            return after.state, after.reward.sum() + weighed(after.observation)

        return jax.lax.scan(one, state, actions)[1].sum()

    return lambda: jax.block_until_ready(gradient(actions))


def observe(name):
    """As many observations of one state, with their gradient in the state, without physics."""
    task = build_task(name)
    state = jax.jit(lambda key: task.reset(key, ENVIRONMENTS))(jax.random.key(0))
    shifts = 0.01 * jax.random.normal(jax.random.key(1), (HORIZON, *state.physics.q.shape))

    @jax.jit
    @jax.value_and_grad
    def gradient(shifts):
        def one(total, shift):
            physics = state.physics._replace(q=state.physics.q + shift)
            return total + weighed(task.observe(state._replace(physics=physics))), None

        return jax.lax.scan(one, 0.0, shifts)[0]

    return lambda: jax.block_until_ready(gradient(shifts))


def update(name):
    """A whole update of RFO with the task's preset."""
    algorithm, env = build(preset(name, "rfo", environments=ENVIRONMENTS))
    assert algorithm.horizon == HORIZON
    compiled = compiled_update(algorithm, env, seeds=1)
    state = initial_state(algorithm, env, [0])

    def call():
        nonlocal state
        state, metrics, finite = compiled(state)
        jax.device_get((metrics, finite))
        jax.block_until_ready(state)

    return call


def weighed(observation):
    """A number that depends on all parts of an observation."""
    return sum(
        jnp.sum(x * jnp.cos(jnp.arange(x.size)).reshape(x.shape)) for x in observation.values()
    )


def compare(vertices, camera):
    """Time both alternately: rates [env-steps/s], and the ratio of times, camera over vertices."""
    for call in (vertices, camera) * 2:
        call()
    pairs = []
    while len(pairs) < 5 or sum(map(sum, pairs)) < SECONDS:
        pairs.append((seconds(vertices), seconds(camera)))
    rates = [
        ENVIRONMENTS * HORIZON / statistics.median(times) for times in zip(*pairs, strict=True)
    ]
    low, middle, high = statistics.quantiles([b / a for a, b in pairs], n=4, method="inclusive")
    return {
        "vertices_env_steps_per_s": round(rates[0]),
        "camera_env_steps_per_s": round(rates[1]),
        "time_ratio": round(middle, 3),
        "quartiles": [round(low, 3), round(high, 3)],
        "repetitions": len(pairs),
    }


def seconds(call):
    """Time of one call [s]."""
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
