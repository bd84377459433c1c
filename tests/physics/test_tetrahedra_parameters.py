"""Parameters of soft bodies: what they mean, and their gradients.

`test_adjoints.py` compares those of a step with dual numbers."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from varied import assert_each_gradient, pushed

from rfo.errors import SettingError
from rfo.physics.mesh import from_voxels
from rfo.physics.parameters import factors_of, scaled
from rfo.physics.tetrahedra import Tetrahedra, TetrahedraState

ENVS = 4


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


@cache
def beam() -> Tetrahedra:
    """Two cubes with muscles, but for the first two tetrahedra."""
    mesh = from_voxels([(0, 0, 0), (1, 0, 0)], 0.3)
    muscle = np.arange(10) // 2 - 1
    return Tetrahedra(mesh, 0.01, 40, muscle=muscle, gain=0.3, threads=1, dtype=np.float64)


def landing() -> tuple[TetrahedraState, np.ndarray]:
    """Strained and moving, some vertices in the ground; controls of 12 steps."""
    rng, rest = np.random.default_rng(0), beam().init(ENVS)
    state = TetrahedraState(
        rest.q + jnp.array([0, 0, 0.03]) + 0.01 * rng.normal(size=rest.q.shape),
        rest.qd + jnp.array([0.5, 0, -0.5]) + 0.5 * rng.normal(size=rest.q.shape),
    )
    return state, rng.uniform(-1, 1, (12, ENVS, 4))


def test_gradients_against_differences_over_many_steps_in_contact():
    start, controls = landing()

    def result(parameters):
        def step(state, control):
            state = beam().step(state, control, parameters)
            return state, jnp.sin(state.q).sum((1, 2)) + jnp.sin(state.qd).sum((1, 2))

        return jax.lax.scan(step, start, jnp.asarray(controls))[1].sum(0)

    assert_each_gradient(result, beam().parameters, ENVS, step=1e-6)


def assert_same_step(parameters) -> None:
    state, controls = landing()
    plain = pushed(beam().step, state, controls[0])
    varied = pushed(partial(beam().step, parameters=parameters), state, controls[0])
    for x, y in zip(plain, varied, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-12)


def test_the_bodys_own_parameters_change_nothing():
    own = beam().parameters
    assert_same_step(own)
    assert_same_step(own._replace(mu=jnp.repeat(own.mu, ENVS, 0)))


def test_all_masses_and_forces_scaled_alike_change_nothing():
    names = [f"tissue.{name}" for name in ("density", "young", "damping")]
    names += [f"contact.{name}" for name in ("stiffness", "damping", "slope")]
    two = {name: jnp.full((1, 1), 2.0) for name in names}
    assert_same_step(scaled(beam().parameters, beam().quantities, two))
    for name in ("gravity", "muscle.gain"):
        with pytest.raises(AssertionError):
            other = two | {name: jnp.full((1, 1), 1.1)}
            assert_same_step(scaled(beam().parameters, beam().quantities, other))


def test_factors_by_name():
    own, quantities = beam().parameters, beam().quantities
    factor = jnp.array([[2.0], [3.0]])
    out = scaled(own, quantities, {"muscle.gain.1": factor, "contact.friction": factor})
    np.testing.assert_allclose(out.gain[1], own.gain[0] * np.array([1, 1, 1, 1, 3, 3, 1, 1, 1, 1]))
    np.testing.assert_allclose(out.contact_law[:, 3], own.contact_law[0, 3] * factor[:, 0])
    np.testing.assert_array_equal(out.contact_law[1, :3], own.contact_law[0, :3])
    for name in ("body.mass", "muscle.gain.4"):
        with pytest.raises(SettingError, match=f"{name}.*(tissue.young|0, 1, 2, 3)"):
            factors_of(quantities, name)


def test_arrays_of_another_shape_are_refused():
    state, controls = landing()
    wrong = beam().parameters._replace(mass=jnp.ones((3, 1)))
    with pytest.raises(ValueError, match="parameters: mass must have the shape"):
        beam().step(state, controls[0], wrong)
