"""Properties that the algorithms expect of every registered environment."""

import json
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rfo.envs.base import Environment, Renderable, open_loop
from rfo.envs.batch import OBSERVATION_LIMIT, Batch
from rfo.experiment.build import build_task
from rfo.experiment.presets import TASKS
from rfo.physics.gradcheck import check

B = 5
PARTICLES = ("rolling_flat", "fluid_move", "hand_flip")
LARGE = {f"{task}{version}" for task in PARTICLES for version in ("", "_corrected")}
LARGE |= {"g1_velocity"}
"""Expensive tasks, whose classes are tested with their small versions, or a smaller robot."""
NAMES = [name for name in TASKS if name not in LARGE]
SIMULATED = [name for name in NAMES if TASKS[name].simulated]
FIXED_START = {"bimodal"}
"""Tasks whose episodes all start in the same state."""

VERSIONS = {"soft_jumper", "soft_jumper_corrected", "soft_jumper_camera", "soft_worm"}
VERSIONS |= {"humanoid_corrected", "hand_reorient_corrected", "hand_reorient_smooth"}
"""Tasks with the code of another one, but another body or other constants."""
VERSIONS |= {
    "humanoid",
    "humanoid_corrected",
    "cheetah",
    "hand_reorient_corrected",
    "hand_reorient_smooth",
    "go2_velocity",
}
"""Tasks with nearly the code of the ant, the hopper or hand_reorient; and a robot, whose terms and
starts test_rewards.py and test_robot.py test."""

ROUGH = {"humanoid_corrected", "hand_reorient_corrected", "hand_reorient_smooth", "soft_worm"}
"""Tasks whose differences converge in too few of the B environments. They share the gradient of
their other version, and `rfo check-grad` uses more environments."""

FAINT = {"hand_flip_small"}
"""Tasks whose rewards change too little at first for differences in single precision. Their own
tests check the gradient in double precision."""

LATE = {"hand_reorient"}
"""Simulated tasks whose first action changes only the reward of its own step: the cube still
falls."""

PLAIN = {"lqr", "hopper", "soft_jumper_small", "fluid_move_small"}
"""A task without physics and one for each simulator, whose step is also called plainly:
outside of a program every operation is compiled by itself."""

every_task = pytest.mark.parametrize("name", NAMES)
every_kind = pytest.mark.parametrize("name", [name for name in NAMES if name not in VERSIONS])


@cache
def task(name):
    return build_task(name, threads=2 if TASKS[name].simulated else None)


@cache
def programs(name):
    """The compiled reset and step."""
    env = task(name)
    return jax.jit(env.reset, static_argnums=1), jax.jit(env.step)


@cache
def observed(name):
    """The compiled observation."""
    return jax.jit(task(name).observe)


def actions(name, steps, seed=0):
    """Random actions, in NumPy: every operation of JAX outside of a program is compiled alone."""
    shape = (steps, B, task(name).spec.action_size)
    return np.random.default_rng(seed).uniform(-0.9, 0.9, shape).astype(np.float32)


def rows(tree, index):
    """The environments that an index chooses."""
    return jax.tree.map(lambda x: np.asarray(x)[index], tree)


def rewards(name, state, controls):
    """Rewards (T, B) without resets."""
    return open_loop(task(name), state, controls)[1]


def assert_equal(a, b, **tolerance):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(
            np.asarray(x, float), np.asarray(y, float), **(tolerance or {"rtol": 0})
        )


def differ(a, b):
    return any(np.any(x != y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def named(observation):
    return observation if isinstance(observation, dict) else {"vector": observation}


def shapes(spec):
    return (
        {"vector": (spec.observation,)} if isinstance(spec.observation, int) else spec.observation
    )


@every_task
def test_shapes_and_types(name):
    """They are as the spec says, and a step keeps the structure of the state, as a scan
    requires."""
    env, (reset, step) = task(name), programs(name)
    spec = env.spec
    assert isinstance(env, Environment)
    assert spec.name == name and spec.dt > 0 and spec.episode_length > 0
    state = reset(jax.random.key(0), B)
    after = step(state, actions(name, 1)[0])
    for observation in (observed(name)(state), after.observation):
        kinds = {name: (x.shape[1:], x.dtype) for name, x in named(observation).items()}
        assert kinds == {name: (shape, jnp.float32) for name, shape in shapes(spec).items()}
        assert all(len(x) == B for x in named(observation).values())
    assert after.reward.shape == (B,) and after.reward.dtype == jnp.float32
    assert after.terminated.shape == (B,) and after.terminated.dtype == bool
    assert all(x.shape[0] == B for x in jax.tree.leaves(state))
    kinds = [jax.tree.map(lambda x: (x.shape, x.dtype), tree) for tree in (state, after.state)]
    assert kinds[0] == kinds[1]
    assert_equal(after.observation, observed(name)(after.state), rtol=1e-5, atol=1e-6)


@every_task
def test_keys_decide(name):
    """Equal keys give equal episodes; other keys, and other environments of a batch, other
    starts."""
    reset, step = programs(name)
    state = reset(jax.random.key(1), B)
    assert_equal(state, reset(jax.random.key(1), B))
    control = actions(name, 1)[0]
    assert_equal(step(state, control), step(state, control))
    assert differ(state, reset(jax.random.key(2), B)) or name in FIXED_START
    assert differ(rows(state, 0), rows(state, 1)) or name in FIXED_START


@every_kind
def test_numbers_stay_bounded(name):
    """Nothing diverges in 120 control steps of random actions with automatic resets."""
    env = Batch(task(name), B)

    def step(state, action):
        after = env.step(state, action)
        return after.state, (
            after.next_observation,
            after.reward,
            after.nonfinite,
            after.state.elapsed,
        )

    @jax.jit
    def run(key, actions):
        return jax.lax.scan(step, env.init(key), actions)[1]

    observation, reward, nonfinite, elapsed = run(jax.random.key(3), actions(name, 120, seed=3))
    assert not nonfinite.any()
    assert all(np.abs(x).max() < OBSERVATION_LIMIT / 1e3 for x in jax.tree.leaves(observation))
    assert np.isfinite(reward).all()
    assert elapsed.max() < env.spec.episode_length


@every_kind
def test_actions_are_clipped(name):
    reset, step = programs(name)
    state, control = reset(jax.random.key(4), B), 3 * np.sign(actions(name, 1)[0])
    assert_equal(step(state, control), step(state, control / 3))
    assert differ(step(state, control / 3), step(state, control / 6))


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ROUGH | FAINT])
def test_gradient_is_right_and_alive(name):
    """Gradient of each environment's return over four steps, against central differences.

    It may be zero only in an episode that ends in the first step."""
    if not task(name).spec.differentiable:
        pytest.skip("has no gradient")
    state = programs(name)[0](jax.random.key(5), B)
    shape = (4, B, task(name).spec.action_size)
    controls = jax.random.uniform(jax.random.key(0), shape, minval=-0.9, maxval=0.9)
    if (approach := TASKS[name].approach) is not None:
        action, steps = approach
        state = jax.jit(
            lambda s: open_loop(task(name), s, jnp.tile(jnp.array(action), (steps, B, 1)))[0]
        )(state)
    report = check(
        lambda a: rewards(name, state, a),
        controls,
        jax.random.key(50),
        random_directions=1,
        step_sizes=(1e-2, 3e-3, 1e-3),
    )
    assert report.ok and report.conclusive
    over = np.asarray(programs(name)[1](state, controls[0]).terminated)
    assert report.norm.any() and np.all(report.norm[~over] > 1e-3)


@every_kind
def test_environments_do_not_influence_each_other(name):
    """Another start and action of environment 0 change only its own row."""
    reset, step = programs(name)
    state, control = reset(jax.random.key(6), B), actions(name, 1)[0]
    start, other = jax.device_get([(state, control), (reset(jax.random.key(60), B), -control)])
    changed = jax.tree.map(lambda x, y: np.concatenate([y[:1], x[1:]]), start, other)
    after, changed_after = step(*start), step(*changed)
    assert_equal(rows(after, slice(1, None)), rows(changed_after, slice(1, None)))
    assert differ(rows(after, 0), rows(changed_after, 0))


@every_kind
def test_a_reset_leaves_the_neighbours_and_their_gradient_alone(name):
    """Compares three steps with and without a time limit that ends environment 0 after the
    first."""
    env, controls = Batch(task(name), B), actions(name, 3, seed=7)
    going = np.zeros(B, np.int32)
    ending = np.where(np.arange(B) == 0, env.spec.episode_length - 1, going)

    def roll(state, controls):
        def step(state, action):
            after = env.step(state, action)
            return after.state, (after.reward, after.state)

        return jax.lax.scan(step, state, controls)[1]

    def late_return(controls, state):
        reward, states = roll(state, controls)
        return reward[1:].sum(), (reward, states)

    @jax.jit
    def rolled(key, elapsed):
        start = env.init(key)._replace(elapsed=elapsed)
        return jax.grad(late_return, has_aux=True)(controls, start)

    (gradient, (reward, states)), (gradient_reset, (reward_reset, states_reset)) = jax.device_get(
        [rolled(jax.random.key(7), elapsed) for elapsed in (going, ending)]
    )
    np.testing.assert_array_equal(reward[:, 1:], reward_reset[:, 1:])
    assert_equal(*(jax.tree.map(lambda x: x[:, 1:], s.task) for s in (states, states_reset)))
    assert states_reset.elapsed[0, 0] == 0
    np.testing.assert_array_equal(gradient[:, 1:], gradient_reset[:, 1:])
    assert not gradient_reset[0, 0].any()
    if name in SIMULATED and name not in LATE and TASKS[name].approach is None:
        assert gradient[0, 0].any()


@every_kind
def test_compiled_and_mapped_over_seeds(name):
    """Mapped calls give the same results as calls for each seed, and compiled ones as plain."""
    env, keys = task(name), jax.random.split(jax.random.key(8), 2)
    # Rounding of positions affects the velocities of fast modes, and even more their gradients.
    loose = {"soft": 1e-4, "rolling": 1e-3, "fluid": 1e-3, "hand_flip": 1e-3}
    close = {
        "rtol": 1e-4,
        "atol": next((loose[kind] for kind in loose if name.startswith(kind)), 1e-5),
    }
    control = actions(name, 2, seed=8)  # one per seed

    def start_and_step(key, action):
        return env.step(env.reset(key, B), action)

    mapped = jax.jit(jax.vmap(start_and_step))(keys, control)
    reset, step = programs(name)
    for seed in range(2):
        state, one = reset(keys[seed], B), rows(mapped, seed)
        assert_equal(step(state, control[seed]), one, **close)
    if name in PLAIN:
        assert_equal(env.step(state, control[1]), one, **close)


@pytest.mark.parametrize("name", SIMULATED)
def test_replay(name):
    """The scene can be written as JSON, and the frames have the arrays that it refers to."""
    env = task(name)
    assert isinstance(env, Renderable)
    scene, frame = env.scene(), jax.jit(env.frame)(programs(name)[0](jax.random.key(9), B))
    json.dumps(scene)
    poses = frame.get("poses", np.zeros((B, 0, 7)))
    assert poses.shape == (B, poses.shape[1], 7)
    assert {geom["body"] for geom in scene.get("geoms", [])} <= set(range(-1, poses.shape[1]))
    np.testing.assert_allclose(np.linalg.norm(poses[..., 3:], axis=-1), 1, atol=1e-5)
    triangles = np.reshape(scene.get("surface", {}).get("triangles", []), (-1, 3))
    vertices = frame.get("vertices", np.zeros((B, 0, 3)))
    assert vertices.shape == (B, vertices.shape[1], 3)
    assert set(triangles.ravel()) <= set(range(vertices.shape[1]))
    activation = frame.get("activation", np.zeros((B, len(triangles))))
    assert activation.shape == (B, len(triangles)) and np.abs(activation).max(initial=0) <= 1
    points = frame.get("points", np.zeros((B, 0, 3)))
    assert points.shape == (B, points.shape[1], 3) and ("points" in frame) == ("points" in scene)
    tint = frame.get("tint", np.zeros(points.shape[:2]))
    assert tint.shape == points.shape[:2] and np.abs(tint).max(initial=0) <= 1


@pytest.mark.parametrize("name", [name for name in SIMULATED if not name.startswith(PARTICLES)])
def test_building_a_task_again_reads_no_file(name):
    body = "mesh" if "soft" in name else "model"
    assert getattr(build_task(name).simulator, body) is getattr(task(name).simulator, body)
