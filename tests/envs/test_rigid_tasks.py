"""The rigid tasks: observations, rewards, resets and terminations, against recordings and by
hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import golden
from compiled import reset
from rfo.envs.running import RunningState
from rfo.envs.tasks.ant import START_JOINTS, Ant, AntState
from rfo.envs.tasks.cartpole import CartPole
from rfo.envs.tasks.cheetah import Cheetah
from rfo.envs.tasks.hopper import Hopper
from rfo.envs.tasks.humanoid import humanoid
from rfo.physics.articulated import ArticulatedState
from rfo.physics.kinematics import multiply


def z_up(v):
    """Vectors of a world with y up, in ours."""
    return np.stack([v[..., 0], -v[..., 2], v[..., 1]], axis=-1)


def turned(quat):
    """Orientations (w, x, y, z) in a world with y up, in ours."""
    return np.asarray(multiply(np.broadcast_to([0.5**0.5, 0.5**0.5, 0, 0], quat.shape), quat))


def recorded_state(data, step):
    """Our state after a control step of the recording; -1 is the start."""
    if step < 0:
        q, qd = golden.coordinates(data, data["init_joint_q"], data["init_joint_qd"])
    else:
        q, qd = golden.coordinates(
            data, data["traj_state_joint_q"][step], data["traj_state_joint_qd"][step]
        )
    if q.shape[1] == 15:
        q = np.concatenate([z_up(q[:, :3]), turned(q[:, 3:7]), q[:, 7:]], axis=1)
        qd = np.concatenate([z_up(qd[:, :3]), z_up(qd[:, 3:6]), qd[:, 6:]], axis=1)
    physics = ArticulatedState(jnp.asarray(q, jnp.float32), jnp.asarray(qd, jnp.float32))
    if q.shape[1] == 2:
        return physics
    return AntState(
        physics, jnp.asarray(data["actions"][step]) if step >= 0 else jnp.zeros((len(q), 8))
    )


def recorded_observation(data, step):
    """Recorded observation in our axes."""
    x = data["traj_obs_obs"][step] if step >= 0 else data["init_obs_obs"]
    if x.shape[1] == 5:
        return x
    quat = turned(x[:, [4, 1, 2, 3]])
    return np.concatenate([x[:, :1], quat, z_up(x[:, 5:8]), z_up(x[:, 8:11]), x[:, 11:]], axis=1)


def relative(part, whole):
    return np.linalg.norm(part) / np.linalg.norm(whole)


CASES = [("ant", Ant), ("cartpole", CartPole)]


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_observation_and_reward_of_every_recorded_state(name, kind):
    """They agree to float32, also at the start."""
    data, env = golden.recorded(name), kind()
    for step in range(-1, len(data["actions"])):
        state = recorded_state(data, step)
        expected = recorded_observation(data, step)
        np.testing.assert_allclose(env.observe(state), expected, atol=1e-6 * np.abs(expected).max())
        if step >= 0:
            np.testing.assert_allclose(
                env.reward(state), data["traj_reward"][step], rtol=1e-6, atol=1e-6
            )


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_a_step_from_every_recorded_state(name, kind):
    """A step ends where the recording does, up to the mass matrix, which Rewarped keeps fixed.

    This changes 3 % of the ant's step; a wrong axis, sign or gear would change all of it."""
    data, env = golden.recorded(name), kind()
    advance, share = jax.jit(env.step), []
    for step, action in enumerate(data["actions"]):
        before, expected = recorded_observation(data, step - 1), recorded_observation(data, step)
        after = advance(recorded_state(data, step - 1), action)
        observation = (
            after.observation[:, : -env.spec.action_size] if name == "ant" else after.observation
        )
        size = observation.shape[1]
        share.append(relative(observation - expected[:, :size], (expected - before)[:, :size]))
        np.testing.assert_allclose(after.reward, data["traj_reward"][step], atol=0.1)
    assert np.median(share) < 0.05


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_constants_of_contact_and_limits(name, kind):
    theirs, ours = golden.model(golden.recorded(name)), kind().simulator.model
    bounded = np.isfinite(ours.limit_upper)
    for field in ("limit_ke", "limit_kd"):
        np.testing.assert_allclose(getattr(ours, field)[bounded], getattr(theirs, field)[bounded])
    for field in ("contact_ke", "contact_kd", "contact_kf", "contact_mu", "contact_kh"):
        np.testing.assert_allclose(getattr(ours, field), getattr(theirs, field))


def assert_uniform(x, low, high):
    """The mean and the extremes of many draws are those of the uniform distribution."""
    low, high = np.broadcast_to(low, x.shape[1:]), np.broadcast_to(high, x.shape[1:])
    width = high - low
    assert np.all(x >= low - 1e-6) and np.all(x <= high + 1e-6)
    np.testing.assert_array_less(x.min(axis=0), low + 0.01 * width)
    np.testing.assert_array_less(high - 0.01 * width, x.max(axis=0))
    assert np.all(np.abs(x.mean(axis=0) - (low + high) / 2) < 0.03 * width)


MANY = 4000


def test_ant_starts():
    state = reset(Ant(), 0, MANY)
    q, qd = map(np.asarray, state.physics)
    start = np.array([0, 0, 0.75])
    assert_uniform(q[:, :3], start - 0.1, start + 0.1)
    assert_uniform(q[:, 7:], np.array(START_JOINTS) - 0.2, np.array(START_JOINTS) + 0.2)
    # angle and axis of the torso's rotation
    angle = 2 * np.arctan2(np.linalg.norm(q[:, 4:7], axis=1), q[:, 3])
    assert_uniform(angle, 0.0, np.pi / 24)
    np.testing.assert_allclose(q[:, 4:7].mean(axis=0), 0, atol=3e-3)
    # Rewarped draws the velocity of the torso's point at the world's origin
    at_origin = qd[:, :3] - np.cross(qd[:, 3:6], q[:, :3])
    assert_uniform(np.concatenate([at_origin, qd[:, 3:]], axis=1), -0.25, 0.25)
    assert not state.action.any()


def test_cartpole_starts():
    q, qd = map(np.asarray, reset(CartPole(), 0, MANY))
    assert_uniform(q, np.array([0, -np.pi]) - np.pi / 2, np.array([0, -np.pi]) + np.pi / 2)
    assert_uniform(qd, -0.25, 0.25)


def test_hopper_starts():
    q, qd = map(np.asarray, reset(Hopper(), 0, MANY))
    assert_uniform(np.concatenate([q, qd], axis=1), -0.05, 0.05)


def test_cheetah_starts():
    q, qd = map(np.asarray, reset(Cheetah(), 0, MANY))
    assert_uniform(q, -0.1, 0.1)
    assert_uniform(qd, -0.25, 0.25)


def test_humanoid_starts():
    state = reset(humanoid(), 0, MANY)
    q, qd = map(np.asarray, state.physics)
    assert_uniform(q[:, :3], np.array([0, 0, 1.35]) - 0.1, np.array([0, 0, 1.35]) + 0.1)
    assert_uniform(q[:, 7:], -0.2, 0.2)
    assert_uniform(qd[:, 3:], -0.25, 0.25)


def test_cheetah_pays_for_speed_and_charges_for_torque():
    state = ArticulatedState(jnp.full((2, 9), 0.3), jnp.arange(18.0).reshape(2, 9))
    action = jnp.array([[1.0, -1.0, 0.5, 0, 0, 0], [0.0] * 6])
    np.testing.assert_allclose(Cheetah().reward(state, action), [-0.225, 9.0], rtol=1e-6)


@pytest.mark.parametrize(
    ("z", "height"),
    [(0.94, 1.0), (1.5, 1.0), (0.89, 0.5), (0.84, 0.0), (0.74, -2.0), (-1.0, -200.0)],
)
def test_humanoid_reward_by_hand(z, height):
    """One humanoid is upright and faces the target at 2 m/s; the other lies on its back."""
    q = (
        jnp.zeros((2, 28))
        .at[:, 2]
        .set(z)
        .at[0, 3]
        .set(1.0)
        .at[1, jnp.array([3, 5])]
        .set(0.5**0.5 * jnp.array([1, -1]))
    )
    state = RunningState(
        ArticulatedState(q, jnp.zeros((2, 27)).at[:, 0].set(2.0)),
        jnp.zeros((2, 21)).at[0, :4].set(0.5),
    )
    np.testing.assert_allclose(
        humanoid().reward(state), [2 + 0.1 + 1 + height - 0.002, 2 + height], atol=1e-4
    )


def test_humanoid_terminates_below_its_height():
    """It lies on its back, where the ground does not lift the torso."""
    env, heights = humanoid(), jnp.array([0.70, 0.72, 0.76, 0.80])
    q = jnp.zeros((4, 28)).at[:, 2].set(heights).at[:, 3].set(0.5**0.5).at[:, 5].set(-(0.5**0.5))
    still = RunningState(ArticulatedState(q, jnp.zeros((4, 27))), jnp.zeros((4, 21)))
    assert jax.jit(env.step)(still, jnp.zeros((4, 21))).terminated.tolist() == [
        True,
        True,
        False,
        False,
    ]


def test_ant_terminates_below_its_height():
    """The height counts after the step, in which feet that start in the ground are pushed out."""
    env, heights = Ant(), np.linspace(0.15, 0.35, 9)
    q = jnp.array([[0, 0, height, 1, 0, 0, 0, *START_JOINTS] for height in heights])
    after = jax.jit(env.step)(
        AntState(ArticulatedState(q, jnp.zeros((9, 14))), jnp.zeros((9, 8))), q[:, :8]
    )
    np.testing.assert_array_equal(after.terminated, after.observation[:, 0] < 0.27)
    assert after.terminated[0] and not after.terminated[-1]


def test_cartpole_pays_for_the_angle_from_upright_however_often_it_turned():
    turns = 2 * np.pi * jnp.arange(-2, 3)
    state = ArticulatedState(
        jnp.stack([jnp.full(5, 2.0), 0.5 + turns], axis=1), jnp.full((5, 2), 3.0)
    )
    by_hand = -(0.5**2) - 0.1 * 9 - 0.05 * 4 - 0.1 * 9
    np.testing.assert_allclose(CartPole().reward(state), by_hand, rtol=1e-5)


@pytest.mark.parametrize(
    ("z", "height"),
    [(0.0, 0.3), (0.2, 0.3), (-0.1, 0.2), (-0.3, 0.0), (-0.4, -200 * 0.1**2), (-2.0, -200.0)],
)
def test_hopper_reward_by_hand(z, height):
    """One hopper is upright at 2 m/s; the other is tilted by 30 degrees and loses the upright
    reward."""
    q, qd = (
        jnp.zeros((2, 6)).at[:, 1].set(z).at[1, 2].set(np.pi / 6),
        jnp.zeros((2, 6)).at[:, 0].set(2.0),
    )
    action = jnp.array([[1.0, -0.5, 0.0], [0.0, 0.0, 0.0]])
    expected = [2 + height + 1 - 0.125, 2 + height]
    np.testing.assert_allclose(
        Hopper().reward(ArticulatedState(q, qd), action), expected, atol=1e-4
    )


def test_hopper_terminates_below_its_height_and_does_not_see_x():
    env = Hopper()
    q = jnp.zeros((3, 6)).at[:, 1].set(jnp.array([-0.46, -0.40, -0.40])).at[2, 0].set(7.0)
    q = q.at[:, 3].set(-1.2).at[:, 4].set(-1.8)  # the leg is folded: nothing touches the ground
    after = env.step(ArticulatedState(q, jnp.zeros((3, 6))), jnp.zeros((3, 3)))
    assert after.terminated.tolist() == [True, False, False]
    np.testing.assert_allclose(after.observation[1], after.observation[2], atol=1e-5)


@pytest.mark.parametrize("kind", [Ant, Hopper, Cheetah, humanoid])
def test_the_ground_carries(kind):
    """After two seconds without actions the robot has come down, and no joint is below the
    ground."""
    env = kind()
    state = jax.lax.fori_loop(
        0,
        120,
        lambda _, s: env.step(s, jnp.zeros((3, env.spec.action_size))).state,
        reset(env, 1, 3),
    )
    assert 0.0 < np.min(jax.jit(env.frame)(state)["poses"][..., 2]) < 0.3
