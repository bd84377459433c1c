"""HandReorient against trajectories recorded from Rewarped 1.3.3, and against hand arithmetic.

Rewarped builds its mass matrix from the Jacobian of joint i and the inertia of body i, which belong
to different links in this model. With that matrix, our forces reproduce the joints that nothing
touches. With the right matrix, these joints move differently, by half of their displacement.
Rewarped's contact law for boxes differs from ours."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_rigid_tasks import assert_uniform

from compiled import reset
from golden import recorded
from oracle import motion
from rfo.envs.tasks.hand_reorient import (
    HandState,
    angle,
    hand_reorient,
    hand_reorient_corrected,
    hand_reorient_smooth,
    promised_bonus,
    recorded_bonus,
    reward,
)
from rfo.physics.articulated import Articulated, ArticulatedState
from rollouts import Inputs, Rollout, assert_matches_differences

UNTOUCHED = slice(2, 12)
"""Joints that nothing touches. The links of the thumb's first two joints press into the palm from
the start, those of the index finger later."""


@cache
def data():
    return recorded("allegro_hand")


VERSIONS = hand_reorient(), hand_reorient_smooth()


def start(step=-1):
    """Our (q, qd) after a control step; -1 is the initial state."""
    names = (
        ("init_joint_q", "init_joint_qd")
        if step < 0
        else ("traj_state_joint_q", "traj_state_joint_qd")
    )
    q, twist = (
        np.array(data()[name] if step < 0 else data()[name][step], float).reshape(4, -1)
        for name in names
    )
    qd = twist.copy()
    qd[:, 16:19] = twist[:, 19:] + np.cross(twist[:, 16:19], q[:, 16:19])
    qd[:, 19:] = twist[:, 16:19]
    q[:, 19:] = q[:, [22, 19, 20, 21]]
    return q, qd


def single(q, qd):
    return ArticulatedState(jnp.asarray(q, jnp.float32), jnp.asarray(qd, jnp.float32))


def hand_state(q, qd, goal, action=None):
    action = jnp.zeros((len(q), 16)) if action is None else jnp.asarray(action)
    return HandState(single(q, qd), jnp.asarray(goal), action, jnp.zeros((len(q), 2), jnp.uint32))


def test_observations_and_rewards_of_recorded_states():
    env = hand_reorient()
    for step, action in enumerate(data()["actions"]):
        state = hand_state(*start(step), data()["traj_goal_states"][step][:, [6, 3, 4, 5]], action)
        expected = data()["traj_obs_obs"][step].copy()
        for first in (35, 48, 52):  # quaternions
            expected[:, first : first + 4] = expected[:, [first + 3, first, first + 1, first + 2]]
        np.testing.assert_allclose(env.observe(state), expected, atol=2e-6)
        np.testing.assert_allclose(
            reward(state, recorded_bonus), data()["traj_reward"][step], atol=2e-6
        )


def test_the_model_file_holds_the_recorded_constants():
    """All constants agree, except inertias that no body can have: these keep only their trace."""
    model, child = hand_reorient().simulator.model, data()["model_joint_child"][:17]
    np.testing.assert_allclose(model.mass, data()["model_body_mass"][child], rtol=1e-6)
    np.testing.assert_allclose(model.com, data()["model_body_com"][child], atol=1e-8)
    traces = [np.trace(inertia) for inertia in data()["model_body_inertia"][child]]
    np.testing.assert_allclose(np.trace(model.inertia, axis1=1, axis2=2), traces, rtol=1e-6)
    frames = data()["model_joint_X_p"][:16]
    np.testing.assert_allclose(model.pos[:16], frames[:, :3], atol=1e-6)
    same = np.abs(np.sum(model.quat[:16] * frames[:, [6, 3, 4, 5]], axis=1))
    np.testing.assert_allclose(same, 1, atol=1e-6)
    np.testing.assert_allclose(model.axis[:16], data()["model_joint_axis"][:16])
    for name in ("limit_lower", "limit_upper", "limit_ke", "limit_kd"):
        np.testing.assert_allclose(
            getattr(model, name)[:16], data()[f"model_joint_{name}"][:16], rtol=1e-6
        )
    np.testing.assert_allclose(model.armature[:16], data()["model_joint_armature"][:16])
    np.testing.assert_allclose(model.actuators.gear, data()["const_action_scale"])
    np.testing.assert_allclose(
        model.pairs.law, np.tile([500.0, 100, 100, 0.5, 0], (len(model.pairs.law), 1))
    )


def test_who_may_touch_whom():
    """Our contact pairs against the pairs of boxes and spheres that Rewarped tests."""
    body, kind = data()["model_shape_body"], data()["model_shape_geo_type"]
    link = {-1: -1} | {int(child): i for i, child in enumerate(data()["model_joint_child"][:17])}
    theirs = {
        frozenset((link[int(body[a])], link[int(body[b])]))
        for a, b in data()["model_shape_contact_pairs"]
        if max(a, b) < 43 and kind[a] in (0, 1) and kind[b] in (0, 1)
    }
    pairs = hand_reorient().simulator.model.pairs
    ours = {
        frozenset(pair) for pair in zip(pairs.link.tolist(), pairs.target.tolist(), strict=True)
    }
    # Rewarped also tests each fingertip against its neighbour, but not the cube against the index
    # finger's base.
    assert theirs - ours == {frozenset((last - 1, last)) for last in (3, 7, 11, 15)}
    assert ours - theirs == {frozenset((12, 16))}


def mass_of_recorded(q, index):
    """Mass matrix (16, 16) with armature, from the links' Jacobians and the inertias of bodies
    `index`."""
    model = hand_reorient().simulator.model
    at = motion(model, q, np.zeros(22))
    mass = np.diag(model.armature[:16])
    child = data()["model_joint_child"][:17].tolist()
    for link in range(16):
        other = child.index(index[link])  # the link whose body that is
        body = index[link]
        com = at.pos[other] + at.rot[other] @ data()["model_body_com"][body]
        inertia = at.rot[other] @ data()["model_body_inertia"][body] @ at.rot[other].T
        angular = at.angular[link][:, :16]
        linear = at.linear[link][:, :16] + np.cross(angular, com - at.pos[link], axis=0)
        mass += data()["model_body_mass"][body] * linear.T @ linear + angular.T @ inertia @ angular
    return mass


def test_rewarped_takes_the_inertia_of_another_link():
    q, _ = start()
    size = data()["sub_out_H"].reshape(4, 22, 22)[:, :16, :16] + np.diag(
        data()["model_joint_armature"][:16]
    )
    by_number = np.stack([mass_of_recorded(x, np.arange(17)) for x in q])
    by_child = np.stack([mass_of_recorded(x, data()["model_joint_child"][:17]) for x in q])
    ours = hand_reorient().simulator.mass_matrix(single(*start()))[:, :16, :16]
    np.testing.assert_allclose(by_number, size, atol=5e-6 * size.max())
    np.testing.assert_allclose(
        by_child, ours, atol=0.02 * ours.max(), err_msg="apart from balanced inertias"
    )
    assert np.abs(by_child - size).max() > 0.5 * size.max()


def test_six_steps_with_the_recorded_mass_matrix():
    """Rewarped's mass matrix, fixed during a control step, with our forces reproduces the
    trajectory.

    The error of the first step comes from our balanced inertias; then it grows."""
    q, qd = start()
    one = Articulated(hand_reorient().simulator.model, 1 / 7680, 1)
    for step in range(6):
        held = np.stack([mass_of_recorded(x, np.arange(17)) for x in q])
        for _ in range(64):
            force = -one.bias(single(q, qd)).astype(float)
            tau = force[:, :16] + 2 * data()["actions"][step]
            qd[:, :16] += np.linalg.solve(held, tau[..., None])[..., 0] / 7680
            q[:, :16] += qd[:, :16] / 7680
        recorded_q, recorded_qd = start(step)
        q[:, 16:], qd[:, 16:] = recorded_q[:, 16:], recorded_qd[:, 16:]
        error = np.abs(q - recorded_q)
        assert error[:, UNTOUCHED].max() < 1e-4 * 2**step
        assert error[:, :16].max() < 2e-3 * 2**step
        assert np.abs(recorded_q - start(step - 1)[0])[:, UNTOUCHED].max() > 0.05


def test_the_cube_falls_as_recorded_until_it_touches():
    """Four steps of the task in the two environments where the hand does not touch the cube yet."""
    env = hand_reorient()
    advance = jax.jit(env.step)
    state = hand_state(*start(), data()["task_goal_states"][:, [6, 3, 4, 5]])
    for step, action in enumerate(data()["actions"][:4]):
        state = advance(state, action).state
        expected_q, expected_qd = start(step)
        np.testing.assert_allclose(state.physics.q[2:, 16:], expected_q[2:, 16:], atol=2e-6)
        np.testing.assert_allclose(state.physics.qd[2:, 16:], expected_qd[2:, 16:], atol=5e-4)


# ------------------------------------------------------------------------------------------ by hand


def lying(turn, count=1):
    """State with the cube at the goal's position, rotated about x; the goal is not rotated."""
    q = np.zeros((count, 23))
    q[:, 16:19] = [0, -0.1, 0.56]
    q[:, 19], q[:, 20] = np.cos(turn / 2), np.sin(turn / 2)
    return hand_state(q, np.zeros((count, 22)), np.tile([1.0, 0, 0, 0], (count, 1)))


def test_starts():
    state = reset(hand_reorient(), 0, 3000)
    q, qd = map(np.asarray, state.physics)
    model = hand_reorient().simulator.model
    assert_uniform(q[:, :16], 0.2 * model.limit_lower[:16], 0.2 * model.limit_upper[:16])
    assert_uniform(q[:, 16:19], np.array([0, -0.1, 0.6]) - 0.01, np.array([0, -0.1, 0.6]) + 0.01)
    for quat in (q[:, 19:], np.asarray(state.goal)):
        # For rotations a about x and b about y, the quaternion is
        # (cos a/2 cos b/2, sin a/2 cos b/2, cos a/2 sin b/2, sin a/2 sin b/2).
        np.testing.assert_allclose(quat[:, 0] * quat[:, 3], quat[:, 1] * quat[:, 2], atol=1e-6)
        assert_uniform(2 * np.arctan2(quat[:, 1], quat[:, 0])[quat[:, 0] > 0], -np.pi, np.pi)
    assert not qd.any() and not state.action.any()


@pytest.mark.parametrize("turn", [0.05, 0.3, -1.0, 3.0])
def test_reward_by_hand(turn):
    state = lying(turn)._replace(action=jnp.full((1, 16), 0.5))
    np.testing.assert_allclose(angle(state), abs(turn), rtol=1e-4)
    paid = {recorded_bonus: 125.0, promised_bonus: 250.0}
    for bonus, most in paid.items():
        expected = 1 / (abs(turn) + 0.1) - 0.0002 * 4 + (most if abs(turn) < 0.1 else 0)
        np.testing.assert_allclose(reward(state, bonus), expected, rtol=1e-3)
    aside = state._replace(physics=state.physics._replace(q=state.physics.q.at[:, 16].add(0.1)))
    np.testing.assert_allclose(
        reward(aside, recorded_bonus), reward(state, recorded_bonus) - 1, rtol=1e-4
    )


def test_success_draws_another_goal_once():
    """The reward is for the old goal, the observation shows the new one. Without success, the goal
    stays."""
    env = hand_reorient_corrected()
    state = lying(0.0, 3)
    q = state.physics.q.at[:, 16:19].set(jnp.array([0.0, -0.1, 0.75])).at[2, 20].set(1.0)
    keys = jax.random.key_data(jax.random.split(jax.random.key(1), 3))
    step = jax.jit(env.step)
    after = step(state._replace(physics=state.physics._replace(q=q), key=keys), jnp.zeros((3, 16)))
    changed = np.any(after.state.goal != state.goal, axis=1)
    assert changed.tolist() == [True, True, False]
    assert np.all(after.reward[:2] > 240) and after.reward[2] < 1
    np.testing.assert_array_equal(after.observation[:, 48:52], after.state.goal)
    assert np.any(after.state.goal[0] != after.state.goal[1])
    again = step(after.state, jnp.zeros((3, 16)))
    np.testing.assert_array_equal(again.state.goal, after.state.goal)


def test_an_episode_ends_when_the_cube_is_lost():
    heights = jnp.array([0.56 + 0.23, 0.56 + 0.25, 0.56 - 0.25])
    state = lying(0.5, 3)
    state = state._replace(physics=state.physics._replace(q=state.physics.q.at[:, 18].set(heights)))
    assert jax.jit(hand_reorient().step)(state, jnp.zeros((3, 16))).terminated.tolist() == [
        False,
        True,
        True,
    ]


def test_the_hand_carries_the_cube():
    """After a second, about half of the cubes still lie in slightly bent fingers; limp fingers drop
    all of them."""
    env = hand_reorient()

    def heights(torque):
        bend = jnp.full((64, 16), torque)
        state = jax.lax.fori_loop(
            0, 120, lambda _, s: env.step(s, bend).state, env.reset(jax.random.key(0), 64)
        )
        return state.physics.q[:, 18]

    held, dropped = map(np.asarray, map(jax.jit(heights), (0.1, 0.0)))
    assert np.mean((held > 0.5) & (held < 0.6)) > 0.4 and np.all(dropped < 0.4)


def test_smooth_damping_sets_in_without_a_jump():
    """Steepest change of two forces: on a cube that falls at 1 m/s, per 0.1 mm of height, and on
    the thumb's last joint that passes its limit at 10 rad/s, per 1e-4 rad."""
    q, qd = np.zeros((2, 1000, 23)), np.zeros((2, 1000, 22))
    q[:, :, 16:20] = [0, -0.1, 0, 1]
    q[0, :, 18], qd[0, :, 18] = np.linspace(0.61, 0.51, 1000), -1
    q[1, :, 18] = 10  # out of reach
    q[1, :, 3], qd[1, :, 3] = 1.719 + np.linspace(-0.05, 0.05, 1000), 10

    def steepest(env, case, joint):
        return np.abs(np.diff(env.simulator.bias(single(q[case], qd[case]))[:, joint])).max()

    recorded, smooth = VERSIONS
    assert steepest(recorded, 0, 18) > 100, "one contact's damping at 1 m/s, at once"
    assert steepest(smooth, 0, 18) < 20
    assert 99 < steepest(recorded, 1, 3) < 101, "the limit's damping at 10 rad/s"
    assert 4.9 < steepest(smooth, 1, 3) < 5.1


@pytest.mark.parametrize(
    ("env", "eps"), [(VERSIONS[0], 1e-8), (VERSIONS[1], 1e-7)], ids=["recorded", "smooth"]
)
def test_gradient_in_contact(env, eps):
    """Gradient in float64, with the cube pressed into the palm and fingers touching it and each
    other.

    Smooth forces allow a larger step, which has a smaller rounding error."""
    fist = jnp.ones((12, 16))
    grip = jax.jit(lambda s: jax.lax.fori_loop(0, 40, lambda _, s: env.step(s, fist).state, s))
    state = grip(env.reset(jax.random.key(0), 12))
    q, qd = (np.asarray(x, np.float64) for x in state.physics)
    rollout = Rollout(env.simulator.model, 12, 1 / 120, 64)
    controls = np.random.default_rng(0).uniform(-1, 1, (2, 12, 16))
    assert_matches_differences(rollout, Inputs(q, qd, controls), ("q", "qd"), eps=eps)
    assert_matches_differences(rollout, Inputs(q, qd, controls), ("controls",), eps=1e-6)
