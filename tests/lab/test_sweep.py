"""A sweep tries its settings once each, whatever happens to its processes."""

import collections
import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rfo.cli import main as cli
from rfo.errors import RunError, SettingError
from rfo.lab import queue, search, sweep, sweep_figures, sweep_report

PROCESS = Path(__file__).with_name("sweep_process.py")
SEARCHES = sorted((Path(__file__).parents[2] / "bench/learning/searches").glob("*.toml"))
SEARCH = """
task = "quadratic"
method = "apg"
steps = 1000
trials = 6
seeds = 4
prune = false
[space]
optimiser.learning_rate = {low = 0.001, high = 0.1, log = true}
"""


@pytest.fixture(autouse=True)
def quick_trainings(monkeypatch, tmp_path):
    monkeypatch.setattr(queue, "TRAIN", (sys.executable, "-S", str(PROCESS), "train"))
    monkeypatch.setattr(sweep, "POLL", 0.02)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "hang").write_text("")


@pytest.fixture
def make(tmp_path):
    """A function that opens the sweep of a search file."""

    def open_sweep(text=SEARCH):
        (tmp_path / "search.toml").write_text(text)
        return sweep.Sweep(search.read(tmp_path / "search.toml"), tmp_path / "runs")

    return open_sweep


def starts(folder):
    """How often each seed of each trial was started anew, and how often it went on."""
    lines = (folder / "starts").read_text().splitlines()
    return collections.Counter(line.split()[0] for line in lines), collections.Counter(lines)


def test_a_trial_is_judged_by_the_interquartile_mean_of_its_seeds(make, tmp_path, capsys):
    """Seeds 0 to 3 return r, r + 1, r + 4 and r + 9: the middle half has the mean r + 2.5."""
    sweeping = make(SEARCH.replace("trials = 6", "trials = 3"))
    assert sweeping.run() is False
    for trial in sweeping.trials():
        assert trial.value == pytest.approx(trial.params["optimiser.learning_rate"] + 2.5)
    files = sweep_report.write(sweeping)
    assert {file.name for file in files} >= {"report.md", "importance.png", "parallel.png"}
    rows = list(csv.DictReader((tmp_path / "runs" / "report" / "trials.csv").open()))
    assert [row["state"] for row in rows] == ["complete"] * 3
    best = max(sweeping.trials(), key=lambda trial: trial.value)
    text = (tmp_path / "runs" / "report" / "best.toml").read_text()
    assert f"learning_rate = {best.params['optimiser.learning_rate']!r}" in text
    assert make(SEARCH.replace("trials = 6", "trials = 3")).run() is False  # nothing is left
    assert starts(tmp_path / "runs")[0] == {"new": 12}
    assert make().run() is False  # three more
    assert starts(tmp_path / "runs")[0] == {"new": 24}
    with pytest.raises(RunError, match=r"with other settings \(steps\)"):
        make(SEARCH.replace("steps = 1000", "steps = 2000"))


def test_a_learning_curve_that_lags_behind_ends_its_trial(make, tmp_path, monkeypatch):
    """Trial 1 stops half-way, with lower returns than trial 0 had there; without a signal it would
    never end."""
    monkeypatch.setattr(sweep, "SETTLED", 1)
    (tmp_path / "runs" / "hang").write_text("0001")
    sweeping = make(SEARCH.replace("prune = false", "").replace("trials = 6", "trials = 2"))
    assert sweeping.run() is False
    good, lagging = sweeping.trials()
    assert (good.state.name, lagging.state.name) == ("COMPLETE", "PRUNED")
    rate = good.params["optimiser.learning_rate"]
    assert good.intermediate_values == pytest.approx({100 * i: rate * i for i in range(1, 10)})
    reached = len(lagging.intermediate_values)  # it may be stopped before it has come to all
    assert lagging.intermediate_values == {100 * i: -i for i in range(1, reached + 1)}
    assert 2 <= reached <= 5  # the first fifth is spared
    assert not (tmp_path / "runs" / "quadratic" / "0001" / "s0" / "evaluation.json").exists()


def test_diverged_seeds_count_with_their_last_return(make, tmp_path):
    """Seeds 0 to 3 return r, r + 1, r + 4 and, diverged, 10 r; 10 r and r + 1 are in the middle."""
    (tmp_path / "runs" / "diverge").write_text("")
    sweeping = make(SEARCH.replace("trials = 6", "trials = 1"))
    sweeping.run()
    (trial,) = sweeping.trials()
    rate = trial.params["optimiser.learning_rate"]
    assert trial.value == pytest.approx((10 * rate + rate + 1) / 2)
    assert trial.user_attrs == {"reason": "s3 diverged"}


def start(tmp_path, log):
    return subprocess.Popen(
        [sys.executable, str(PROCESS), "sweep", str(tmp_path / "search.toml"), "runs"],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
    )


def wait_for(condition, process):
    for _ in range(6000):
        if condition():
            return
        assert process.poll() is None, "the process ended"
        time.sleep(0.02)
    raise AssertionError("it takes too long")


def test_two_processes_share_a_sweep_and_one_is_killed(make, tmp_path):
    """Six trials by two processes; the one that trains trial 0 is killed with its training.

    Trial 0 goes on from its checkpoints in the other process, and nothing is trained twice."""
    sweeping = make()
    (tmp_path / "runs" / "hang").write_text("0000")
    with (tmp_path / "log").open("wb") as log:
        first, second = start(tmp_path, log), start(tmp_path, log)
        wait_for((tmp_path / "runs" / "hangs").exists, first)
        training, worker = map(int, (tmp_path / "runs" / "hangs").read_text().split())
        os.kill(worker, signal.SIGKILL)
        os.kill(training, signal.SIGKILL)
        killed, other = (first, second) if first.pid == worker else (second, first)
        assert (killed.wait(60), other.wait(60)) == (-signal.SIGKILL, 0)
    trials = sweeping.trials()
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 6
    hows, lines = starts(tmp_path / "runs")
    assert hows == {"new": 24, "again": 4} and set(lines.values()) == {1}
    assert all(f"again 0000 s{seed}" in lines for seed in range(4))


def test_settings_that_do_not_fit_each_other_fail_their_trial_alone(make, capsys):
    """Both values of `executed` fit some chunk, but two actions do not fit a chunk of one."""
    text = SEARCH.replace("seeds = 4", "seeds = 4\nsettings = {chunk = 2}")
    choices = "chunk = [1, 2]\nexecuted = [1, 2]\noptimiser."
    sweeping = make(text.replace("optimiser.", choices))
    sweeping.run()
    for trial in sweeping.trials():
        fits = trial.params["executed"] <= trial.params["chunk"]
        assert trial.state.name == ("COMPLETE" if fits else "FAIL")
        assert fits or "executed must be from 1 to the chunk's 1" in trial.user_attrs["reason"]


def test_a_database_keeps_the_trials_of_all_machines(make, tmp_path):
    """A trial whose folder is not here is another machine's, and is left alone."""
    text = SEARCH.replace("prune = false", f'storage = "sqlite:///{tmp_path}/trials.db"')
    sweeping = make(text.replace("trials = 6", "trials = 2"))
    elsewhere = sweeping.study.ask(dict(sweeping.search.space))
    assert sweeping.run() is False
    assert [trial.state.name for trial in sweeping.trials()] == ["RUNNING", "COMPLETE"]
    sweeping.study.tell(elsewhere, 1.0)
    with pytest.raises(SettingError, match="storage nonsense cannot be opened"):
        make(SEARCH.replace("prune = false", 'storage = "nonsense"'))


def test_places_between_the_ends_of_an_axis():
    """By hand: 0.1 is half-way from 0.01 to 1 on a logarithmic axis."""
    from optuna import distributions

    assert sweep_figures.place(0.1, distributions.FloatDistribution(0.01, 1.0, log=True)) == (
        pytest.approx(0.5)
    )
    assert sweep_figures.place(5, distributions.IntDistribution(4, 8)) == 0.25
    assert sweep_figures.place("b", distributions.CategoricalDistribution(["a", "b", "c"])) == 0.5


def test_a_sweep_from_the_command_line(make, tmp_path, capsys, monkeypatch):
    sweeping = make(SEARCH.replace("trials = 6", "trials = 1"))
    words = ["sweep", str(tmp_path / "search.toml"), "--out", str(tmp_path / "runs")]
    assert cli.main([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    (trial,) = sweeping.trials()
    assert told["trials"] == {"complete": 1} and told["best"]["settings"] == trial.params
    assert cli.main(words) == 0 and "report/best.toml" in capsys.readouterr().out
    assert cli.main(["sweep"]) == 2 and "name a search" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert cli.main(words) == 1
    assert capsys.readouterr().err == "rfo: optuna is not installed: pip install 'rfo[sweep]'\n"


@pytest.mark.parametrize("path", SEARCHES, ids=lambda path: path.stem)
def test_committed_searches_can_be_read(path):
    assert search.read(path).space
