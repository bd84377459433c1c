"""Where the time of an update goes.

One update is one compiled program, so its parts cannot be timed from outside while it trains. Each
part is compiled and timed alone, on the same shapes:

- physics: one rollout with fixed actions, and, if the method differentiates
  through the environment, its backward pass;
- policy: the policy's calls, forward and backward;
- critic: the rest of the whole update: critic fit, matching losses, optimiser, bookkeeping.

Compiled alone, a part may run slower than fused into the update: the shares are estimates.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp

from rfo.algos.base import Algorithm, Policy
from rfo.envs.batch import Batch, BatchState
from rfo.training.trainer import compiled_update
from rfo.types import Array, Float, Observation, PyTree

REPETITIONS = 3


def split(algorithm: Algorithm, env: Batch, state: PyTree) -> dict[str, float | None]:
    """Steps per second of the whole update and of each part, had it run alone [1/s].

    Args:
        state: a training state of `algorithm` on `env`; left as it is.

    Returns:
        `update`, `physics`, `policy`, `critic` with `_steps_per_second` behind each name. None for
        the critic where the other parts, each timed alone, leave no time for it.
    """
    steps, decisions = algorithm.horizon * env.size, algorithm.horizon // env.stride
    update = compiled_update(algorithm, env, seeds=1)
    seconds = {
        "update": _fastest(lambda: update(state)),
        "physics": physics_seconds(env, decisions, algorithm.needs_gradient),
        "policy": _policy_seconds(
            algorithm.policy(state), env, decisions, algorithm.needs_gradient
        ),
    }
    seconds["critic"] = seconds["update"] - seconds["physics"] - seconds["policy"]
    return {
        f"{name}_steps_per_second": steps / value if value > 0 else None
        for name, value in seconds.items()
    }


def physics_seconds(env: Batch, decisions: int, gradient: bool) -> float:
    """Time of one rollout of random actions [s], with its backward pass if `gradient`.

    Args:
        env: the environments.
        decisions: length of the rollout.
        gradient: whether to differentiate.
    """
    state = env.init(jax.random.key(0))
    shape = (decisions, env.size, env.spec.action_size)
    actions = jax.random.uniform(jax.random.key(1), shape, minval=-1.0, maxval=1.0)

    def total(actions: Float[Array, "T B A"], state: BatchState) -> Float[Array, ""]:
        def step(state: BatchState, action: Float[Array, "B A"]):
            out = env.step(state, action)
            return out.state, out.reward

        return jnp.sum(jax.lax.scan(step, state, actions)[1])

    program = eqx.filter_jit(jax.value_and_grad(total) if gradient else total)
    return _fastest(lambda: program(actions, state))


def _policy_seconds(policy: Policy, env: Batch, decisions: int, gradient: bool) -> float:
    observation = env.init(jax.random.key(0)).observation
    keys = jax.random.split(jax.random.key(1), decisions)

    def total(policy: Policy, observation: Observation) -> Float[Array, ""]:
        def step(observation: Observation, key: Array):
            action = policy(observation, key)
            # the next call must depend on this one, or the compiler batches them all
            return jax.tree.map(lambda x: x + 1e-6 * jnp.mean(action), observation), jnp.sum(action)

        return jnp.sum(jax.lax.scan(step, observation, keys)[1])

    program = eqx.filter_jit(eqx.filter_value_and_grad(total) if gradient else total)
    return _fastest(lambda: program(policy, observation))


def _fastest(call: Callable[[], PyTree]) -> float:
    """Shortest of `REPETITIONS` calls after one that compiles [s]."""
    jax.block_until_ready(call())
    times = []
    for _ in range(REPETITIONS):
        begin = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - begin)
    return min(times)
