"""The point encoder against NumPy, hand arithmetic, finite differences and its symmetries."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_nets import scrambled

from rfo.envs.base import EnvSpec
from rfo.policies.critic import Critics
from rfo.policies.encoder import Identity, PointEncoder, encoder_for
from rfo.policies.flow import FlowPolicy
from rfo.policies.nets import ACTIVATIONS, NORM_EPSILON

SHAPES = {"particle_q": (7, 3), "joint_q": (2,), "com_q": (3,)}
SMALL = {"point_hidden": (5, 6), "point_features": 4, "vector_features": 3}


def count(tree):
    return sum(x.size for x in jax.tree.leaves(tree))


def observed(shapes=SHAPES, lead=(4,), seed=1):
    keys = jax.random.split(jax.random.key(seed), len(shapes))
    return {
        name: jax.random.normal(key, (*lead, *shape))
        for key, (name, shape) in zip(keys, shapes.items(), strict=True)
    }


def small(shapes=SHAPES, **settings):
    """With random biases and offsets."""
    return scrambled(
        encoder_for(jax.random.key(0), shapes, **(SMALL | settings)), jax.random.key(1)
    )


def plain_layers(net, x):
    """Linear, layer normalisation, activation, the last layer included."""
    for weight, bias, scale, offset in zip(
        net.weights, net.biases, net.scales, net.offsets, strict=True
    ):
        x = x @ np.asarray(weight) + np.asarray(bias)
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + NORM_EPSILON)
        x = np.asarray(ACTIVATIONS[net.activation](jnp.asarray(x * scale + offset)))
    return x


def test_parameters_of_the_reference_network():
    """3 -> 64 -> 128 -> 256, 256 -> 64, n -> 128, each with weights, biases, scales and offsets."""
    encoder = encoder_for(
        jax.random.key(0), {"particle_q": (250, 3), "com_q": (3,), "joint_q": (24,)}
    )
    points = (3 * 64 + 3 * 64) + (64 * 128 + 3 * 128) + (128 * 256 + 3 * 256)
    pooled, vectors = 256 * 64 + 3 * 64, 27 * 128 + 3 * 128
    assert encoder.size == 64 + 128 == 192
    assert count(encoder) == points + pooled + vectors == 62_912


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_equals_a_plain_network(pooling):
    """Points pass the layers, are pooled and pass one more; vectors are sorted: com_q, joint_q."""
    with jax.enable_x64(True):
        encoder, observation = small(pooling=pooling), observed()
        cloud = encoder.clouds["particle_q"]
        each = plain_layers(cloud.points, np.asarray(observation["particle_q"]))
        pooled = {"mean": each.sum(1) / 7, "max": np.sort(each, axis=1)[:, -1]}[pooling]
        vectors = np.concatenate([observation["com_q"], observation["joint_q"]], -1)
        expected = [plain_layers(cloud.pooled, pooled), plain_layers(encoder.vectors, vectors)]
        np.testing.assert_allclose(encoder(observation), np.concatenate(expected, -1), rtol=1e-9)


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_the_order_of_the_points_is_nothing_and_their_places_are_all(pooling):
    encoder, observation = small(pooling=pooling), observed()
    cloud = observation["particle_q"]
    shuffled = cloud[:, np.random.default_rng(0).permutation(7)]
    encoding = encoder(observation)
    np.testing.assert_allclose(
        encoder({**observation, "particle_q": shuffled}), encoding, atol=1e-5
    )
    moved = encoder({**observation, "particle_q": cloud + 0.5})
    assert np.all(np.any(np.abs(moved - encoding) > 1e-3, axis=-1))
    mixed = encoder({**observation, "particle_q": cloud[::-1]})  # clouds of other environments
    assert np.all(np.any(np.abs(mixed - encoding) > 1e-3, axis=-1))


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_gradients_to_points_vectors_and_weights_match_finite_differences(pooling):
    with jax.enable_x64(True):
        inputs = small(pooling=pooling), observed()

        @jax.jit
        def loss(inputs):
            encoder, observation = inputs
            return jnp.sum(jnp.sin(3 * encoder(observation)))

        gradient, eps = jax.jit(jax.grad(loss))(inputs), 1e-6
        leaves, structure = jax.tree.flatten(inputs)
        for i, leaf in enumerate(leaves):  # one array at a time: none may hide behind another
            direction = [jnp.zeros_like(x) for x in leaves]
            direction[i] = jax.random.normal(jax.random.key(i), leaf.shape)
            ahead, behind = (
                loss(
                    structure.unflatten([x + h * d for x, d in zip(leaves, direction, strict=True)])
                )
                for h in (eps, -eps)
            )
            slope = jnp.sum(jax.tree.leaves(gradient)[i] * direction[i])
            np.testing.assert_allclose(slope, (ahead - behind) / (2 * eps), rtol=1e-5, atol=1e-8)
            assert abs(slope) > 1e-6, "no array may be without influence"


def test_any_leading_dimensions_are_one_batch():
    encoder = small()
    flat, shaped = observed(lead=(6,)), observed(lead=(6,))
    shaped = {name: x.reshape(2, 3, *x.shape[1:]) for name, x in shaped.items()}
    expected = encoder(flat)
    np.testing.assert_allclose(encoder(shaped), expected.reshape(2, 3, -1), rtol=1e-4, atol=1e-6)
    single = encoder({name: x[0] for name, x in flat.items()})
    np.testing.assert_allclose(single, expected[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("clouds", [4, 5])
def test_blocks_of_clouds_are_encoded_as_all_at_once(monkeypatch, clouds):
    """Blocks of two, with and without one cloud left over; values and both gradients."""
    with jax.enable_x64(True):
        encoder = small({"particle_q": (7, 3)})
        cloud = observed({"particle_q": (7, 3)}, lead=(clouds,))["particle_q"]

        def results():
            def loss(encoder, cloud):
                encoding = encoder({"particle_q": cloud})
                return jnp.sum(jnp.sin(3 * encoding)), encoding

            return jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))(encoder, cloud)

        whole = results()
        monkeypatch.setattr("rfo.policies.encoder.BLOCK", 15)
        text = str(jax.make_jaxpr(lambda x: encoder({"particle_q": x}))(cloud))
        assert "scan" in text, "the clouds were not split"
        for block, at_once in zip(jax.tree.leaves(results()), jax.tree.leaves(whole), strict=True):
            np.testing.assert_allclose(block, at_once, rtol=1e-10, atol=1e-12)


def test_matrices_are_orthogonal_with_gain_and_independent():
    encoder = encoder_for(
        jax.random.key(0), {"a": (2, 3), "b": (2, 3), "c": (4,)}, gain=1.5, **SMALL
    )
    matrices = [x for x in jax.tree.leaves(encoder) if x.ndim == 2]
    assert len(matrices) == 2 * 3 + 1
    for matrix in matrices:
        short = matrix if matrix.shape[0] < matrix.shape[1] else matrix.T
        np.testing.assert_allclose(short @ short.T, 1.5**2 * np.eye(len(short)), atol=1e-5)
    first, second = (encoder.clouds[name].points.weights[0] for name in "ab")
    assert np.abs(first - second).max() > 0.1


@pytest.mark.parametrize(
    ("shapes", "size"),
    [({"a": (2, 3)}, 4), ({"a": (2, 3), "b": (5, 3)}, 8), ({"c": (1,), "d": (2,)}, 3), (11, 11)],
)
def test_any_mixture_of_clouds_and_vectors(shapes, size):
    """Clouds alone, two clouds, vectors alone; and a plain vector, which has no parameters."""
    encoder = small(shapes)
    assert encoder.size == size
    if isinstance(shapes, int):
        assert count(encoder) == 0
        x = jnp.arange(22.0).reshape(2, 11)
        assert encoder(x) is x
    else:
        assert encoder(observed(shapes)).shape == (4, size)


def test_networks_train_their_encoder_and_the_ensemble_shares_one():
    flow = FlowPolicy(jax.random.key(2), small(), 2, (8,), steps=3)
    critics = Critics(jax.random.key(2), small(), (8,), ensemble=3)
    observation, noise = observed(), jnp.ones((4, 2))
    for network, loss in (
        (flow, lambda net: jnp.sum(net(observation, noise)[0])),
        (critics, lambda net: jnp.sum(net(observation))),
    ):
        gradient = jax.jit(jax.grad(loss))(network).encoder
        assert all(np.any(x != 0) for x in jax.tree.leaves(gradient))
    assert isinstance(critics.encoder, PointEncoder) and count(critics.encoder) == count(small())
    heads = Critics(jax.random.key(2), Identity(7), (8,), ensemble=3)
    np.testing.assert_array_equal(critics(observation), heads(critics.encoder(observation)))


def test_flow_encodes_once_whatever_the_number_of_steps():
    class Counting(Identity):
        def __call__(self, observation):
            calls.append(1)
            return super().__call__(observation)

    for steps in (1, 5):
        calls = []
        FlowPolicy(jax.random.key(0), Counting(2), 1, (4,), steps=steps, solver="rk4")(
            jnp.ones((3, 2)), jnp.ones((3, 1))
        )
        assert len(calls) == 1


def test_bad_settings_are_refused_by_name():
    with pytest.raises(ValueError, match="pooling must be one of mean, max, not 'sum'"):
        small(pooling="sum")
    with pytest.raises(ValueError, match=r"activation must be one of .*, not 'gelu'"):
        small(activation="gelu")


@pytest.mark.parametrize(
    "shapes", [0, {}, {"image": (8, 8, 3)}, {"plane": (5, 2)}, {"q": ()}, {"q": (0,)}]
)
def test_observations_that_no_encoder_takes_are_refused_where_they_are_declared(shapes):
    with pytest.raises(ValueError, match=r"odd: .*(observation|image|plane|q)") as refused:
        EnvSpec("odd", shapes, 1, 10, 0.1)
    assert "\n" not in str(refused.value)
