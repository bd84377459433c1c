"""Environments with Brax's interface as tasks: Brax's own, and those of MuJoCo Playground.

Such an environment has ``reset(rng) -> State`` and ``step(state, action) -> State`` for one
environment, where a state has ``obs``, ``reward`` and ``done``. It is taken without the wrappers
that reset it and that end its episodes: `rfo.envs.batch.Batch` does both, and keeps the observation
before a reset.

`Batch` draws starts in every step, and a reset of these packages is as much work as a step of the
physics. So a task draws `STARTS` of them once, and takes its own from these.
"""

from __future__ import annotations

import os
from typing import Any

import jax
import jax.numpy as jnp

from rfo.envs.base import EnvSpec, Step
from rfo.errors import SettingError
from rfo.types import Array, Float, Observation, PRNGKey, PyTree

# A program of these packages is a long row of small operations, which XLA takes minutes to fuse and
# to optimise on a CPU. XLA reads this when it starts; what the user has set comes last, and wins.
QUICK = "--xla_cpu_use_fusion_emitters=false --xla_backend_optimization_level=0"
os.environ["XLA_FLAGS"] = f"{QUICK} {os.environ.get('XLA_FLAGS', '')}".strip()

STARTS = 256
"""Different starts of episodes."""
SEEN = "state"
"""What a policy sees of an observation with several parts; the others are for critics."""


class Stepped:
    """A task that steps an environment with Brax's interface, mapped over the batch.

    Args:
        env: the environment, for one instance.
        name: how the user calls it.
        episode_length: control steps after which an episode is truncated.
        differentiable: whether its physics has a gradient.

    Raises:
        SettingError: if a policy sees more than one vector.
    """

    def __init__(self, env: Any, name: str, episode_length: int, differentiable: bool):
        self._env = env
        self._starts = jax.jit(jax.vmap(env.reset))(_raw_keys(jax.random.key(0), STARTS))
        shape = _seen(self._starts.obs).shape[1:]
        if len(shape) != 1:
            raise SettingError(
                f"{name} is seen by an array of the shape {shape}, and only vectors can be read",
                "task",
            )
        self.spec = EnvSpec(
            name,
            observation=shape[0],
            action_size=int(env.action_size),
            episode_length=episode_length,
            dt=float(env.dt),
            differentiable=differentiable,
        )

    def reset(self, key: PRNGKey, batch: int) -> PyTree:
        """Draw `batch` initial states; those with a random key of their own get a new one."""
        start_key, own_key = jax.random.split(key)
        index = jax.random.randint(start_key, (batch,), 0, STARTS)
        state = jax.tree.map(lambda x: x[index], self._starts)
        if "rng" not in state.info:
            return state
        return state.replace(info={**state.info, "rng": _raw_keys(own_key, batch)})

    def observe(self, state: PyTree) -> Observation:
        """What the policy sees."""
        return _seen(state.obs)

    def step(self, state: PyTree, action: Float[Array, "B A"]) -> Step:
        """Advance by one control step; the action is clipped to [-1, 1]."""
        after = jax.vmap(self._env.step)(state, jnp.clip(action, -1.0, 1.0))
        after = jax.tree.map(lambda new, old: jnp.asarray(new, old.dtype), after, state)
        return Step(after, _seen(after.obs), after.reward, after.done > 0)


def _raw_keys(key: PRNGKey, count: int) -> Array:
    """Keys as plain numbers (count, 2), which checkpoints can hold."""
    return jax.random.key_data(jax.random.split(key, count))


def _seen(observation: Any) -> Array:
    return observation[SEEN] if isinstance(observation, dict) else observation
