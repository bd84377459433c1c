"""A task made from any MJCF file."""

import runpy
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rfo.cli.options import parse_train
from rfo.envs.tasks.robot import Robot, forward
from rfo.experiment.build import ExperimentError, build_task, preset
from rfo.physics.articulated import ArticulatedState
from rfo.train.record import default_path

EXAMPLE = Path(__file__).parents[2] / "examples" / "02_your_own_robot.py"
DOG = EXAMPLE.parent / "dog.xml"

FREE = """<mujoco><worldbody><geom type="plane" size="1 1 1"/>
  <body name="ball" pos="0 0 0.5"><freejoint/><geom size="0.1"/>
  <body pos="0 0 0.2"><joint name="arm"/><geom size="0.05"/></body></body></worldbody>
  <actuator><motor joint="arm" gear="{gear}"/></actuator></mujoco>"""


def test_the_example_learns_to_walk():
    """After a few updates the dog moves further than with its first policy."""
    before, after = runpy.run_path(str(EXAMPLE))["main"](updates=6)
    assert after > before + 0.02


def test_a_planar_robot_hides_x_and_a_free_one_its_place():
    dog, ball = Robot(DOG), Robot(FREE.format(gear=1))
    assert (dog.spec.observation, dog.spec.action_size) == (6 + 7, 4)
    assert (ball.spec.observation, ball.spec.action_size) == (6 + 7, 1)
    q = jnp.arange(8.0)[None]
    seen = ball.observe(ArticulatedState(q, 10 + jnp.arange(7.0)[None]))
    np.testing.assert_allclose(seen[0], [*range(2, 8), *range(10, 17)])


def test_reward_and_end_are_as_told():
    ball = Robot(
        FREE.format(gear=1), lambda state, action: state.q[:, 0] + action[:, 0], lowest=0.4
    )
    heights, action = jnp.array([0.3, 0.8]), jnp.full((2, 1), 3.0)
    start = ball.reset(jax.random.key(0), 2)
    q = start.q.at[:, 2].set(heights).at[:, 0].set(5.0)
    after = ball.step(ArticulatedState(q, start.qd * 0), action)
    np.testing.assert_allclose(after.reward, 6.0, atol=1e-3)  # the action is clipped to 1
    assert after.terminated.tolist() == [True, False]
    state = ArticulatedState(jnp.zeros((1, 8)), jnp.full((1, 7), 2.0))
    np.testing.assert_allclose(forward(state, jnp.array([[0.5]])), 2 - 0.1 * 0.25)


@pytest.mark.parametrize(
    ("text", "settings", "told"),
    [
        (FREE.format(gear=1).replace('<motor joint="arm" gear="1"/>', ""), {}, "no motor"),
        (DOG.read_text().replace('axis="1 0 0"', 'axis="0 1 0"'), {}, "slide along x"),
        (DOG.read_text(), {"lowest": 0.1}, "free joint"),
    ],
)
def test_what_cannot_run_is_refused(text, settings, told):
    with pytest.raises(ValueError, match=told):
        Robot(text, **settings)


def test_a_file_is_a_task(tmp_path):
    """Its name is the path, and faults of the file are reported in one line."""
    env = build_task(str(DOG), threads=1)
    assert (env.spec.name, env.spec.action_size) == ("dog", 4)
    assert preset(str(DOG), "rfo").task == str(DOG)
    asked = parse_train(["--mjcf", str(DOG), "--reward", "forward", "--seed", "3"])
    assert asked.experiment() == preset(str(DOG), "rfo", seed=3)
    with pytest.raises(ExperimentError, match=r"no MJCF file at .*absent\.xml"):
        build_task(str(tmp_path / "absent.xml"))
    (tmp_path / "odd.xml").write_text(DOG.read_text().replace('type="box"', 'type="ellipsoid"'))
    with pytest.raises(ExperimentError, match="ellipsoid is not supported"):
        build_task(str(tmp_path / "odd.xml"))
    assert default_path(str(DOG), "rfo", 3).name.startswith("dog-rfo-s3-")
