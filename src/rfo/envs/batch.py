"""Episodes over a task: clocks, automatic reset, and containment of non-finite environments.

The observation *before* a reset (`BatchStep.next_observation`) is kept apart from the one after
it (`BatchState.observation`): a bootstrap value must use the former. Resets select with `where`
on the state, so the gradient of environments that go on is untouched by a neighbour's reset.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rfo.envs.base import Environment, EnvSpec
from rfo.types import Array, Bool, Float, Int, Observation, PRNGKey, PyTree

OBSERVATION_LIMIT = 1e6
"""An observation beyond this magnitude counts as non-finite."""


class BatchState(NamedTuple):
    """State of B environments between two control steps; plain data, safe to checkpoint."""

    task: PyTree
    observation: Observation
    elapsed: Int[Array, " B"]
    """Control steps taken in the current episode."""
    episode_return: Float[Array, " B"]
    """Undiscounted rewards summed so far in the current episode."""
    whole: Bool[Array, " B"]
    """Whether the current episode was seen from its beginning."""
    key: PRNGKey


class BatchStep(NamedTuple):
    """What one control step of the batch yields."""

    state: BatchState
    """After automatic resets."""
    next_observation: Observation
    """Observation before any reset: the one to bootstrap from."""
    reward: Float[Array, " B"]
    terminated: Bool[Array, " B"]
    truncated: Bool[Array, " B"]
    nonfinite: Bool[Array, " B"]
    """Environments whose state, observation or reward was not finite; they count as terminated,
    with reward 0, and restart."""
    episode_return: Float[Array, " B"]
    """Return of the episode up to and including this step, final where `done`; NaN if its beginning was
    not seen."""
    episode_length: Int[Array, " B"]
    """Its control steps."""
    duration: Int[Array, " B"]
    """Control steps that this step took: 1, or of a chunk as many as were executed."""

    @property
    def done(self) -> Bool[Array, " B"]:
        """Environments whose episode ended at this step."""
        return self.terminated | self.truncated


class Batch:
    """`size` copies of a task with automatic reset.

    Args:
        task: the environment.
        size: number of environments B, at least 1.

    Raises:
        ValueError: if `size` is not positive.
    """

    def __init__(self, task: Environment, size: int):
        if size < 1:
            raise ValueError(f"number of environments must be at least 1, not {size}")
        self.task = task
        self.size = size

    @property
    def spec(self) -> EnvSpec:
        """The task's specification."""
        return self.task.spec

    @property
    def stride(self) -> int:
        """Control steps of one decision of the policy: of one call of `step`."""
        return 1

    def resized(self, size: int) -> Batch:
        """The same with another number of environments."""
        return Batch(self.task, size)

    def init(self, key: PRNGKey) -> BatchState:
        """Start B episodes."""
        key, reset_key = jax.random.split(key)
        task = self.task.reset(reset_key, self.size)
        return BatchState(
            task=task,
            observation=self.task.observe(task),
            elapsed=jnp.zeros(self.size, jnp.int32),
            episode_return=jnp.zeros(self.size),
            whole=jnp.ones(self.size, bool),
            key=key,
        )

    def staggered(self, key: PRNGKey) -> BatchState:
        """Start B episodes to train on, whose clocks show random ages, so that a rollout meets all ages.

        Where no episode ends early the clocks would run in phase for ever: each rollout would show its
        critic one stretch of an episode, in which the last one's is forgotten. The first episodes are cut
        short, which a bootstrap allows for; their returns are unknown and are not recorded.
        """
        start_key, age_key = jax.random.split(key)
        age = jax.random.randint(age_key, (self.size,), 0, self.spec.episode_length)
        return self.init(start_key)._replace(elapsed=age, whole=age == 0)

    def step(self, state: BatchState, action: Float[Array, "B A"]) -> BatchStep:
        """One control step, then reset of the environments whose episode ended."""
        task_state, action = contain_gradient((state.task, action))
        outcome = self.task.step(task_state, action)
        healthy = _all_numbers(jnp.isfinite, (outcome.state, outcome.observation, outcome.reward))
        healthy &= _all_numbers(lambda x: jnp.abs(x) <= OBSERVATION_LIMIT, outcome.observation)

        key, reset_key = jax.random.split(state.key)
        fresh = self.task.reset(reset_key, self.size)
        fresh_observation = self.task.observe(fresh)

        reward = jnp.where(healthy, outcome.reward, 0.0)
        next_observation = where_env(healthy, outcome.observation, fresh_observation)
        elapsed = state.elapsed + 1
        episode_return = state.episode_return + jax.lax.stop_gradient(reward)
        terminated = outcome.terminated | ~healthy
        truncated = (elapsed >= self.spec.episode_length) & ~terminated
        done = terminated | truncated

        after = BatchState(
            task=where_env(done, fresh, outcome.state),
            observation=where_env(done, fresh_observation, next_observation),
            elapsed=jnp.where(done, 0, elapsed),
            episode_return=jnp.where(done, 0.0, episode_return),
            whole=done | state.whole,
            key=key,
        )
        return BatchStep(
            state=after,
            next_observation=next_observation,
            reward=reward,
            terminated=terminated,
            truncated=truncated,
            nonfinite=~healthy,
            episode_return=jnp.where(state.whole, episode_return, jnp.nan),
            episode_length=elapsed,
            duration=jnp.ones_like(elapsed),
        )


def where_env(mask: Bool[Array, " B"], if_true: PyTree, if_false: PyTree) -> PyTree:
    """Select whole environments: `mask` (B,) against arrays with the leading axis B."""

    def select(x: Array, y: Array) -> Array:
        return jnp.where(mask.reshape(mask.shape + (1,) * (x.ndim - 1)), x, y)

    return jax.tree.map(select, if_true, if_false)


def _all_numbers(passes: Callable[[Array], Array], tree: PyTree) -> Bool[Array, " B"]:
    """Environments in which every floating-point number passes."""
    flags = [
        jnp.all(passes(x).reshape(x.shape[0], -1), axis=-1)
        for x in jax.tree.leaves(tree)
        if jnp.issubdtype(x.dtype, jnp.floating)
    ]
    return jnp.stack(flags).all(axis=0)


@jax.custom_vjp
def contain_gradient(tree: PyTree) -> PyTree:
    """Identity whose backward pass drops the gradient of environments where it is not finite.

    A diverged environment's cotangent is 0 at the `where` that masked it, but 0 times an infinite
    derivative is NaN, and a sum over the batch would carry it into every weight.
    """
    return tree


def _contain_forward(tree: PyTree) -> tuple[PyTree, None]:
    return tree, None


def _contain_backward(_: None, cotangent: PyTree) -> tuple[PyTree]:
    floating = [x for x in jax.tree.leaves(cotangent) if jnp.issubdtype(x.dtype, jnp.floating)]
    finite = _all_numbers(jnp.isfinite, floating)

    def mask(x: Array) -> Array:
        if not jnp.issubdtype(x.dtype, jnp.floating):  # float0 cotangents of integers
            return x
        return jnp.where(finite.reshape(finite.shape + (1,) * (x.ndim - 1)), x, 0.0)

    return (jax.tree.map(mask, cotangent),)


contain_gradient.defvjp(_contain_forward, _contain_backward)
