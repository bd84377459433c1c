"""Our tasks as Brax's environments, for Brax's trainers.

Example:
    >>> import jax
    >>> from rfo.envs.adapters.brax import Task
    >>> env = Task("lqr")
    >>> state = env.step(env.reset(jax.random.key(0)), jax.numpy.zeros(1))
    >>> state.obs.shape, float(state.done)
    ((2,), 0.0)
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

import rfo
from rfo.types import Array, Float, PRNGKey

try:
    from brax.envs.base import Env, State  # pyright: ignore[reportMissingImports]
except ImportError:
    raise ImportError("brax is not installed: pip install 'rfo[brax]'") from None


class Task(Env):
    """One environment of a task, which Brax's wrappers batch, reset and end.

    Brax maps environments over a batch with `jax.vmap`. Our simulators take the whole batch in one
    call then. Episodes have no time limit of their own: give the trainer the ``episode_length`` of
    this object.

    Args:
        task: name of a known task, an MJCF file, or a task of your own as ``my_task.py:Reach``.
        threads: CPU threads of the physics.
        options: the task's own settings.

    Raises:
        SettingError: for an unknown task or option.
    """

    def __init__(self, task: str, threads: int | None = None, **options: Any):
        self._task = rfo.make(task, 1, threads=threads, **options).task
        self._spec = self._task.spec
        self.episode_length = self._spec.episode_length
        """Control steps after which the task is truncated."""
        self.dt = self._spec.dt
        """Duration of a control step [s]."""

    def reset(self, rng: PRNGKey) -> State:
        """Start an episode; its arrays have no axis B."""
        if not jnp.issubdtype(rng.dtype, jax.dtypes.prng_key):
            rng = jax.random.wrap_key_data(rng)
        state = self._task.reset(rng, 1)
        zero = jnp.zeros(())
        return State(_one(state), _one(self._task.observe(state)), zero, zero, {}, {})

    def step(self, state: State, action: Float[Array, " A"]) -> State:
        """One control step; `done` is 1 where the task terminated, and not at a time limit."""
        batched = jax.tree.map(lambda x: x[None], state.pipeline_state)
        after = self._task.step(batched, action[None])
        return state.replace(  # pyright: ignore[reportAttributeAccessIssue]
            pipeline_state=_one(after.state),
            obs=_one(after.observation),
            reward=after.reward[0],
            done=after.terminated[0].astype(jnp.float32),
        )

    @property
    def observation_size(self) -> Any:
        """Size of a vector, or the shape of each array of a dict."""
        return self._spec.observation

    @property
    def action_size(self) -> int:
        """Size of an action, in [-1, 1]."""
        return self._spec.action_size

    @property
    def backend(self) -> str:
        """Whose physics it is."""
        return "rfo"


def _one(tree: Any) -> Any:
    return jax.tree.map(lambda x: x[0], tree)
