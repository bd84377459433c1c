"""A task made from any MJCF file."""

import runpy
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rfo.cli import settings
from rfo.cli.train import Train
from rfo.envs.robot import Robot, RobotState
from rfo.errors import SettingError
from rfo.experiment.build import build_task
from rfo.experiment.record import preset
from rfo.physics.articulated import ArticulatedState
from rfo.physics.reference import stable_step
from rfo.training.record import default_path

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_robot.py"
DOG = EXAMPLE.parent / "dog.xml"

FREE = """<mujoco><worldbody><geom type="plane" size="1 1 1"/>
  <body name="ball" pos="0 0 0.5"><freejoint/><geom size="0.1"/>
  <body pos="0 0 0.2"><joint name="arm"/><geom size="0.05"/></body></body></worldbody>
  <actuator><motor joint="arm" gear="{gear}"/></actuator></mujoco>"""


def state_of(physics, actions=1):
    """Between two steps, after an action of 0."""
    return RobotState(physics, jnp.zeros((len(physics.q), actions)))


@pytest.mark.long
def test_the_example_learns_to_walk():
    """After a few updates the dog moves further than with its first policy."""
    before, after = runpy.run_path(str(EXAMPLE))["main"](updates=6)
    assert after > before + 0.02


def test_a_planar_robot_hides_x_and_a_free_one_its_place():
    dog, ball = Robot(DOG), Robot(FREE.format(gear=1))
    assert (dog.spec.observation, dog.spec.action_size) == (6 + 7, 4)
    assert (ball.spec.observation, ball.spec.action_size) == (6 + 7, 1)
    q = jnp.arange(8.0)[None]
    seen = ball.observe(state_of(ArticulatedState(q, 10 + jnp.arange(7.0)[None])))
    np.testing.assert_allclose(seen[0], [*range(2, 8), *range(10, 17)])


def test_activations_are_seen_and_named():
    filtered = FREE.format(gear=1).replace("<motor", '<general dyntype="filter" dynprm=".1"')
    spec = Robot(filtered).spec
    assert spec.observation == 6 + 7 + 1 == sum(entry.size for entry in spec.entries)
    assert spec.entries[-1].name == "activations"


def test_reward_and_end_are_as_told():
    ball = Robot(FREE.format(gear=1), lambda now: now.q[:, 0] + now.action[:, 0], lowest=0.4)
    heights, action = jnp.array([0.3, 0.8]), jnp.full((2, 1), 3.0)
    start = ball.reset(jax.random.key(0), 2).physics
    q = start.q.at[:, 2].set(heights).at[:, 0].set(5.0)
    after = ball.step(state_of(ArticulatedState(q, start.qd * 0)), action)
    np.testing.assert_allclose(after.reward, 6.0, atol=1e-3)  # the action is clipped to 1
    assert after.terminated.tolist() == [True, False]


@pytest.mark.parametrize(
    ("text", "settings", "told"),
    [
        (FREE.format(gear=1).replace('<motor joint="arm" gear="1"/>', ""), {}, "no motor"),
        (DOG.read_text(), {"lowest": 0.1}, "free joint"),
    ],
)
def test_what_cannot_run_is_refused(text, settings, told):
    with pytest.raises(ValueError, match=told):
        Robot(text, **settings)


SLIDE = """<mujoco><option gravity="0 0 0"/><worldbody><body euler="0 0 90">
  <joint type="slide" axis="{axis}" name="s"/><geom size=".1"/></body></worldbody>
  <actuator><motor joint="s" gear="10"/></actuator></mujoco>"""


def test_the_slide_runs_along_the_worlds_x():
    """Whatever the attitude of its body: the reward is the speed of what moves along x."""
    task = Robot(SLIDE.format(axis="0 -1 0"))
    state = state_of(task.simulator.init(1))
    for _ in range(30):
        step = task.step(state, jnp.ones((1, 1)))
        state = step.state
    place = task.frame(state)["poses"][0, 0, :3]
    assert step.reward[0] > 0 and place[0] > 0.1 and np.abs(place[1:]).max() < 1e-6
    fixed = Robot(SLIDE.format(axis="1 0 0"))
    assert [name for name, _ in fixed.terms] == ["coordinates", "velocities"]
    assert (task.spec.observation, fixed.spec.observation) == (1, 2), "its place counts"


def test_actions_stand_for_the_range_of_each_control():
    """-1 and 1 are its ends; a force of 3 N on 1 kg for a step of 0.1 s."""
    text = SLIDE.format(axis="0 -1 0").replace('gear="10"', 'gear="1" ctrlrange="-1 3"')
    task = Robot(text.replace('size=".1"', 'size=".1" mass="1"'), dt=0.1)
    assert task.spec.control_range == ((-1.0, 3.0),)
    still = state_of(task.simulator.init(3))
    moved = task.step(still, jnp.array([[-1.0], [0.0], [5.0]])).state
    np.testing.assert_allclose(moved.physics.qd[:, 0], [-0.1, 0.1, 0.3], rtol=1e-5)


LOADED = """<mujoco><worldbody><body pos="0 0 2"><joint type="slide" axis="1 0 0" name="x"/>
  <geom size=".01" mass="1"/><body><joint type="slide" axis="0 0 1" range="-.1 .1"/>
  <geom size=".1" mass="{mass}"/></body></body></worldbody>
  <actuator><motor joint="x"/></actuator></mujoco>"""


@pytest.mark.parametrize("mass", [0.03, 30, 3000])
def test_a_load_rests_at_its_stop(mass):
    task = Robot(LOADED.format(mass=mass))
    state = task.simulator.init(1)
    for _ in range(120):
        state = task.simulator.step(state, jnp.zeros((1, 1)))
    assert -0.101 < state.q[0, 1] < -0.1 and abs(state.qd[0, 1]) < 1e-4


LIGHT = """<mujoco><worldbody><geom type="plane" size="1 1 1"/><body pos="0 0 .06"><freejoint/>
  <geom size=".05" mass=".1"/><body><joint name="h" axis="0 1 0"/>
  <geom type="capsule" fromto="0 0 0 .1 0 0" size=".02" mass=".02"/></body></body></worldbody>
  <actuator><motor joint="h" gear=".01"/></actuator></mujoco>"""


@pytest.mark.parametrize("source", [LIGHT, DOG])
def test_any_weight_stands_on_the_ground(source):
    """120 g and 6 kg, without an option: ten seconds of random motions stay finite and above the
    ground."""
    task = Robot(source)
    state = task.reset(jax.random.key(0), 16)
    actions = jax.random.uniform(
        jax.random.key(1), (600, 16, task.spec.action_size), minval=-1, maxval=1
    )

    def step(state, action):
        after = task.step(state, action).state
        return after, task.frame(after)["poses"][:, 0, 2]

    state, heights = jax.jit(lambda s: jax.lax.scan(step, s, actions))(state)
    q, qd = state.physics
    assert np.isfinite(q).all() and np.isfinite(qd).all()
    assert heights.min() > 0.02 and np.abs(qd).max() < 60


def test_what_spins_too_fast_ends_the_episode():
    """Under a constant torque the arm spins up in the air, which no integrator follows for long:
    until the end all is finite and slow enough to be meant."""
    task = Robot(LIGHT)

    def step(carry, _):
        state, ended = carry
        after = task.step(state, jnp.ones((16, 1)))
        state = jax.tree.map(
            lambda new, old: jnp.where(ended[:, None], old, new), after.state, state
        )
        return (state, ended | after.terminated), jnp.where(ended, 0, after.reward)

    start = task.reset(jax.random.key(0), 16), jnp.zeros(16, bool)
    (state, ended), rewards = jax.jit(lambda c: jax.lax.scan(step, c, None, 1000))(start)
    assert np.isfinite(rewards).all() and np.abs(rewards).max() < 10
    assert np.isfinite(state.physics.qd).all() and ended.any()


def test_user_data_belong_to_their_owner():
    """A label of four numbers on a ball leaves the ball on the ground."""
    text = LIGHT.replace('mass=".1"', 'mass=".1" user="1 0 0 0"')
    np.testing.assert_array_equal(
        Robot(text).simulator.model.contact_law, Robot(LIGHT).simulator.model.contact_law
    )


BENT = LIGHT.replace('axis="0 1 0"', 'axis="0 1 0" range="30 60"')
HOME = '<keyframe><key name="home" qpos="0 0 .3 1 0 0 0 .7"/></keyframe></mujoco>'


def test_a_start_is_moved_into_the_joints_limits_and_may_be_a_keyframe():
    task = Robot(BENT)
    assert task.reset(jax.random.key(0), 64).physics.q[:, 7].min() == pytest.approx(np.deg2rad(30))
    assert any("beyond a limit" in note for note in task.simulator.model.notes)
    task = Robot(BENT.replace("</mujoco>", HOME))
    start = task.reset(jax.random.key(0), 64).physics.q
    np.testing.assert_allclose(start.mean(0), [0, 0, 0.3, 1, 0, 0, 0, 0.7], atol=0.02)
    lying = HOME.replace("<keyframe>", '<keyframe><key name="low" qpos="0 0 .1 1 0 0 0 .7"/>')
    task = Robot(BENT.replace("</mujoco>", lying), keyframe="home")
    assert task.reset(jax.random.key(0), 64).physics.q[:, 2].mean() == pytest.approx(0.3, abs=0.02)
    with pytest.raises(SettingError, match="no keyframe 'high': the file has low, home"):
        Robot(BENT.replace("</mujoco>", lying), keyframe="high")


def test_substeps_are_chosen_or_given():
    """As many as are stable, at least four; a stiff spring needs more; those given are kept, and
    what was chosen is softened to them."""
    chosen = Robot(LIGHT)
    step = chosen.spec.dt / chosen.simulator.substeps
    assert step <= stable_step(chosen.simulator.model) < 1.2 * step
    assert Robot(SLIDE.format(axis="0 -1 0")).simulator.substeps == 4
    stiff = LIGHT.replace('axis="0 1 0"', 'axis="0 1 0" stiffness="100"')
    assert Robot(stiff).simulator.substeps > 2 * chosen.simulator.substeps
    given = Robot(LIGHT, substeps=3, dt=0.02, episode_length=77)
    assert (given.simulator.substeps, given.spec.dt, given.spec.episode_length) == (3, 0.02, 77)
    assert stable_step(given.simulator.model) == pytest.approx(0.02 / 3)
    with pytest.raises(SettingError, match=r"needs .* substeps") as error:
        Robot(LIGHT.replace('axis="0 1 0"', 'axis="0 1 0" stiffness="1e6"'))
    assert error.value.field == "substeps"


@pytest.mark.parametrize("field", ["dt", "substeps", "episode_length"])
@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_numbers_must_be_positive(field, value):
    with pytest.raises(SettingError, match=f"{field} must be positive") as error:
        Robot(LIGHT, **{field: value})
    assert error.value.field == field


def test_a_file_is_a_task(tmp_path):
    """Its name is the path, and faults of the file are reported in one line."""
    env = build_task(str(DOG), threads=1)
    assert (env.spec.name, env.spec.action_size) == ("dog", 4)
    assert preset(str(DOG), "rfo").task.name == str(DOG)
    words = ["--mjcf", str(DOG), "--reward", "forward", "--seed", "3"]
    asked = preset(str(DOG), "rfo", seed=3, **{"task.reward": "forward"})
    assert settings.parse(Train, "train", words)[1]() == asked
    with pytest.raises(SettingError, match=r"no MJCF file at .*absent\.xml"):
        build_task(str(tmp_path / "absent.xml"))
    (tmp_path / "odd.xml").write_text(
        DOG.read_text().replace("<world", '<option density="1"/><world')
    )
    with pytest.raises(SettingError, match="'density' is not supported"):
        build_task(str(tmp_path / "odd.xml"))
    assert default_path(str(DOG), "rfo", 3).name.startswith("dog-rfo-s3-")
