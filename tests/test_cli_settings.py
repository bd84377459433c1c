"""Settings on the command line: files of them, options in groups, lists, near misses, own tasks."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import rfo
from rfo.cli import settings
from rfo.cli.main import main
from rfo.cli.train import Train
from rfo.errors import SettingError
from rfo.experiment.record import Experiment, TaskSettings, preset
from rfo.training import trainer

FINDINGS = {
    "no joint": "<mujoco><worldbody><geom size='1'/></worldbody></mujoco>",
    "empty": "<mujoco/>",
}
SLIDER = """<mujoco><worldbody><body><joint type="slide" axis="1 0 0" name="s" damping="1"/>
<geom size=".1" mass="1"/></body></worldbody>
<actuator><motor joint="s" gear="10" ctrllimited="true" ctrlrange="-1 1"/></actuator></mujoco>"""
TINY = ["--envs", "4", "--horizon", "4", "--network.hidden", "4", "--critic.hidden", "4"]


def parsed(*words):
    """The experiment that `rfo train` would train."""
    return settings.parse(Train, "train", [str(word) for word in words])[1]()


def out_of(capsys, *words):
    capsys.readouterr()
    assert main([str(word) for word in words]) == 0
    return capsys.readouterr().out


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


def test_what_show_prints_is_what_train_takes(folder, capsys):
    text = out_of(capsys, "show", "cartpole", "--algo", "sapo", "--critic.iterations", "8")
    wanted = preset("cartpole", "sapo", **{"critic.iterations": 8})
    assert Experiment.from_toml(text) == wanted
    (folder / "c.toml").write_text(text)
    assert parsed("--config", "c.toml") == wanted
    over = parsed("--config", "c.toml", "--steps", "4096", "--critic.iterations", "4")
    assert over == wanted.edited({"steps": 4096, "critic.iterations": 4})
    assert over.algorithm.schedule.updates == over.updates == 2
    assert parsed("lqr", "--config", "c.toml").task == TaskSettings("lqr")
    as_json = json.loads(out_of(capsys, "show", "--config", "c.toml", "--json"))
    assert Experiment.from_json(as_json) == wanted


def test_a_file_may_hold_some_settings_only(folder):
    (folder / "c.toml").write_text(
        'task = "lqr"\nmethod = "sapo"\nsteps = 1e4\n[critic]\ncount = 3'
    )
    assert parsed("--config", "c.toml") == preset("lqr", "sapo", steps=10_000, critic={"count": 3})


def test_a_runs_configuration_trains_again(folder, capsys):
    main(["train", "lqr", "--algo", "apg", *TINY[:6], "--steps", "16", "--out", "run"])
    again = parsed("--config", "run/config.json")
    assert again == preset(
        "lqr", "apg", environments=4, horizon=4, steps=16, **{"network.hidden": (4,)}
    )


@pytest.mark.parametrize(
    ("text", "words", "line"),
    [
        (None, "", "c.toml: No such file"),
        ("steps = ", "", "c.toml: this is not TOML"),
        ("steps = 3", "", "c.toml: task is missing"),
        ('task = "lqrr"', "", "did you mean lqr"),
        ('task = "lqr"\ncolour = 1', "", "c.toml: unknown setting 'colour'"),
        ('task = "lqr"\ncritic.iterations = 0', "", "critic.iterations must be positive, not 0"),
        ('task = "lqr"\nmethod = "sapo"', "--algo rfo", "holds settings of sapo, not of rfo"),
    ],
)
def test_a_file_that_cannot_be_used_is_told(text, words, line, folder):
    if text is not None:
        (folder / "c.toml").write_text(text)
    with pytest.raises(SettingError, match=line) as refused:
        parsed("--config", "c.toml", *words.split())
    assert "\n" not in str(refused.value)


def test_lists_may_have_commas_and_whole_numbers_exponents():
    for words in ("--network.hidden 128,64", "--network.hidden=128,64", "--network.hidden 128 64"):
        assert parsed("lqr", *words.split()).algorithm.network.hidden == (128, 64)
    assert parsed("lqr", "--steps", "1e6").steps == parsed("lqr", "--steps", "1_000_000").steps
    assert parsed("lqr", "--critic.learning_rate", "1e-3").algorithm.critic.learning_rate == 1e-3


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("--critic.iteration 8", "did you mean --critic.iterations"),
        ("--critic.iteration 8", "did you mean --critic.iterations"),
        ("--iterations 8", "did you mean --critic.iterations"),
        ("--hidden 8", "did you mean --critic.hidden or --network.hidden"),
        ("--evaluation.episode 8", "did you mean --evaluation.episodes"),
        ("--critic.iterations 0", "critic.iterations must be positive, not 0"),
        ("--network.hidden -4", "network.hidden must be positive widths"),
        ("--schedule.updates 8", "unknown option '--schedule.updates'"),
        ("--task.gain 3", "unknown option '--task.gain'"),
        ("--seed 99999999999999999999", "seed must be from 0 to 4294967295"),
        ("--steps 1" + "0" * 30, "steps must be at most"),
        ("--algo sapo --return-scale inf", "return_scale must be a finite number, not inf"),
        ("--c-past nan", "c_past must be"),
    ],
)
def test_near_misses_and_values_out_of_range_are_told(words, line):
    with pytest.raises(SettingError, match=line) as refused:
        parsed("lqr", *words.split())
    assert "\n" not in str(refused.value)


def test_help_shows_first_what_people_change_first(capsys):
    """About twenty options in the main group, and the records in groups of their own."""
    with pytest.raises(SystemExit):
        main(["train", "ant", "--help"])
    text = capsys.readouterr().out
    titles = ("network", "critic", "optimiser", "flow", "reuse", "evaluation")
    places = [text.index(f" {title} options") for title in titles]
    first = re.findall(r"^\W*(--[\w.-]+)", text[: min(places)], re.MULTILINE)
    assert 15 <= len(first) <= 28 and not any("." in option for option in first)
    common = {"--steps", "--envs", "--seed", "--seeds", "--algo", "--out", "--threads"}
    assert common | {"--horizon", "--c-past", "--gamma"} <= set(first)


def test_a_robots_settings_are_plain_options(folder):
    (folder / "slider.xml").write_text(SLIDER)
    words = "slider.xml --substeps 8 --dt 0.02 --contact 1e4 1e2 5e2 0.8 --episode-length 50"
    options = {
        "substeps": 8,
        "dt": 0.02,
        "contact": [1e4, 1e2, 5e2, 0.8],
        "episode_length": 50,
    }
    experiment = parsed(*words.split())
    assert experiment == parsed("--mjcf", *words.split())
    assert experiment.task == TaskSettings("slider.xml", options)
    assert Experiment.from_toml(experiment.to_toml()) == experiment
    env = rfo.make("slider.xml", 2, **options)
    assert (env.spec.dt, env.spec.episode_length) == (0.02, 50)
    assert env.task.simulator.substeps == 8
    with pytest.raises(SettingError, match="did you mean --substeps"):
        parsed("slider.xml", "--substep", "8")
    with pytest.raises(SettingError, match=r"task\.dt|dt must be positive"):
        rfo.make("slider.xml", 2, dt=-1.0)


def test_the_chosen_substeps_are_told(folder, capsys, monkeypatch):
    """Before anything is trained, so that here nothing is."""
    stopped = trainer.Outcome(states=[], diverged=[None], update=1, interrupted=True)
    monkeypatch.setattr("rfo.training.trainer.run", lambda *_: stopped)
    (folder / "slider.xml").write_text(SLIDER)
    words = ["slider.xml", "--algo", "apg", *TINY[:6], "--steps", "16"]
    for options, told in (["--episode-length", "8"], True), (["--substeps", "4"], False):
        main(["train", *words, *options, "--out", str(folder / f"run{told}")])
        assert ("substeps of the physics per control step" in capsys.readouterr().err) == told
    config = json.loads((folder / "runFalse" / "config.json").read_text())
    assert config["task"]["options"] == {"substeps": 4}


def test_a_closed_stderr_ends_nothing():
    command = f"{sys.executable} -m rfo.cli check-grad lqr --envs 2 --horizons 1 2>&-"
    assert subprocess.run(command, shell=True, stdout=subprocess.DEVNULL).returncode == 0


@pytest.mark.parametrize("kind", FINDINGS)
def test_a_model_that_cannot_move_is_refused(kind, folder, capsys):
    (folder / "model.xml").write_text(FINDINGS[kind])
    assert main(["train", "--mjcf", "model.xml"]) == 2
    assert capsys.readouterr().err.startswith("rfo: the model has no joint")


def test_a_task_of_ones_own_in_every_command(folder, capsys):
    assert "my_task.py:Reach" in out_of(capsys, "new-task", "my_task.py")
    assert main(["new-task", "my_task.py"]) == 2 and main(["new-task", "my_task.txt"]) == 2
    out_of(capsys, "check-grad", "my_task.py:Reach", "--envs", "4", "--horizons", "1,4")
    words = ["my_task.py:Reach", "--algo", "apg", *TINY[:6], "--evaluation.episodes", "4"]
    text = out_of(capsys, "show", *words, "--steps", "32", "--task.gain", "3")
    (folder / "c.toml").write_text(text)
    assert out_of(capsys, "train", "--config", "c.toml", "--out", "run").strip() == "run"
    assert json.loads(out_of(capsys, "eval", "run", "--episodes", "4", "--json"))["episodes"] == 4
    assert out_of(capsys, "train", "--resume", "run", "--steps", "64").strip() == "run"
    assert out_of(capsys, "watch", "run", "--no-open").strip().endswith("replay.html")
    suite = '[methods]\napg = {method = "apg", network.hidden = [4]}\n[tasks."my_task.py:Reach"]\n'
    suite = f"seeds = 1\n{suite}steps = 32\nsettings = {{environments = 4, horizon = 4}}\n"
    (folder / "suite.toml").write_text(suite)
    out_of(capsys, "bench", "learn", "suite.toml", "--out", "runs")
    assert "my_task.Reach" in out_of(capsys, "report", "runs", "--out", "report")


def test_the_example_of_an_own_task_trains(folder, capsys):
    example = Path(__file__).parents[1] / "examples" / "own_task.py"
    out_of(
        capsys,
        "train",
        f"{example}:Point",
        "--algo",
        "apg",
        *TINY[:6],
        "--steps",
        "32",
        "--out",
        "r",
    )
    assert "checked" in capsys.readouterr().err or main(["eval", "r", "--episodes", "4"]) == 0


def test_version_tells_jax_and_the_device(capsys):
    text = out_of(capsys, "--version")
    assert text.startswith(f"rfo {rfo.__version__}, jax ") and "cpu" in text.lower()


def test_a_bug_keeps_its_traceback(folder):
    """Only what a user can put right is told in one line."""
    (folder / "bad.py").write_text("def make():\n    raise ZeroDivisionError('mine')\n")
    done = subprocess.run(
        [sys.executable, "-m", "rfo.cli", "check-grad", "bad.py:make"],
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0 and "Traceback" in done.stderr and "mine" in done.stderr


def test_a_nested_option_is_understood_with_dashes_for_its_dot():
    words = ["--critic-batches", "2", "--actor-hidden", "8,4", "--evaluation_episodes=4"]
    made = parsed("lqr", *words, "--horizon", "4")
    assert made.algorithm.critic.batches == 2
    assert made.algorithm.network.hidden == (8, 4)
    assert made.evaluation.episodes == 4
