"""The perceptron against plain NumPy, and its hand-written derivative against differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rfo.policies.critic import Critics
from rfo.policies.encoder import Identity
from rfo.policies.nets import ACTIVATIONS, MLP, NORM_EPSILON, largest, orthogonal


def plain_mlp(net: MLP, x: np.ndarray) -> np.ndarray:
    """Linear, layer normalisation, activation, as a textbook writes them."""
    for weight, bias, scale, offset in zip(
        net.weights, net.biases, net.scales, net.offsets, strict=False
    ):
        x = x @ np.asarray(weight) + np.asarray(bias)
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + NORM_EPSILON)
        x = np.asarray(ACTIVATIONS[net.activation](jnp.asarray(x * scale + offset)))
    return x @ np.asarray(net.weights[-1]) + np.asarray(net.biases[-1])


@jax.jit
def scrambled(tree, key):
    """All parameters random, so that no bias or offset is zero by initialisation."""
    leaves, treedef = jax.tree.flatten(tree)
    keys = jax.random.split(key, len(leaves))
    noisy = [
        x + 0.3 * jax.random.normal(k, x.shape, x.dtype) for k, x in zip(keys, leaves, strict=True)
    ]
    return jax.tree.unflatten(treedef, noisy)


@pytest.mark.parametrize("shape", [(6, 3), (3, 6)])
def test_orthogonal_matrices_are_made_together_exactly_as_alone(shape):
    keys = jax.random.split(jax.random.key(0), 6).reshape(2, 3)
    together = jax.jit(jax.vmap(jax.vmap(lambda key: orthogonal(key, shape, 2.0))))(keys)
    alone = jax.jit(lambda key: orthogonal(key, shape, 2.0))
    for place in np.ndindex(2, 3):
        matrix = alone(keys[place])
        np.testing.assert_array_equal(together[place], matrix)
        tall = matrix if shape[0] > shape[1] else matrix.T
        np.testing.assert_allclose(tall.T @ tall, 4 * np.eye(3), atol=1e-5)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_matches_textbook_and_finite_differences(activation):
    with jax.enable_x64(True):
        net = scrambled(MLP(jax.random.key(0), (3, 8, 5, 2), activation), jax.random.key(1))
        x = jax.random.normal(jax.random.key(2), (7, 3))
        np.testing.assert_allclose(net(x), plain_mlp(net, np.asarray(x)), rtol=1e-10)

        @jax.jit
        def loss(net, x):
            return jnp.sum(jnp.sin(net(x)))

        gradient, eps = jax.jit(jax.grad(loss, argnums=(0, 1)))(net, x), 1e-6
        for seed in range(3):
            direction = scrambled(jax.tree.map(jnp.zeros_like, (net, x)), jax.random.key(seed))
            ahead = loss(*jax.tree.map(lambda a, d: a + eps * d, (net, x), direction))
            behind = loss(*jax.tree.map(lambda a, d: a - eps * d, (net, x), direction))
            analytic = sum(
                jax.tree.leaves(jax.tree.map(lambda g, d: jnp.sum(g * d), gradient, direction))
            )
            np.testing.assert_allclose(analytic, (ahead - behind) / (2 * eps), rtol=1e-6)


def test_initial_matrices_are_orthogonal_with_gain():
    net = MLP(jax.random.key(0), (16, 8, 8, 4), "silu", gain=1.5, last_scale=0.1)
    for weight, gain in zip(net.weights, (1.5, 1.5, 0.15), strict=True):
        np.testing.assert_allclose(weight.T @ weight, gain**2 * np.eye(weight.shape[1]), atol=1e-5)


def test_bad_settings_are_refused_by_name():
    with pytest.raises(ValueError, match=r"activation must be one of .*, not 'gelu'"):
        MLP(jax.random.key(0), (3, 8, 1), "gelu")
    with pytest.raises(ValueError, match="layer sizes"):
        MLP(jax.random.key(0), (3, 0, 1), "silu")
    with pytest.raises(ValueError, match="at least one critic"):
        Critics(jax.random.key(0), Identity(3), (8,), ensemble=0)


def test_ensemble_members_are_independent_and_evaluated_as_alone():
    critics = Critics(jax.random.key(0), Identity(3), (8, 8), ensemble=3)
    x = jax.random.normal(jax.random.key(1), (5, 4, 3))
    values = critics(x)
    assert values.shape == (3, 5, 4)
    for i in range(3):
        alone = jax.tree.map(lambda leaf, i=i: leaf[i], critics.nets)
        np.testing.assert_allclose(
            values[i], plain_mlp(alone, np.asarray(x))[..., 0], rtol=1e-4, atol=1e-5
        )
    assert jnp.abs(values[0] - values[1]).max() > 0.1


def test_gradient_of_the_largest_goes_to_one_place_even_among_equals():
    """By hand; jnp.max would halve it between equals, and lose it where none is found equal."""
    x = jnp.array([[1.0, 3.0, 2.0], [5.0, 5.0, -1.0]])
    np.testing.assert_array_equal(largest(x, 1), [3.0, 5.0])
    np.testing.assert_array_equal(largest(x, 0), [5.0, 5.0, 2.0])
    gradient = jax.grad(lambda x: (jnp.array([2.0, 7.0]) * largest(x, 1)).sum())(x)
    np.testing.assert_array_equal(gradient, [[0, 2, 0], [7, 0, 0]])
