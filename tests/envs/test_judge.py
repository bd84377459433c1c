"""MuJoCo in the place of our simulator."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rfo.envs.base import open_loop
from rfo.envs.judge import differences, in_mujoco
from rfo.envs.randomise import Randomised
from rfo.envs.robot import Robot
from rfo.errors import SettingError
from rfo.experiment.build import build_task

FLYER = """<mujoco><option timestep="{step}"/><worldbody>
  <body name="trunk"><freejoint/><geom type="box" size=".1 .2 .3" density="300"/>
    <body pos="0 0 -.3"><joint name="hip" axis="0 1 0" damping=".1" stiffness="2"/>
      <geom type="capsule" fromto="0 0 0 0 0 -.4" size=".05"/>
      <body pos="0 0 -.4"><joint name="ball" type="ball"/>
        <geom type="box" size=".05 .1 .1" pos="0 0 -.2"/></body></body></body>
  </worldbody><actuator>
    <motor joint="hip" gear="3"/> <position joint="hip" kp="2" timeconst=".05" ctrlrange="-1 1"/>
  </actuator></mujoco>"""
"""A free body in flight with a hinge, a ball and an activation; nothing to touch."""
CONTROL = jnp.full((1, 2), 0.7)


def test_flight_comes_closer_to_ours_in_proportion_to_the_step():
    errors = []
    for step in (1e-3, 2.5e-4):
        task = Robot(FLYER.format(step=step), dt=0.01, substeps=round(0.01 / step))
        judged = in_mujoco(task).simulator
        assert judged.substeps == task.simulator.substeps
        start = task.simulator.init(1)
        start = start._replace(qd=jnp.linspace(3.0, -2.0, 10)[None])
        ours = theirs = start
        for _ in range(25):
            ours, theirs = (
                x.step(y, CONTROL) for x, y in ((task.simulator, ours), (judged, theirs))
            )
        assert np.abs(ours.q - start.q).max() > 0.3, "it must have moved"
        errors.append([np.abs(ours.q - theirs.q).max(), np.abs(ours.qd - theirs.qd).max()])
    assert np.all(np.array(errors[1]) < 0.4 * np.array(errors[0])), errors
    np.testing.assert_allclose(ours.act, theirs.act, atol=1e-5)
    assert np.all(np.array(errors[1]) < [3e-4, 5e-3])


def test_an_ant_walks_on_and_what_is_not_finite_stays_with_its_environment():
    task = in_mujoco(build_task("ant"))
    state = task.reset(jax.random.key(0), 3)
    broken = state.physics._replace(q=state.physics.q.at[1, 9].set(jnp.nan))
    after, rewards = jax.jit(lambda s: open_loop(task, s, jnp.zeros((30, 3, 8))))(
        state._replace(physics=broken)
    )
    assert np.isfinite(rewards[:, [0, 2]]).all() and np.isnan(rewards[:, 1]).all()
    assert np.all((after.physics.q[[0, 2], 2] > 0.3) & (after.physics.q[[0, 2], 2] < 0.8))
    lines = differences(task.simulator)
    assert lines[0].startswith("integration: semi-implicit Euler of 1.04 ms; MuJoCo: euler of 1.85")
    assert any("friction: 0.625" in line and "MuJoCo: 1, pyramidal" in line for line in lines)


def test_the_humanoid_keeps_the_axes_that_its_task_changed():
    task = in_mujoco(build_task("humanoid"))
    assert np.array_equal(task.simulator.mjcf.jnt_axis, task.simulator.model.axis)


def test_a_gradient_is_refused():
    simulator = in_mujoco(build_task("cartpole")).simulator
    with pytest.raises(NotImplementedError, match="no gradient"):
        jax.grad(lambda c: simulator.step(simulator.init(1), c).q.sum())(jnp.zeros((1, 1)))


@pytest.mark.parametrize("name", ["soft_worm", "lqr"])
def test_what_is_no_robot_is_refused_in_one_line(name):
    with pytest.raises(
        SettingError, match=f"MuJoCo cannot judge {name}.*leave --physics away"
    ) as e:
        in_mujoco(build_task(name))
    assert "\n" not in str(e.value)


def test_a_randomised_task_is_judged_without_its_randomisation():
    task = build_task("cartpole")
    judged = in_mujoco(Randomised(task, {"body.mass": "uniform 0.8 1.2"}))
    assert type(judged) is type(task) and judged.simulator.model is task.simulator.model
