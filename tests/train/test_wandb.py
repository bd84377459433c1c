"""Weights & Biases, with a stand-in for the package: what it is sent, and that its failures stop nothing."""

import json
import sys
from types import SimpleNamespace

import pytest

from rfo import cli
from rfo.train.record import RunError, RunFolder


class StandIn:
    """Records its calls; fails at the log of a step, or at the start."""

    def __init__(self, fails_at=None, starts=True):
        self.calls, self.fails_at, self.starts = [], fails_at, starts

    def init(self, **settings):
        if not self.starts:
            raise OSError("no network")
        self.calls.append(("init", settings))
        return self

    def log(self, numbers, step):
        if step == self.fails_at:
            raise ConnectionError("lost")
        self.calls.append(("log", step, numbers))

    def finish(self):
        self.calls.append(("finish",))


@pytest.fixture
def package(monkeypatch):
    def put(stand_in):
        monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=stand_in.init))
        return stand_in

    return put


def line(update):
    return {"update": update, "env_steps": 10 * update, "reward": 0.5, "return_mean": None}


def test_metrics_are_sent_and_the_run_is_finished(package, tmp_path):
    there = package(StandIn())
    folder = RunFolder.create(tmp_path / "run", {"task": "lqr"})
    folder.mirror("project")
    folder.append(line(1))
    folder.close()
    (_, settings), logged, last = there.calls
    assert settings["project"] == "project" and settings["config"] == {"task": "lqr"}
    assert logged == ("log", 10, {"update": 1, "env_steps": 10, "reward": 0.5}) and last == ("finish",)


def test_a_failure_is_told_once_and_stops_nothing(package, tmp_path, capsys):
    there = package(StandIn(fails_at=20))
    folder = RunFolder.create(tmp_path / "run", {})
    folder.mirror("project")
    for update in (1, 2, 3):
        folder.append(line(update))
    folder.close()
    assert [call[0] for call in there.calls] == ["init", "log"]
    assert capsys.readouterr().err.count("wandb failed (lost); training goes on") == 1
    rows = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(row)["update"] for row in rows] == [1, 2, 3]


def test_a_start_that_fails_is_one_line(package, tmp_path):
    package(StandIn(starts=False))
    folder = RunFolder.create(tmp_path / "run", {})
    with pytest.raises(RunError, match=r"no network.*leave out --wandb"):
        folder.mirror("project")


def test_without_the_package_nothing_begins(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "wandb", None)
    out = tmp_path / "run"
    assert cli.main(["train", "lqr", "--wandb", "project", "--out", str(out)]) == 1
    assert "pip install 'rfo[wandb]'" in capsys.readouterr().err and not out.exists()


def test_the_option_reaches_every_run(package, tmp_path, monkeypatch):
    there = package(StandIn())
    monkeypatch.setattr("rfo.runs.train", lambda runs, folders: [f.append(line(1)) for f in folders] and 0)
    words = ["train", "lqr", "--algo", "apg", "--seeds", "2", "--wandb", "project"]
    assert cli.main([*words, "--out", str(tmp_path / "run")]) == 0
    assert [call[0] for call in there.calls] == ["init", "init", "log", "log"]
