"""Where the time of an update of `rfo` goes: physics, policy, matching, critics, optimiser.

    taskset -c 0 python bench/speed/profile_update.py ant soft_jumper

Times each part of an update as a program of its own, on the cores that the process may use, with
the task's settings. Writes profile.json and prints a table. GFLOP/s count the matrix products of
policy and critics, and not those of a point cloud's encoder; the last column compares them with
one large matrix product on the same cores.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import rfo
from rfo.algos.reuse import play
from rfo.algos.self_tuned import Past, SelfTunedRFO
from rfo.envs.base import open_loop
from rfo.envs.batch import Batch
from rfo.experiment.build import build
from rfo.lab.cores import usable_cores
from rfo.lab.speed.measure import cpu_name
from rfo.lab.speed.worker import repeat
from rfo.policies.nets import MLP
from rfo.training.provenance import provenance

SECONDS = 1.0
"""Time for which a measurement is repeated [s]."""
FILE = Path(__file__).with_name("profile.json")


class Part(NamedTuple):
    """A part of an update."""

    name: str
    call: Callable[[], Any]
    """Runs it once."""
    times: int = 1
    """How often an update does this."""
    products: float = 0.0
    """Floating-point operations of its matrix products in one call."""


def products(net: MLP, rows: int, passes: int) -> float:
    """Operations of a network's matrix products: one pass forward, three with the gradient."""
    return 2.0 * passes * rows * sum(w.shape[-2] * w.shape[-1] for w in net.weights)


def parts_of(method: SelfTunedRFO, env: Batch, state: Any) -> Iterator[Part]:
    """The parts, with the data of one rollout."""
    noise = method.noise(jax.random.key(1), env)
    rollout = jax.jit(lambda state: play(method, state, env, noise, state.weights.reach))
    J, _, data, values, _ = rollout(state)
    actor, K, steps = state.actor, method.flow.steps, method.reuse.steps
    rows = noise.shape[0] * noise.shape[1]
    observation = state.normalizer(data.observation)
    past = Past(observation, method.flow.source_noise * noise, data.extras, jnp.ones(()))

    def open_loop_return(actions: jax.Array, start: Any) -> jax.Array:
        return open_loop(env.task, start, actions)[1].sum()

    physics = jax.jit(jax.value_and_grad(open_loop_return))
    actions = jnp.repeat(jnp.tanh(data.extras), env.stride, axis=0)[: method.horizon]
    yield Part("physics, forward and backward", lambda: physics(actions, state.env.task))
    yield Part("rollout with its policy", lambda: rollout(state))

    def mean_return(actor: Any, observation: Any, J: Any) -> jax.Array:
        return -J(actor.latent(actor.context(observation), noise))

    flow = products(actor.net, K * rows, 1)
    forward, slope = jax.jit(mean_return), jax.jit(jax.grad(mean_return))
    yield Part("flow, forward", lambda: forward(actor, observation, J), steps, flow)
    yield Part("flow, with gradient", lambda: slope(actor, observation, J), steps, 3 * flow)

    def matching_error(actor: Any, past: Past) -> jax.Array:
        context = actor.context(past.observation)
        return method.past_error(actor, context, past, past, jax.random.key(2))

    matching = jax.jit(jax.grad(matching_error))
    both = products(actor.net, 2 * rows, 3)
    yield Part("matching (L_past)", lambda: matching(actor, past), steps, both)

    def loss(actor: Any, past: Past, J: Any, weights: Any) -> jax.Array:
        return method.objective(actor, J, weights, past, past, noise, jax.random.key(3))[0]

    objective = jax.jit(jax.grad(loss))
    everything = products(actor.net, (2 * K + 2) * rows, 3)
    call = lambda: objective(actor, past, J, state.weights)  # noqa: E731
    yield Part("whole objective, with gradient", call, steps, everything)
    gradient, descent = call(), method.descent(method.optimiser.learning_rate, state.updates)
    step = jax.jit(descent.step)
    yield Part("optimiser", lambda: step(actor, state.actor_optimizer, gradient), steps)
    fit = jax.jit(method.fit)
    one = jax.tree.map(lambda leaf: leaf[0], state.critics.nets)
    fitting = method.critic.count * method.critic.iterations * products(one, rows, 3)
    yield Part("critics", lambda: fit(state, observation, values.mean(0)), 1, fitting)


def seconds(call: Callable[[], Any]) -> float:
    """Median time of a call [s]."""
    return statistics.median(repeat(lambda: jax.block_until_ready(call()), SECONDS))


def profile(task: str) -> dict[str, Any]:
    """Times of an update's parts [s], how often it does them, and their operations."""
    method, env = build(rfo.preset(task, "rfo"))
    assert isinstance(method, SelfTunedRFO)
    state = jax.jit(lambda key: method.init(key, env))(jax.random.key(0))
    update = jax.jit(lambda state: method.update(state, env))
    found = {"update": seconds(lambda: update(state)), "env_steps": env.size * method.horizon}
    parts = {
        part.name: {"seconds": seconds(part.call), "times": part.times, "products": part.products}
        for part in parts_of(method, env, state)
    }
    return found | {"parts": parts}


def peak() -> float:
    """Operations a second of a product of two matrices of 1,024 x 1,024."""
    matrix = jnp.ones((1024, 1024))
    square = jax.jit(lambda x: x @ x)
    return 2 * 1024**3 / seconds(lambda: square(matrix))


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("tasks", nargs="+", metavar="TASK")
    tasks = parser.parse_args().tasks
    most, found = peak(), {}
    print("| task | part | times | each [ms] | share of an update | GFLOP/s | of the peak |")
    print("|---|---|---|---|---|---|---|")
    for task in tasks:
        found[task] = own = profile(task)
        print(f"| {task} | an update | 1 | {1e3 * own['update']:.1f} | | | |", flush=True)
        for name, part in own["parts"].items():
            share = part["times"] * part["seconds"] / own["update"]
            rate = part["products"] / part["seconds"]
            rates = f"{rate / 1e9:.0f} | {100 * rate / most:.0f} %" if rate else "|"
            each = f"{1e3 * part['seconds']:.2f}"
            print(f"| | {name} | {part['times']} | {each} | {100 * share:.0f} % | {rates} |")
    machine = {"cpu": cpu_name(), "cores": len(usable_cores()), **provenance()}
    content = {"machine": machine, "peak": most, "tasks": found}
    FILE.write_text(json.dumps(content) + "\n", encoding="utf-8")
    print(f"peak: {most / 1e9:.0f} GFLOP/s\n{FILE}")


if __name__ == "__main__":
    main()
