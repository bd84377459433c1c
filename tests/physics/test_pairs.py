"""Contact of bodies with one another.

The tests cover geometry against mujoco's, continuity, momentum, and gradients.
"""

from dataclasses import replace
from functools import cache
from itertools import combinations_with_replacement

import mujoco
import numpy as np
import pytest

from oracle import rotation
from rfo.physics.articulated import Articulated, ArticulatedState
from rfo.physics.mjcf import ContactParameters, load
from rollouts import Inputs, Rollout, assert_matches_differences

SIZES = {"sphere": "0.1", "capsule": "0.06 0.15", "box": "0.12 0.08 0.1"}
KINDS = list(combinations_with_replacement(SIZES, 2))
KE = 1e3

every_pair = pytest.mark.parametrize(("one", "other"), KINDS, ids=lambda kind: kind)


def free(name, kind, size=None):
    """MJCF of a free body of one geom."""
    geom = f'<geom name="{name}" type="{kind}" size="{size or SIZES[kind]}" mass="1"/>'
    return f'<body name="{name}"><freejoint/>{geom}</body>'


def world(*bodies, gravity="0 0 0"):
    return f'<mujoco><option gravity="{gravity}"/><worldbody>{"".join(bodies)}</worldbody></mujoco>'


@cache
def two(one, other, kd=0.0, kf=0.0, mu=0.0):
    return load(world(free("one", one), free("other", other)), ContactParameters(KE, kd, kf, mu))


def poses(seed, count, farthest=0.25):
    """q (count, 14): the second body in a random attitude at a random place around the first."""
    rng = np.random.default_rng(seed)
    q = rng.normal(size=(count, 14))
    q[:, :3] *= 0.1
    apart = rng.uniform(0.02, farthest, (count, 1))
    q[:, 7:10] = q[:, :3] + apart * q[:, 7:10] / np.linalg.norm(q[:, 7:10], axis=1, keepdims=True)
    for start in (3, 10):
        q[:, start : start + 4] /= np.linalg.norm(q[:, start : start + 4], axis=1, keepdims=True)
    return q


def wrenches(model, q, qd=None):
    """Force on each free body and torque about its own origin (B, bodies, 6).

    Nothing spins there.
    """
    qd = np.zeros((len(q), model.nv)) if qd is None else qd
    simulator = Articulated(model, 1e-3, 1, dtype=np.float64)
    return -simulator.bias(ArticulatedState(q, qd)).reshape(len(q), -1, 6)


def theirs(one, other, q):
    """Signed distance and normal (from `other` to `one`) by the mujoco package."""
    m = mujoco.MjModel.from_xml_string(world(free("one", one), free("other", other)))
    data, results, ends = mujoco.MjData(m), [], np.zeros(6)
    for row in q:
        data.qpos[:] = row
        mujoco.mj_forward(m, data)
        distance = mujoco.mj_geomDistance(m, data, 0, 1, 1.0, ends)
        normal = (ends[:3] - ends[3:]) * np.sign(distance)
        results.append((distance, *normal / np.linalg.norm(normal)))
    results = np.array(results)
    return results[:, 0], results[:, 1:]


def axis_to_box(q):
    """Signed distance and normal from the points of a capsule's axis to a box, less the radius."""
    half, radius = np.array([0.12, 0.08, 0.1]), 0.06
    along, results = np.linspace(-0.15, 0.15, 601)[:, None], []
    for row in q:
        turn, box = rotation(row[3:7]), rotation(row[10:])
        local = (row[:3] + along * turn[:, 2] - row[7:10]) @ box
        apart = local - np.clip(local, -half, half)
        nearest = apart[np.linalg.norm(apart, axis=1).argmin()]
        length = np.linalg.norm(nearest)
        # an axis in the box: deeper than any depth that is asked about
        results.append((length - radius if length else -1.0, *(box @ nearest / max(length, 1e-12))))
    results = np.array(results)
    return results[:, 0], results[:, 1:]


@pytest.mark.parametrize("other", SIZES)
def test_a_sphere_is_pushed_along_the_shortest_way(other):
    """The force is k_e times mujoco's depth along its normal.

    A centre inside a box has a smoothed distance.
    """
    q = poses(0, 200)
    force = wrenches(two("sphere", other), q)[:, 0, :3]
    distance, normal = theirs("sphere", other, q)
    outside = distance > -0.1 if other == "box" else np.ones(len(q), bool)  # of its centre
    expected = KE * np.maximum(-distance, 0)[:, None] * normal
    assert np.sum(outside & (distance < 0)) > 30 and np.sum(distance > 0) > 10
    np.testing.assert_allclose(force[outside], expected[outside], atol=1e-4 * KE * 0.1)


@every_pair
def test_bodies_push_when_they_overlap_and_only_then(one, other):
    """Bodies that mujoco finds apart feel no force.

    Where mujoco's depth is more than a hair there is a force, on the whole along mujoco's normal.
    """
    q = poses(1, 300, farthest=0.35)
    force = wrenches(two(one, other), q)[:, 0, :3]
    distance, normal = theirs(one, other, q)
    if (one, other) == ("capsule", "box"):  # mujoco's depth is another where the axis is in the box
        sampled, normal = axis_to_box(q)
        np.testing.assert_allclose(distance[distance > 0], sampled[distance > 0], atol=1e-4)
        distance = sampled
    size = np.linalg.norm(force, axis=1)
    assert np.all(size[distance > 1e-6] == 0) and np.sum(distance > 1e-6) > 50
    deep, shallow = distance < -5e-3, (distance < -5e-3) & (distance > -0.03)
    assert np.all(size[deep] > 0) and shallow.sum() > 10
    cosine = np.sum(force * normal, axis=1)[shallow] / size[shallow]
    assert np.median(cosine) > 0.97 and cosine.min() > 0.5


def test_a_box_on_a_box_is_carried_by_its_edges():
    """Pressed in by d: its four lower edges at depth d, which count 3/2 each; the upright ones lie
    beside the contact."""
    depth, table = 1e-4, '<geom type="box" size="0.5 0.5 0.1"/>'
    model = load(world(free("one", "box"), table), ContactParameters(KE, 0, 0, 0))
    push = wrenches(model, np.array([[0, 0, 0.2 - depth, 1, 0, 0, 0]]))[0, 0]
    np.testing.assert_allclose(push, [0, 0, KE * depth * 6, 0, 0, 0], atol=5e-3 * KE * depth)


@every_pair
def test_action_is_reaction(one, other):
    """With damping and friction: the forces cancel, and so do the moments about one point."""
    rng = np.random.default_rng(2)
    q = poses(2, 100, 0.2)
    qd = np.zeros((100, 12))
    qd[:, :3], qd[:, 6:9] = rng.normal(size=(2, 100, 3))
    push = wrenches(two(one, other, 30.0, 20.0, 0.5), q, qd)
    assert np.abs(push).max() > 10
    np.testing.assert_allclose(push[:, 0, :3], -push[:, 1, :3], atol=1e-10)
    moment = (
        push[:, :, 3:].sum(1)
        + np.cross(q[:, :3], push[:, 0, :3])
        + np.cross(q[:, 7:10], push[:, 1, :3])
    )
    np.testing.assert_allclose(moment, 0, atol=1e-10)


def test_friction_opposes_sliding_and_obeys_coulomb():
    """A sphere pressed onto a fixed box by 0.01 m, sliding fast, then slowly: mu N, then k_f v."""
    model = load(
        world(free("one", "sphere"), '<geom type="box" size="1 1 0.5"/>'),
        ContactParameters(KE, 0, 20, 0.5),
    )
    q = np.tile([0, 0, 0.59, 1, 0, 0, 0], (2, 1))
    qd = np.zeros((2, 6))
    qd[:, 0] = [3.0, 0.1]
    push = wrenches(model, q, qd)[:, 0]
    np.testing.assert_allclose(push[:, 2], KE * 0.01)
    np.testing.assert_allclose(push[:, 0], [-0.5 * KE * 0.01, -20 * 0.1], rtol=1e-6)
    np.testing.assert_allclose(
        push[:, 4], -0.1 * push[:, 0], rtol=1e-6, err_msg="at its lowest point"
    )


@every_pair
def test_the_force_is_continuous(one, other):
    """The force does not jump along a path of slides and turns, through flat and parallel poses.

    Steps ten times smaller change the force ten times less at their worst.
    """

    def path(points):
        """A swing about the parallel pose, over the middle and beyond the edges."""
        t = np.linspace(-1, 1, points)
        q = np.zeros((points, 14))
        half = 0.2 * np.sin(5 * t)
        q[:, 3], q[:, 4] = np.cos(half), np.sin(half)
        q[:, 0], q[:, 1], q[:, 2] = 0.15 * np.sin(9 * t), 0.1 * t, 0.17
        q[:, 10] = 1.0
        if one == "capsule":  # lying
            lie = np.array([0.5**0.5, 0, 0.5**0.5, 0])
            q[:, 3:7] = np.stack([_product(turn, lie) for turn in q[:, 3:7]])
            q[:, 2] = 0.15
        if other == "capsule":
            q[:, 10:14] = [0.5**0.5, 0, 0.5**0.5, 0]
            q[:, 2] = 0.1
        return q

    worst = [
        np.abs(np.diff(wrenches(two(one, other), path(n))[:, 0], axis=0)).max()
        for n in (2001, 20001)
    ]
    assert worst[0] > 0 and worst[1] < 0.2 * worst[0]


def _product(a, b):
    quat = np.empty(4)
    mujoco.mju_mulQuat(quat, a, b)
    return quat


RESTING = {
    "box": [0, 0, 0.1, 1, 0, 0, 0],
    "lying capsule": [0, 0, 0.06, 0.5**0.5, 0, 0.5**0.5, 0],
    "sphere": [0, 0, 0.1, 1, 0, 0, 0],
}


@pytest.mark.parametrize("name", RESTING)
def test_what_lies_on_a_box_stays_as_it_lies(name):
    """A body drops by a millimetre onto a box, with a slight tilt.

    After 2 s it is at rest on its face and has not wandered.
    """
    kind = name.split()[-1]
    table = '<geom type="box" size="0.5 0.4 0.1" pos="0 0 -0.1"/>'
    model = load(
        world(free("one", kind), table, gravity="0 0 -9.81"), ContactParameters(2e4, 100, 100, 0.5)
    )
    q = np.array([RESTING[name]], float)
    q[0, 2] += 1e-3
    tilted = q.copy()
    tilted[0, 3:7] = _product(np.array([np.cos(0.01), np.sin(0.01), 0.0, 0]), q[0, 3:7])
    rollout = Rollout(model, 1, 0.02, 40)
    inputs = Inputs(tilted, np.zeros((1, 6)), np.zeros((100, 1, 0)))
    end, speed = (x[-1] for x in rollout.states(inputs))
    assert np.abs(speed).max() < 1e-3
    assert np.abs(end[0, :3] - q[0, :3]).max() < 3e-3
    if kind != "sphere":  # its face or its axis is level
        axis = rotation(end[0, 3:7]) @ [0, 0, 1]
        assert abs(axis[2] - (1 if kind == "box" else 0)) < 1e-3


def test_a_fixed_shape_pushes_like_a_body_there():
    """The world as one of the bodies, on either side of a pair."""
    q = poses(3, 50, 0.2)
    for one, other in KINDS:
        pushed = wrenches(two(one, other), q)
        for mine, fixed, first in ((one, other, 0), (other, one, 1)):
            place, turn = (
                q[:, 7:10] if first == 0 else q[:, :3],
                q[:, 10:] if first == 0 else q[:, 3:7],
            )
            own = q[:, :7] if first == 0 else q[:, 7:]
            for i in range(0, 50, 25):
                pose = f'pos="{_text(place[i])}" quat="{_text(turn[i])}"'
                text = f'<geom type="{fixed}" size="{SIZES[fixed]}" {pose}/>'
                model = load(world(free("one", mine), text), ContactParameters(KE, 0, 0, 0))
                np.testing.assert_allclose(
                    wrenches(model, own[[i]])[0, 0], pushed[i, first], atol=1e-8
                )


def _text(values):
    return " ".join(f"{x:.15g}" for x in values)


def test_what_is_culled_would_not_touch():
    """The spheres about the shapes hold them: without the test of them the forces are the same."""
    q = poses(4, 200, 0.5)
    for one, other in KINDS:
        model = two(one, other)
        everything = replace(
            model, pairs=replace(model.pairs, reach=np.full_like(model.pairs.reach, 100.0))
        )
        np.testing.assert_allclose(wrenches(model, q), wrenches(everything, q), atol=1e-12)


def test_material_is_the_mean():
    text = world(free("one", "sphere"), free("other", "sphere"))
    text = text.replace('name="one" type', 'name="one" user="10 2 3 0.5" type')
    text = text.replace(
        "<worldbody>",
        '<size nuser_geom="4"/><custom><numeric name="rfo_contact" data="1"/></custom><worldbody>',
    )
    np.testing.assert_allclose(
        load(text, ContactParameters(30, 4, 5, 0.7, 6)).pairs.law, [[20, 3, 4, 0.6, 3]]
    )


def test_who_meets_whom():
    """Pairs pass mujoco's filter.

    It drops a body and its parent, what is excluded, and what contype keeps apart.
    """
    text = """<mujoco><worldbody><geom name="wall" type="box" size="1 1 1"/>
      <body name="a"><freejoint/><geom size="0.1"/>
      <body name="b"><joint/><geom size="0.1"/>
      <body name="c"><joint/><geom size="0.1"/></body></body></body>
      <body name="d"><freejoint/><geom size="0.1"/></body>
      <body name="ghost"><freejoint/><geom size="0.1" contype="0" conaffinity="0"/></body>
      </worldbody>
      <contact><exclude body1="d" body2="b"/></contact></mujoco>"""
    m = load(text, ContactParameters(1, 0, 0, 0))
    names = ("wall", *m.link_names)
    got = {
        frozenset((names[a + 1], names[b + 1]))
        for a, b in zip(m.pairs.link, m.pairs.target, strict=True)
    }
    expected = ("wall a", "wall b", "wall c", "wall d", "a c", "a d", "c d")
    assert got == {frozenset(pair.split()) for pair in expected}


# ---------------------------------------------------------------------------------------- gradients


@every_pair
@pytest.mark.parametrize("steps", [1, 8])
def test_gradient_of_collisions(one, other, steps):
    """Two free bodies overlap in any pose, at any velocity and spin.

    Their quaternions have any length.
    """
    model, rng = two(one, other, 20.0, 50.0, 0.5), np.random.default_rng(5)
    q = poses(5, 60, 0.2)
    q = q[np.abs(wrenches(model, q)).sum((1, 2)) > 0][:24]
    q[:, 3:7] *= 1.7
    inputs = Inputs(q, rng.normal(size=(24, 12)) * 0.5, np.zeros((steps, 24, 0)))
    assert_matches_differences(Rollout(model, 24, 0.004, 4), inputs, ("q", "qd"))


GROUND = '<geom type="box" size="0.6 0.5 0.1" pos="0 0 -0.1"/>'
LYING = [0.5**0.5, 0, 0.5**0.5, 0]
MOTIONS = {
    "a ball rolls": ("sphere", [0, 0, 0.095, 1, 0, 0, 0], [0.5, 0, 0, 0, 5, 0]),
    "a ball slides": ("sphere", [0, 0, 0.095, 1, 0, 0, 0], [2, 0, 0, 0, 0, 0]),
    "a capsule rolls": ("capsule", [0, 0, 0.055, *LYING], [0, 0.5, 0, -9, 0, 0]),
    "a box slides on its face": ("box", [0, 0, 0.098, 1, 0, 0, 0], [1, 0.3, 0, 0, 0, 0.5]),
    "a box tips over its edge": ("box", [0, 0, 0.13, 0.95, 0.3, 0, 0], [0, 0, 0, 1, 0, 0.3]),
    "a box hangs over the rim": ("box", [0.6, 0.1, 0.09, 0.98, 0, 0.2, 0], [0.1, 0, 0, 0, 0.5, 0]),
}


@pytest.mark.parametrize("name", MOTIONS)
def test_gradient_of_motions_on_a_box(name):
    """Gravity presses the bodies over 32 steps, from states scattered about the named one.

    Faces on faces bend quickly: the differences converge from 1e-8 downwards.
    """
    kind, q, qd = MOTIONS[name]
    model = load(
        world(free("one", kind), GROUND, gravity="0 0 -9.81"), ContactParameters(2e3, 5, 20, 0.5)
    )
    rng = np.random.default_rng(6)
    q = np.array(q) + 1e-3 * rng.uniform(-1, 1, (24, 7))
    qd = np.array(qd) + 1e-2 * rng.uniform(-1, 1, (24, 6))
    rollout = Rollout(model, 24, 0.004, 4)
    inputs = Inputs(q, qd, np.zeros((32, 24, 0)))
    heights = rollout.states(inputs)[0][..., 2]
    assert np.all(heights < 0.2), "it stays on the box"
    assert_matches_differences(rollout, inputs, ("q", "qd"), eps=1e-8)


def test_gradient_within_one_tree():
    """A chain whose last link strikes its first, motors included."""
    text = f"""<mujoco><compiler angle="radian"/><worldbody><body><freejoint/>
      <geom type="box" size="{SIZES["box"]}" mass="1"/>
      <body pos="0.2 0 0"><joint name="a" axis="0 1 0"/>
      <geom type="capsule" size="0.05 0.1" mass="1"/>
      <body pos="0 0 0.2"><joint name="b" axis="0 1 0"/>
      <geom type="box" size="0.05 0.05 0.15" pos="0 0 0.1" mass="1"/>
      </body></body></body></worldbody>
      <actuator><motor joint="a"/><motor joint="b"/></actuator></mujoco>"""
    model, rng = load(text, ContactParameters(KE, 5, 20, 0.5)), np.random.default_rng(7)
    assert len(model.pairs.link) == 2
    q = np.tile([0, 0, 0, 1, 0, 0, 0, 0.0, -2.5], (24, 1)) + 0.1 * rng.normal(size=(24, 9))
    rollout = Rollout(model, 24, 0.004, 4)
    inputs = Inputs(q, rng.normal(size=(24, 8)), rng.normal(size=(8, 24, 2)))
    apart = Rollout(replace(model, pairs=two("sphere", "sphere").pairs), 24, 0.004, 4)
    assert np.abs(rollout.result(inputs) - apart.result(inputs)).max() > 1e-3, "it strikes"
    assert_matches_differences(rollout, inputs)


def test_single_precision_agrees_with_double():
    q, rng = poses(8, 48, 0.2), np.random.default_rng(8)
    inputs = Inputs(q, rng.normal(size=(48, 12)) * 0.3, np.zeros((2, 48, 0)))
    for one, other in KINDS:
        single, double = (
            Rollout(two(one, other, 20.0, 50.0, 0.5), 48, 0.004, 4, dtype).gradient(inputs)
            for dtype in (np.float32, np.float64)
        )
        distance = np.linalg.norm(single.q - double.q, axis=1) / np.linalg.norm(double.q, axis=1)
        assert np.median(distance) < 1e-4 and np.mean(distance < 0.01) > 0.9
