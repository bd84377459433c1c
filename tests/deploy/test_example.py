"""examples/deploy.py sees in MuJoCo what the tasks see, and acts at control rate."""

import importlib.util
import sys
from pathlib import Path

import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from compiled import reset
from oracle import to_mujoco
from rfo.deploy import export as exports
from rfo.experiment.build import build_task
from untrained import untrained

EXAMPLE = Path(__file__).parents[2] / "examples" / "deploy.py"


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("deploy_example", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["ant", "go2"])
def test_the_observation_is_the_tasks_own(example, name):
    """In a random state, turned and spinning about all axes."""
    task = build_task(name)
    rng = np.random.default_rng(0)
    state = reset(task, 0, 1)
    q = np.array(state.physics.q) + 0.5 * rng.standard_normal(state.physics.q.shape)
    q[:, 3:7] /= np.linalg.norm(q[:, 3:7], axis=-1, keepdims=True)
    qd = rng.standard_normal(state.physics.qd.shape)
    action = rng.uniform(-1, 1, state.action.shape)
    physics = state.physics._replace(q=jnp.asarray(q), qd=jnp.asarray(qd))
    state = state._replace(physics=physics, action=jnp.asarray(action))
    if name == "go2":
        state = state._replace(command=jnp.array([example.COMMAND]))

    data = mujoco.MjData(mujoco.MjModel.from_xml_path(str(example.ASSETS / f"{name}.xml")))
    data.qpos[:], data.qvel[:] = q[0], to_mujoco(task.simulator.model, q[0]) @ qd[0]
    seen = example.OBSERVE[name](data, action[0], {"default_pose": task.pose})
    np.testing.assert_allclose(seen, np.asarray(task.observe(state))[0], rtol=1e-5, atol=1e-5)


def test_an_exported_policy_drives_the_ant_in_mujoco(example, tmp_path, monkeypatch, capsys):
    run = untrained(tmp_path / "run", "ant", "rfo", chunk=4, executed=2, **{"flow.steps": 1})
    path = run.export(tmp_path / "ant.onnx").path
    monkeypatch.setattr(sys, "argv", ["deploy.py", str(path), "--seconds", "0.5"])
    example.main()
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("ant: ") and "in 0.5 s" in first
    assert second.startswith("15 decisions at 60 Hz: ")  # one for two of the 30 control steps


def test_mujoco_moves_the_ant_as_the_exported_controls_say(example, tmp_path):
    """The first control step in MuJoCo, against rfo's physics, in the air and without contact."""
    task = build_task("ant")
    state = reset(task, 0, 1)
    pose = np.array([*task.pose], np.float32)
    pose[2] = 2.0
    physics = state.physics._replace(q=jnp.asarray(pose)[None], qd=jnp.zeros_like(state.physics.qd))
    action = jnp.full((1, 8), 0.2)
    after = task.step(state._replace(physics=physics), action).state.physics

    model = mujoco.MjModel.from_xml_path(str(example.ASSETS / "ant.xml"))
    model.opt.timestep = task.spec.dt / task.simulator.substeps
    data = mujoco.MjData(model)
    data.qpos[:] = pose
    data.ctrl[:] = exports.control_map(task.spec)[1] * np.asarray(action)[0]
    mujoco.mj_step(model, data, task.simulator.substeps)
    np.testing.assert_allclose(data.qpos, after.q[0], rtol=0, atol=2e-3)
    moved = np.abs(data.qpos[7:] - pose[7:]).max()
    assert moved > 0.02
