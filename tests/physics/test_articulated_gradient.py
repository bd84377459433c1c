"""The articulated adjoint against central differences, in float64 and in contact."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rfo.physics.articulated import Articulated, ArticulatedState
from rfo.physics.mjcf import ContactParameters, load
from rollouts import (
    EPS,
    Inputs,
    Rollout,
    assert_matches_differences,
    shipped,
    shipped_inputs,
    touching,
    tree,
    tree_inputs,
)

ENVS = 12
DT, SUBSTEPS = 1 / 60, 8


@pytest.mark.parametrize("steps", [1, 8, 32])
@pytest.mark.parametrize("name", ["cartpole", "hopper", "ant", "cheetah"])
def test_shipped_models(name, steps):
    rollout, inputs = Rollout(shipped(name), ENVS, DT, SUBSTEPS), shipped_inputs(name, ENVS, steps)
    assert name == "cartpole" or touching(rollout.model, rollout.states(inputs)[0][::8]).any()
    assert_matches_differences(rollout, inputs)


@pytest.mark.parametrize("steps", [1, 4])
def test_the_humanoid(steps):
    """Chaotic over more steps, so that differences tell nothing; at the task's own substeps."""
    rollout, inputs = (
        Rollout(shipped("humanoid"), ENVS, DT, 48),
        shipped_inputs("humanoid", ENVS, steps),
    )
    assert touching(rollout.model, rollout.states(inputs)[0][::8]).any()
    assert_matches_differences(rollout, inputs)


@pytest.mark.parametrize("steps", [1, 8, 32])
@pytest.mark.parametrize("seed", range(6))
def test_random_trees(seed, steps):
    """All joint types, springs, dampers, limits, armatures, contacts; quaternions of any length."""
    model = tree(seed)
    rollout, inputs = Rollout(model, ENVS, DT, SUBSTEPS), tree_inputs(model, ENVS, steps)
    assert touching(model, rollout.states(inputs)[0][::8]).mean() > 1
    assert_matches_differences(rollout, inputs)


def test_random_trees_have_all_joint_types():
    assert set(np.concatenate([tree(seed).joint for seed in range(6)])) == {0, 1, 2, 3}


@pytest.mark.parametrize("name", ["cartpole", "hopper", "ant"])
def test_single_precision_agrees_with_double(name):
    inputs = shipped_inputs(name, ENVS, 8)
    single, double = (
        Rollout(shipped(name), ENVS, DT, SUBSTEPS, dtype).gradient(inputs)
        for dtype in (np.float32, np.float64)
    )
    for part, reference in zip(single, double, strict=True):
        axes = (0, 2) if part.ndim == 3 else 1
        distance = np.sqrt(np.square(part - reference).sum(axes) / np.square(reference).sum(axes))
        assert np.median(distance) < 1e-3 and distance.max() < 0.02


def test_the_public_step_has_the_same_gradient():
    """Through JAX, in double precision."""
    inputs = shipped_inputs("ant", ENVS, 3)
    rollout = Rollout(shipped("ant"), ENVS, DT, SUBSTEPS)
    with jax.enable_x64(True):
        simulator = Articulated(shipped("ant"), DT, SUBSTEPS, dtype=np.float64)

        def result(q, qd, controls):
            def step(state, control):
                state = simulator.step(state, control)
                return state, jnp.sin(state.q) @ rollout._of_q + jnp.sin(state.qd) @ rollout._of_qd

            return jax.lax.scan(step, ArticulatedState(q, qd), controls)[1].sum()

        got = jax.jit(jax.grad(result, argnums=(0, 1, 2)))(*map(jnp.asarray, inputs))
        for part, reference in zip(got, rollout.gradient(inputs), strict=True):
            np.testing.assert_allclose(part, reference, rtol=1e-9, atol=1e-9)


def test_gradient_with_respect_to_a_quaternion_ignores_its_length():
    """The rotation is that of the normalised quaternion.

    So the gradient is across the quaternion and scales inversely with its length.
    """
    rollout, inputs = Rollout(shipped("ant"), ENVS, DT, SUBSTEPS), shipped_inputs("ant", ENVS, 4)
    quat = slice(3, 7)
    longer = inputs.q.copy()
    longer[:, quat] *= 3
    one, three = (rollout.gradient(inputs._replace(q=q)).q[:, quat] for q in (inputs.q, longer))
    np.testing.assert_allclose(one, 3 * three, rtol=1e-8, atol=1e-9 * np.abs(one).max())
    inner = np.einsum("bi,bi->b", one, inputs.q[:, quat])
    assert np.abs(inner).max() < 1e-9 * np.abs(one).max()


# ---------------------------------------------------------------------------------- singular places


SLIDER = """<mujoco><option gravity="0 0 {gravity}"/>
<worldbody><geom name="ground" type="plane" size="1 1 1"/>
<body pos="0 0 0.1">{joints}<geom type="sphere" size="0.1" mass="2"/></body></worldbody>
<actuator><motor joint="z" gear="1"/></actuator></mujoco>"""
UP_AND_DOWN = '<joint name="z" type="slide" axis="0 0 1" limited="true" range="-1 1"/>'
ABOUT = '<joint name="x" type="slide" axis="1 0 0"/><joint name="y" type="slide" axis="0 1 0"/>'


def one_sided(rollout: Rollout, inputs: Inputs) -> tuple[float, float]:
    """Differences of the result in the first coordinate, downwards and upwards."""
    here = rollout.result(inputs)
    below, above = (rollout.result(inputs._replace(q=inputs.q + s * EPS)) for s in (-1, 1))
    return float((here - below)[0] / EPS), float((above - here)[0] / EPS)


@pytest.mark.parametrize("height", [0.0, 1.0], ids=["touching the ground", "at the limit"])
def test_at_a_kink_the_gradient_is_one_of_its_sides(height):
    model = load(
        SLIDER.format(gravity=0, joints=UP_AND_DOWN), ContactParameters(1e3, 10, 0, 0), 1e3, 10
    )
    rollout = Rollout(model, 1, 0.01, 1)
    inputs = Inputs(np.full((1, 1), height), np.zeros((1, 1)), np.zeros((1, 1, 1)))
    gradient, sides = rollout.gradient(inputs).q[0, 0], one_sided(rollout, inputs)
    assert abs(sides[0] - sides[1]) > 0.1
    assert min(abs(gradient - side) for side in sides) < 1e-4


def test_a_sphere_at_rest_on_the_ground_has_the_slope_of_friction_at_rest():
    """At zero tangential speed the friction law is smooth, its derivative -k_f."""
    model = load(
        SLIDER.format(gravity=-9.81, joints=ABOUT + UP_AND_DOWN),
        ContactParameters(1e3, 10, 30, 0.5),
    )
    depth, dt, mass = 2 * 9.81 / 1e3, 0.01, 2
    rollout = Rollout(model, 1, dt, 1)
    inputs = Inputs(np.array([[0.0, 0.0, -depth]]), np.zeros((1, 3)), np.zeros((1, 1, 1)))
    slope = 1 - dt * 30 / mass  # of the velocity after the step in that before
    expected = (rollout._of_qd + dt * rollout._of_q * np.cos(0)) * slope
    np.testing.assert_allclose(rollout.gradient(inputs).qd[0, :2], expected[:2], rtol=1e-6)
