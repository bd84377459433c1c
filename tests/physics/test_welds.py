"""Welds and connects: forces, gradients, and where MuJoCo holds things."""

from dataclasses import replace

import mujoco
import numpy as np
import pytest

from oracle import motion
from rfo.physics.articulated import Articulated, ArticulatedState
from rfo.physics.mjcf import ContactParameters, load
from rfo.physics.welds import Welds
from rollouts import Inputs, Rollout, assert_matches_differences, tree, tree_inputs

NONE = ContactParameters(0, 0, 0, 0)


def welded(seed: int):
    """A random tree with welds and connects between random links, one of them to the world."""
    rng, model = np.random.default_rng(seed), tree(seed)
    n = 3
    link = np.array([rng.choice(model.links, 2, replace=False) for _ in range(n)], np.int32)
    link[0, 1] = -1
    stiff = [rng.uniform(20, 50, n), rng.uniform(1, 3, n), rng.uniform(5, 10, n), rng.random(n)]
    stiff[2][1] = stiff[3][1] = 0
    quat = rng.normal(size=(n, 2, 4))
    quat /= np.linalg.norm(quat, axis=-1, keepdims=True)
    welds = Welds(link, 0.3 * rng.normal(size=(n, 6)), quat.reshape(n, 8), *stiff)
    return replace(model, welds=welds)


@pytest.mark.parametrize("steps", [1, 8])
@pytest.mark.parametrize("seed", range(3))
def test_gradient(seed, steps):
    model = welded(seed)
    assert_matches_differences(Rollout(model, 12, 1 / 60, 8), tree_inputs(model, 12, steps))


@pytest.mark.parametrize("seed", range(3))
def test_force_at_rest_is_that_of_a_potential(seed):
    """The derivative of the sum of ke |d|^2 / 2 along each coordinate."""
    model = welded(seed)
    model = replace(model, welds=replace(model.welds, turn_ke=model.welds.turn_ke * 0))
    inputs = tree_inputs(model, 1, 1)
    q, still = inputs.q.copy(), np.zeros((1, model.nv))
    bias = [
        Articulated(x, 1, 1, dtype=np.float64).bias(ArticulatedState(q, still))[0]
        for x in (model, replace(model, welds=replace(model.welds, ke=0 * model.welds.ke)))
    ]
    unit = q[0].copy()
    for start, kind in zip(model.q_start, model.joint, strict=True):
        if kind < 2:
            part = slice(start + 3, start + 7) if kind == 0 else slice(start, start + 4)
            unit[part] /= np.linalg.norm(unit[part])
    m, expected = motion(model, unit, np.zeros(model.nv)), np.zeros(model.nv)

    def place(link, point):
        if link < 0:
            return point, np.zeros((3, model.nv))
        arm = m.rot[link] @ point
        return m.pos[link] + arm, m.linear[link] + np.cross(m.angular[link], arm, axis=0)

    for (a, b), points, ke in zip(model.welds.link, model.welds.pos, model.welds.ke, strict=True):
        (x, of_x), (y, of_y) = place(a, points[:3]), place(b, points[3:])
        expected += ke * (of_x - of_y).T @ (x - y)
    np.testing.assert_allclose(bias[0] - bias[1], expected, atol=1e-9)


LOOP = """<mujoco><option><flag contact="disable"/></option><worldbody>
  <body name="a" pos="0 0 2"><joint axis="0 1 0" damping=".2"/>
    <geom type="capsule" fromto="0 0 0 .4 0 0" size=".02" mass=".3"/>
    <body name="b" pos=".4 0 0"><joint axis="0 1 0"/>
      <geom type="capsule" fromto="0 0 0 .2 0 -.3" size=".02" mass=".2"/></body></body>
  <body name="c" pos="1 0 2"><joint axis="0 1 0" damping=".2"/>
    <geom type="capsule" fromto="0 0 0 -.4 0 -.3" size=".02" mass=".3"/></body>
  <body name="d" pos="0 1 2" euler="10 20 30"><freejoint/><geom type="box" size=".1 .2 .05"
    mass="2" contype="0" conaffinity="0"/></body></worldbody>
  <equality><connect body1="b" body2="c" anchor=".2 0 -.3"/>
    <weld body1="d" anchor="0 1.1 2"/></equality></mujoco>"""


def test_loops_hang_where_mujoco_has_them():
    """A loop of four bars, and a box welded to the world, after a second."""
    m, model = mujoco.MjModel.from_xml_string(LOOP), load(LOOP, NONE)
    data, dt = mujoco.MjData(m), 0.002
    mujoco.mj_step(m, data, 500)
    rollout = Rollout(model, 1, dt, 1)
    inputs = Inputs(model.q0[None], np.zeros((1, model.nv)), np.zeros((500, 1, 0)))
    q = rollout.states(inputs)[0][-1, 0]
    np.testing.assert_allclose(q, data.qpos, atol=5e-3)
    np.testing.assert_allclose(q[3:], model.q0[3:], atol=6e-3)  # the box has not moved
    assert np.abs(q[:3]).max() > 0.2  # the loop has
