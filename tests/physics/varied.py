"""Gradients in a simulator's parameters against central differences."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def pushed(step: Callable[..., Any], *inputs: Any) -> list[jax.Array]:
    """A step's results, and the adjoints of its inputs for adjoints of 1."""
    results, pull = jax.vjp(step, *inputs)
    return jax.tree.leaves((results, pull(jax.tree.map(jnp.ones_like, results))))


def assert_each_gradient(
    result: Callable[[Any], jax.Array],
    own: Any,
    envs: int,
    step: float = 1e-5,
) -> None:
    """That of each array of a record, along a random direction at its own scale.

    `result` takes the record with a row for each environment to a number for each.
    """
    own = jax.tree.map(lambda x: jnp.repeat(x, envs, 0), own)
    forward, gradient = jax.jit(result), jax.jit(jax.grad(lambda p: result(p).sum()))(own)
    rng = np.random.default_rng(2)
    for name, array in own._asdict().items():
        if not array.size:
            continue
        scale = jnp.maximum(jnp.abs(array), 1e-2 * jnp.abs(array).max())
        way = scale * rng.choice([-1.0, 1.0], array.shape)
        adjoint = (getattr(gradient, name) * way).reshape(envs, -1).sum(-1)
        above, below = (forward(own._replace(**{name: array + s * step * way})) for s in (1, -1))
        error = np.abs((above - below) / (2 * step) - adjoint)
        # a step across a kink of the contact law spoils a difference
        assert np.median(error / (np.abs(adjoint) + 1e-9)) < 1e-5, (name, adjoint, error)
        assert np.abs(adjoint).min() > 0, name
