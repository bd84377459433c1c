"""What the methods with a clipped surrogate share: advantages, the values' scale, epochs."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rfo.algos.optimize import Descent, DescentState, DescentStep
from rfo.algos.returns import gae
from rfo.algos.rollout import Rollout
from rfo.policies.critic import Critics
from rfo.policies.normalize import Normalizer
from rfo.types import Array, Float, Metrics, PyTree


class Advantages(NamedTuple):
    """Advantages of a rollout's actions, and targets of the critics."""

    advantage: Float[Array, "T B"]
    """Mean 0, standard deviation 1 over the rollout."""
    target: Float[Array, "T B"]
    """The critics' targets, in units of `scale`."""
    scale: Normalizer
    """Mean and variance of the values, with this rollout's merged in."""


def estimate_advantages(
    critics: Critics,
    normalize: Normalizer,
    scale: Normalizer,
    data: Rollout,
    gamma: float,
    lambda_: float,
) -> Advantages:
    """Generalised advantages and the critics' targets.

    A time limit bootstraps from the value of the observation before the reset; a termination does
    not (`rfo.algos.returns`).

    Args:
        critics: value networks, with values in units of `scale`; their mean counts.
        normalize: running mean and variance of the observations.
        scale: running mean and variance of the values, of size 1.
        data: the rollout.
        gamma: discount of one control step.
        lambda_: lambda of the advantages.
    """

    def values(observation: PyTree) -> Array:
        return scale.inverse(critics(normalize(observation)).mean(0)[..., None])[..., 0]

    value = values(data.observation)
    advantage = gae(
        data.reward,
        value,
        values(data.next_observation),
        data.terminated,
        data.truncated,
        gamma,
        lambda_,
        data.duration,
    )
    target = (value + advantage)[..., None]
    scale = scale.updated(target)
    standard = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
    return Advantages(standard, jnp.asarray(scale(target))[..., 0], scale)


def clipped_surrogate(
    ratio: Float[Array, "*batch"], advantage: Float[Array, "*batch"], clip: float
) -> Float[Array, ""]:
    """``mean min(ratio A, clip(ratio, 1 - clip, 1 + clip) A)`` (arXiv 1707.06347, equation 7)."""
    clipped = jnp.clip(ratio, 1 - clip, 1 + clip)
    return jnp.mean(jnp.minimum(ratio * advantage, clipped * advantage))


def asymmetric_surrogate(
    ratio: Float[Array, "*batch"], advantage: Float[Array, "*#batch"], clip: float
) -> Float[Array, ""]:
    """`clipped_surrogate` for good actions, a parabola for bad ones.

    The parabola ``r A - |A| (r - 1)^2 / (2 clip)`` has its top at ``r = 1 - clip``. It is the
    objective of Simple Policy Optimization (arXiv 2401.16025). It leads back a ratio that has
    fallen too far, whereas the clip would let it go. A matching error has no upper bound: with the
    clip alone, bad actions can raise it without end.
    """
    good = jnp.minimum(ratio, 1 + clip) * advantage
    bad = ratio * advantage - jnp.abs(advantage) * (ratio - 1) ** 2 / (2 * clip)
    return jnp.mean(jnp.where(advantage >= 0, good, bad))


def minibatches(data: PyTree, count: int) -> PyTree:
    """Arrays (T, B, ...) as `count` contiguous stretches of time, (count, T / count * B, ...)."""
    return jax.tree.map(lambda x: x.reshape(count, -1, *x.shape[2:]), data)


def epoch(
    loss: Callable[[Array, PyTree], tuple[Array, Metrics]],
    flat: Float[Array, " P"],
    optimizer: tuple[Descent, DescentState],
    batches: PyTree,
) -> tuple[Array, DescentState, Metrics, DescentStep]:
    """One descent on each minibatch, in order.

    Args:
        loss: value and metrics, from parameters and a minibatch.
        flat: parameters as one vector, flattened once, not at each of the many small steps.
        optimizer: the optimiser at this update's learning rate, and its state.
        batches: arrays whose leading axis counts minibatches.

    Returns:
        Parameters, the optimiser's state, and metrics and reports of every step.
    """
    descent, state = optimizer

    def step(carry: tuple, batch: PyTree) -> tuple[tuple, tuple]:
        flat, state = carry
        flat, state, metrics, report = descent.down(lambda x: loss(x, batch), flat, state)
        return (flat, state), (metrics, report)

    (flat, state), (metrics, reports) = jax.lax.scan(step, (flat, state), batches)
    return flat, state, metrics, reports
