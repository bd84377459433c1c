"""Go2: command, observation, reward, reset and termination."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_rigid_tasks import assert_uniform

from compiled import reset
from rfo.envs.tasks.go2 import FASTEST, SLOWEST, START_JOINTS, Go2, Go2State, reward, terminated
from rfo.physics.articulated import ArticulatedState


@cache
def env():
    return Go2()


def state(
    quat=(1.0, 0, 0, 0),
    height=0.3,
    velocity=(0.0, 0, 0),
    spin=(0.0, 0, 0),
    command=(0.0, 0, 0),
    action=0.0,
):
    """State of one robot in the standing pose."""
    q = jnp.array([[0.0, 0, height, *quat, *START_JOINTS]])
    qd = jnp.array([[*velocity, *spin, *[0.0] * 12]])
    return Go2State(ArticulatedState(q, qd), jnp.array([command]), jnp.full((1, 12), action))


TURNED = (0.5**0.5, 0, 0, 0.5**0.5)
"""Orientation after a turn by 90 degrees to the left: the trunk faces along y."""


def test_it_sees_the_world_as_its_trunk_does():
    seen = np.asarray(
        env().observe(state(TURNED, velocity=(-0.2, 1.0, 0.1), spin=(0.3, 0.4, 0.5)))
    )[0]
    np.testing.assert_allclose(seen[:9], [1.0, 0.2, 0.1, 0.4, -0.3, 0.5, 0, 0, -1], atol=1e-6)
    # rolled to the right, its left side up
    lying = np.asarray(env().observe(state((0.5**0.5, 0.5**0.5, 0, 0))))[0]
    np.testing.assert_allclose(lying[6:9], [0, -1, 0], atol=1e-6)
    moved = state(command=(0.7, 0.1, -0.2), action=0.25)
    moved = moved._replace(
        physics=ArticulatedState(
            moved.physics.q.at[0, 8].add(0.3), moved.physics.qd.at[0, 17].set(4.0)
        )
    )
    seen = np.asarray(env().observe(moved))[0]
    np.testing.assert_allclose(seen[9:12], [0.7, 0.1, -0.2])
    np.testing.assert_allclose(seen[12:24], np.eye(12)[1] * 0.3, atol=1e-6)
    np.testing.assert_allclose(seen[24:36], np.eye(12)[11] * 0.2, atol=1e-6)
    np.testing.assert_allclose(seen[36:], 0.25)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 1.5),
        ({"velocity": (0.5, 0, 0)}, 0.5 + 0.5),
        ({"velocity": (0.5, 0, 0), "command": (0.5, 0, 0)}, 1.5),
        ({"quat": TURNED, "velocity": (0, 0.5, 0), "command": (0.5, 0, 0)}, 1.5),
        ({"spin": (0, 0, 0.5)}, 1.0 + 0.25),
        ({"spin": (1.0, 2.0, 0)}, 1.5 - 0.05 * 5),
        ({"velocity": (0, 0, 0.5)}, 1.5 - 0.25),
        ({"quat": (np.cos(0.25), 0, np.sin(0.25), 0)}, 1.5 - np.sin(0.5) ** 2),
        ({"action": 0.5}, 1.5 - 0.01 * 3 - 0.02 * 12 * 0.3**2),
    ],
)
def test_reward_by_hand(changes, expected):
    """Where the action is not 0, the last action was 0.2 for all joints."""
    last = jnp.full((1, 12), 0.2 if "action" in changes else 0.0)
    np.testing.assert_allclose(reward(state(**changes), last), expected, atol=1e-5)


def test_it_ends_when_it_lies_or_leans():
    cases = [
        {},
        {"height": 0.14},
        {"quat": (np.cos(0.5), np.sin(0.5), 0, 0)},
        {"quat": (np.cos(0.6), 0, np.sin(0.6), 0)},
    ]
    assert [bool(terminated(state(**case))[0]) for case in cases] == [False, True, False, True]


def test_starts():
    start = reset(env(), 0, 4000)
    q, qd = map(np.asarray, start.physics)
    assert_uniform(q[:, 7:], np.array(START_JOINTS) - 0.1, np.array(START_JOINTS) + 0.1)
    assert_uniform(2 * np.arctan2(q[:, 6], q[:, 3]), -np.pi, np.pi)
    assert_uniform(qd, -0.1, 0.1)
    assert_uniform(np.asarray(start.command), np.array(SLOWEST), np.array(FASTEST))
    assert not start.action.any()


def test_it_stands_when_left_alone():
    """After two seconds it stands at rest, and its mass is that of the robot."""
    roll = jax.jit(
        lambda s: jax.lax.fori_loop(0, 100, lambda _, s: env().step(s, jnp.zeros((4, 12))).state, s)
    )
    end = roll(reset(env(), 1, 4))
    assert np.all(end.physics.q[:, 2] > 0.22) and np.abs(end.physics.qd).max() < 0.05
    model = env().simulator.model
    assert model.mass.sum() == pytest.approx(15.206, abs=1e-3)


def test_the_servo_follows_the_action():
    """In the air, a calf turns to its new target, 0.5 rad times the action of 0.4."""
    up = state(height=1.0)
    action = jnp.zeros((1, 12)).at[0, 2].set(0.4)
    end = jax.jit(lambda s: jax.lax.fori_loop(0, 15, lambda _, s: env().step(s, action).state, s))(
        up
    )
    bent = np.asarray(end.physics.q[0, 7:]) - np.array(START_JOINTS)
    assert bent[2] == pytest.approx(0.2, abs=0.02)
    assert np.abs(np.delete(bent, 2)).max() < 0.03
