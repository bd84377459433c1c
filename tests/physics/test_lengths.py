"""What acts along lengths: actuators, tendons, dry friction, couplings of joints."""

from dataclasses import replace

import mujoco
import numpy as np
import pytest

from oracle import actuated_tree, mujoco_dynamics, random_state, to_mujoco
from rfo.physics.articulated import ActivatedState, Articulated, ArticulatedState
from rfo.physics.lengths import NO_COUPLINGS
from rfo.physics.mjcf import ContactParameters, load
from rfo.physics.model import Model
from rollouts import Inputs, Rollout, actuated, assert_matches_differences, tree_inputs

NONE = ContactParameters(0, 0, 0, 0)
SEEDS = (0, 1, 2, 4)


def smooth(model: Model) -> Model:
    """Without what MuJoCo's constraint solver does: limits, friction, equalities, contact."""
    free = np.full(model.nv, np.inf)
    tendons = replace(
        model.tendons,
        friction=model.tendons.friction * 0,
        limit_lower=model.tendons.limit_lower - np.inf,
        limit_upper=model.tendons.limit_upper + np.inf,
    )
    return replace(
        model,
        limit_lower=-free,
        limit_upper=free,
        ground_height=-1e3,
        tendons=tendons,
        couplings=NO_COUPLINGS,
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_forces_are_mujocos(seed):
    """Mass matrix, passive and actuator forces, in random states with random activations.

    MuJoCo leaves out what the armature of a tendon adds between two branches.
    """
    text, rng = actuated_tree(seed), np.random.default_rng(seed)
    m, model = mujoco.MjModel.from_xml_string(text), smooth(load(text, NONE))
    simulator = Articulated(model, dt=m.opt.timestep, substeps=1, dtype=np.float64)
    for _ in range(3):
        q, qd = random_state(model, rng)
        act, control = rng.normal(size=m.na), 2 * rng.normal(size=m.nu)
        turn = to_mujoco(model, q)
        mass_matrix, bias, data = mujoco_dynamics(m, model, q, qd)
        data.act[:], data.ctrl[:] = act, control
        m.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_CLAMPCTRL
        mujoco.mj_forward(m, data)
        state = ActivatedState(q[None], qd[None], act[None])
        assert model.na == m.na == 3
        ours = np.where(mass_matrix == 0, 0, simulator.mass_matrix(state)[0])
        np.testing.assert_allclose(ours, mass_matrix, atol=1e-10)
        np.testing.assert_allclose(simulator.bias(state)[0], bias, atol=1e-9)
        driven = simulator.actuator_forces(state, control[None])[0]
        np.testing.assert_allclose(driven, turn.T @ data.qfrc_actuator, atol=1e-10)


@pytest.mark.parametrize("steps", [1, 8, 32])
@pytest.mark.parametrize("seed", SEEDS)
def test_gradient(seed, steps):
    model = actuated(seed)
    rollout = Rollout(model, 12, 1 / 60, 8)
    inputs = tree_inputs(model, 12, steps)
    assert_matches_differences(rollout, inputs, eps=1e-7)  # friction bends within 1e-3 rad/s


def slider(actuator: str = "", joint: str = "", more: str = "") -> str:
    """2 kg on a slide, without gravity."""
    return f"""<mujoco><option gravity="0 0 0"/><worldbody><body>
      <joint name="x" type="slide" axis="1 0 0" {joint}/><geom size=".1" mass="2"/></body>
      </worldbody><actuator>{actuator}</actuator>{more}</mujoco>"""


def moved(model: Model, q, qd, control, dt: float, steps: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates, with activations, and velocities after each step, (steps, n)."""
    controls = np.tile(np.asarray(control, float), (steps, 1, 1))
    inputs = Inputs(np.array([q], float), np.array([qd], float), controls)
    qs, qds = Rollout(model, 1, dt, 1).states(inputs)
    return qs[:, 0], qds[:, 0]


@pytest.mark.parametrize("kv", [0, 4])
@pytest.mark.parametrize("control", [0.5, 1.02, 1.5, 3, 100, -1])
def test_a_clamped_servo_is_exact_for_one_mass(control, kv):
    """From rest h F / m, or what an implicit step of the servo comes to where that is less."""
    h, kp, most = 0.1, 20, 20
    model = load(slider(f'<position joint="x" kp="{kp}" kv="{kv}" forcerange="-5 {most}"/>'), NONE)
    implicit = kp * control / (2 + h * kv)
    _, qd = moved(model, [0], [0], [control], h)
    np.testing.assert_allclose(qd[0, 0], h * np.clip(implicit, -5 / 2, most / 2), rtol=1e-12)


def test_a_servo_of_any_stiffness_is_stable():
    """A hundred times stiffer than an explicit step bears, it comes to rest where it is sent."""
    model = load(slider('<position joint="x" kp="1e6" ctrlrange="-2 2"/>'), NONE)
    q, qd = moved(model, [0], [1], [0.3], 0.03, 2000)
    np.testing.assert_allclose(q[-1], 0.3, atol=1e-6)
    assert abs(qd[-1, 0]) < 1e-6


@pytest.mark.parametrize("kind", ["motor", "position"])
def test_a_joints_force_range_is_its_actuators(kind):
    joint = 'actuatorfrclimited="true" actuatorfrcrange="-4 6"'
    read = load(slider(f'<{kind} joint="x" gear="-2" forcerange="-2.5 9"/>', joint), NONE)
    np.testing.assert_allclose(read.actuators.force_range, [[-2.5, 2]])


@pytest.mark.parametrize("push", [0, 3, 4.9])
def test_dry_friction_stops_what_slides_and_holds_what_rests(push):
    """Deceleration (f - push) / m, then creep v with push = f v / sqrt(v^2 + creep^2), and no
    chatter at however long a step."""
    model = load(slider('<motor joint="x"/>', 'frictionloss="5"'), NONE)
    creep = model.tendons.creep[0]
    _, qd = moved(model, [0], [1], [push], 0.01, 4000)
    np.testing.assert_allclose(qd[9, 0], 1 - 0.1 * (5 - push) / 2, rtol=1e-2)
    np.testing.assert_allclose(qd[-1, 0], creep * push / np.sqrt(25 - push**2), atol=1e-9)


def test_friction_creeps_as_fast_as_in_mujoco():
    text = slider('<motor joint="x"/>', 'frictionloss="5" solreffriction=".2 1"')
    m = mujoco.MjModel.from_xml_string(text)
    data = mujoco.MjData(m)
    data.ctrl[:] = 0.5
    mujoco.mj_step(m, data, 3000)
    _, qd = moved(load(text, NONE), [0], [0], [0.5], 0.01, 500)
    np.testing.assert_allclose(qd[-1, 0], data.qvel[0], rtol=0.02)


PAIR = """<mujoco><option gravity="0 0 -9.81"/><worldbody>
  <body pos="0 0 2"><joint name="a" axis="0 1 0" armature=".01"/>
    <geom type="capsule" fromto="0 0 0 0 0 -.3" size=".02" mass=".3"/>
    <body pos="0 0 -.3"><joint name="b" axis="0 1 0" armature=".01"/>
      <geom type="capsule" fromto="0 0 0 .2 0 -.2" size=".02" mass=".2"/></body></body>
  <body pos="1 0 2"><joint name="c" axis="0 1 0" armature=".01"/>
    <geom type="capsule" fromto="0 0 0 .2 0 -.3" size=".02" mass=".3"/></body>
  </worldbody>{more}</mujoco>"""
TENDON = """<tendon><fixed name="t">
  <joint joint="b" coef="1"/><joint joint="c" coef="-2"/></fixed></tendon>"""
SERVOED = f"""{TENDON}<actuator><position name="pa" joint="a" kp="30" kv="3" forcerange="-4 4"/>
  <velocity joint="b" kv=".4"/><position joint="c" kp="8" timeconst=".1"/>
  <motor tendon="t" gear=".3"/></actuator>"""


def test_motion_is_that_of_mujocos_implicit_integrator():
    """Servos, filters and a tendon's motor: to rounding over 0.5 s, at the same time step."""
    text = PAIR.format(more=SERVOED).replace("<option", '<option integrator="implicitfast"')
    m = mujoco.MjModel.from_xml_string(text)
    data = mujoco.MjData(m)
    data.ctrl[:] = control = [0.1, 1, 0.5, -1]
    model = load(text, NONE)
    q, _ = moved(model, np.zeros(4), np.zeros(3), control, m.opt.timestep, 250)
    for k in range(250):
        mujoco.mj_step(m, data)
        np.testing.assert_allclose(q[k], [*data.qpos, *data.act], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_motion_of_trees_is_mujocos(seed):
    assert_moves_as_mujoco(actuated_tree(seed), seed)


def assert_moves_as_mujoco(text, seed):
    """Over half a second. Both at a short step, and without armatures: MuJoCo leaves out what
    couples branches in its implicit step, and in the armature of tendons."""
    for armature in ('armature=".1"', 'armature=".2"'):
        text = text.replace(armature, "")
    text = text.replace("<option", '<option timestep="1e-4" integrator="implicitfast"')
    m, model = mujoco.MjModel.from_xml_string(text), smooth(load(text, NONE))
    for flag in ("CONSTRAINT", "CLAMPCTRL"):
        m.opt.disableflags |= getattr(mujoco.mjtDisableBit, f"mjDSBL_{flag}")
    rng = np.random.default_rng(seed)
    (q, qd), control = random_state(model, rng), rng.normal(size=m.nu)
    qd *= 0.2
    data = mujoco.MjData(m)
    data.qpos[:], data.qvel[:], data.ctrl[:] = q, to_mujoco(model, q) @ qd, control
    mujoco.mj_step(m, data, 5000)
    qs, _ = moved(model, np.append(q, np.zeros(m.na)), qd, control, 1e-4, 5000)
    np.testing.assert_allclose(qs[-1], [*data.qpos, *data.act], atol=1e-3)


def test_couplings_and_dampers_between_branches_are_implicit():
    """One step from rest is that of the dense equations (M + w J J^T) a = forces."""
    more = TENDON.replace("<fixed", '<fixed damping="50"')
    more += '<equality><joint joint1="a" joint2="c" polycoef=".2 1.5"/></equality>'
    model, h = load(PAIR.format(more=more), NONE), 0.05
    state = ArticulatedState(np.array([[0.1, -0.2, 0.3]]), np.array([[1.0, 2.0, -1.0]]))
    simulator = Articulated(replace(model, couplings=NO_COUPLINGS), h, 1, dtype=np.float64)
    ke, kd, q, qd = model.couplings.ke[0], model.couplings.kd[0], state.q[0], state.qd[0]
    rate, damped = np.array([1, 0, -1.5]), np.array([0, 1, -2.0])
    error = q[0] - 0.2 - 1.5 * q[2]
    force = -rate * (ke * error + (kd + h * ke) * (rate @ qd)) - simulator.bias(state)[0]
    matrix = simulator.mass_matrix(state)[0]
    matrix = matrix + h * (kd + h * ke) * np.outer(rate, rate) + h * 50 * np.outer(damped, damped)
    _, after = moved(model, q, qd, np.zeros(0), h)
    np.testing.assert_allclose(after[0], qd + h * np.linalg.solve(matrix, force), rtol=1e-10)


@pytest.mark.parametrize("poly", ["0 1", ".1 -.5 .3 .2 -.1"])
def test_couplings_hold_as_in_mujoco(poly):
    """Pulled by gravity, the joints stay on the polynomial about as well as there."""
    more = f'<equality><joint joint1="b" joint2="c" polycoef="{poly}"/></equality>'
    text = PAIR.format(more=more)
    m = mujoco.MjModel.from_xml_string(text)
    data = mujoco.MjData(m)
    model = load(text, NONE)
    q, _ = moved(model, np.zeros(3), np.zeros(3), np.zeros(0), 0.002, 500)
    mujoco.mj_step(m, data, 500)
    coefficients = np.array(poly.split(), float)[::-1]
    np.testing.assert_allclose(q[250:, 1], np.polyval(coefficients, q[250:, 2]), atol=5e-3)
    np.testing.assert_allclose(q[-1], data.qpos, atol=0.02)
