"""Weights & Biases: what it is sent, and that its failures stop nothing.

A stand-in takes the package's place, but in the last test, which needs the package itself and no
network.
"""

import json
import sys
from types import SimpleNamespace

import pytest

from rfo.cli import main as cli
from rfo.training.record import RunFolder

SMALL = [
    "lqr",
    "--algo",
    "apg",
    "--envs",
    "2",
    "--horizon",
    "2",
    "--network.hidden",
    "4",
    "--steps",
    "12",
]


class StandIn:
    """A package whose runs record their calls.

    It fails at the start, or at the log of a step, or in the end.
    """

    def __init__(self, fails=None):
        self.runs, self.fails = [], fails

    def init(self, **settings):
        if self.fails == "init":
            raise OSError("no network")
        self.runs.append(StandInRun(settings, self.fails))
        return self.runs[-1]


class StandInRun:
    def __init__(self, settings, fails):
        self.settings, self.fails, self.logged, self.axis, self.finished = (
            settings,
            fails,
            [],
            None,
            0,
        )

    def define_metric(self, name, step_metric):
        self.axis = (name, step_metric)

    def log(self, numbers):
        if numbers["env_steps"] == self.fails:
            raise ConnectionError("lost")
        self.logged.append(numbers)

    def finish(self):
        self.finished += 1
        if self.fails == "finish":
            raise ConnectionError("lost")


@pytest.fixture
def package(monkeypatch):
    def put(stand_in):
        monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=stand_in.init))
        return stand_in

    return put


@pytest.fixture
def mirrored(tmp_path):
    folder = RunFolder.create(tmp_path / "run", {"task": "lqr"})
    folder.mirror("project")
    return folder


def line(update):
    return {
        "update": update,
        "env_steps": 10 * update,
        "reward": 0.5,
        "return_mean": None,
        "loss": float("nan"),
    }


def test_metrics_are_sent_and_the_run_is_finished(package, mirrored):
    there = package(StandIn())
    mirrored.connect()
    mirrored.append(line(1))
    mirrored.close()
    (run,) = there.runs
    assert run.settings["project"] == "project" and run.settings["config"] == {"task": "lqr"}
    assert run.settings["reinit"] == "create_new", "or the seeds of one process would share one run"
    assert run.axis == ("*", "env_steps")
    assert run.logged == [{"update": 1, "env_steps": 10, "reward": 0.5}] and run.finished == 1


def test_an_evaluation_is_shown_beside_the_metrics(package, mirrored):
    there = package(StandIn())
    mirrored.connect()
    summary = {"mean": 2.5, "std": float("nan"), "deterministic": True, "returns": [2.5]}
    mirrored.append_evaluation({"deterministic": summary}, env_steps=30)
    (run,) = there.runs
    assert run.logged == [{"evaluation/deterministic/mean": 2.5, "env_steps": 30}]


def test_a_resumed_run_goes_on_there(package, mirrored):
    there = package(StandIn())
    for folder in (mirrored, RunFolder.open(mirrored.path)):
        folder.connect()
        folder.close()
    first, second = (run.settings for run in there.runs)
    assert first["id"] == second["id"] and second["resume"] == "allow"


@pytest.mark.parametrize(("fails", "sent"), [("init", 0), (20, 1), ("finish", 3)])
def test_a_failure_is_told_once_and_stops_nothing(fails, sent, package, mirrored, capsys):
    there = package(StandIn(fails))
    mirrored.connect()
    for update in (1, 2, 3):
        mirrored.append(line(update))
    mirrored.close()
    assert sum(len(run.logged) for run in there.runs) == sent
    assert capsys.readouterr().err.count("the training goes on without it") == 1
    rows = (mirrored.path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(row)["update"] for row in rows] == [1, 2, 3]


def test_without_the_package_nothing_begins(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "wandb", None)
    out = tmp_path / "run"
    assert cli.main(["train", *SMALL, "--wandb", "project", "--out", str(out)]) == 1
    assert "pip install 'rfo[wandb]'" in capsys.readouterr().err and not out.exists()


def test_a_run_without_the_option_never_asks_for_the_package(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "wandb", None)
    folder = RunFolder.create(tmp_path / "run", {})
    folder.connect()
    folder.append(line(1))
    folder.close()
    assert capsys.readouterr().err == ""


def test_each_seed_of_a_training_is_a_run_and_ctrl_c_finishes_them(package, tmp_path, monkeypatch):
    there = package(StandIn())

    def interrupted(algorithm, env, folders, *_):
        """Stands in for the loop, which closes its folders whatever happens."""
        try:
            for folder in folders:
                folder.append(line(1))
            raise KeyboardInterrupt
        finally:
            for folder in folders:
                folder.close()

    monkeypatch.setattr("rfo.training.trainer.run", interrupted)
    words = ["train", *SMALL, "--seeds", "2", "--wandb", "project", "--out", str(tmp_path / "run")]
    assert cli.main(words) == 130
    assert [run.settings["name"] for run in there.runs] == ["s0", "s1"]
    assert [run.finished for run in there.runs] == [1, 1]
    assert len({run.settings["id"] for run in there.runs}) == 2


def test_the_package_itself_keeps_metrics_and_evaluation_offline(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    out = tmp_path / "run"
    assert cli.main(["train", *SMALL, "--wandb", "project", "--out", str(out)]) == 0
    (log,) = out.glob("wandb/offline-run-*/*.wandb")
    kept = log.read_bytes()
    for name in (b"grad_norm", b"evaluation/stochastic/mean", b"env_steps"):
        assert name in kept
