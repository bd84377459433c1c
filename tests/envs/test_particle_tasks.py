"""RollingFlat and FluidMove: agreement with recorded Rewarped, and what the corrected versions
fix."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from golden import per_env, recorded
from rfo.envs.base import open_loop
from rfo.envs.particles import cloud
from rfo.envs.tasks.fluid_move import FluidState, fluid_move, fluid_move_corrected, fluid_move_small
from rfo.envs.tasks.rolling_flat import (
    RollingState,
    rolling_flat,
    rolling_flat_corrected,
    rolling_flat_small,
)
from rfo.experiment.gradients import check_gradient
from rfo.physics.mpm import MPMState

AXES = [2, 0, 1]
"""Our (x, y, z) is Rewarped's (z, x, y)."""
TASKS = {"rolling_pin": rolling_flat, "transport": fluid_move}


def start(task, data):
    fields = {"x": "x", "v": "v", "C": "C", "F": "F_trial"}
    arrays = {
        ours: per_env(data, data[f"init_mpm_{theirs}"])[..., AXES]
        for ours, theirs in fields.items()
    }
    arrays |= {name: arrays[name][..., AXES, :] for name in "CF"}
    particles = MPMState(**{name: jnp.asarray(x) for name, x in arrays.items()})
    joints = jnp.asarray(per_env(data, data["init_joint_q"]))
    if task == "rolling_pin":
        return RollingState(particles, joints)
    target = jnp.asarray(data["task_target_q"])
    return FluidState(particles, joints[:, jnp.array(AXES)], target[:, jnp.array(AXES)])


def actions(task, data):
    """Recorded actions in our axes; those of the pin (along our y and z, about our z) stay as they
    are."""
    return jnp.asarray(data["actions"] if task == "rolling_pin" else data["actions"][..., AXES])


@pytest.mark.parametrize("task", TASKS)
def test_rewards_observations_and_gradient_of_the_recorded_episode(task):
    """Four control steps of the faithful task."""
    data = recorded(task)
    env = TASKS[task](threads=1)
    state, controls = start(task, data), actions(task, data)

    @jax.jit
    def roll(state, controls):
        def step(state, action):
            after = env.step(state, action)
            return after.state, (after.reward, after.observation)

        return jax.lax.scan(step, state, controls)[1]

    reward, seen = roll(state, controls)
    np.testing.assert_allclose(reward, data["traj_reward"], atol=2e-6)
    for name, values in seen.items():
        theirs = data[f"traj_obs_{name}"]
        same = theirs if name == "joint_q" and task == "rolling_pin" else theirs[..., AXES]
        np.testing.assert_allclose(values, same, atol=3e-5)
    gradient = jax.grad(lambda a: roll(state, a)[0].sum())(controls)
    taped = data["grad_actions"] if task == "rolling_pin" else data["grad_actions"][..., AXES]
    assert np.linalg.norm(gradient - taped) < 0.06 * np.linalg.norm(taped)


@pytest.mark.parametrize("task", TASKS)
def test_constants_of_the_reference(task):
    """Compares tools, limits and the start of the particles."""
    data = recorded(task)
    env = TASKS[task](threads=1)
    tools = env.simulator.tools
    scale = data["model_shape_geo_scale"][: len(tools)]
    sizes = scale[:, :2] if task == "rolling_pin" else scale[:, AXES]
    np.testing.assert_allclose([tool.size for tool in tools], sizes, atol=1e-7)
    places = data["model_shape_transform"][: len(tools), :3][:, AXES]
    np.testing.assert_allclose([tool.pos for tool in tools], places, atol=1e-7)
    if task == "rolling_pin":
        low, high = env.limits
        assert env.simulator.material.mu == pytest.approx(float(data["mpm_material_mu"][0]))
        block = env._block
    else:
        from rfo.envs.tasks.fluid_move import LIMITS

        low, high = LIMITS[:, [1, 2, 0]]
        block = env._water
    np.testing.assert_allclose(low, data["model_joint_limit_lower"][:3], atol=1e-6)
    np.testing.assert_allclose(high, data["model_joint_limit_upper"][:3], atol=1e-6)
    rest = per_env(data, data["mpm_rest_x"])[0][:, AXES]
    assert block.shape == rest.shape
    np.testing.assert_allclose(block.min(0), rest.min(0), atol=2e-3)
    np.testing.assert_allclose(block.max(0), rest.max(0), atol=2e-3)
    assert env.simulator.volume == pytest.approx(float(data["mpm_vol"][0]), rel=1e-5)


def test_the_doubled_reward_is_within_reach_only_where_corrected():
    """Reward by hand of plasticine that is as flat as possible on the ground."""
    for task, expected in ((rolling_flat, 1 / 1.55**2), (rolling_flat_corrected, 2 / 1.05**2)):
        env = task(threads=1)
        state = env.reset(jax.random.key(0), 2)
        flat = state.particles.x.at[..., 2].set(env.size.ground + 0.05 * 0.125)
        reward = env.reward(state._replace(particles=state.particles._replace(x=flat)))
        np.testing.assert_allclose(reward, expected, rtol=1e-5)


def test_spilling_costs_and_has_a_gradient_only_where_corrected():
    """A tenth of the observed water is 0.01 m outside of the box, which is 0.5 m from its
    target."""
    for task, share, alive in (
        (fluid_move, 1.0, False),
        (fluid_move_corrected, 1 / (1 + np.exp(-1)), True),
    ):
        env = task(threads=1)
        state = env.reset(jax.random.key(0), 1)
        x = jnp.zeros_like(state.particles.x) + state.joints[:, None]
        spilt = x.at[:, :: 11 * 10, 0].add(0.16 + 0.01)
        assert (np.abs(cloud(spilt - x, 250)).max(-1) > 0).mean() == 0.1
        target = state.joints.at[:, 0].add(0.5)

        def reward(x, env=env, state=state, target=target):
            return env.reward(
                state._replace(particles=state.particles._replace(x=x), target=target)
            )[0]

        inside = 0.0 if task is fluid_move else 1 / (1 + np.exp(0.105 / 0.01))
        expected = 0.1 / 1.25**2 - 0.1 * share - 0.9 * inside
        assert float(reward(spilt)) == pytest.approx(expected, abs=1e-5)
        assert (float(jnp.abs(jax.grad(reward)(spilt)).max()) > 1e-3) == alive


def test_the_gradient_is_checked_in_double_precision():
    """Starts where the tool touches; afterwards JAX has its old precision."""
    found = check_gradient("rolling_flat_small", 2, (4,), settling_steps=2, threads=2)
    assert found.passed and found.worst_error < 1e-5
    assert [check.start for check in found.checks] == ["approached", "settled"]
    assert not jax.config.jax_enable_x64


def test_a_turn_keeps_the_corrected_pin_where_it_is():
    """Rewarped turns it about a point half a metre away."""
    for task, moves in ((rolling_flat, True), (rolling_flat_corrected, False)):
        env = task(threads=1)
        (body,) = np.asarray(env.poses(jnp.array([0.5, 0.3, 0.4])))
        arm = np.array(env.simulator.tools[0].pos)
        middle = body[:3] + np.array([arm[0] * np.cos(0.4), arm[0] * np.sin(0.4), 0])
        assert (np.linalg.norm(middle - [0.5, 0.5, 0.3]) > 0.1) == moves


@pytest.mark.parametrize("task", [rolling_flat_small, rolling_flat_corrected])
def test_pressing_and_rolling_flattens(task):
    """The pin goes down, then slowly back and forth: the mean height falls, the reward rises."""
    env = task(threads=2)
    state = env.reset(jax.random.key(1), 1)
    plan = [[0.0, -1.0, 0.0]] * 16 + [[0.3, 0.0, 0.0]] * 25 + [[-0.3, 0.0, 0.0]] * 50
    rest = jax.jit(lambda s: open_loop(env, s, jnp.zeros((20, 1, 3)))[0])(state)
    after = jax.jit(lambda s: open_loop(env, s, jnp.array(plan)[:, None])[0])(rest)
    before = float(rest.particles.x[..., 2].mean() - env.size.ground)
    assert before == pytest.approx(0.0625, rel=0.25)
    assert float(after.particles.x[..., 2].mean() - env.size.ground) < 0.9 * before
    assert float(env.reward(after)[0]) > float(env.reward(rest)[0]) + 0.02


def test_a_gentle_hand_carries_the_water():
    """The box moves slowly to the target: no water is spilt, and the reward rises."""
    env = fluid_move_small(threads=1)
    state = env.reset(jax.random.key(2), 1)

    def step(state, _):
        after = env.step(state, jnp.clip(20 * (state.target - state.joints), -0.3, 0.3))
        return after.state, after.reward

    state, reward = jax.jit(lambda s: jax.lax.scan(step, s, length=150))(state)
    away = np.abs(state.particles.x - state.joints[:, None])
    assert np.all(away < np.array([0.11, 0.09, 0.08]) + 0.3 * env.size.grid.dx), (
        "inside of the walls"
    )
    assert (
        reward[-1, 0] > reward[10, 0] + 0.003 and np.linalg.norm(state.joints - state.target) < 0.05
    )
