"""A suite trains its jobs, skips finished ones and continues others, as its run folders say."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from rfo.cli import main as cli
from rfo.errors import RunError
from rfo.experiment.memory import plan
from rfo.experiment.record import preset
from rfo.lab import queue
from rfo.lab.board import Board
from rfo.lab.needs import PROCESS, Needs
from rfo.lab.suite import Cell
from rfo.training.lock import Lock


def cell(label="rfo", seeds=(0, 1), together=False):
    experiment = preset("lqr", "rfo", steps=100, environments=1, seed=seeds[0])
    return Cell(label, experiment, seeds, together)


def make(folder, *files):
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")


def test_what_is_finished_is_skipped_and_what_was_begun_goes_on(tmp_path):
    """Seed 0 finished, 1 has a checkpoint, 2 diverged, 3 has no checkpoint, 4 is new."""
    base = tmp_path / "lqr" / "rfo"
    make(base / "s0", "config.json", "evaluation.json", "checkpoints/final.ckpt")
    make(base / "s1", "config.json", "checkpoints/update_5.ckpt")
    make(base / "s2", "config.json", "diverged/report.json")
    make(base / "s3", "config.json")
    waiting = queue.jobs([cell(seeds=(0, 1, 2, 3, 4))], tmp_path)
    assert [(job.seeds, job.resumes) for job in waiting] == [
        ((1,), True),
        ((3,), False),
        ((4,), False),
    ]
    assert waiting[0].options()[-4:] == ["--resume", str(base / "s1"), "--threads", "1"]
    assert waiting[1].options()[-4:] == ["--seed", "3", "--out", str(base / "s3")]
    assert not (base / "s3").exists() and (tmp_path / "abandoned" / "lqr-rfo-s3-1").exists()


def test_seeds_train_together_only_from_the_start(tmp_path):
    (job,) = queue.jobs([cell(seeds=(4, 5), together=True)], tmp_path)
    assert job.options()[-6:] == [
        "--seed",
        "4",
        "--seeds",
        "2",
        "--out",
        str(tmp_path / "lqr" / "rfo"),
    ]
    make(tmp_path / "lqr/rfo/s4", "config.json", "evaluation.json")
    (job,) = queue.jobs([cell(seeds=(4, 5), together=True)], tmp_path)
    assert job.seeds == (5,) and "--seeds" not in job.options()


def test_first_seeds_of_all_cells_come_first(tmp_path):
    order = [job.name for job in queue.jobs([cell("a"), cell("b")], tmp_path)]
    assert order == ["lqr/a/s0", "lqr/b/s0", "lqr/a/s1", "lqr/b/s1"]


def test_runs_of_other_settings_are_refused(tmp_path):
    """Threads and seed may differ: threads depend on the machine, and each run has its own seed."""
    run = tmp_path / "lqr" / "rfo" / "s1"
    make(run, "config.json")

    def trained(**changes):
        experiment = cell().experiment.edited({"seed": 1, "threads": 1, **changes})
        (run / "config.json").write_text(json.dumps(experiment.to_json()))

    trained()
    queue.refuse_others([cell()], tmp_path)
    trained(steps=200, gamma=0.9)
    with pytest.raises(RunError, match=r"s1 was trained with other settings \(gamma, .*steps\)"):
        queue.refuse_others([cell()], tmp_path)
    (run / "config.json").write_text("[]")
    with pytest.raises(RunError, match="name another folder with --out"):
        queue.refuse_others([cell()], tmp_path)


def test_time_left_follows_the_pace_of_the_task_and_is_shared_by_the_cores(tmp_path, jobs_of):
    """a/s0 took 50 s for 100 steps, b/s0 has done 20 steps in 20 s, and a/s1 waits.

    So 120 steps of the task took 70 s, and the remaining 180 steps take 105 s on one core. On two
    cores, the 100 steps of a/s1 alone take longer than half of that."""
    done, running, waiting, _ = jobs_of("a", "b")
    for job, steps, seconds in ((done, 100, 50.0), (running, 20, 20.0)):
        make(job.runs[0], "metrics.jsonl")
        lines = [
            json.dumps({"env_steps": n, "seconds": t}) for n, t in ((1, 0.1), (steps, seconds))
        ]
        (job.runs[0] / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    done.status, running.status = queue.FINISHED, queue.RUNNING
    three = [done, running, waiting]
    assert queue.suite_progress(three, cores=1).seconds_left == pytest.approx(105)
    now = queue.suite_progress(three, cores=2)
    assert now.seconds_left == pytest.approx(100 * 70 / 120)
    assert (now.steps, now.of_steps, now.running) == (120, 300, {"lqr/b/s0": (20, 100)})
    assert str(now) == "1/3 finished (1 running, 1 waiting), 40% of the steps, 1 min left"
    assert str(replace(now, seconds_left=4000.0)).endswith("1 h 07 min left")
    assert str(queue.suite_progress([waiting], 1)).endswith("time left unknown")
    both = queue.Job(
        cell("a", together=True), (0, 1), tmp_path / "lqr" / "a", resumes=False, status="finished"
    )
    assert (queue.suite_progress([both], 1).steps, queue.suite_progress([both], 1).of_steps) == (
        200,
        200,
    )


CORES = sorted(os.sched_getaffinity(0))
TRAINING = """
import json, os, pathlib, signal, sys, time
words = sys.argv[1:]
folder = pathlib.Path(words[words.index("--resume" if "--resume" in words else "--out") + 1])
folder.mkdir(parents=True, exist_ok=True)
(folder / "cores").write_text(json.dumps(sorted(os.sched_getaffinity(0))))
open_files = [os.path.realpath(path) for path in pathlib.Path("/proc/self/fd").iterdir()]
(folder / "lock").write_text(json.dumps(any(path.endswith("/.lock") for path in open_files)))
how = folder.parent.name
if how == "crash":
    sys.exit("rfo: it broke")
if how == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
if how == "diverge":
    (folder / "diverged").mkdir()
    sys.exit(1)
if how == "slow":
    def stop(*_):
        (folder / "checkpoints").mkdir()  # a second signal would fail here
        time.sleep(0.2)
        (folder / "checkpoints" / "update-00000001.ckpt").write_text("")
        sys.exit(130)
    signal.signal(signal.SIGINT, stop)
if how == "deaf":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
if how in ("slow", "deaf"):
    (folder / "ready").write_text("")
    time.sleep(60)
(folder / "evaluation.json").write_text("{}")
"""


@pytest.fixture
def jobs_of(tmp_path, monkeypatch):
    """Jobs whose processes do what their label says instead of a training."""
    (tmp_path / "training.py").write_text(TRAINING)
    monkeypatch.setattr(queue, "TRAIN", (sys.executable, "-S", str(tmp_path / "training.py")))
    monkeypatch.setattr(queue, "POLL", 0.01)
    return lambda *labels: queue.jobs([cell(label) for label in labels], tmp_path)


def train(jobs, folder, core=CORES[0]):
    with queue.locked(folder) as lock:
        return queue.JobQueue(jobs, [core], Board("suite"), lock).run()


def interrupt(ready, times=1):
    """Start a thread that sends SIGINT to this process once a training is ready."""

    def send():
        while not ready.exists():
            time.sleep(0.01)
        for _ in range(times):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.2)

    threading.Thread(target=send).start()


def test_failures_are_told_apart_and_hurt_no_other_training(jobs_of, tmp_path, capsys):
    jobs = jobs_of("crash", "killed", "diverge", "good")
    assert train(jobs, tmp_path) is False
    ends = {job.cell.label: (job.status, job.reason.partition(";")[0]) for job in jobs}
    assert ends == {
        "crash": ("failed", "rfo: it broke"),
        "killed": ("failed", "killed by SIGKILL"),
        "diverge": ("diverged", ""),
        "good": ("finished", ""),
    }
    assert "lqr/crash/s1: failed (rfo: it broke; see" in capsys.readouterr().err


def test_each_training_is_pinned_to_its_core_and_keeps_the_lock(jobs_of, tmp_path):
    jobs = jobs_of("good")
    train(jobs, tmp_path, CORES[-1])
    assert [json.loads((job.runs[0] / "cores").read_text()) for job in jobs] == [CORES[-1:]] * 2
    assert [json.loads((job.runs[0] / "lock").read_text()) for job in jobs] == [True] * 2


def test_cores_and_memory_are_divided(jobs_of, tmp_path):
    """Five cores make two pairs. Jobs of 4 and 6 GB fit into 10 GB, another one of 4 GB does not,
    but a job that is alone may try."""
    jobs = jobs_of("small", "large", "other")
    needs = {"small": 4, "large": 6, "other": 4}
    with queue.locked(tmp_path) as lock:
        shared = queue.JobQueue(
            jobs, range(5), Board("suite"), lock, 2, lambda job: needs[job.cell.label], memory=10
        )
        assert list(shared.free) == [(0, 1), (2, 3)]
        small, large, other = jobs[:3]
        shared.running = {(0, 1): small}
        assert shared.fits(large)
        shared.running[2, 3] = large
        assert not shared.fits(other)
        shared.running, shared.memory = {}, 1
        assert shared.fits(large)
    assert small.options(2)[2:4] == ["--threads", "2"]


def test_the_memory_of_a_job_is_that_of_its_seeds_and_of_a_process():
    one = queue.Job(cell(), (0,), Path("runs"), resumes=False)
    both = queue.Job(cell(), (0, 1), Path("runs"), resumes=False)
    needs = Needs()
    planned = plan(one.cell.experiment).total
    assert (needs(one), needs(both)) == (PROCESS + planned, PROCESS + 2 * planned)


def test_a_run_that_another_process_trains_is_not_set_aside(tmp_path):
    """It has no checkpoint yet, as it has only just begun."""
    run = tmp_path / "lqr" / "rfo" / "s0"
    make(run, "config.json")
    lock = Lock(run / ".lock")
    with pytest.raises(RunError, match="s0 is being written by process"):
        queue.jobs([cell(seeds=(0,))], tmp_path)
    lock.release()
    (job,) = queue.jobs([cell(seeds=(0,))], tmp_path)
    assert not run.exists() and not job.resumes


def test_ctrl_c_lets_every_training_save_and_starts_no_more(jobs_of, tmp_path, capsys):
    jobs = jobs_of("slow", "good")
    interrupt(jobs[0].runs[0] / "ready")
    assert train(jobs, tmp_path) is True
    assert [job.status for job in jobs] == ["interrupted", "waiting", "waiting", "waiting"]
    assert "saves a checkpoint" in capsys.readouterr().err
    again = jobs_of("slow", "good")
    assert again[0].resumes and again[0].options()[:2] == ["--resume", str(jobs[0].runs[0])]


def test_second_ctrl_c_kills_what_does_not_stop(jobs_of, tmp_path):
    jobs = jobs_of("deaf")
    interrupt(jobs[0].runs[0] / "ready", times=2)
    with pytest.raises(KeyboardInterrupt):
        train(jobs, tmp_path)
    assert jobs[0].process.returncode == -signal.SIGKILL


def test_two_suites_do_not_work_in_one_folder(tmp_path):
    """The folder also stays locked while a training that was left behind still runs."""
    with queue.locked(tmp_path) as lock:
        left_behind = subprocess.Popen(
            [sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(lock,)
        )
        with pytest.raises(RunError, match="is at work in"), queue.locked(tmp_path):
            pass
    with pytest.raises(RunError, match="left behind"), queue.locked(tmp_path):
        pass
    left_behind.communicate(b"\n")
    with queue.locked(tmp_path):
        pass


SUITE = """
seeds = 2
together = true
[methods]
apg = {method = "apg", network.hidden = [4]}
broken = {method = "apg", chunk = 3}
[tasks.quadratic]
steps = 512
settings = {environments = 4, evaluation.episodes = 4}
"""


def test_a_suite_from_the_command_line(tmp_path, capsys):
    """A cell that cannot train does not stop the other. The same command again continues runs."""
    (tmp_path / "suite.toml").write_text(SUITE)
    learn = [
        "bench",
        "learn",
        str(tmp_path / "suite.toml"),
        "--out",
        str(tmp_path / "runs"),
        "--json",
    ]
    assert cli.main(learn) == 1
    out, err = capsys.readouterr()
    states = json.loads(out)
    assert {name for name, state in states.items() if state == "finished"} == {
        "quadratic/apg/s0",
        "quadratic/apg/s1",
    }
    assert (
        "quadratic/broken/s0+s1 failed: rfo: a chunk's 3 control steps must divide" in err
        and "2 of 4 runs are not finished" in err
    )
    evaluation = tmp_path / "runs" / "quadratic" / "apg" / "s1" / "evaluation.json"
    evaluation.unlink()
    (tmp_path / "suite.toml").write_text(SUITE.replace('broken = {method = "apg", chunk = 3}', ""))
    assert cli.main(learn) == 0
    assert evaluation.exists() and "quadratic/apg/s1: finished" in capsys.readouterr().err
    assert cli.main(learn) == 0
    assert "nothing is left to train" in capsys.readouterr().err
    assert cli.main(["report", str(tmp_path / "runs"), "--out", str(tmp_path / "report")]) == 0
    assert "| apg | 2 |" in capsys.readouterr().out
    assert cli.main([*learn, "--budget", "2"]) == 1
    assert "other settings" in capsys.readouterr().err
