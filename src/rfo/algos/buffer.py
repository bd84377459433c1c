"""SAC's replay buffer: a ring of rollouts, stored as transitions with n-step returns."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from rfo.algos.returns import n_step
from rfo.algos.rollout import Rollout
from rfo.envs.batch import Batch
from rfo.policies.normalize import Normalizer
from rfo.types import Array, Float, Int, Observation, PyTree


class Transitions(NamedTuple):
    """Steps with n-step returns. Observations are raw, to be normalised when they are used."""

    observation: Observation
    action: Float[Array, "*batch A"]
    reward: Float[Array, "*batch"]
    """Discounted rewards of n steps, see `rfo.algos.returns.n_step`."""
    next_observation: Observation
    """Observation after these steps, before any reset."""
    discount: Float[Array, "*batch"]
    """Discount of the next observation's value; 0 after a termination."""


def empty_buffer(observation: Observation, env: Batch, slots: int, size: int) -> Transitions:
    """A buffer for `slots` rollouts, at least one, of `size` transitions.

    Args:
        observation: observations of the environments, for their shapes.
        env: the environments.
        slots: number of rollouts.
        size: transitions T * B of a rollout.
    """
    shape = (max(1, slots), size)
    observations = jax.tree.map(lambda x: jnp.zeros((*shape, *x.shape[1:])), observation)
    action = jnp.zeros((*shape, env.spec.action_size))
    return Transitions(observations, action, jnp.zeros(shape), observations, jnp.zeros(shape))


def transitions(data: Rollout, gamma: float, steps: int) -> Transitions:
    """A rollout's T * B transitions with returns of up to `steps` steps."""
    ahead = n_step(data.reward, data.terminated, data.truncated, gamma, steps, data.duration)
    environments = jnp.arange(ahead.last.shape[1])
    later = jax.tree.map(lambda x: x[ahead.last, environments], data.next_observation)
    made = Transitions(data.observation, data.action, ahead.reward, later, ahead.discount)
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), made)


def stored(buffer: Transitions, new: Transitions, update: Int[Array, ""]) -> Transitions:
    """The buffer with a rollout in place of its oldest."""
    slot = update % len(buffer.reward)
    return jax.tree.map(
        lambda old, x: jax.lax.dynamic_update_index_in_dim(old, x, slot, 0), buffer, new
    )


def drawn(rows: PyTree, index: Int[Array, " N"], normalize: Normalizer) -> Transitions:
    """Some of the transitions, their observations normalised."""
    batch = jax.tree.map(lambda x: x[index], rows)
    return batch._replace(
        observation=normalize(batch.observation), next_observation=normalize(batch.next_observation)
    )
