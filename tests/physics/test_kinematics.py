"""Forward kinematics against the mujoco package: every geom is where it puts it."""

from importlib.resources import files

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from oracle import corded_tree, random_state, random_tree, to_mujoco
from oracle import rotation as matrix
from rfo.physics.kinematics import axis_angle, cord_lengths, link_poses, multiply, rotate
from rfo.physics.mjcf import ContactParameters, load

NO_CONTACT = ContactParameters(ke=0.0, kd=0.0, kf=0.0, mu=0.0)


@pytest.mark.parametrize("case", [*range(8), "cartpole", "hopper", "ant"])
def test_geoms_are_where_mujoco_puts_them(case):
    text = random_tree(case) if isinstance(case, int) else ""
    if isinstance(case, str):
        text = files("rfo.envs").joinpath(f"assets/{case}.xml").read_text()
    model, reference = load(text, NO_CONTACT), mujoco.MjModel.from_xml_string(text)
    data, rng = mujoco.MjData(reference), np.random.default_rng(3)
    q = np.stack([random_state(model, rng)[0] for _ in range(3)])
    poses = np.asarray(jax.jit(lambda q: link_poses(model, q))(jnp.asarray(q, jnp.float32)))
    assert poses.shape == (3, model.links, 7)
    for env in range(3):
        data.qpos[:] = q[env]
        mujoco.mj_kinematics(reference, data)
        for i, geom in enumerate(model.geoms):
            link = poses[env, geom["body"]] if geom["body"] >= 0 else np.eye(7)[3]
            turn = matrix(link[3:])
            np.testing.assert_allclose(link[:3] + turn @ geom["pos"], data.geom_xpos[i], atol=2e-5)
            expected = data.geom_xmat[i].reshape(3, 3)
            np.testing.assert_allclose(turn @ matrix(np.array(geom["quat"])), expected, atol=1e-5)


def test_a_product_turns_by_its_right_factor_first():
    """A quarter turn about x takes y to z, then one about y takes z to x.

    In the other order y stays y, then becomes z.
    """
    quarter = jnp.array(jnp.pi / 2)
    about_x, about_y = axis_angle(jnp.eye(3)[0], quarter), axis_angle(jnp.eye(3)[1], quarter)
    x, y, z = jnp.eye(3)
    np.testing.assert_allclose(rotate(multiply(about_y, about_x), y), x, atol=1e-6)
    np.testing.assert_allclose(rotate(multiply(about_x, about_y), y), z, atol=1e-6)


@pytest.mark.parametrize("seed", [0, 1, 2, 4])
def test_cords_are_as_long_and_as_fast_as_mujocos_tendons(seed):
    """All joint types carry their ends; pulleys divide."""
    text = corded_tree(seed)
    model, reference = load(text, NO_CONTACT), mujoco.MjModel.from_xml_string(text)
    data, rng = mujoco.MjData(reference), np.random.default_rng(3)
    q, qd = random_state(model, rng)
    data.qpos[:], data.qvel[:] = q, to_mujoco(model, q) @ qd
    mujoco.mj_forward(reference, data)
    at, speed = jnp.asarray(q, jnp.float32)[None], jnp.asarray(qd, jnp.float32)[None]
    lengths, rates = cord_lengths(model, link_poses(model, at), speed)
    np.testing.assert_allclose(lengths[0], data.ten_length, rtol=1e-5)
    np.testing.assert_allclose(rates[0], data.ten_velocity, rtol=1e-4, atol=1e-5)
