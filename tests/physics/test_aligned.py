"""Contacts where a point alone does not tell which way out is meant.

They are faces on faces, edges on edges, parallel and coinciding axes, and coinciding centres.
"""

import mujoco
import numpy as np
import pytest

from rfo.physics.articulated import Articulated, ArticulatedState
from rfo.physics.mjcf import ContactParameters, load
from rfo.physics.reference import stable_step
from rollouts import Inputs, Rollout, directional

SOFT = ContactParameters(ke=1e4, kd=10.0, kf=50.0, mu=0.8)
CUBE = '<geom type="box" size=".1 .1 .1" mass="2"/>'
PLANE = '<geom type="plane" size="5 5 1"/>'


def world(*bodies, more=""):
    return f"<mujoco>{more}<worldbody>{''.join(bodies)}</worldbody></mujoco>"


def free(geom, pos="0 0 0"):
    return f'<body pos="{pos}"><freejoint/>{geom}</body>'


def rollout(text, seconds, envs=1):
    """With the constants of the file and a stable step, from its reference pose."""
    model = load(text)
    substeps = int(np.ceil(1 / 60 / stable_step(model)))
    start = np.tile(model.q0, (envs, 1)), np.zeros((envs, model.nv))
    controls = np.zeros((round(60 * seconds), envs, model.nu))
    return Rollout(model, envs, 1 / 60, substeps), Inputs(*start, controls)


def theirs(text, seconds, control=()):
    """qpos by the mujoco package."""
    m = mujoco.MjModel.from_xml_string(text)
    data = mujoco.MjData(m)
    data.ctrl[:] = control
    while data.time < seconds:
        mujoco.mj_step(m, data)
    return data.qpos


STACKS = {
    "aligned": (0.0, 0.0),
    "a hair off": (2e-3, -1e-3),
    "off": (0.02, -0.03),
}


@pytest.mark.parametrize("name", STACKS)
def test_three_equal_cubes_rest_on_one_another(name):
    """Each rests where mujoco has it, to a few millimetres of give, and is still."""
    one, two = STACKS[name]
    text = world(
        PLANE, free(CUBE, "0 0 .1"), free(CUBE, f"{one} 0 .301"), free(CUBE, f"{two} 0 .502")
    )
    q, qd = (x[-1, 0] for x in Rollout.states(*rollout(text, 3)))
    expected = theirs(text, 3)
    np.testing.assert_allclose(q[2::7], expected[2::7], atol=5e-3)
    np.testing.assert_allclose(q[::7], expected[::7], atol=1e-2)
    assert np.abs(qd).max() < 1e-2


GRIPPER = """<mujoco><worldbody>
  <body pos="0 -.06 0"><joint name="left" type="slide" axis="0 1 0"/>
    <geom type="box" size=".02 .01 .02" mass=".2"/></body>
  <body pos="0 .06 0"><joint name="right" type="slide" axis="0 -1 0"/>
    <geom type="box" size=".02 .01 .02" mass=".2"/></body>
  <body><freejoint/><geom type="box" size=".02 .02 .02" mass=".1"/></body></worldbody>
  <actuator><motor joint="left" gear="10"/><motor joint="right" gear="10"/></actuator></mujoco>"""


def test_two_pads_that_close_on_a_cube_hold_it():
    """Faces of the same size, closing while it falls: after a second it hangs where mujoco holds
    it, to the creep of a centimetre that regularised friction has; open pads let it fall by 5 m."""
    moves, inputs = rollout(GRIPPER, 1)
    closed = inputs._replace(controls=np.ones_like(inputs.controls))
    held, fallen = (moves.states(x)[0][-1, 0] for x in (closed, inputs))
    assert abs(held[4] - theirs(GRIPPER, 1, (1, 1))[4]) < 0.015
    assert abs(held[4]) < 0.06 and np.abs(held[2:4]).max() < 1e-3, "it stays between the pads"
    assert abs(held[5]) > 0.999, "and level"
    assert fallen[4] < -4


S = 0.5**0.5
AS_IS, LIES_X, LIES_Y = (1, 0, 0, 0), (S, 0, S, 0), (S, -S, 0, 0)
ROLLED, PITCHED = (
    (np.cos(np.pi / 8), np.sin(np.pi / 8), 0, 0),
    (np.cos(np.pi / 8), 0, np.sin(np.pi / 8), 0),
)
SPHERE, CAPSULE = '<geom size=".1" mass="2"/>', '<geom type="capsule" size=".05 .2" mass="2"/>'
TIGHT = 2e-3
"""Depth [m]."""
CASES = {
    "face on face": (CUBE, AS_IS, CUBE, AS_IS, (0, 0, 0.2 - TIGHT), (0, 0, 1)),
    "face beside face": (CUBE, AS_IS, CUBE, AS_IS, (0.2 - TIGHT, 0, 0), (1, 0, 0)),
    "edge across edge": (CUBE, ROLLED, CUBE, PITCHED, (0, 0, 0.4 * S - TIGHT), (0, 0, 1)),
    "edge along edge": (CUBE, ROLLED, CUBE, ROLLED, (0, 0, 0.4 * S - TIGHT), (0, 0, 1)),
    "face on edge": (CUBE, ROLLED, CUBE, AS_IS, (0, 0, 0.1 + 0.2 * S - TIGHT), (0, 0, 1)),
    "centre in centre of boxes": (CUBE, AS_IS, CUBE, AS_IS, (0, 0, 0), None),
    "centre in centre of spheres": (SPHERE, AS_IS, SPHERE, AS_IS, (0, 0, 0), None),
    "centre of a sphere in a box's": (CUBE, AS_IS, SPHERE, AS_IS, (0, 0, 0), None),
    "axis across axis": (CAPSULE, LIES_X, CAPSULE, LIES_Y, (0, 0, 0), (0, 0, None)),
    "axis in axis": (CAPSULE, LIES_X, CAPSULE, LIES_X, (0, 0, 0), (0, None, None)),
    "parallel axes": (CAPSULE, LIES_X, CAPSULE, LIES_X, (0, 0, 0.1 - TIGHT), (0, 0, 1)),
    "axes in line": (CAPSULE, LIES_X, CAPSULE, LIES_X, (0.5 - TIGHT, 0, 0), (1, 0, 0)),
    "axis along an edge": (
        CUBE, AS_IS, CAPSULE, LIES_Y, (0.1 + 0.05 * S, 0, 0.1 + 0.05 * S - TIGHT), (S, 0, S),
    ),
}  # fmt: skip
"""The lower shape and its attitude, the upper shape and its attitude and place, and its push.

The push is a unit vector, or None for any direction; an entry of None stands for what remains."""


def pose(case):
    (_, turn, _, other_turn, place, _) = CASES[case]
    return np.array([0, 0, 0, *turn, *place, *other_turn], float)


def model(case, law=SOFT):
    lower, _, upper, _, _, _ = CASES[case]
    return load(world(free(lower), free(upper), more='<option gravity="0 0 0"/>'), law)


@pytest.mark.parametrize("case", CASES)
def test_it_is_pushed_apart(case):
    """The push has the right direction however it is rounded.

    That holds in each precision and from poses a hair off.
    """
    way = CASES[case][-1]
    for dtype, hair in ((np.float32, 0), (np.float64, 0), (np.float64, 1e-9)):
        noise = hair * np.random.default_rng(1).normal(size=(8, 14))
        simulator = Articulated(model(case), 1e-3, 1, dtype=dtype)
        q = (pose(case) + noise).astype(dtype)
        force = -simulator.bias(ArticulatedState(q, np.zeros((8, 12), dtype)))[:, 6:9]
        size = np.linalg.norm(force, axis=1)
        assert np.all(size > 0.2 * 1e4 * TIGHT)
        if way is not None:
            known = np.array([w is not None for w in way])
            along = np.array([w or 0 for w in way], float)
            across = force / size[:, None] - along
            assert np.abs(across[:, known]).max() < 3e-2


@pytest.mark.parametrize("case", CASES)
def test_its_gradient_is_finite_where_it_is_aligned(case):
    """Over 20 control steps from the pose itself, at rest."""
    moves = Rollout(model(case), 1, 1 / 240, 4)
    inputs = Inputs(pose(case)[None], np.zeros((1, 12)), np.zeros((20, 1, 0)))
    gradient = moves.gradient(inputs)
    assert all(np.isfinite(x).all() for x in gradient)
    assert np.abs(gradient.q).max() < 1e8 and np.abs(gradient.qd).max() > 0


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("hair", [1e-5, 1e-3])
def test_its_gradient_is_that_of_differences(case, hair):
    """Over 20 control steps from poses a hair off, as it is pushed apart."""
    rng, envs = np.random.default_rng(2), 16
    q = pose(case) + hair * rng.normal(size=(envs, 14))
    inputs = Inputs(q, 10 * hair * rng.normal(size=(envs, 12)), np.zeros((20, envs, 0)))
    moves = Rollout(model(case), envs, 1 / 240, 4)
    for name in ("q", "qd"):
        errors = []
        for eps in (1e-6, 1e-7, 1e-8, 1e-9):  # some bend within 1e-6
            adjoint, differences = directional(moves, inputs, name, eps)
            scale = np.abs(adjoint) + 1e-2 * np.abs(adjoint).max()
            errors.append(np.abs(adjoint - differences) / scale)
        error = np.min(errors, axis=0)
        assert np.median(error) < 1e-3 and np.mean(error < 1e-2) >= 0.8, (name, error)


def test_the_gradient_of_a_resting_stack_stays_small_and_right():
    """Two thirds of a second of three cubes at rest, a hair off: some hundreds, as differences."""
    text = world(PLANE, free(CUBE, "0 0 .1"), free(CUBE, "0 0 .3"), free(CUBE, "0 0 .5"))
    moves, inputs = rollout(text, 2)
    rng, envs = np.random.default_rng(3), 8
    rest = moves.states(inputs)[0][-1]
    moves, inputs = rollout(text, 2 / 3, envs)
    inputs = inputs._replace(
        q=rest + 1e-4 * rng.normal(size=(envs, 21)), qd=1e-4 * rng.normal(size=(envs, 18))
    )
    gradient = moves.gradient(inputs)
    assert np.abs(gradient.q).max() < 1e3 and np.abs(gradient.qd).max() < 1e2
    for name in ("q", "qd"):
        adjoint, differences = directional(moves, inputs, name, 1e-7)
        error = np.abs(adjoint - differences) / (np.abs(adjoint) + 1e-2 * np.abs(adjoint).max())
        assert np.median(error) < 1e-3 and np.mean(error < 1e-2) >= 0.75, (name, error)
