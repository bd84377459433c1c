"""Parameters of simulators: what they mean, and their gradients."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from duals import TOLERANCE, step_mismatch
from varied import assert_each_gradient

from rfo.errors import SettingError
from rfo.physics.articulated import NATIVE, Articulated, ArticulatedState, State
from rfo.physics.articulated_parameters import ArticulatedParameters
from rfo.physics.articulated_values import values
from rfo.physics.mjcf import ContactParameters, load
from rfo.physics.model import Model
from rfo.physics.packs import PackedKernels
from rfo.physics.parameters import factors_of, scaled
from rollouts import actuated, shipped, shipped_inputs, tree, tree_inputs

EVERYTHING = """<mujoco>
<option gravity="0.5 0.3 -9.81"/>
<worldbody><geom type="plane" size="5 5 1"/>
<body name="base" pos="0 0 0.05"><freejoint/><geom type="box" size="0.2 0.15 0.05" mass="2"/>
  <body name="arm" pos="0.2 0 0.1">
    <joint name="lift" type="hinge" axis="0 1 0" limited="true" range="-5 5" damping="0.1"
      stiffness="2" springref="20" armature="0.01" frictionloss="0.2"/>
    <geom type="capsule" fromto="0 0 0 0.3 0 0" size="0.04" mass="0.5"/>
    <body name="hand" pos="0.36 0 -0.03">
      <joint name="turn" type="hinge" axis="1 0 0" damping="0.05" armature="0.01"/>
      <geom type="ellipsoid" size="0.06 0.05 0.1" mass="0.3"/>
    </body>
  </body>
</body>
<body name="ball" pos="0.3 0.02 0.2"><freejoint/><geom type="sphere" size="0.08" mass="0.4"/></body>
</worldbody>
<tendon><fixed name="both" stiffness="3" damping="0.2" frictionloss="0.1" armature="0.01">
  <joint joint="lift" coef="0.5"/><joint joint="turn" coef="-0.4"/>
</fixed></tendon>
<actuator>
  <position joint="lift" kp="20" kv="1" forcerange="-3 3" forcelimited="true"/>
  <general joint="turn" dyntype="filter" dynprm="0.05" gainprm="2 0.3 0.2" gaintype="affine"
    biastype="affine" biasprm="0.3 -1 -0.2"/>
  <motor tendon="both" gear="0.7"/>
</actuator></mujoco>"""
"""A box with an arm beneath a ball: contacts of all three kinds, all that acts along lengths."""

SOFT = ContactParameters(ke=2e3, kd=20.0, kf=20.0, mu=0.5, kh=100.0)


@cache
def everything() -> Model:
    return load(EVERYTHING, SOFT)


def moved(model: Model, envs: int, size: float = 0.05) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coordinates with activations near the start, velocities, controls."""
    rng = np.random.default_rng(0)
    q = np.concatenate([model.q0, np.zeros(model.na)])
    q = q + size * rng.uniform(-1, 1, (envs, len(q)))
    return q, 0.5 * rng.normal(size=(envs, model.nv)), rng.normal(size=(envs, model.nu))


def touching(parameters: ArticulatedParameters) -> list[str]:
    """Names of the arrays that have numbers."""
    return [name for name, x in parameters._asdict().items() if x.size]


@pytest.mark.parametrize("case", ["everything", "tree", "lengths", "cords"])
def test_adjoints_of_a_step_against_dual_numbers(case):
    model = {
        "everything": everything,
        "tree": partial(tree, 0),
        "lengths": partial(actuated, 1),
        "cords": partial(actuated, 1, cords=True),
    }
    model, rng = model[case](), np.random.default_rng(1)
    # of all variants the one with everything, as to compile takes longest
    kernels = PackedKernels(
        NATIVE.varying, values(NATIVE.fields, model, 1e-3, 2), np.dtype("float64")
    )
    if case == "everything":
        inputs = moved(model, 12)
    else:
        drawn = tree_inputs(model, 12, 1)
        inputs = drawn.q, drawn.qd, drawn.controls[0]
    own = np.concatenate([np.ravel(kernels.values[name]) for name in NATIVE.parameters])
    own = own * rng.uniform(0.8, 1.2, (12, own.size))
    error = step_mismatch(kernels, [*inputs, own])
    assert error.max() < TOLERANCE, error


def test_the_record_has_the_kernels_arrays():
    assert ArticulatedParameters._fields == tuple(NATIVE.parameters)
    simulator = Articulated(everything(), 0.01, 4)
    assert touching(simulator.parameters) == list(NATIVE.parameters)


@cache
def arm() -> Articulated:
    return Articulated(everything(), 0.01, 4, threads=1, dtype=np.float64)


def test_gradients_against_differences_over_many_steps_in_contact():
    """Each array along a random direction, at its own scale."""
    with jax.enable_x64(True):
        simulator, (q, qd, _) = arm(), moved(everything(), 6, 0.01)
        nq, rng = simulator.model.nq, np.random.default_rng(2)
        start = type(simulator.init(1))(*map(jnp.asarray, (q[:, :nq], qd, q[:, nq:])))
        controls = jnp.asarray(rng.normal(size=(24, 6, 3)))

        def result(parameters):
            def step(state: State, control):
                state = simulator.step(state, control, parameters)
                return state, jnp.sin(state.q).sum(-1) + jnp.sin(state.qd).sum(-1)

            return jax.lax.scan(step, start, controls)[1].sum(0)

        assert_each_gradient(result, simulator.parameters, 6)


@cache
def ant() -> Articulated:
    return Articulated(shipped("ant"), 1 / 60, 16, threads=1)


def ant_start(envs: int = 4) -> tuple[ArticulatedState, jax.Array]:
    inputs = shipped_inputs("ant", envs, 1)
    state = ArticulatedState(
        jnp.asarray(inputs.q, jnp.float32), jnp.asarray(inputs.qd, jnp.float32)
    )
    return state, jnp.asarray(inputs.controls[0], jnp.float32)


def assert_same_step(parameters: ArticulatedParameters) -> None:
    state, control = ant_start()
    plain, varied = ant().step(state, control), ant().step(state, control, parameters)
    for x, y in zip(plain, varied, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5)


def test_the_models_own_parameters_change_nothing():
    own = ant().parameters
    assert_same_step(own)
    assert_same_step(own._replace(mass=jnp.repeat(own.mass, 4, 0)))


def test_all_masses_and_forces_scaled_alike_change_nothing():
    names = ["body.mass"]
    names += [f"joint.{name}" for name in ("armature", "damping", "stiffness", "limit")]
    names += [f"contact.{name}" for name in ("stiffness", "damping", "slope")]
    two = {name: jnp.full((1, 1), 2.0) for name in [*names, "actuator.gain"]}
    assert_same_step(scaled(ant().parameters, ant().quantities, two))
    with pytest.raises(AssertionError):
        assert_same_step(
            scaled(ant().parameters, ant().quantities, two | {"gravity": two[names[0]]})
        )


def test_the_gradient_of_a_shared_row_is_the_sum_over_environments():
    state, control = ant_start()

    def result(parameters):
        return jnp.sum(ant().step(state, control, parameters).qd ** 2)

    rows = jax.tree.map(lambda x: jnp.repeat(x, 4, 0), ant().parameters)
    shared, each = jax.grad(result)(ant().parameters), jax.grad(result)(rows)
    assert float(jnp.abs(each.actuator_gain).min(axis=(0, 1))[0]) > 0
    for x, y in zip(shared, each, strict=True):
        np.testing.assert_allclose(x[0], y.sum(0), rtol=1e-4, atol=1e-4 * np.abs(x).max(initial=0))


def test_factors_by_name():
    own, quantities = ant().parameters, ant().quantities
    names = quantities["body.mass"].names
    factor = jnp.array([[2.0], [3.0]])
    out = scaled(own, quantities, {f"body.mass.{names[3]}": factor, "contact.friction": factor})
    np.testing.assert_allclose(out.mass[:, 3], own.mass[0, 3] * factor[:, 0])
    np.testing.assert_allclose(out.inertia[:, 3], own.inertia[0, 3] * factor)
    np.testing.assert_array_equal(out.mass[:, :3], jnp.repeat(own.mass[:, :3], 2, 0))
    np.testing.assert_allclose(out.contact_law[1, :, 3], 3 * own.contact_law[0, :, 3])
    np.testing.assert_array_equal(out.contact_law[1, :, :3], own.contact_law[0, :, :3])
    moved = scaled(own, quantities, {f"body.com.{names[3]}.y": factor})
    np.testing.assert_allclose(moved.com[:, 3] - own.com[0, 3], [[0, 2, 0], [0, 3, 0]])
    for name in ("body.weight", "body.mass.nobody", "body"):
        with pytest.raises(SettingError, match=name):
            factors_of(quantities, name)


def test_arrays_of_another_shape_are_refused():
    state, control = ant_start()
    with pytest.raises(ValueError, match="parameters: mass must have the shape"):
        ant().step(state, control, ant().parameters._replace(mass=jnp.ones((3, 1))))
