"""Collecting demonstrations: whole episodes of a policy, step by step."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from rfo.algos.base import Policy
from rfo.envs.batch import Batch, BatchState
from rfo.errors import RunError
from rfo.training.demonstrations import Demonstrations
from rfo.training.evaluate import STRETCH
from rfo.types import Array, Key, Observation, PRNGKey


class _Trace(NamedTuple):
    """What is kept of each control step; arrays with the leading axes (steps, B)."""

    observation: Observation
    action: Array
    done: Array
    nonfinite: Array
    episode_return: Array


class _Running(NamedTuple):
    """Environments, and what is left of their chunks of actions."""

    env: BatchState
    chunk: Array  # (B, C, A)
    place: Array  # (B,) action of the chunk that comes next


def collect(
    env: Batch,
    policy: Policy,
    key: PRNGKey,
    per_environment: int,
    chunk: int = 1,
    executed: int = 1,
    deterministic: bool = False,
) -> Demonstrations:
    """Episodes of a policy, as many in every environment. Those that end non-finite are left out.

    Args:
        env: B environments, without chunks.
        policy: gives actions (B, A), or chunks (B, C A).
        key: drives resets and, unless deterministic, the policy's noise.
        per_environment: episodes in each environment.
        chunk: actions C of one decision.
        executed: how many of them are carried out before the next decision.
        deterministic: act with noise zero.

    Raises:
        RunError: if no episode stayed finite.
    """
    steps = _compiled(env, chunk, executed, deterministic)
    start_key, act_key = jax.random.split(key)
    queue = jnp.zeros((env.size, chunk, env.spec.action_size))
    running = _Running(env.init(start_key), queue, jnp.zeros(env.size, jnp.int32))
    traces, finished = [], np.zeros(env.size, int)
    while (finished < per_environment).any():
        act_key, stretch_key = jax.random.split(act_key)
        keys = jax.random.split(stretch_key, STRETCH)
        running, trace = steps(policy, running, keys)
        traces.append(jax.device_get(trace))
        finished += traces[-1].done.sum(0)
    whole: _Trace = jax.tree.map(lambda *parts: np.concatenate(parts), *traces)
    return _episodes(whole, per_environment, env.spec.name)


@lru_cache(maxsize=8)
def _compiled(
    env: Batch, chunk: int, executed: int, deterministic: bool
) -> Callable[[Policy, _Running, Array], tuple[_Running, _Trace]]:
    """Some control steps of any policy as one program."""

    def run(policy: Policy, running: _Running, keys: Key[Array, " T"]) -> tuple[_Running, _Trace]:
        def step(running: _Running, key: PRNGKey) -> tuple[_Running, _Trace]:
            state = running.env
            decided = policy(state.observation, None if deterministic else key)
            fresh = decided.reshape(env.size, chunk, env.spec.action_size)
            queue = jnp.where(running.place[:, None, None] == 0, fresh, running.chunk)
            action = queue[jnp.arange(env.size), running.place]
            out = env.step(state, action)
            place = jnp.where(out.done, 0, (running.place + 1) % executed)
            trace = _Trace(state.observation, action, out.done, out.nonfinite, out.episode_return)
            return _Running(out.state, queue, place), trace

        return jax.lax.scan(step, running, keys)

    return eqx.filter_jit(run)


def _episodes(trace: _Trace, per_environment: int, task: str) -> Demonstrations:
    """The first episodes of each environment that stayed finite, one after the other."""
    whole = []
    for b in range(trace.done.shape[1]):
        ends = np.flatnonzero(trace.done[:, b])[:per_environment] + 1
        for begin, end in zip([0, *ends[:-1]], ends, strict=True):
            if not trace.nonfinite[end - 1, b]:
                steps = trace.observation, np.asarray(trace.action)
                seen, action = jax.tree.map(lambda x, a=begin, z=end, b=b: x[a:z, b], steps)
                whole.append((seen, action, trace.episode_return[end - 1, b]))
    if not whole:
        raise RunError("every episode ended because of NaN or infinity: nothing is collected")
    return Demonstrations.of_episodes(whole, task)
