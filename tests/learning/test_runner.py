"""A suite is trained, skipped, gone on with and reported from what its run folders say."""

import json
import signal
import threading
import time
from collections import deque

import pytest

from rfo import cli
from rfo.learning import runner
from rfo.learning.suite import Cell, SuiteError


def cell(label="rfo", seeds=(0, 1), together=False):
    return Cell("lqr", label, ("lqr", "--steps", "100"), seeds, together)


def make(folder, *files):
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")


def test_what_is_finished_is_skipped_and_what_was_begun_goes_on(tmp_path):
    """Seed 0 finished, 1 has a checkpoint, 2 diverged, 3 got nowhere, 4 is new."""
    base = tmp_path / "lqr" / "rfo"
    make(base / "s0", "config.json", "evaluation.json", "checkpoints/final.ckpt")
    make(base / "s1", "config.json", "checkpoints/update_5.ckpt")
    make(base / "s2", "config.json", "diverged/report.json")
    make(base / "s3", "config.json")
    waiting = runner.jobs([cell(seeds=(0, 1, 2, 3, 4))], tmp_path)
    assert [(job.seeds, job.resumes) for job in waiting] == [((1,), True), ((3,), False), ((4,), False)]
    assert waiting[0].command()[-4:] == ["--resume", str(base / "s1"), "--threads", "1"]
    assert waiting[1].command()[-4:] == ["--seed", "3", "--out", str(base / "s3")]
    assert not (base / "s3").exists() and (tmp_path / "abandoned" / "lqr-rfo-s3-1").exists()


def test_seeds_train_together_only_from_the_start(tmp_path):
    (job,) = runner.jobs([cell(seeds=(4, 5), together=True)], tmp_path)
    assert job.command()[-6:] == ["--seed", "4", "--seeds", "2", "--out", str(tmp_path / "lqr" / "rfo")]
    make(tmp_path / "lqr/rfo/s4", "config.json", "evaluation.json")
    (job,) = runner.jobs([cell(seeds=(4, 5), together=True)], tmp_path)
    assert job.seeds == (5,) and "--seeds" not in job.command()


def test_first_seeds_of_all_cells_come_first(tmp_path):
    order = [job.name for job in runner.jobs([cell("a"), cell("b")], tmp_path)]
    assert order == ["lqr/a/s0", "lqr/b/s0", "lqr/a/s1", "lqr/b/s1"]


def test_runs_of_other_settings_are_refused(tmp_path):
    run = tmp_path / "lqr" / "rfo" / "s1"
    make(run, "config.json")
    settings = {"steps": 100, "threads": None, "hidden": (3,)}
    (run / "config.json").write_text(json.dumps({"steps": 100, "threads": 1, "hidden": [3], "seed": 1}))
    runner.refuse_others([cell()], tmp_path, lambda _: settings)
    with pytest.raises(SuiteError, match=r"s1 was trained with other settings \(steps\)"):
        runner.refuse_others([cell()], tmp_path, lambda _: {**settings, "steps": 200})


def test_progress_and_time_left(tmp_path):
    """One of four done in 60 s, one half done: 30 s and twice 60 s are left, on two cores."""
    every = runner.jobs([cell("a"), cell("b")], tmp_path)
    every[0].share, every[0].seconds, every[0].status = 1.0, 60.0, 0
    every[1].share, every[1].seconds = 0.5, 30.0
    every[1].process = object()  # pyright: ignore
    line = runner.progress(every, cores=2)
    assert line == "1 of 4 done; lqr/b/s0 50%; about 0 h 01 min left"
    make(every[2].runs[0], "config.json", "metrics.jsonl")
    (every[2].runs[0] / "config.json").write_text('{"steps": 200}')
    (every[2].runs[0] / "metrics.jsonl").write_text('{"env_steps": 50}\n{"env_steps": 150}\n')
    assert runner.share_done(every[2]) == 0.75


class Sleeper(runner.Job):
    """A process that saves when it is interrupted, as a training does."""

    def command(self):
        script = (
            "import signal, sys, time\nsignal.signal(2, lambda *_: sys.exit(130))\nprint(1)\ntime.sleep(60)"
        )
        return [runner.sys.executable, "-u", "-c", script]


def test_ctrl_c_reaches_every_process_once_and_starts_no_more(tmp_path):
    waiting = deque(Sleeper(cell(), (seed,), tmp_path / "a", False) for seed in range(3))
    core, told = min(runner.os.sched_getaffinity(0)), []
    every = list(waiting)

    def interrupt():
        while not (tmp_path / "a" / "s0.log").exists() or not (tmp_path / "a" / "s0.log").read_text():
            time.sleep(0.05)
        signal.raise_signal(signal.SIGINT)

    threading.Thread(target=interrupt).start()
    _, stopped = runner.Runner(waiting, [core], told.append).run()
    assert stopped and [job.status for job in every] == [130, None, None]
    assert any("saves a checkpoint" in line for line in told)


SUITE = """
seeds = 2
together = true
[methods]
apg = "--algo apg --actor-hidden 4"
broken = "--algo apg --actor-hidden -4"
[tasks.quadratic]
steps = 512
arguments = "--envs 4 --evaluation-episodes 4"
"""


def test_a_suite_from_the_command_line(tmp_path, capsys):
    """A cell that cannot train does not stop the other; given again, what lacks its end goes on."""
    (tmp_path / "suite.toml").write_text(SUITE)
    learn = ["bench", "learn", str(tmp_path / "suite.toml"), "--out", str(tmp_path / "runs"), "--json"]
    assert cli.main(learn) == 1
    out, err = capsys.readouterr()
    states = json.loads(out)
    assert {name for name, state in states.items() if state == "finished"} == {
        "quadratic/apg/s0",
        "quadratic/apg/s1",
    }
    assert "quadratic/broken/s0+s1: FAILED (status 2)" in err
    evaluation = tmp_path / "runs" / "quadratic" / "apg" / "s1" / "evaluation.json"
    evaluation.unlink()
    (tmp_path / "suite.toml").write_text(SUITE.replace('broken = "--algo apg --actor-hidden -4"', ""))
    assert cli.main(learn) == 0
    assert "1 trainings to do" in capsys.readouterr().err and evaluation.exists()
    assert cli.main(["report", str(tmp_path / "runs"), "--out", str(tmp_path / "report")]) == 0
    assert "| apg | 2 |" in capsys.readouterr().out
    assert cli.main([*learn, "--budget", "2"]) == 2
    assert "other settings" in capsys.readouterr().err
