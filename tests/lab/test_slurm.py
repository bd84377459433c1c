"""A suite on a cluster: what Slurm is asked for, preemption, and submitit's local executor."""

import json
import os
import re
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
import quick_training
import submitit

from rfo.cli import main as cli
from rfo.errors import RunError
from rfo.experiment.record import preset
from rfo.lab import queue, slurm
from rfo.lab.board import Board
from rfo.lab.cluster import Slurm
from rfo.lab.suite import Cell

TRAINING = """
import pathlib, signal, sys, time
words = sys.argv[1:]
folder = pathlib.Path(words[words.index("--resume" if "--resume" in words else "--out") + 1])
(folder / "checkpoints").mkdir(parents=True, exist_ok=True)
stop = []
signal.signal(signal.SIGINT, lambda *_: stop.append(1))
(folder / "ready").write_text("")
while "--resume" not in words and not stop:
    time.sleep(0.01)
(folder / "checkpoints" / "update-00000001.ckpt").write_text("")
if stop:
    sys.exit(130)
(folder / "evaluation.json").write_text("{}")
"""


def cell(seeds=(0,)):
    return Cell("rfo", preset("lqr", "rfo", steps=100, environments=1), seeds, together=False)


def wait_for(path):
    for _ in range(3000):
        if path.exists():
            return
        time.sleep(0.01)
    raise AssertionError(f"no {path}")


def test_a_preempted_training_saves_and_goes_on_where_slurm_starts_it_again(tmp_path, monkeypatch):
    """Slurm signals every process of the job: the training ignores that, and saves when asked."""
    (tmp_path / "training.py").write_text(TRAINING)
    monkeypatch.setattr(queue, "TRAIN", (sys.executable, "-S", str(tmp_path / "training.py")))
    monkeypatch.setattr(queue, "POLL", 0.01)
    run, codes = tmp_path / "runs" / "lqr" / "rfo" / "s0", []
    training = slurm.Training(cell(), tmp_path / "runs", 1)
    thread = threading.Thread(target=lambda: codes.append(training()))
    thread.start()
    wait_for(run / "ready")
    os.kill(training._process.pid, signal.SIGUSR2)
    rest = training.checkpoint()
    thread.join(30)
    assert codes == [130] and queue.state_of(run) == queue.STARTED
    rest.dump(tmp_path / "rest.pkl")  # as submitit keeps it
    assert submitit.core.utils.DelayedSubmission.load(tmp_path / "rest.pkl").result() == 0
    assert queue.state_of(run) == queue.FINISHED


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """Commands of a Slurm that takes jobs and says that they have the state in the file `state`."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "state").write_text("PENDING")
    scripts = {
        "srun": "",
        "sbatch": f"cat $1 >> {tools}/handed_in\necho Submitted batch job 12",
        "sacct": f"echo 'JobID|State|NodeList'\nfor i in 0 1; do "
        f'echo "12_$i|$(cat {tools}/state)|"; done',
    }
    for name, script in scripts.items():
        (tools / name).write_text(f"#!/bin/sh\n{script}\n")
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    monkeypatch.setattr(slurm, "POLL", 0.01)
    monkeypatch.setattr(submitit.SlurmJob, "_results_timeout_s", 0)
    return tools


def watch(folder, asked, interrupted=False):
    jobs = queue.jobs([cell(seeds=(0, 1))], folder)
    if interrupted:
        ready = folder / "lqr" / "rfo" / "s1.slurm"

        def interrupt():
            wait_for(ready)
            os.kill(os.getpid(), signal.SIGINT)

        threading.Thread(target=interrupt).start()
    submitit.SlurmJob.watcher.clear()
    stopped = slurm.train(jobs, folder, asked, Board("suite"), lambda job: 3 * 10**9, threads=2)
    return jobs, stopped


def test_slurm_is_asked_once_and_its_jobs_are_found_again(tmp_path, cluster, capsys):
    """3 GB are estimated, so 6 GB are asked for. The watcher may go and come back."""
    asked = Slurm(partition="long", hours=2.0, gpus=1, at_once=5, setup=("module load cuda",))
    _, stopped = watch(tmp_path / "runs", asked, interrupted=True)
    assert stopped is True and "2 trainings go on in the cluster" in capsys.readouterr().err
    text = (cluster / "handed_in").read_text()
    flags = dict(re.findall(r"^#SBATCH --([a-z-]+)=(.*)$", text, re.MULTILINE))
    assert (flags["mem"], flags["cpus-per-task"], flags["gpus-per-node"]) == ("6GB", "2", "1")
    assert (flags["array"], flags["time"], flags["partition"]) == ("0-1%2", "120", "long")
    assert flags["signal"] == "USR2@120" and "module load cuda" in text and "account" not in flags
    (cluster / "state").write_text("OUT_OF_MEMORY")
    jobs, stopped = watch(tmp_path / "runs", asked)
    assert (cluster / "handed_in").read_text() != text  # those ended without a run, so new ones are
    assert stopped is False and [job.status for job in jobs] == ["failed"] * 2
    assert "job 12_0 ended as OUT_OF_MEMORY; see" in jobs[0].reason


def test_a_cluster_without_slurm_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RunError, match="there is no Slurm here"):
        watch(tmp_path / "runs", Slurm())
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(RunError, match=r"submitit is not installed: pip install 'rfo\[slurm\]'"):
        watch(tmp_path / "runs", Slurm())


SUITE = """
seeds = 2
together = true
[methods]
apg = {method = "apg", network.hidden = [4]}
broken = {method = "apg", chunk = 3}
[tasks.quadratic]
steps = 64
settings = {environments = 4, evaluation.episodes = 4}
"""


def test_submitit_runs_trainings_and_brings_their_ends(tmp_path, monkeypatch):
    """Seed 0 has a checkpoint and is finished by its process; seed 1 fails."""
    fake = "import sys, pathlib\nwords = sys.argv[1:]\n"
    fake += "sys.exit('rfo: it broke') if '--out' in words else None\n"
    fake += "(pathlib.Path(words[1]) / 'evaluation.json').write_text('{}')\n"
    (tmp_path / "training.py").write_text(fake)
    monkeypatch.setattr(queue, "TRAIN", (sys.executable, "-S", str(tmp_path / "training.py")))
    monkeypatch.setattr(slurm, "Training", quick_training.Quick)
    paths = (str(Path(quick_training.__file__).parent), os.environ.get("PYTHONPATH", ""))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    checkpoint = tmp_path / "runs" / "lqr" / "rfo" / "s0" / "checkpoints" / "update-1.ckpt"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_text("")
    jobs, stopped = watch(tmp_path / "runs", Slurm(cluster="local"))
    assert stopped is False and [job.status for job in jobs] == ["finished", "failed"]
    assert jobs[1].reason.startswith("rfo: it broke; see ")


@pytest.mark.long
def test_a_suite_through_submitits_local_executor(tmp_path, capsys):
    (tmp_path / "suite.toml").write_text(SUITE)
    words = ["bench", "learn", str(tmp_path / "suite.toml"), "--out", str(tmp_path / "runs")]
    words += ["--executor", "slurm", "--slurm.cluster", "local", "--json"]
    assert cli.main(words) == 1
    out, err = capsys.readouterr()
    states = json.loads(out)
    assert [name for name, state in states.items() if state == "finished"] == [
        "quadratic/apg/s0",
        "quadratic/apg/s1",
    ]
    assert "quadratic/broken/s0+s1 failed: rfo: a chunk's 3 control steps must divide" in err
    assert list(Path(tmp_path / "runs" / "submitit").glob("*_result.pkl"))
