"""Running statistics against statistics of everything at once."""

import jax
import jax.numpy as jnp
import numpy as np

from rfo.policies.normalize import NORMALIZER_EPSILON, Normalizer


def test_merging_batches_equals_statistics_of_all():
    generator = np.random.default_rng(0)
    batches = [generator.normal(3 * i, 1 + i, (4 + i, 6, 2)) for i in range(5)]
    with jax.enable_x64(True):
        normalizer = Normalizer.init(2)
        for batch in batches:
            normalizer = normalizer.updated(jnp.asarray(batch))
        everything = np.concatenate([b.reshape(-1, 2) for b in batches])
        assert normalizer.count == len(everything)
        np.testing.assert_allclose(normalizer.mean, everything.mean(0), rtol=1e-12)
        np.testing.assert_allclose(normalizer.variance, everything.var(0), rtol=1e-12)


def test_single_precision_survives_a_large_offset_and_many_batches():
    generator = np.random.default_rng(0)
    normalizer = Normalizer.init(1)
    update = jax.jit(Normalizer.updated)
    for _ in range(200):
        normalizer = update(
            normalizer, jnp.asarray(generator.normal(100.0, 0.1, (64, 1)), jnp.float32)
        )
    np.testing.assert_allclose(normalizer.variance, 0.01, rtol=0.03)


def test_normalises_and_passes_the_gradient():
    normalizer = Normalizer(jnp.array([2.0]), jnp.array([4.0]), jnp.array(10.0))
    np.testing.assert_allclose(
        normalizer(jnp.array([6.0])), 4 / np.sqrt(4 + NORMALIZER_EPSILON), rtol=1e-6
    )
    np.testing.assert_allclose(
        jax.grad(lambda x: normalizer(x)[0])(jnp.array([6.0])), 0.5, rtol=1e-5
    )


def test_nothing_seen_is_the_identity():
    np.testing.assert_allclose(Normalizer.init(2)(jnp.array([3.0, -1.0])), [3.0, -1.0], rtol=1e-4)


def test_of_a_dict_each_vector_is_normalised_alone_and_clouds_not_at_all():
    shapes = {"q": (2,), "cloud": (5, 3), "v": (4,)}
    generator = np.random.default_rng(0)
    batch = {
        name: jnp.asarray(generator.normal(3, 2, (6, 8, *shape))) for name, shape in shapes.items()
    }
    normalizer = Normalizer.init(shapes).updated(batch).updated(batch)
    normal = normalizer(batch)
    assert normal.keys() == shapes.keys() and normalizer.count == 96
    np.testing.assert_array_equal(normal["cloud"], batch["cloud"])
    for name in ("q", "v"):
        alone = Normalizer.init(*shapes[name]).updated(batch[name]).updated(batch[name])
        np.testing.assert_array_equal(normal[name], alone(batch[name]))
        np.testing.assert_allclose(normal[name].mean((0, 1)), 0, atol=1e-5)
        np.testing.assert_allclose(normal[name].std((0, 1)), 1, atol=1e-4)


def test_clouds_alone_need_no_statistics():
    normalizer, cloud = Normalizer.init({"cloud": (5, 3)}), {"cloud": jnp.full((4, 5, 3), 7.0)}
    np.testing.assert_array_equal(normalizer.updated(cloud)(cloud)["cloud"], 7)
