"""Ellipsoids, cylinders, meshes and more on planes: pushes against mujoco, motion, gradients."""

import mujoco
import numpy as np
import pytest

from rfo.physics.articulated import Articulated, ArticulatedState
from rfo.physics.mjcf import ContactParameters, load
from rfo.physics.mjcf.shapes import FLATNESS
from rollouts import Inputs, Rollout, assert_matches_differences

KE = 1e4
SIZES = {
    "sphere": ".1", "capsule": ".05 .1", "box": ".1 .15 .05", "ellipsoid": ".1 .2 .05",
    "cylinder": ".1 .2",
}  # fmt: skip
LEVEL = '<geom type="plane" size="1 1 1"/>'
SLOPES = '<geom type="plane" size="1 1 1" {}/><geom type="plane" size="1 1 1" {}/>'.format(
    'zaxis=".6 0 .8"', 'zaxis="-.6 0 .8"'
)


def on(ground: str, kind: str, gravity: str = "0 0 0") -> str:
    return f"""<mujoco><option gravity="{gravity}"/><worldbody>{ground}<body name="one">
      <freejoint/><geom name="one" type="{kind}" size="{SIZES[kind]}" mass="1"/></body>
      </worldbody></mujoco>"""


def attitudes(count: int, height: float) -> np.ndarray:
    """q (count, 7): random attitudes about a height."""
    rng = np.random.default_rng(3)
    q = rng.normal(size=(count, 7))
    q[:, 2] = rng.uniform(-0.5, 1.0, count) * height
    q[:, 3:] /= np.linalg.norm(q[:, 3:], axis=1, keepdims=True)
    return q


def wrenches(model, q):
    """Force and torque about the body's origin (B, 6), at rest and without gravity."""
    simulator = Articulated(model, 1e-3, 1, dtype=np.float64)
    return -simulator.bias(ArticulatedState(q, np.zeros((len(q), model.nv))))


@pytest.mark.parametrize("kind", ["ellipsoid", "sphere", "capsule", "box"])
@pytest.mark.parametrize("ground", [LEVEL, SLOPES])
def test_pushes_are_those_of_mujocos_contacts(kind, ground):
    """On each plane: as deep, in the same place. A box has eight corners where mujoco keeps four
    contacts, so that its force alone is compared, with that of its corners."""
    text = on(ground, kind)
    model, m = load(text, ContactParameters(KE, 0, 0, 0)), mujoco.MjModel.from_xml_string(text)
    data, q = mujoco.MjData(m), attitudes(40, 0.2)
    got = wrenches(model, q)
    for row, wrench in zip(q, got, strict=True):
        data.qpos[:] = row
        mujoco.mj_forward(m, data)
        force, torque = np.zeros(3), np.zeros(3)
        if kind == "box":
            corners = np.stack(np.meshgrid(*[(-1, 1)] * 3), -1).reshape(-1, 3) * m.geom_size[-1]
            corners = corners @ data.geom_xmat[-1].reshape(3, 3).T
            places = [(n, x, n @ (x + row[:3])) for n in normals(data) for x in corners]
        else:
            places = [
                (c.frame[:3], c.pos + c.frame[:3] * c.dist / 2 - row[:3], c.dist)
                for c in data.contact
            ]
        for normal, place, distance in places:
            push = KE * max(-distance, 0) * normal
            force, torque = force + push, torque + np.cross(place, push)
        np.testing.assert_allclose(wrench, [*force, *torque], atol=1e-3 * KE * 0.1)


def normals(data: mujoco.MjData) -> list[np.ndarray]:
    planes = data.geom_xmat[:-1].reshape(-1, 3, 3)
    return [plane[:, 2] for plane in planes]


def test_a_cylinder_is_as_deep_as_its_lowest_points():
    """Of the two rims, in any attitude that is not upright; the disc's thickness is all that is
    between."""
    model = load(on(LEVEL, "cylinder"), ContactParameters(KE, 0, 0, 0))
    q = attitudes(60, 0.25)
    q[:, 2] = 0.1
    for row, wrench in zip(q, wrenches(model, q), strict=True):
        w, x, y, z = row[3:]
        axis = np.array([2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)])
        across = np.sqrt(1 - axis[2] ** 2)
        if across < 0.2:
            continue
        depths = [max(0.1 * across - row[2] - end * 0.2 * axis[2], 0) for end in (-1, 1)]
        inner = wrench[2] / KE - sum(depths)  # of the points on which it stands
        assert -FLATNESS * 0.1 < inner < 4 * sum(depths) + 1e-9


def settled(text: str, q: list[float], qd=(0,) * 6, steps: int = 150):
    """States (T, 7) and (T, 6) under gravity, 1/60 s each."""
    model = load(text)
    inputs = Inputs(np.array([q], float), np.array([qd], float), np.zeros((steps, 1, 0)))
    qs, qds = Rollout(model, 1, 1 / 60, 12).states(inputs)
    return qs[:, 0], qds[:, 0]


def test_a_cylinder_stands_and_rolls():
    gravity = "0 0 -9.81"
    upright = on(LEVEL, "cylinder", gravity)
    q, qd = settled(upright, [0, 0, 0.2, 0.9998, 0.02, 0, 0])
    assert q[-1, 2] == pytest.approx(0.2, abs=1e-3) and np.abs(q[-1, 4:]).max() < 1e-3
    assert np.abs(qd[-1]).max() < 0.02
    lying = [0, 0, 0.1, 0.5**0.5, 0.5**0.5, 0, 0]  # its axis along y
    q, qd = settled(upright, lying, (0.5, 0, 0, 0, 5, 0))
    ball, _ = settled(on(LEVEL, "sphere", gravity), lying, (0.5, 0, 0, 0, 5, 0))
    np.testing.assert_allclose(q[:, 0], ball[:, 0], atol=0.01)
    assert q[-1, 0] == pytest.approx(2.5 * 0.5, rel=0.05), "it rolls on at its speed"
    assert np.ptp(q[30:, 2]) < 1e-4 and np.abs(q[-1, 1]) < 1e-3, "smoothly, and straight on"


def test_an_egg_comes_to_lie_as_in_mujoco():
    text = on(LEVEL, "ellipsoid", "0 0 -9.81")
    m = mujoco.MjModel.from_xml_string(text)
    data = mujoco.MjData(m)
    start = [0, 0, 0.12, 0.95, 0.3, 0.05, 0]
    data.qpos[:] = start
    while data.time < 6:
        mujoco.mj_step(m, data)
    q, _ = settled(text, start, steps=360)
    assert q[-1, 2] == pytest.approx(data.qpos[2], abs=3e-3) == pytest.approx(0.05, abs=3e-3)


def test_it_lies_between_two_slopes():
    """A ball in a groove of two planes at 37 degrees: each carries its share of the weight."""
    q, qd = settled(on(SLOPES, "sphere", "0 0 -9.81"), [0.05, 0, 0.13, 1, 0, 0, 0], steps=400)
    assert q[-1, 2] == pytest.approx(0.1 / 0.8, abs=2e-3)
    assert abs(q[-1, 0]) < 0.02 and np.abs(qd[-1, :3]).max() < 0.05


@pytest.mark.parametrize("steps", [1, 8])
@pytest.mark.parametrize("kind", ["cylinder", "ellipsoid", "capsule"])
def test_gradient_on_two_slopes(kind, steps):
    """Any attitude, velocity and spin, friction and damping; quaternions of any length."""
    model = load(on(SLOPES, kind, "0 0 -9.81"), ContactParameters(KE, 20.0, 50.0, 0.5, 10.0))
    assert len(model.supports.link) >= len(model.contact_link)
    q = attitudes(80, 0.15)
    q = q[np.abs(wrenches(model, q)[:, :2]).sum(1) > 0][:24]
    q[:, 3:] *= 1.7
    rng = np.random.default_rng(5)
    inputs = Inputs(q, rng.normal(size=(len(q), 6)) * 0.5, np.zeros((steps, len(q), 0)))
    assert_matches_differences(Rollout(model, len(q), 0.004, 4), inputs, ("q", "qd"))
