"""A run is its robot: whatever happens to the file that was trained, the run answers for it."""

import json
import shutil

import pytest

import rfo
from rfo.cli.main import main
from rfo.experiment import build as experiments
from rfo.experiment.folder import open_run
from rfo.experiment.record import preset
from rfo.lab.folders import find_runs
from rfo.lab.report import Comparison

ROBOT = """<mujoco model="{model}"><include file="parts/motor.xml"/><worldbody><body>
<joint type="slide" axis="1 0 0" name="s" damping="1"/><geom size=".1" mass="{mass}"/>
</body></worldbody></mujoco>"""
MOTOR = """<mujoco><actuator><motor joint="s" gear="{gear}" ctrllimited="true" ctrlrange="-1 1"/>
</actuator></mujoco>"""
WORDS = ["--algo", "apg", "--envs", "2", "--horizon", "4", "--steps", "8"]
WORDS += ["--evaluation.episodes", "2", "--threads", "1"]


def write(folder, gear=10, mass=1, model="cart", name="robot.xml"):
    (folder / "parts").mkdir(parents=True, exist_ok=True)
    (folder / "parts" / "motor.xml").write_text(MOTOR.format(gear=gear))
    (folder / name).write_text(ROBOT.format(mass=mass, model=model))
    return folder / name


def train(robot, out, *words):
    assert main(["train", str(robot), *WORDS, *words, "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run whose robot is gone, with its folder's name changed."""
    home = tmp_path_factory.mktemp("home")
    run = train(write(home / "robots"), home / "run")
    shutil.rmtree(home / "robots")
    return run.rename(home / "elsewhere")


@pytest.fixture
def copied(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "copy")


def evaluated(capsys, run):
    capsys.readouterr()
    assert main(["eval", str(run), "--episodes", "2", "--json", "--threads", "1"]) == 0
    return json.loads(capsys.readouterr().out)["returns"]


def test_what_is_evaluated_is_what_was_trained_from_any_folder(
    tmp_path, trained, capsys, monkeypatch
):
    returns = evaluated(capsys, trained)
    monkeypatch.chdir("/")
    assert evaluated(capsys, trained) == returns
    other = write(trained.parent / "robots", gear=-30, mass=4)  # where the trained one was
    assert evaluated(capsys, trained) == returns
    shutil.rmtree(other.parent)


def test_a_run_goes_on_with_its_robot(copied, trained, tmp_path):
    """Stopped before its end, it comes to the same end without the file that it was trained on."""
    metrics = (trained / "metrics.jsonl").read_text()
    assert main(["train", "--resume", str(copied), "--steps", "16", "--threads", "1"]) == 0
    assert (copied / "metrics.jsonl").read_text().startswith(metrics)
    config = json.loads((copied / "config.json").read_text())
    assert config["task"]["name"].endswith("robots/robot.xml")  # where it came from
    assert main(["watch", str(copied), "--no-open"]) == 0


def test_a_robot_that_was_changed_in_the_run_folder_is_refused(copied, capsys):
    robot = copied / "robot" / "robot.xml"
    robot.write_text(robot.read_text().replace('gear="10"', 'gear="-30"'))
    assert main(["eval", str(copied)]) == 1
    line = capsys.readouterr().err
    assert "robot is not the robot that was trained" in line and line.count("\n") == 1
    shutil.rmtree(copied / "robot")
    assert main(["eval", str(copied)]) == 1
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("file", ["/etc/passwd", "../../victim.xml", 3, None, "robot/other.xml"])
def test_a_run_of_someone_else_names_no_file_outside_of_it(file, copied, capsys):
    about = json.loads((copied / "task.json").read_text())
    (copied / "task.json").write_text(json.dumps({**about, "file": file}))
    assert main(["eval", str(copied)]) == 1
    assert "is not the robot that was trained" in capsys.readouterr().err


def test_an_older_run_without_a_copy_uses_the_file_and_says_so(copied, tmp_path, capsys):
    shutil.rmtree(copied / "robot")
    (copied / "task.json").unlink()
    assert main(["eval", str(copied)]) == 1
    assert "keeps no copy of its robot, and there is no" in capsys.readouterr().err
    config = json.loads((copied / "config.json").read_text())
    config["task"]["name"] = str(write(tmp_path / "robots"))
    (copied / "config.json").write_text(json.dumps(config))
    assert main(["eval", str(copied), "--episodes", "2"]) == 0
    assert "is used as it is now" in capsys.readouterr().err


def test_reports_group_by_content_and_not_by_path(tmp_path, trained):
    """Another content at the same path is another robot; the same content elsewhere is the same."""
    runs = tmp_path / "runs"
    runs.mkdir()
    robot = write(tmp_path / "robots")
    train(robot, runs / "a", "--seed", "1")
    shutil.copytree(trained, runs / "b")
    write(tmp_path / "robots", gear=-30)
    train(robot, runs / "c", "--seed", "2")
    tasks = {run.seed: run.task for run in find_runs(runs)}
    assert tasks[0] == tasks[1] != tasks[2]
    assert all(name.startswith("cart ") for name in tasks.values())
    assert len(Comparison(find_runs(runs), "apg").tasks) == 2


def test_a_robot_that_changes_while_we_run_is_built_anew(tmp_path):
    """What was built for a path before must not be used for another robot."""
    light = preset(str(write(tmp_path, mass=1)), "apg", environments=2, horizon=4)
    first = experiments.build(light)[1]
    assert experiments.build(light)[1] is first
    write(tmp_path, mass=4)
    masses = [env.task.simulator.model.mass[0] for env in (first, experiments.build(light)[1])]
    assert masses == [1, 4]


def test_what_cannot_be_kept_is_refused_before_anything_is_made(tmp_path, capsys):
    robot = write(tmp_path / "robots")
    (tmp_path / "robots" / "parts" / "motor.xml").unlink()
    assert main(["train", str(robot), *WORDS, "--out", str(tmp_path / "run")]) != 0
    line = [line for line in capsys.readouterr().err.splitlines() if line.startswith("rfo: ")]
    assert len(line) == 1 and "parts/motor.xml, which is not there" in line[0]
    assert not (tmp_path / "run").exists()


def test_the_run_that_training_returns_is_its_robot(tmp_path):
    robot = write(tmp_path / "robots")
    run = rfo.train(
        str(robot), "apg", environments=2, horizon=4, steps=8, threads=1, out=tmp_path / "run"
    )
    first = run.evaluate(episodes=2)["returns"]
    write(tmp_path / "robots", gear=-30, mass=4)
    assert list(run.evaluate(episodes=2)["returns"]) == list(first)
    assert rfo.load(tmp_path / "run", threads=1).experiment == run.experiment
    assert open_run(tmp_path / "run")[1].task.name == str(tmp_path / "run/robot/robot.xml")
