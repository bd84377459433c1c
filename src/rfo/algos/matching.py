"""Conditional flow matching: terms that keep a flow policy close to given latents.

`z` is a latent before tanh, `u` the flow's time. Errors are means over the A action dimensions, so
that each dimension has a share 1 / A of a term's weight.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rfo.policies.flow import FlowPolicy
from rfo.types import Array, Float, PRNGKey


def matching_error(
    policy: FlowPolicy,
    context: Float[Array, "*batch width"],
    target: Float[Array, "*batch A"],
    key: PRNGKey,
) -> Float[Array, "*batch"]:
    """Squared error of the velocity against the straight line from fresh noise to each target.

    It is ``|v(z_u, u, s) - (z - z_0)|^2 / A`` at ``z_u = (1 - u) z_0 + u z``, with u uniform in
    [0, 1) and z_0 drawn like the policy's source (Lipman et al. 2023, equation 23; arXiv
    2602.03501). No gradient enters z.

    Args:
        policy: whose velocity field is compared.
        context: ``policy.context`` of the normalised observations.
        target: latents z.
        key: for z_0 and u.
    """
    noise_key, time_key = jax.random.split(key)
    target = jax.lax.stop_gradient(target)
    source = policy.source_noise * jax.random.normal(noise_key, target.shape, target.dtype)
    u = jax.random.uniform(time_key, target.shape[:-1], target.dtype)
    return matching_error_at(policy, context, target, source, u)


def matching_error_at(
    policy: FlowPolicy,
    context: Float[Array, "*#batch width"],
    target: Float[Array, "*batch A"],
    source: Float[Array, "*batch A"],
    u: Float[Array, "*batch"],
) -> Float[Array, "*batch"]:
    """`matching_error` for a given z_0, the `source`, and a given u."""
    between = source + u[..., None] * (target - source)
    return jnp.mean((policy.velocity(context, between, u) - (target - source)) ** 2, axis=-1)


def uniform_latents(key: PRNGKey, shape: tuple[int, ...], clip: float) -> Float[Array, "*batch A"]:
    """Latents whose tanh is uniform in the action box.

    Args:
        key: for the draw.
        shape: shape of the result.
        clip: largest magnitude of an action, below 1, where atanh is infinite.
    """
    return jnp.arctanh(clip * jax.random.uniform(key, shape, minval=-1.0, maxval=1.0))
