"""An exported file is the run's policy, tells what it needs, and is not written if it differs."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
import pytest

from rfo.cli import main as cli
from rfo.deploy import export as exports
from rfo.envs.base import Actuated, EnvSpec
from rfo.errors import RunError, SettingError
from rfo.experiment.build import build_task
from rfo.experiment.presets import TASKS
from untrained import untrained

KINDS = {
    "vector": ("ant", "sapo", {}),
    "cloud in chunks": ("reach_cloud", "rfo", {"chunk": 2, "flow.frequencies": 1, "flow.steps": 2}),
    "fixed sigma": ("lqr", "shac", {"network.activation": "elu"}),
}


@pytest.fixture(scope="module", params=KINDS)
def run(request, tmp_path_factory):
    task, method, settings = KINDS[request.param]
    return untrained(tmp_path_factory.mktemp("export") / "run", task, method, **settings)


@pytest.fixture(scope="module")
def policy(run):
    """Action of the run's own policy, for noise that is given."""
    policy, _ = run._policy

    def act(inputs):
        arrays = jax.tree.map(jnp.asarray, inputs)
        noise = arrays.pop("noise")
        return policy.act(arrays.get("observation", arrays), noise)

    return act


def inputs_of(metadata, batch, seed=1):
    rng = np.random.default_rng(seed)
    return {
        name: rng.standard_normal((batch, *shape)).astype(np.float32)
        for name, shape in metadata["inputs"].items()
    }


@pytest.mark.parametrize("suffix", [".onnx", ".zip"])
def test_the_file_acts_as_the_run_for_batches_of_any_size(run, policy, suffix, tmp_path):
    done = run.export(tmp_path / f"policy{suffix}")
    call = exports.FORMATS[suffix][1](done.path.read_bytes())
    for batch in (1, 7):
        inputs = inputs_of(done.metadata, batch)
        action, *control = call(inputs)
        shape = (batch, 2, 3) if done.metadata["chunk"] == 2 else np.shape(action)
        assert np.shape(action) == shape
        np.testing.assert_allclose(
            np.reshape(action, (batch, -1)), policy(inputs), rtol=0, atol=1e-5
        )
        if control:  # the ant's motors turn the other way
            np.testing.assert_array_equal(control[0], -np.asarray(action))
    assert done.difference < exports.TOLERANCE


def test_without_noise_it_is_the_deterministic_policy(run, tmp_path):
    done = run.export(tmp_path / "policy.zip", deterministic=True)
    assert "noise" not in done.metadata["inputs"] and done.metadata["deterministic"]
    inputs = inputs_of(done.metadata, 5)
    action = exports.load_stablehlo(done.path.read_bytes())(inputs)[0]
    observation = inputs.get("observation", inputs)
    wanted = run.policy(observation)
    np.testing.assert_allclose(np.reshape(action, (5, -1)), wanted, rtol=0, atol=1e-5)


def test_metadata_of_a_robot(tmp_path):
    run = untrained(tmp_path / "a run", "ant", "rfo", chunk=4, executed=2, steps=1000)
    path = run.export(tmp_path / "policy.onnx").path
    session = onnxruntime.InferenceSession(path)
    told = json.loads(session.get_modelmeta().custom_metadata_map[exports.METADATA])
    assert told["run"] == "a run" and told["experiment"] == json.loads(
        json.dumps(run.experiment.to_json())
    )
    assert told["observation"][5] == {"name": "joint_velocities", "size": 8, "scale": 0.1}
    assert sum(entry["size"] for entry in told["observation"]) == 37
    assert told["inputs"] == {"observation": [37], "noise": [32]}
    assert (told["action_size"], told["chunk"], told["executed"]) == (8, 4, 2)
    assert told["control_frequency"] == pytest.approx(60)
    joints = [[f"{joint}_{leg}"] for leg in (1, 2, 3, 4) for joint in ("hip", "ankle")]
    assert told["driven_joints"] == joints and len(told["actuators"]) == 8
    assert told["control_scale"] == [-1.0] * 8 and told["control_offset"] == [0.0] * 8
    assert told["default_pose"] == [0, 0, 0.75, 1, 0, 0, 0, 0, 1, 0, -1, 0, -1, 0, 1]
    assert told["versions"]["jax"] == jax.__version__


@pytest.mark.parametrize("name", [n for n in TASKS if TASKS[n].simulated and "_" not in n])
def test_a_robot_task_tells_its_actuators_and_its_entries(name):
    task = build_task(name)
    assert isinstance(task, Actuated)
    model = task.simulator.model
    assert len(task.pose) == model.nq and sum(e.size for e in task.spec.entries) > 0
    assert (
        len(model.actuators.names)
        == task.spec.action_size
        == len(exports.control_map(task.spec)[0])
    )


def test_controls_are_what_actions_of_1_and_of_minus_1_stand_for():
    spec = EnvSpec("arm", 4, 2, 100, 0.01, control_range=((-1.0, 3.0), (0.5, -0.5)))
    offset, scale = exports.control_map(spec)
    np.testing.assert_array_equal(offset + scale, [3.0, -0.5])
    np.testing.assert_array_equal(offset - scale, [-1.0, 0.5])
    offset, scale = exports.control_map(EnvSpec("arm", 4, 2, 100, 0.01))
    np.testing.assert_array_equal([offset, scale], [[0, 0], [1, 1]])


def test_a_robot_of_ones_own_is_driven_over_its_control_ranges(tmp_path):
    robot = tmp_path / "robot.xml"
    robot.write_text(
        """<mujoco><worldbody><body><joint name="x" type="slide" axis="1 0 0"/>
          <geom size=".1" mass="1"/></body></worldbody><actuator>
          <motor name="push" joint="x" ctrlrange="-1 3" ctrllimited="true"/></actuator></mujoco>"""
    )
    run = untrained(tmp_path / "run", str(robot), "sapo")
    done = run.export(tmp_path / "policy.zip")
    action, control = exports.load_stablehlo(done.path.read_bytes())(inputs_of(done.metadata, 6))
    np.testing.assert_allclose(control, 1 + 2 * np.asarray(action), rtol=1e-6)
    assert done.metadata["actuators"] == ["push"] and done.metadata["driven_joints"] == [["x"]]


def test_a_file_that_acts_differently_is_refused(tmp_path, monkeypatch):
    run = untrained(tmp_path / "run", "lqr", "rfo")
    serialise, load = exports.FORMATS[".zip"]

    def spoiled(program, about):
        return serialise(
            program._replace(call=lambda *x: tuple(y + 2e-5 for y in program.call(*x))), about
        )

    monkeypatch.setitem(exports.FORMATS, ".zip", (spoiled, load))
    with pytest.raises(RunError, match=r"differs from the run's by 2e-05, more than 1e-05"):
        run.export(tmp_path / "policy.zip")
    assert not (tmp_path / "policy.zip").exists()


def test_the_command_tells_how_exact_the_file_is(tmp_path, capsys):
    run = untrained(tmp_path / "run", "lqr", "rfo")
    assert cli.main(["export", str(run.path)]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"{run.path}/policy.onnx: observation (2,), noise (1,) -> action"
    assert second.startswith("largest difference from the run's policy over 1,000 observations: ")
    assert float(second.split()[-1]) < 1e-5
    assert (run.path / "policy.onnx").exists()


def test_what_a_user_can_get_wrong(tmp_path, monkeypatch, capsys):
    run = untrained(tmp_path / "run", "lqr", "rfo")
    with pytest.raises(SettingError, match=r"ends in \.onnx or \.zip, not"):
        run.export(tmp_path / "policy.pt")
    monkeypatch.setitem(__import__("sys").modules, "jax2onnx", None)
    with pytest.raises(RunError, match=r"pip install 'rfo\[onnx\]'"):
        run.export()
    assert cli.main(["export"]) == 2
    assert "name a run folder" in capsys.readouterr().err
