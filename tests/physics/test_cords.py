"""Spatial tendons over sites: lengths, forces, gradients, and how MuJoCo moves them."""

import mujoco
import numpy as np
import pytest
from test_lengths import assert_moves_as_mujoco, moved, smooth

from oracle import corded_tree, mujoco_dynamics, random_state, to_mujoco
from rfo.physics.articulated import ActivatedState, Articulated, ArticulatedState
from rfo.physics.articulated_parameters import tendon_names
from rfo.physics.mjcf import ContactParameters, load
from rollouts import Inputs, Rollout, actuated, assert_matches_differences, tree_inputs

NONE = ContactParameters(0, 0, 0, 0)
SEEDS = (0, 1, 2, 4)


@pytest.mark.parametrize("steps", [1, 8, 32])
@pytest.mark.parametrize("seed", SEEDS)
def test_gradient(seed, steps):
    model = actuated(seed, cords=True)
    rollout = Rollout(model, 12, 1 / 60, 8)
    inputs = tree_inputs(model, 12, steps)
    assert_matches_differences(rollout, inputs, eps=1e-7)


@pytest.mark.parametrize("seed", SEEDS)
def test_forces_are_mujocos(seed):
    """Mass matrix, passive and actuator forces, in random states with random activations, and what
    armatures make of velocities. Where they couple branches, MuJoCo leaves them out."""
    text, rng = corded_tree(seed), np.random.default_rng(seed)
    m, model = mujoco.MjModel.from_xml_string(text), smooth(load(text, NONE))
    m.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_CLAMPCTRL
    simulator = Articulated(model, dt=m.opt.timestep, substeps=1, dtype=np.float64)
    for _ in range(3):
        q, qd = random_state(model, rng)
        act, control = rng.normal(size=m.na), 2 * rng.normal(size=m.nu)
        turn = to_mujoco(model, q)
        mass_matrix, bias, data = mujoco_dynamics(m, model, q, qd)
        data.act[:], data.ctrl[:] = act, control
        mujoco.mj_forward(m, data)
        state = ActivatedState(q[None], qd[None], act[None])
        ours = np.where(mass_matrix == 0, 0, simulator.mass_matrix(state)[0])
        np.testing.assert_allclose(ours, mass_matrix, atol=1e-9)
        np.testing.assert_allclose(simulator.bias(state)[0], bias, atol=1e-9)
        driven = simulator.actuator_forces(state, control[None])[0]
        np.testing.assert_allclose(driven, turn.T @ data.qfrc_actuator, atol=1e-9)


@pytest.mark.parametrize("seed", SEEDS)
def test_motion_of_trees_is_mujocos(seed):
    assert_moves_as_mujoco(corded_tree(seed), seed)


SWING = """<mujoco><option timestep=".001"><flag contact="disable"/></option><worldbody>
  <site name="hook" pos="0 0 2"/>
  <body name="ball" pos="0 0 2"><freejoint/><geom size=".05" mass=".3"/><site name="ball"/></body>
  </worldbody><tendon><spatial name="string" limited="true" range="0 .5" {more}>
  <site site="ball"/><site site="hook"/></spatial></tendon></mujoco>"""


def hung(more: str, start: np.ndarray, time: float) -> tuple[np.ndarray, np.ndarray]:
    """Places of a ball on a string, ours and MuJoCo's."""
    text = SWING.format(more=more)
    m, model = mujoco.MjModel.from_xml_string(text), load(text, NONE)
    data, q = mujoco.MjData(m), np.concatenate([start, [1, 0, 0, 0]])
    data.qpos[:] = q
    steps = round(time / m.opt.timestep)
    mujoco.mj_step(m, data, steps)
    qs, _ = moved(model, q, np.zeros(6), np.zeros(0), m.opt.timestep, steps)
    return qs[-1, :3], data.qpos[:3]


def test_a_string_swings_as_in_mujoco():
    """It holds as a limit does, though it has no length where the file puts the ball."""
    ours, theirs = hung("", np.array([0.5, 0, 2.0]), 0.5)
    np.testing.assert_allclose(ours, theirs, atol=0.02)
    assert theirs[2] < 1.7


def test_a_string_hangs_as_deep_as_in_mujoco():
    ours, theirs = hung('damping="2"', np.array([0, 0, 1.52]), 3.0)
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
    assert theirs[2] < 1.5


def test_where_the_ends_of_a_string_meet_all_stays_finite():
    """A ball between springs passes through the place where one has no length."""
    model = load(SWING.format(more='stiffness="20" springlength="0" damping=".1"'), NONE)
    rollout = Rollout(model, 1, 0.01, 10)
    start = np.array([[0.1, 0, 2.0, 1, 0, 0, 0]])
    inputs = Inputs(start, np.zeros((1, 6)), np.zeros((60, 1, 0)))
    qs, _ = rollout.states(inputs)
    assert np.isfinite(qs).all() and np.abs(qs[..., :2]).min() < 1e-3
    assert all(np.isfinite(x).all() for x in rollout.gradient(inputs))
    smooth = load(SWING.format(more='stiffness="20" springlength="0"'), NONE)
    met = Inputs(model.q0[None], np.zeros((1, 6)), np.zeros((60, 1, 0)))
    assert_matches_differences(Rollout(smooth, 1, 0.01, 10), met, ("q", "qd"))


FINGER = """<mujoco><worldbody><site name="base" pos="-.1 0 0"/>
  <body><joint name="j" axis="0 1 0"/><geom type="capsule" fromto="0 0 0 .2 0 0" size=".01"/>
  <site name="tip" pos=".2 0 0"/></body></worldbody>
  <tendon><spatial name="idle"><site site="base"/><site site="tip"/></spatial>
  <spatial name="pull" range="0 .2"><site site="base"/><site site="tip"/></spatial></tendon>
  <actuator>{motor}</actuator></mujoco>"""


def test_constants_are_taken_where_a_tendon_moves_something():
    """Along a straight finger a tendon has no lever; bent, its limit has to hold."""
    model = load(FINGER.format(motor='<motor tendon="pull" gear="3"/>'), NONE)
    assert len(model.cords) == 1, "what does nothing is left out"
    assert model.tendons.limit_ke[0] > 0
    assert tendon_names(model.tendons, model.dof_names) == ("tendon 0",)
    # where the sites are furthest apart from being in line: dL/dq = a b sin(q) / L
    lever = abs(model.actuators.lengths.coef[0]) / 3
    assert 0.09 < lever <= 0.1 + 1e-9


def test_a_pulley_divides_length_and_force():
    """Two of three segments count half."""
    text = """<mujoco><worldbody><site name="a" pos="0 0 1"/><site name="b" pos="1 0 1"/>
      <body pos=".5 0 0"><joint type="slide" axis="0 0 1"/><geom size=".1" mass="2"/>
      <site name="c"/></body></worldbody><tendon><spatial name="t"><site site="a"/><site site="c"/>
      <pulley divisor="2"/><site site="b"/><site site="c"/><site site="b"/></spatial></tendon>
      <actuator><motor tendon="t"/></actuator></mujoco>"""
    model = load(text, NONE)
    np.testing.assert_allclose(model.cords.scale, [1, 0.5, 0.5])
    simulator = Articulated(model, 1.0, 1, dtype=np.float64)
    state = ArticulatedState(np.zeros((1, 1)), np.zeros((1, 1)))
    force = simulator.actuator_forces(state, np.ones((1, 1)))[0, 0]
    np.testing.assert_allclose(force, -2 / np.sqrt(1.25), rtol=1e-10)
