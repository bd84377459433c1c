"""Returns over rollouts in which episodes end and begin.

A rollout of T steps has *segments*. Each ends where an episode terminates or is truncated, or at
the rollout's last step; the next one begins with discount 1. Beyond its last step a segment is
worth 0 if it terminated, else the value of that step's next observation (before any reset).

A *step* is one decision of the policy. With action chunks it has a `duration` of several control
steps, and its reward is their discounted sum (see `rfo.envs.chunk`). `gamma` is always the discount
of one control step.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from rfo.types import Array, Bool, Float, Int


def bootstrap_mask(
    terminated: Bool[Array, "T B"], truncated: Bool[Array, "T B"]
) -> Bool[Array, "T B"]:
    """Steps whose next observation's value ends a segment."""
    last = jnp.zeros_like(truncated).at[-1].set(True)
    return (truncated | last) & ~terminated


def discounts(
    terminated: Bool[Array, "T B"],
    truncated: Bool[Array, "T B"],
    gamma: float,
    duration: Int[Array, "T B"],
) -> Float[Array, "T B"]:
    """``gamma ** k`` for a step with k control steps before it in its segment."""
    steps = jnp.cumsum(duration, axis=0) - duration
    ended = (terminated | truncated)[:-1]
    begins = jnp.concatenate([jnp.ones_like(terminated[:1]), ended])
    start = jax.lax.cummax(jnp.where(begins, steps, 0), axis=0)
    return jnp.asarray(gamma) ** (steps - start)


def segment_return(
    reward: Float[Array, "T B"],
    next_value: Float[Array, "T B"],
    terminated: Bool[Array, "T B"],
    truncated: Bool[Array, "T B"],
    gamma: float,
    duration: Int[Array, "T B"],
) -> Float[Array, " B"]:
    """Discounted rewards and discounted bootstrap of all segments, summed per environment.

    The objective of SHAC (arXiv 2204.07137, equation 5), which RFO and SAPO share.

    Args:
        reward: r(s_t, a_t).
        next_value: V(s_{t+1}) at the observation *before* any reset; read at segment ends only.
        terminated: the task ended the episode at this step.
        truncated: the clock did.
        gamma: discount of one control step.
        duration: control steps of each step.
    """
    bootstrap = jnp.where(bootstrap_mask(terminated, truncated), next_value, 0.0)
    earned = reward + gamma**duration * bootstrap
    return jnp.sum(discounts(terminated, truncated, gamma, duration) * earned, axis=0)


def td_lambda(
    reward: Float[Array, "T B"],
    next_value: Float[Array, "T B"],
    terminated: Bool[Array, "T B"],
    truncated: Bool[Array, "T B"],
    gamma: float,
    lambda_: float,
    duration: Int[Array, "T B"],
) -> Float[Array, "T B"]:
    """TD(lambda) value targets (Sutton and Barto 2018, section 12.1).

    ``y_t = r_t + gamma ((1 - lambda) V(s_{t+1}) + lambda y_{t+1})`` inside a segment, ``r_t`` at a
    termination, and ``r_t + gamma V(s_{t+1})`` at a truncation or the rollout's last step. Each
    gamma is raised to the power of the step's duration.
    """
    ends = bootstrap_mask(terminated, truncated)

    def backward(following: Array, step: tuple[Array, ...]) -> tuple[Array, Array]:
        reward, next_value, terminated, ends, discount = step
        mixed = jnp.where(ends, next_value, (1 - lambda_) * next_value + lambda_ * following)
        target = reward + discount * jnp.where(terminated, 0.0, mixed)
        return target, target

    _, targets = jax.lax.scan(
        backward,
        jnp.zeros_like(reward[0]),
        (reward, next_value, terminated, ends, gamma**duration),
        reverse=True,
    )
    return targets


def gae(
    reward: Float[Array, "T B"],
    value: Float[Array, "T B"],
    next_value: Float[Array, "T B"],
    terminated: Bool[Array, "T B"],
    truncated: Bool[Array, "T B"],
    gamma: float,
    lambda_: float,
    duration: Int[Array, "T B"],
) -> Float[Array, "T B"]:
    """Generalised advantages (Schulman et al. 2016, equation 16): TD(lambda) targets minus values.

    ``A_t = delta_t + gamma lambda A_{t+1}`` inside a segment and ``delta_t`` at its last step,
    where ``delta_t = r_t + gamma V(s_{t+1}) - V(s_t)``, without V(s_{t+1}) at a termination. Each
    gamma is raised to the power of the step's duration.

    Args:
        value: V(s_t); inside a segment it is `next_value` of the step before.
        next_value: V(s_{t+1}) at the observation *before* any reset.
    """
    return td_lambda(reward, next_value, terminated, truncated, gamma, lambda_, duration) - value


class NStep(NamedTuple):
    """n-step returns without their bootstrap, and where to take that from."""

    reward: Float[Array, "T B"]
    """Discounted rewards of the next n steps, fewer where the segment ends."""
    last: Int[Array, "T B"]
    """Index of the last of these steps: its next observation bootstraps."""
    discount: Float[Array, "T B"]
    """Discount of that bootstrap: gamma to the number of control steps, or 0 at a termination."""


def n_step(
    reward: Float[Array, "T B"],
    terminated: Bool[Array, "T B"],
    truncated: Bool[Array, "T B"],
    gamma: float,
    steps: int,
    duration: Int[Array, "T B"],
) -> NStep:
    """n-step returns (Sutton and Barto 2018, section 7.1) that stop at the end of each segment.

    Args:
        steps: n, at least 1.
    """
    horizon = len(reward)
    last = jnp.broadcast_to(jnp.arange(horizon)[:, None], reward.shape)
    ends = (terminated | truncated).at[-1].set(True)
    going, total, taken = ~ends, reward, duration
    for n in range(1, min(steps, horizon)):
        # the step n ahead; beyond the rollout's end `going` is false
        total = total + jnp.where(going, gamma**taken * jnp.roll(reward, -n, axis=0), 0.0)
        taken = taken + jnp.where(going, jnp.roll(duration, -n, axis=0), 0)
        last = last + going
        going &= ~jnp.roll(ends, -n, axis=0)
    over = jnp.take_along_axis(terminated, last, axis=0)
    return NStep(total, last, jnp.where(over, 0.0, gamma**taken))
