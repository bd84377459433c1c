"""The terms of a robot's reward and observation against hand arithmetic, and what they refuse."""

import inspect
import itertools
from dataclasses import replace
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rfo.envs import observations, rewards
from rfo.envs.moment import Body, Moment
from rfo.envs.purposes import PURPOSES
from rfo.envs.robot import Robot
from rfo.errors import SettingError
from rfo.physics.articulated import ArticulatedState
from rfo.physics.gradcheck import check
from rfo.physics.mjcf import load

DOG = Path(__file__).parents[2] / "examples" / "dog.xml"

# a trunk on a free joint with an arm, its motor of gear 2, and a foot at the arm's end
FIGURE = """<mujoco><worldbody><geom type="plane" size="1 1 1"/>
  <body name="trunk" pos="0 0 0.5"><freejoint/><geom size="0.1" mass="1"/>
    <body name="arm"><joint name="arm" axis="0 1 0" range="-57.29578 57.29578"/>
      <geom size="0.05" pos="0.3 0 0" mass="0.1"/><site name="foot" pos="0.3 0 0"/></body>
  </body></worldbody>
  <actuator><motor joint="arm" gear="2" ctrlrange="-3 3"/></actuator>
  <keyframe><key qpos="0 0 0.5 1 0 0 0 0.2"/></keyframe></mujoco>"""
TURNED = (np.cos(np.pi / 4), 0, 0, np.sin(np.pi / 4))
"""To the left by a quarter."""


@cache
def body():
    model = load(FIGURE)
    pose = model.keyframes["key 0"]
    return Body(model, pose, 0.1, np.zeros(1, np.float32), np.full(1, 3, np.float32))


def moment(q=(), qd=(), action=0.0, goal=(0.0, 0.0, 0.0), before=None, of=None, phase=0.0):
    """One robot, at the start but for the entries of q and qd that are given by index."""
    of = of or body()
    place, speed = np.array(of.pose), np.zeros(of.model.nv)
    for target, given in ((place, q), (speed, qd)):
        for index, value in dict(given).items():
            target[index] = value
    state = ArticulatedState(*(jnp.asarray(x, jnp.float32)[None] for x in (place, speed)))
    actions = jnp.full((1, of.model.nu), action)
    return Moment(of, state, actions, jnp.asarray(goal)[None], before, jnp.full(1, phase))


def leaning(angle):
    return {3: np.cos(angle / 2), 4: 0, 5: np.sin(angle / 2), 6: 0}


def facing_left():
    return dict(zip(range(3, 7), TURNED, strict=True))


@pytest.mark.parametrize(
    ("term", "now", "expected"),
    [
        ("alive", {}, 1),
        ("forward_velocity", {"qd": {0: -0.4}}, -0.4),
        ("upright", {"q": leaning(0.6)}, np.cos(0.6)),
        ("upright", {"q": facing_left()}, 1),
        ("height", {"q": {2: 0.45}}, np.exp(-(0.05**2) / 0.1**2)),
        ("track_velocity", {"qd": {0: 0.3}, "goal": (0.5, 0.1, 9)}, np.exp(-0.05 / 0.25)),
        ("track_velocity", {"q": facing_left(), "qd": {1: 0.3}, "goal": (0.3, 0, 0)}, 1),
        ("track_turn", {"qd": {5: 0.3}, "goal": (9, 9, 0.5)}, np.exp(-0.04 / 0.25)),
        ("velocity_error", {"goal": (0.3, 0.4, 0)}, np.sqrt(0.26) - 0.1),
        ("turn_error", {"goal": (0, 0, -1)}, np.sqrt(1.01) - 0.1),
        ("vertical_velocity", {"qd": {2: -0.3}}, 0.09),
        ("rocking", {"qd": {3: 0.3, 4: 0.4, 5: 7}}, 0.25),
        ("pose_error", {"q": {0: 0.4, 7: 0.4}}, (0.16 + 0.04) / 8),
        ("joint_deviation", {"q": {0: 5, 7: 0.5}}, 0.09),
        ("joint_speed", {"qd": {0: 5, 6: 0.5}}, 0.25),
        ("joint_limits", {"q": {7: -0.95}}, 0.0025),
        ("joint_limits", {"q": {7: 0.85}}, 0),
        ("action_size", {"action": 0.5}, 0.25),
        ("action_rate", {"action": 0.5}, 0.09),
        ("torque", {"action": 0.5}, 1.5**2),
        ("power", {"action": 0.5, "qd": {6: 4.0}}, np.sqrt(12**2 + 1) - 1),
        ("target_distance", {"goal": (0.3, 0, 0.5), "q": {7: 0}}, 0),
        ("at_target", {"goal": (0.3, 0.1, 0.5), "q": {7: 0}}, np.exp(-1)),
        ("foot_slip", {"q": {0: 0.05, 2: 0.02, 7: 0}}, np.exp(-4 / 9) * 0.25),
        (
            "foot_clearance",
            {"q": {0: 0.05, 2: 0.02, 7: 0}},
            0.06**2 * np.tanh(0.5),
        ),
        ("foot_swing", {"phase": np.pi / 2}, 0.08**2),  # it should be at the top, and stands
        ("foot_swing", {"q": {2: 0.55}, "phase": np.pi / 6}, (0.05 - 0.08 / 4) ** 2),
        ("foot_swing", {"q": {2: 0.55}, "phase": 3 * np.pi / 2}, 0.05**2),
    ],
)
def test_reward_terms_by_hand(term, now, expected):
    """The step before had an action of 0.2, and the foot 5 cm further back."""
    of = replace(body(), site="foot")
    before = moment(action=0.2, of=of, q={2: 0.02, 7: 0})
    value = rewards.TERMS[term](moment(**now, of=of, before=before))
    assert value.shape == (1,)
    np.testing.assert_allclose(value[0], expected, atol=2e-5)


def test_to_stand_pays_more_than_to_fall():
    """Over all commands: an episode that ends earns nothing more."""
    options = inspect.signature(Robot.__init__).parameters
    commands = zip(options["slowest"].default, options["fastest"].default, strict=True)
    grid = itertools.product(*(np.linspace(low, high, 5) for low, high in commands))
    reward = rewards.weighted(PURPOSES["velocity"].reward)
    assert np.mean([reward(moment(goal=goal, before=moment())) for goal in grid]) > 0.3


def test_forces_are_the_physics_own():
    """Those that `power` and `torque` are made of, for servos with a range."""
    text = FIGURE.replace("<motor", '<position kp="5" kv="0.3" forcerange="-1.2 1.2"')
    task = Robot(text)
    for action in (0.1, 1.0):
        now = moment(q={7: 0.1}, qd={6: -0.5}, action=action, of=task.body)
        control = task.body.middle + task.body.half * action
        known = task.simulator.actuator_forces(now.state, control[None].astype(np.float32))
        np.testing.assert_allclose(now.forces[0] * 2, known[0, 6:], rtol=1e-5)


ROPES = """<spatial name="rope"><site site="hook"/><site site="tip"/></spatial>
  <spatial name="stay"><site site="tip"/><site site="hook"/></spatial>"""


def test_forces_and_rates_along_tendons_are_the_physics_own():
    """A servo on a spatial tendon beside one on the joint: their power is the physics own."""
    text = FIGURE.replace("<motor", '<position kp="5" kv="0.3" forcerange="-1.2 1.2"')
    text = text.replace("<worldbody>", '<worldbody><site name="hook" pos="1 0.3 1"/>')
    text = text.replace('<joint name="arm"', '<site name="tip" pos="0 .1 .2"/><joint name="arm"')
    pull = '<position tendon="rope" gear="2" kp="3" kv=".2"/>'
    text = text.replace("</actuator>", f"{pull}</actuator>")
    text = text.replace("<actuator>", f"<tendon>{ROPES}</tendon><actuator>")
    task = Robot(text)
    now = moment(q={7: 0.1}, qd={0: 0.7, 4: 0.2, 6: -0.5}, action=0.1, of=task.body)
    control = task.body.middle + task.body.half * now.action[0]
    known = task.simulator.actuator_forces(now.state, np.asarray(control)[None])
    power = np.sum(np.asarray(now.qd) * known)
    np.testing.assert_allclose(np.sum(now.forces * now.rates), power, rtol=1e-4)
    assert abs(now.forces[0, 1]) > 0.1 and abs(now.rates[0, 1]) > 0.1


def test_observation_terms_by_hand():
    place = {**facing_left(), 2: 0.6, 7: 0.5}
    now = moment(q=place, qd={1: 2.0, 3: 1.0, 6: 3.0}, action=0.7, phase=np.pi / 3)
    seen = {name: np.asarray(term(now))[0] for name, term in observations.TERMS.items()}
    expected = {
        "velocity": [2, 0, 0],
        "angular_velocity": [0, -1, 0],
        "projected_gravity": [0, 0, -1],
        "height": [0.6],
        "joint_positions": [0.3],
        "joint_velocities": [3],
        "last_action": [0.7],
        "goal": [0, 0, 0],
        "gait_phase": [0.5, np.sqrt(0.75)],
        "activations": [],
        "velocities": [0, 2, 0, 1, 0, 0, 3],
    }
    for name, numbers in expected.items():
        np.testing.assert_allclose(seen[name], numbers, atol=1e-6)
    assert len(seen["coordinates"]) == 8 and len(seen["coordinates_off_the_ground"]) == 6
    assert all(len(np.shape(value)) == 1 for value in seen.values())


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"reward": "velocty"}, "unknown reward 'velocty': did you mean velocity"),
        ({"reward": {"uprigt": 1}}, "unknown reward term 'uprigt': did you mean upright"),
        ({"reward": {"height": {"weight": 1, "widht": 2}}}, "'widht': did you mean width"),
        ({"reward": {"height": {"weight": 1, "width": "a"}}}, "width of height must be a number"),
        ({"reward": {"upright": "much"}}, "weight of upright must be a finite number"),
        ({"reward": {}}, "at least one term"),
        ({"reward": {"track_turn": 1, "at_target": 1}}, "not both"),
        ({"reward": {"foot_slip": 1}}, "no site has 'foot' in its name: none"),
        ({"reward": {"joint_speed": {"weight": 1, "joints": "toe"}}}, "no driven joint has 'toe'"),
        ({"reward": lambda now: now.q}, "one number for each robot"),
        ({"reward": "velocity"}, "needs a first link on a free joint"),
        ({"observe": ("joint_postions",)}, "did you mean joint_positions"),
        ({"observe": ("goal",)}, "needs a goal"),
        ({"observe": ("gait_phase",)}, "needs a gait: give stride"),
        ({"stride": 0}, "stride must be positive"),
        ({"observation_noise": {"velocites": 1.0}}, "did you mean velocities"),
        ({"observation_noise": {"velocities": -1.0}}, "must not be negative"),
        ({"site": "hand"}, "the file has no sites"),
        ({"scale": 0}, "scale must be positive"),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(options, told):
    with pytest.raises(SettingError, match=told):
        Robot(DOG, **options)


def test_the_observation_is_made_of_the_terms_that_were_asked_for():
    def twice(now):
        return 2 * now.joints

    task = Robot(FIGURE, "velocity", observe=("goal", "joint_positions", twice), start_noise=0.1)
    assert [tuple(entry) for entry in task.spec.entries] == [
        ("goal", 3, 1.0),
        ("joint_positions", 1, 1.0),
        ("twice", 1, 1.0),
    ]
    state = task.reset(jax.random.key(0), 500)
    seen = np.asarray(task.observe(state))
    np.testing.assert_allclose(seen[:, :3], state.goal)
    np.testing.assert_allclose(seen[:, 4], 2 * seen[:, 3], rtol=1e-6)
    np.testing.assert_allclose(np.abs(state.physics.q - task.body.pose).max(0)[:3], 0.1, atol=2e-3)
    np.testing.assert_allclose(np.linalg.norm(state.physics.q[:, 3:7], axis=-1), 1, rtol=1e-5)
    np.testing.assert_allclose(np.min(state.goal, axis=0), task.slowest, atol=0.02)
    np.testing.assert_allclose(np.max(state.goal, axis=0), task.fastest, atol=0.02)


TWO_FEET = FIGURE.replace("</body>", '<site name="foot_2" pos="0 0 0.1"/></body>', 1)


def test_a_gait_goes_round_once_in_a_stride():
    """The phase is drawn over the whole cycle, shown, and back after 20 steps of 1/40 s."""
    task = Robot(FIGURE, "velocity", stride=0.5, dt=1 / 40)
    assert [entry.name for entry in task.spec.entries][-1] == "gait_phase"
    state = task.reset(jax.random.key(0), 500)
    np.testing.assert_allclose(np.histogram(state.phase, 4, (0, 2 * np.pi))[0], 125, atol=30)
    state, phases = state._replace(phase=jnp.linspace(0.1, 6.1, 500)), []
    for _ in range(20):
        step = task.step(state, jnp.zeros((500, 1)))
        state = step.state
        phases.append(state.phase)
        np.testing.assert_allclose(step.observation[:, -1], np.sin(state.phase), atol=1e-5)
    turned = (phases[0] - jnp.linspace(0.1, 6.1, 500)) % (2 * np.pi)
    np.testing.assert_allclose(turned, 2 * np.pi / 20, rtol=1e-4)
    np.testing.assert_allclose(phases[-1], np.linspace(0.1, 6.1, 500), atol=1e-4)
    assert Robot(FIGURE, "velocity").reset(jax.random.key(0), 2).phase is None


def test_feet_swing_in_turn_or_as_late_as_they_are_told():
    model = load(TWO_FEET)
    of = replace(body(), model=model)
    now = moment(of=of, phase=np.pi / 2, before=moment(of=of))
    lifted = 0.08**2
    for behind, expected in (((), lifted), ((0.5, 0.0), lifted), ((0.0, 0.0), 2 * lifted)):
        np.testing.assert_allclose(rewards.foot_swing(now, behind=behind)[0], expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"behind": [0.0, 0.5]}, "behind of foot_swing must have 1 numbers, one a foot: foot"),
        ({"behind": 0.5}, "behind of foot_swing must be a list of numbers, not 0.5"),
        ({"behind": ["a"]}, "must be a list of numbers"),
        ({"height": [0.1]}, "height of foot_swing must be a number"),
    ],
)
def test_settings_of_a_gait_that_do_not_fit_are_refused(settings, told):
    with pytest.raises(SettingError, match=told):
        Robot(FIGURE, {"foot_swing": {"weight": -1.0, **settings}}, stride=0.5)


def test_noise_on_the_observation_is_new_in_each_step_and_known_to_the_state():
    task = Robot(FIGURE, "stand", observation_noise={"joint_velocities": 0.5})
    state = task.reset(jax.random.key(0), 50)
    clean = Robot(FIGURE, "stand").observe(state._replace(noise=None))
    at = [entry.name for entry in task.spec.entries].index("joint_velocities")
    at = sum(entry.size for entry in task.spec.entries[:at])
    first = np.asarray(task.observe(state) - clean)
    assert 0.4 < np.abs(first[:, at]).max() <= 0.5
    assert np.abs(np.delete(first, at, axis=1)).max() == 0
    after = task.step(state, jnp.zeros((50, 1)))
    np.testing.assert_array_equal(after.observation, task.observe(after.state))
    again = np.asarray(task.observe(state._replace(noise=after.state.noise)) - clean)
    assert abs(np.corrcoef(first[:, at], again[:, at])[0, 1]) < 0.5


def test_actions_as_positions():
    """A motor gets a servo with its own force; it holds the start against gravity, and moves by
    `scale` times the action."""
    task = Robot(FIGURE, "stand", action_mode="position", scale=0.3, stiffness=40.0, damping=2.0)
    np.testing.assert_allclose(task.spec.control_range, [(0.2 - 0.3, 0.2 + 0.3)], rtol=1e-6)
    np.testing.assert_allclose(task.simulator.model.actuators.force_range, [(-6, 6)])
    fixed = FIGURE.replace("<freejoint/>", "").replace("0 0 0.5 1 0 0 0 ", "")
    task = Robot(fixed, action_mode="position", scale=0.3, stiffness=40.0, damping=2.0)
    state = task.reset(jax.random.key(0), 1)
    for _ in range(90):
        state = task.step(state, jnp.ones((1, 1))).state
    load = 0.1 * 9.81 * 0.3 * np.cos(0.5)
    np.testing.assert_allclose(state.physics.q[0, 0], 0.5 + load / 40, atol=2e-3)
    with pytest.raises(SettingError, match="positions need motors or position servos"):
        Robot(FIGURE.replace("<motor", '<velocity kv="1"'), action_mode="position")


def test_targets_can_be_reached():
    """They lie where the site is in some pose within the limits."""
    fixed = FIGURE.replace("<freejoint/>", "").replace("0 0 0.5 1 0 0 0 ", "")
    task = Robot(fixed, "reach", spread=1.0)
    assert task.body.site == "foot" and task.spec.entries[2].name == "to_target"
    state = task.reset(jax.random.key(0), 500)
    away = np.asarray(state.goal) - [0, 0, 0.5]
    np.testing.assert_allclose(np.linalg.norm(away, axis=-1), 0.3, rtol=1e-5)
    angle = np.arctan2(-away[:, 2], away[:, 0])
    np.testing.assert_allclose([angle.min(), angle.max()], [-1, 1], atol=0.02)
    assert task.frame(state)["poses"].shape == (500, task.scene()["geoms"][-1]["body"] + 1, 7)


@pytest.mark.parametrize("name", ["velocity", "reach"])
def test_named_rewards_have_right_gradients(name):
    """Of the reward alone, in the state; the physics' own gradient is checked elsewhere.

    These two have most of the terms that are no squares."""
    task = Robot(FIGURE, name)
    state = task.reset(jax.random.key(1), 3)

    def reward(x):
        physics = ArticulatedState(x[0, :, :8], x[0, :, 8:])
        return task.reward(task._moment(state._replace(physics=physics), task._moment(state)))[None]

    x = jnp.concatenate([state.physics.q, state.physics.qd + 0.3], axis=-1)[None]
    report = check(reward, x, jax.random.key(2), step_sizes=(3e-2, 1e-2, 3e-3))
    assert report.ok and report.conclusive
