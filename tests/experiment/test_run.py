"""A run folder after anything: stops, second writers, damage, readers that go away."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from paced import PACED
from rfo.cli.main import main
from rfo.experiment.finish import Evaluation
from rfo.experiment.folder import create, open_run
from rfo.experiment.judge import describe_both
from rfo.experiment.train import resume
from rfo.training import checkpoint
from rfo.training.record import RunFolder

RFO = (sys.executable, "-m", "rfo.cli")
TINY = ("--algo", "apg", "--envs", "2", "--horizon", "4", "--network.hidden", "4")


def updates(run):
    return [json.loads(line)["update"] for line in (run / "metrics.jsonl").read_text().splitlines()]


def wait_for(condition, seconds=200.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.02)


@pytest.fixture
def started(tmp_path):
    """A training of 40 updates in a process, which has come to its second checkpoint or further."""
    run = tmp_path / "r"
    words = ["train", "lqr", *TINY, "--steps", "320", "--checkpoint-every", "2", "--out", str(run)]
    with subprocess.Popen([sys.executable, "-c", PACED, *words], stderr=subprocess.PIPE) as process:
        try:
            wait_for(lambda: (run / "checkpoints" / "update-00000004.ckpt").exists())
            yield run, process
        finally:
            process.kill()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run of 6 updates of a task that can be drawn."""
    run = tmp_path_factory.mktemp("finished") / "run"
    words = ["cartpole", *TINY, "--steps", "48", "--evaluation.episodes", "2", "--out", str(run)]
    assert main(["train", *words]) == 0
    return run


@pytest.fixture
def copied(finished, tmp_path):
    return Path(shutil.copytree(finished, tmp_path / "copy"))


def test_mujoco_judges_a_run_beside_our_physics(finished, capsys):
    capsys.readouterr()
    words = ["eval", str(finished), "--episodes", "2"]
    found = []
    for more in ((), ("--physics", "mujoco")):
        assert main([*words, *more, "--json"]) == 0
        found.append(json.loads(capsys.readouterr().out))
    ours, theirs = (np.array(each["returns"]) for each in found)
    assert found[1]["physics"] == "mujoco" and found[1]["rfo"]["returns"] == ours.tolist()
    assert np.isfinite(theirs).all() and (theirs != ours).all()
    assert found[1]["difference"]["mean"] == pytest.approx(np.mean(theirs - ours))
    lines = describe_both(found[1]).splitlines()
    assert lines[0].startswith("our physics") and lines[1].startswith("MuJoCo  ")
    told = describe_both({**found[1], "randomisation_left_out": True})
    assert told.splitlines()[0].startswith("both without the domain randomisation")


@pytest.mark.parametrize(("share", "status"), [(0.5, 0), (0.75, 1)])
def test_a_run_whose_evaluated_episodes_mostly_end_non_finite_diverged(
    share, status, tmp_path, monkeypatch, capsys
):
    evaluate = Evaluation.__call__

    def contained(self, state, seed):
        episodes = evaluate(self, state, seed)
        flags = np.arange(episodes.nonfinite.size) < share * episodes.nonfinite.size
        return dataclasses.replace(episodes, nonfinite=flags.reshape(episodes.nonfinite.shape))

    monkeypatch.setattr(Evaluation, "__call__", contained)
    run = tmp_path / "r"
    words = ["lqr", *TINY, "--steps", "16", "--evaluation.episodes", "4", "--out", str(run)]
    assert main(["train", *words]) == status
    assert (run / "evaluation.json").exists() == (status == 0)
    assert (run / "diverged").exists() == (status == 1)
    if status == 1:
        report = json.loads((run / "diverged" / "report.json").read_text())
        assert report["stochastic"]["nonfinite_episodes"] == 3
        assert f"{run} diverged: 3 of the 4 episodes" in capsys.readouterr().err


def test_a_second_writer_is_refused_and_a_hangup_saves_a_checkpoint(started, capsys):
    """The connection is gone: the training stops as for Ctrl-C, and another one follows."""
    run, process = started
    assert main(["train", "--resume", str(run)]) == 1
    line = capsys.readouterr().err
    assert f"is being written by process {process.pid} on" in line and line.count("\n") == 1
    os.kill(process.pid, signal.SIGHUP)
    assert process.wait(60) == 130
    newest = checkpoint.newest_first(run / "checkpoints")[0]
    assert int(newest.stem.rpartition("-")[2]) == updates(run)[-1] < 40
    assert main(["train", "--resume", str(run)]) == 0
    assert updates(run) == list(range(1, 41))


def test_a_run_folder_that_is_moved_away_ends_the_training(started, tmp_path, capsys):
    run, process = started
    run.rename(tmp_path / "away")
    assert process.wait(60) == 1
    said = process.stderr.read().decode().splitlines()
    assert said[-1].startswith(f"rfo: {run} was moved or removed") and "Traceback" not in said
    assert not run.exists()
    assert main(["train", "--resume", str(tmp_path / "away")]) == 0
    assert updates(tmp_path / "away") == list(range(1, 41))


def test_a_reader_that_goes_away_does_not_end_a_training(tmp_path):
    words = ["train", "lqr", *TINY, "--steps", "80", "--checkpoint-every", "2", "--out", "r"]
    process = subprocess.Popen(
        [sys.executable, "-c", PACED, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=tmp_path,
    )
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(120) == 0
    assert updates(tmp_path / "r") == list(range(1, 11))
    assert (tmp_path / "r" / "evaluation.json").exists()


FINISH = ["evaluation.json", "replay.json", "replay.npz", "replay.html"]


@pytest.mark.parametrize("lost", [[name] for name in FINISH] + [FINISH])
def test_a_finish_that_was_interrupted_is_finished(lost, finished, copied, capsys):
    for name in lost:
        (copied / name).unlink()
    before = {name: (copied / name).read_bytes() for name in set(FINISH) - set(lost)}
    assert main(["train", "--resume", str(copied)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(copied)
    for name in FINISH:  # what is missing comes back with equal content
        assert (copied / name).read_bytes() == (finished / name).read_bytes(), name
    if "replay.html" not in lost:  # the page is made of the two others
        assert before.items() <= {n: (copied / n).read_bytes() for n in FINISH}.items()
    assert main(["train", "--resume", str(copied)]) == 1
    assert "is finished (48 steps)" in capsys.readouterr().err


def test_the_evaluation_says_that_a_run_is_finished_so_it_comes_last(copied, monkeypatch):
    """Whatever interrupts the end of a training, other commands see a run that is not finished."""
    for name in FINISH:
        (copied / name).unlink()
    written = []
    write = RunFolder.write

    def follow(self, name, content):
        written.append(name)
        write(self, name, content)

    monkeypatch.setattr(RunFolder, "write", follow)
    assert main(["train", "--resume", str(copied)]) == 0
    assert written[-1] == "evaluation.json" and "replay.npz" in written


def test_an_interrupted_training_loses_no_good_line_for_a_bad_one(copied, capsys):
    for name in FINISH:
        (copied / name).unlink()
    (copied / "checkpoints" / checkpoint.FINAL).rename(
        checkpoint.path_after(copied / "checkpoints", 6)
    )
    metrics = copied / "metrics.jsonl"
    lines = metrics.read_bytes().splitlines(keepends=True)
    metrics.write_bytes(b"".join([*lines[:2], b"\xff\n", *lines[2:], b"null\n"]))
    assert main(["train", "--resume", str(copied)]) == 0
    assert metrics.read_bytes() == b"".join([*lines[:2], b"\xff\n", *lines[2:]])
    told = [line for line in capsys.readouterr().err.splitlines() if "left out" in line]
    assert told == [f"rfo: {metrics}: left out lines 3, 8, which cannot be read"]


def test_where_one_folder_is_taken_none_is_made(tmp_path, capsys):
    (tmp_path / "m" / "s1").mkdir(parents=True)
    (tmp_path / "m" / "s1" / "precious").touch()
    words = ["lqr", *TINY, "--steps", "8", "--seeds", "3", "--out", str(tmp_path / "m")]
    assert main(["train", *words]) == 1
    assert "s1 exists already" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "m").iterdir()] == ["s1"]


def test_where_one_folder_cannot_be_made_the_others_go_again(tmp_path, monkeypatch, finished):
    _, experiment = open_run(finished)
    paths = [tmp_path / name for name in "abc"]
    make = RunFolder.create.__func__

    def fail_at_the_last(cls, path, config, files=None):
        if path == paths[-1]:
            raise OSError(28, "No space left on device")
        return make(cls, path, config, files)

    monkeypatch.setattr(RunFolder, "create", classmethod(fail_at_the_last))
    with pytest.raises(OSError, match="No space"):
        create([experiment] * 3, paths)
    assert list(tmp_path.iterdir()) == []


def test_a_run_is_free_again_after_its_training(copied, capsys):
    (copied / "evaluation.json").unlink()
    assert resume(copied) == 0
    folder, _ = open_run(copied)
    folder.lock()  # in this process, and so in any other
    folder.unlock()


@pytest.mark.parametrize(
    ("mode", "variable"),
    [
        (jax.enable_x64, "JAX_ENABLE_X64"),
        (jax.debug_nans, "JAX_DEBUG_NANS"),
        (jax.debug_infs, "JAX_DEBUG_INFS"),
    ],
)
def test_modes_of_jax_that_cannot_work_are_refused_in_one_line(
    mode, variable, finished, tmp_path, capsys
):
    new = ["train", "lqr", *TINY, "--steps", "8", "--out", str(tmp_path / "run")]
    for words in (new, ["eval", str(finished)], ["train", "--resume", str(finished)]):
        with mode(True):
            assert main(words) != 0
        line = [text for text in capsys.readouterr().err.splitlines() if text.startswith("rfo: ")]
        assert len(line) == 1 and line[0].endswith(f"unset {variable}")
    assert not (tmp_path / "run").exists()


OWN = """
import pathlib
from rfo.envs.tasks.probe import LQR
with pathlib.Path(__file__).with_suffix(".log").open("a") as log:
    log.write("executed\\n")
class Mine(LQR):
    pass
"""


def forget(monkeypatch, file):
    """Have a Python file imported anew, as by another process."""
    for name in [name for name in sys.modules if f"_{file}_" in name]:
        monkeypatch.delitem(sys.modules, name)


def test_the_source_of_a_task_is_kept_and_never_executed(tmp_path, capsys, monkeypatch):
    """The user's own file is; without it nothing is."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    mine, run = tmp_path / "mine.py", tmp_path / "run"
    mine.write_text(OWN)
    assert main(["train", f"{mine}:Mine", *TINY, "--steps", "8", "--out", str(run)]) == 0
    assert (run / "source" / "mine.py").read_text() == OWN
    mine.unlink()
    forget(monkeypatch, "mine")
    capsys.readouterr()
    assert main(["eval", str(run)]) != 0
    assert "no file" in capsys.readouterr().err
    assert not (run / "source" / "mine.log").exists()


def test_a_task_that_only_a_run_folder_of_someone_else_names_is_not_executed(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "theirs"))
    run = tmp_path / "run"
    (tmp_path / "theirs.py").write_text(OWN)
    words = [f"{tmp_path / 'theirs.py'}:Mine", *TINY, "--steps", "8", "--out", str(run)]
    assert main(["train", *words]) == 0
    log = tmp_path / "theirs.log"
    log.unlink()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "ours"))  # on another machine
    forget(monkeypatch, "theirs")
    for words in (["eval", str(run)], ["train", "--resume", str(run)], ["report", str(run)]):
        capsys.readouterr()
        main([*words, *(["--out", str(tmp_path / "report")] if "report" in words else [])])
        assert not log.exists(), words
