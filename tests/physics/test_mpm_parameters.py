"""Parameters of particles: what they mean, and their gradients.

`test_adjoints.py` compares those of a step with dual numbers."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_mpm_gradient import ENVS, MOTION, paths, simulator, start
from varied import assert_each_gradient, pushed

from rfo.errors import SettingError
from rfo.physics.mpm import MPMState
from rfo.physics.parameters import factors_of, scaled


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("material", ["plasticine", "fluid"])
def test_gradients_against_differences_over_many_steps_in_contact(material):
    sim = simulator(material)
    state, motion = start(sim, at_rest=False), paths(MOTION)

    def result(parameters):
        def step(state: MPMState, poses):
            state = sim.step(state, poses, parameters)
            return state, jnp.sin(20 * state.x).sum((1, 2)) + 0.1 * jnp.sin(state.v).sum((1, 2))

        return jax.lax.scan(step, state, motion)[1].sum(0)

    assert_each_gradient(result, sim.parameters, ENVS, step=1e-7)


def assert_same_step(parameters) -> None:
    sim = simulator("plasticine")
    state, poses = start(sim, at_rest=False), paths(MOTION)[0]
    plain = pushed(sim.step, state, poses)
    varied = pushed(partial(sim.step, parameters=parameters), state, poses)
    for x, y in zip(plain, varied, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-9)


def test_the_materials_own_parameters_change_nothing():
    own = simulator("plasticine").parameters
    assert_same_step(own)
    assert_same_step(own._replace(young=jnp.repeat(own.young, ENVS, 0)))


def test_density_and_stresses_scaled_alike_change_nothing():
    own, quantities = simulator("plasticine").parameters, simulator("plasticine").quantities
    names = [f"material.{name}" for name in ("density", "young", "yield")]
    two = {name: jnp.full((1, 1), 2.0) for name in names}
    assert_same_step(scaled(own, quantities, two))
    for name in ("gravity", "contact.friction.tools"):
        with pytest.raises(AssertionError):
            assert_same_step(scaled(own, quantities, two | {name: jnp.full((1, 1), 1.1)}))


def test_factors_by_name():
    clay, water = simulator("plasticine"), simulator("fluid")
    factor = jnp.array([[2.0], [3.0]])
    given = {"contact.friction.ground": factor, "material.yield": factor}
    out = scaled(clay.parameters, clay.quantities, given)
    np.testing.assert_allclose(out.ground_friction, clay.parameters.ground_friction * factor[:, 0])
    np.testing.assert_allclose(out.friction, [0.4, 0.4])
    np.testing.assert_allclose(out.yield_stress, 50 * factor)
    for simulated, name in ((clay, "tissue.young"), (water, "material.yield")):
        with pytest.raises(SettingError, match=f"{name}.*material.young"):
            factors_of(simulated.quantities, name)
    assert water.parameters.yield_stress.shape == (1, 0)
