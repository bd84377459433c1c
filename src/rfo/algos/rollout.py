"""Rollouts of a policy in a batch of environments, and their metrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from rfo.algos.base import DROPPED, DROPPED_IN, NONFINITE_STEPS
from rfo.envs.batch import Batch, BatchState, GradientProbe
from rfo.errors import SettingError
from rfo.policies.encoder import Encoder
from rfo.policies.normalize import Normalizer
from rfo.types import Array, Bool, Float, Int, Metrics, Observation, PRNGKey, PyTree


@runtime_checkable
class Actor(Protocol):
    """A policy network."""

    action_size: int
    encoder: Encoder

    def __call__(self, observation: Observation, noise: Array) -> tuple[Array, Array]:
        """Action and latent for a normalised observation and standard normal noise."""
        ...


SATURATION = 0.95
"""An action beyond this magnitude counts as saturated."""

SPREAD_STATES = 16
"""States in which an update's effect on the policy is measured."""

SPREAD_DRAWS = 8
"""Actions drawn in each of these states."""


def decisions(horizon: int, env: Batch) -> int:
    """Steps T of a rollout of `horizon` control steps.

    Raises:
        SettingError: if the control steps of one decision do not divide the horizon.
    """
    if horizon % env.stride:
        message = f"a chunk's {env.stride} control steps must divide horizon ({horizon})"
        raise SettingError(message, "horizon")
    return horizon // env.stride


class Rollout(NamedTuple):
    """T steps of B environments, time-major. Observations are raw.

    A step is one decision of the policy: a control step, or a chunk of several.
    """

    observation: Observation
    next_observation: Observation
    """Observation before any reset, from which to bootstrap."""
    action: Float[Array, "T B A"]
    extras: PyTree
    """What the policy callback returned besides the action."""
    reward: Float[Array, "T B"]
    terminated: Bool[Array, "T B"]
    truncated: Bool[Array, "T B"]
    nonfinite: Bool[Array, "T B"]
    episode_return: Float[Array, "T B"]
    episode_length: Int[Array, "T B"]
    duration: Int[Array, "T B"]
    """Control steps of each step."""


def rollout(
    env: Batch,
    start: BatchState,
    act: Callable[[Observation, PyTree], tuple[Array, PyTree]],
    noise: PyTree,
    probe: GradientProbe | None = None,
) -> tuple[BatchState, Rollout]:
    """Act for T steps; differentiable through the policy and the environment.

    Args:
        env: the environments.
        start: their state; plain data, so the gradient ends at the rollout's first step.
        act: maps a raw observation and one step's noise to an action and extras.
        noise: arrays with the leading axis T.
        probe: ``env.probe(start)``. A loss's gradient with respect to it tells `rollout_metrics`
            which gradients the environments dropped because they were not finite.
    """

    def advance(state: BatchState, step_noise: PyTree) -> tuple[BatchState, Rollout]:
        action, extras = act(state.observation, step_noise)
        step = env.step(state, action, probe)
        return step.state, Rollout(
            observation=state.observation,
            next_observation=step.next_observation,
            action=action,
            extras=extras,
            reward=step.reward,
            terminated=step.terminated,
            truncated=step.truncated,
            nonfinite=step.nonfinite,
            episode_return=step.episode_return,
            episode_length=step.episode_length,
            duration=step.duration,
        )

    return jax.lax.scan(advance, start, noise)


def rollout_metrics(data: Rollout, dropped: GradientProbe | None = None) -> Metrics:
    """The metrics of a rollout that every method reports, see `rfo.algos.base.Algorithm.update`.

    Args:
        data: the rollout. Its episodes count if they were seen from their beginning.
        dropped: gradient of the loss with respect to the rollout's probe, if there is one.
    """
    done = (data.terminated | data.truncated) & ~jnp.isnan(data.episode_return)
    episodes, steps = done.sum(), data.duration.sum()
    counts = {} if dropped is None else {DROPPED: dropped.environments}
    counts |= {} if dropped is None else {f"{DROPPED_IN}{k}": x for k, x in dropped.arrays.items()}
    return {
        "episodes": episodes,
        "episode_return": jnp.where(done, data.episode_return, 0.0).sum() / episodes,
        "episode_length": jnp.where(done, data.episode_length, 0).sum() / episodes,
        "reward": data.reward.sum() / steps,
        "nonfinite": data.nonfinite.sum() / steps,
        NONFINITE_STEPS: jnp.where(done & data.nonfinite, data.episode_length, 0).sum() / steps,
        **{name: count.sum() / steps for name, count in counts.items()},
        "action_saturation": (jnp.abs(data.action) > SATURATION).mean(),
    }


def policy_metrics(before: Actor, after: Actor, observation: Observation, key: PRNGKey) -> Metrics:
    """How random a policy's actions are, and how far an update moved them, at some states.

    ``action_spread`` is the standard deviation over the noise, at a fixed state, of the actions
    before the update. ``policy_change`` is the root mean square of what the update changes in the
    action of a state and noise. Both are means over action dimensions.
    """
    states = jax.tree.map(lambda x: x[:SPREAD_STATES], observation)
    count = len(jax.tree.leaves(states)[0])
    noise = jax.random.normal(key, (SPREAD_DRAWS, count, before.action_size))
    repeated = jax.tree.map(lambda x: jnp.broadcast_to(x, (SPREAD_DRAWS, *x.shape)), states)
    old, _ = before(repeated, noise)
    new, _ = after(repeated, noise)
    return {
        "action_spread": jnp.std(old, axis=0, ddof=1).mean(),
        "policy_change": jnp.sqrt(((new - old) ** 2).mean()),
    }


class TrainedPolicy(NamedTuple):
    """An actor with its observation normaliser: implements `rfo.algos.base.Policy`."""

    actor: Actor
    normalizer: Normalizer

    def __call__(self, observation: Observation, key: PRNGKey | None) -> Float[Array, "B A"]:
        """Action in (-1, 1); noise zero if `key` is None."""
        encoding = jax.eval_shape(self.actor.encoder, observation)
        shape = (*encoding.shape[:-1], self.actor.action_size)
        noise = jnp.zeros(shape) if key is None else jax.random.normal(key, shape)
        return self.act(observation, noise)

    def act(self, observation: Observation, noise: Float[Array, "B A"]) -> Float[Array, "B A"]:
        """Action in (-1, 1) for given standard normal noise."""
        action, _ = self.actor(self.normalizer(observation), noise)
        return action
