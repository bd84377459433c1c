"""gymnax's environments with continuous actions as tasks: ``gymnax:Pendulum-v1``."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rfo.envs.base import EnvSpec, Step
from rfo.errors import SettingError
from rfo.types import Array, Float, PRNGKey

try:
    import gymnax  # pyright: ignore[reportMissingImports]
    from gymnax.environments import spaces  # pyright: ignore[reportMissingImports]
except ImportError:
    raise SettingError("gymnax is not installed: pip install 'rfo[gymnax]'", "task") from None

ENDLESS = 2**30
"""Steps after which gymnax itself would end an episode: never, as `Batch` does that."""


class GymnaxState(NamedTuple):
    """State of B environments."""

    inner: Any
    observation: Float[Array, "B O"]
    key: Array
    """(B, 2) raw random keys."""


class GymnaxTask:
    """An environment of gymnax. Its step stops the gradient of the state.

    Args:
        source: its name, as in ``Pendulum-v1``.
        episode_length: control steps after which an episode is truncated; None for the
            environment's own.

    Raises:
        SettingError: for an unknown name, discrete actions, or observations that are no vector.
    """

    def __init__(self, source: str, episode_length: int | None = None):
        if source not in gymnax.registered_envs:
            known = ", ".join(gymnax.registered_envs)
            raise SettingError(f"gymnax has no environment {source}; it has {known}", "task")
        made: Any = gymnax.make(source)
        self._env, params = made
        action, seen = self._env.action_space(params), self._env.observation_space(params)
        if not isinstance(action, spaces.Box):
            raise SettingError(
                f"{source} has discrete actions, and the methods here need continuous ones, as "
                f"Pendulum-v1 and MountainCarContinuous-v0 have",
                "task",
            )
        if len(seen.shape) != 1:
            raise SettingError(f"{source} is seen by an array of the shape {seen.shape}", "task")
        size = int(np.prod(action.shape))
        self._low, self._high = (
            jnp.broadcast_to(jnp.asarray(x, jnp.float32), (size,))
            for x in (action.low, action.high)
        )
        self._shape = action.shape
        self._params = params.replace(max_steps_in_episode=ENDLESS)
        self.spec = EnvSpec(
            f"gymnax:{source}",
            observation=seen.shape[0],
            action_size=size,
            episode_length=episode_length or int(params.max_steps_in_episode),
            dt=float(getattr(params, "dt", 1.0)),
            differentiable=False,
        )

    def reset(self, key: PRNGKey, batch: int) -> GymnaxState:
        """Draw `batch` initial states."""
        reset_key, step_key = jax.random.split(key)
        observation, inner = jax.vmap(self._env.reset_env, (0, None))(
            jax.random.split(reset_key, batch), self._params
        )
        inner = jax.tree.map(jnp.asarray, inner)
        keys = jax.random.key_data(jax.random.split(step_key, batch))
        return GymnaxState(inner, observation.astype(jnp.float32), keys)

    def observe(self, state: GymnaxState) -> Float[Array, "B O"]:
        """The observation that came with the state."""
        return state.observation

    def step(self, state: GymnaxState, action: Float[Array, "B A"]) -> Step:
        """Advance by one control step; [-1, 1] is mapped to the bounds of the action space."""
        unit = (jnp.clip(action, -1.0, 1.0) + 1) / 2
        scaled = (self._low + unit * (self._high - self._low)).reshape(-1, *self._shape)
        keys = jax.vmap(jax.random.split)(state.key)
        observation, inner, reward, done, _ = jax.vmap(self._env.step_env, (0, 0, 0, None))(
            keys[:, 0], state.inner, scaled, self._params
        )
        inner = jax.tree.map(lambda new, old: jnp.asarray(new, old.dtype), inner, state.inner)
        observation = observation.astype(jnp.float32)
        reward = jnp.asarray(reward, jnp.float32).reshape(-1)
        after = GymnaxState(inner, observation, keys[:, 1])
        return Step(after, observation, reward, done)
