"""Constitutive laws: stresses against closed forms and SciPy, adjoints against central
differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import polar

from rfo.physics.materials import Corotated, Fluid, NeoHookean, Plasticine, respond


@pytest.fixture(autouse=True)
def double_precision():
    """Set x64 for the whole process; `jax.enable_x64` would not reach the threads of callbacks."""
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)


LAWS = {
    "plasticine": Plasticine(5e3, 0.2, 1.0, yield_stress=50.0),
    "hard plasticine": Plasticine(5e3, 0.2, 1.0, yield_stress=5e3),
    "fluid": Fluid(1e5, 0.3, 1e3),
    "neo-Hookean": NeoHookean(5e3, 0.2, 1.0),
    "corotated": Corotated(5e3, 0.2, 1.0),
}
every_law = pytest.mark.parametrize("name", LAWS)


def turn(rng):
    q = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    return q * np.sign(np.linalg.det(q))


def stretched(*stretches, seed=1):
    """Deformation gradients with these singular values along random axes."""
    rng = np.random.default_rng(seed)
    return np.stack([turn(rng) @ np.diag(s) @ turn(rng) for s in stretches])


def noise(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


# |deviator of the Hencky strain| = yield / (2 mu) at exp(+-a, 0) with a sqrt(2) = 0.012
AT_YIELD = np.exp(50.0 / (2 * LAWS["plasticine"].mu) / np.sqrt(2))
CASES = {
    "random": np.eye(3) + 0.3 * noise(0, 12, 3, 3),
    "at rest": np.eye(3)[None],
    "turned": stretched((1.0, 1.0, 1.0)),
    "nearly at rest": np.eye(3) + np.array([1e-3, 1e-6, 1e-9])[:, None, None] * noise(2, 3, 3, 3),
    "two equal": stretched((1.2, 1.2, 0.8), (1.1, 0.9, 0.9), (1.001, 1.001, 1.0)),
    "three equal": stretched((1.3, 1.3, 1.3)),
    "beside the yield surface": stretched(
        *[(AT_YIELD**x, 1.0, AT_YIELD**-x) for x in (0.999, 1.001)], seed=3
    ),
    "inverted": stretched((1.2, 0.9, -0.6), (1.3, 1.0, -0.3)),
    "crushed": stretched((1.2, 1.0, 0.005)),
}


@every_law
@pytest.mark.parametrize("case", CASES)
def test_adjoint_against_central_differences(name, case):
    """Gradient of a random combination of both results in every entry of F.

    It also holds where singular values repeat, without any clamp."""
    F, law = CASES[case], LAWS[name]
    weights = noise(4, 2, *F.shape)

    def value(F):
        result = respond(law, F)
        stress = jnp.sum(result.stress * weights[1], (1, 2)) / law.mu
        return jnp.sum(result.elastic * weights[0], (1, 2)) + stress

    h = 3e-7 if case == "crushed" else 1e-6
    exact = np.asarray(jax.grad(lambda F: value(F).sum())(F))
    moved = F[None] + h * np.concatenate([np.eye(9), -np.eye(9)]).reshape(18, 1, 3, 3)
    values = np.stack([np.asarray(value(x)) for x in moved])
    numeric = ((values[:9] - values[9:]) / (2 * h)).T.reshape(F.shape)
    size = np.abs(numeric).max((1, 2), keepdims=True)
    assert size.min() > 0.01
    np.testing.assert_allclose(
        exact / size, numeric / size, atol=5e-6 if case == "crushed" else 2e-7
    )


@every_law
def test_single_precision_agrees(name):
    law = LAWS[name]
    for case in ("random", "at rest", "two equal", "beside the yield surface"):
        F = CASES[case]
        weights = noise(5, *F.shape)
        both = [
            np.asarray(
                jax.grad(lambda F, w=weights: jnp.sum(respond(law, F).stress * w))(F.astype(kind))
            )
            for kind in (np.float64, np.float32)
        ]
        np.testing.assert_allclose(both[1], both[0], atol=2e-5 * np.abs(both[0]).max())


def test_stress_by_independent_formulas():
    F = CASES["random"][np.linalg.det(CASES["random"]) > 0.1]
    J, b = np.linalg.det(F)[:, None, None], F @ np.swapaxes(F, 1, 2)
    mu, lam = LAWS["corotated"].mu, LAWS["corotated"].lambda_
    R = np.stack([polar(x)[0] for x in F])
    corotated = 2 * mu * (F - R) @ np.swapaxes(F, 1, 2) + lam * J * (J - 1) * np.eye(3)
    np.testing.assert_allclose(respond(LAWS["corotated"], F).stress, corotated, atol=1e-8)
    neo = mu * (b - np.eye(3)) + lam * np.log(J) * np.eye(3)
    np.testing.assert_allclose(respond(LAWS["neo-Hookean"], F).stress, neo, atol=1e-8)
    fluid = respond(LAWS["fluid"], F)
    np.testing.assert_allclose(
        fluid.stress, LAWS["fluid"].lambda_ * J * (J - 1) * np.eye(3), atol=1e-6
    )
    np.testing.assert_allclose(np.linalg.det(fluid.elastic), J[:, 0, 0], atol=1e-12)


def hencky(F):
    """Principal strains and the left singular vectors of F."""
    U, s, _ = np.linalg.svd(F)
    return np.log(s), U


def test_return_mapping():
    """Inside the yield surface nothing changes. Beyond it the deviator is scaled to the surface,
    while its direction, the volume and the rotation stay. The stress is Hencky's for the elastic
    part."""
    law = LAWS["plasticine"]
    inside = np.eye(3) + 1e-3 * noise(6, 5, 3, 3)
    np.testing.assert_array_equal(respond(law, inside).elastic, inside)
    F = CASES["random"][np.linalg.det(CASES["random"]) > 0.1]
    elastic, stress = map(np.asarray, respond(law, F))
    np.testing.assert_allclose(np.linalg.det(elastic), np.linalg.det(F), rtol=1e-10)
    np.testing.assert_allclose(
        np.stack([polar(x)[0] for x in elastic]), np.stack([polar(x)[0] for x in F]), atol=1e-10
    )
    for before, after, tau in zip(F, elastic, stress, strict=True):
        (e0, _), (e1, U) = hencky(before), hencky(after)
        d0, d1 = e0 - e0.mean(), e1 - e1.mean()
        assert 2 * law.mu * np.linalg.norm(d1) == pytest.approx(law.yield_stress, rel=1e-9)
        np.testing.assert_allclose(d1 / np.linalg.norm(d1), d0 / np.linalg.norm(d0), atol=1e-9)
        t = 2 * law.mu * e1 + law.lambda_ * e1.sum()
        np.testing.assert_allclose(tau, U @ np.diag(t) @ U.T, atol=1e-8)
    np.testing.assert_allclose(respond(law, elastic).elastic, elastic, atol=1e-12)


def test_an_inverted_plasticine_is_turned_right():
    """Its smallest singular value is clamped to 0.01."""
    elastic = np.asarray(respond(LAWS["hard plasticine"], stretched((1.2, 0.9, -0.6))).elastic)[0]
    assert np.linalg.det(elastic) == pytest.approx(1.2 * 0.9 * 0.01, rel=1e-9)


def test_wrong_constants_are_refused_by_name():
    with pytest.raises(ValueError, match=r"poisson between -1 and 0\.5"):
        Fluid(1e5, 0.5, 1e3)
    with pytest.raises(ValueError, match="yield_stress must be positive"):
        Plasticine(1e3, 0.3, 1.0, 0.0)
