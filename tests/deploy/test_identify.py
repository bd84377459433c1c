"""Constants of MuJoCo's robots are found in noisy recordings of their motion."""

import json
import runpy
from pathlib import Path

import mujoco
import numpy as np
import pytest

from rfo.cli.main import main
from rfo.deploy.identify import Factors, Problem, identify
from rfo.deploy.recording import Recording, read
from rfo.errors import SettingError
from rfo.physics.articulated import Articulated
from rfo.physics.mjcf import load

EXAMPLE = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "identify.py"))
CASES, record = EXAMPLE["CASES"], EXAMPLE["record"]

FLYER = """<mujoco><worldbody><body name="base"><freejoint/>
  <geom type="box" size=".1 .2 .3" mass="2"/>
  <body name="arm" pos="0 0 .3"><joint name="ball" type="ball" damping=".1"/>
    <geom type="box" size=".1 .05 .1" pos="0 .1 .1" mass=".5"/></body></body></worldbody>
</mujoco>"""


@pytest.mark.parametrize("name", ["leg", "box"])
def test_the_truth_lies_within_the_interval(name):
    """Of six seeds 17 of 18 constants of the leg do, and 5 of 6 of the box."""
    case = CASES[name]
    made = record(case, episodes=2, rows=40, seed=1)
    recording = Recording(*(made[k] for k in ("dt", "qpos", "qvel", "ctrl", "episode")))
    found = identify(case.file, recording, list(case.truth), window=40, starts=1)
    for constant, factor in case.truth.items():
        low, high = found[constant].interval
        assert low < factor < high, found
        assert high - low < 0.1 * factor and not found[constant].at_bound
    nq = recording.qpos.shape[1]
    assert found.noise[:nq] == pytest.approx(np.full(nq, case.noise[0]), rel=0.3)


def test_the_command_reads_both_kinds_of_files_and_draws(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    case = CASES["pendulum"]
    made = record(case, episodes=2, rows=30)
    Path("rod.xml").write_text(case.file)
    np.savez("log.npz", **made)
    table = np.column_stack([made["dt"] * np.arange(60), *(made[k] for k in FIELDS)])
    table[30:, 0] += 7.0  # another episode
    header = "time,qpos0,qvel0,ctrl0,episode"
    np.savetxt("log.csv", table, delimiter=",", header=header, comments="")
    again = read(Path("log.csv"))
    np.testing.assert_allclose(again.qvel, made["qvel"])
    assert again.dt == pytest.approx(0.02)
    words = ["identify", "rod.xml", "--data", "log.csv", "--window", "30", "--starts", "2"]
    assert main([*words, "--fit", "body.mass", "joint.damping", "--out", "fit.png", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    for constant in found["constants"]:
        low, high = constant["interval"]
        assert low < case.truth[constant["name"]] < high
        assert constant["value"] / constant["factor"] == pytest.approx(
            {"body.mass.rod": 1.0, "joint.damping.hinge": 0.05}[constant["name"]]
        )
    assert Path("fit.png").stat().st_size > 10_000


FIELDS = ("qpos", "qvel", "ctrl", "episode")


def test_the_jacobian_agrees_with_differences_where_quaternions_turn():
    m = mujoco.MjModel.from_xml_string(FLYER)
    data, rows = mujoco.MjData(m), []
    data.qvel[:] = np.linspace(2.0, -3.0, m.nv)
    for _ in range(4):
        rows.append((data.qpos.copy(), data.qvel.copy()))
        mujoco.mj_step(m, data, 5)
    qpos, qvel = map(np.array, zip(*rows, strict=True))
    recording = Recording(0.01, qpos, qvel, np.zeros((4, 0)), np.zeros(4))
    simulator = Articulated(load(FLYER), 0.01, 4)
    factors = Factors(simulator, ["body.mass", "body.com.arm.x"], (0.1, 10.0))
    problem = Problem(simulator, factors, *recording.windows(simulator.model, 4))
    # our axes of the spin are the world's: the recorded motion is ours up to the integrators
    start = np.zeros(factors.size + 2 * m.nv)
    assert np.abs(problem.fitted(start) - problem.recorded).max() < 0.02
    x, scale = 0.1 * np.sin(np.arange(len(start))), np.ones(m.nq + m.nv)
    jacobian, step = problem._jacobian(x, scale), 1e-2
    for i in (0, 1, 2, 6, 9, 12, 16):
        ends = [problem._residual(x + s * step * np.eye(len(x))[i], scale) for s in (1, -1)]
        wanted = (ends[0] - ends[1]) / (2 * step)
        np.testing.assert_allclose(jacobian[:, i], wanted, atol=5e-3 * np.abs(wanted).max() + 1e-4)


@pytest.mark.parametrize(
    ("fit", "change", "told"),
    [
        (["joint.stiffness"], {}, "is 0 in the file"),
        (["body.mas"], {}, "unknown"),
        ([], {}, "name what to fit"),
        (["body.mass", "body.mass.rod"], {}, "named twice"),
        (["body.mass"], {"qpos": np.zeros((4, 2))}, "the robot wants"),
        (["body.mass"], {"qvel": np.full((4, 1), np.nan)}, "not finite"),
    ],
)
def test_what_cannot_be_fitted_is_refused_in_one_line(fit, change, told):
    arrays = {name: np.zeros((4, 1)) for name in ("qpos", "qvel", "ctrl")} | change
    recording = Recording(0.02, **arrays, episode=np.zeros(4))
    with pytest.raises(SettingError, match=told) as error:
        identify(CASES["pendulum"].file, recording, fit)
    assert "\n" not in str(error.value)


def test_the_command_refuses_what_is_no_file_of_a_robot(capsys):
    words = ["identify", "soft_jumper_small", "--data", "log.npz", "--fit", "tissue.young"]
    assert main(words) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "MJCF file" in told
