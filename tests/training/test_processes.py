"""Two processes on this machine that train one run together; one of them is killed."""

import os
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

import rfo
from rfo.errors import RunError, SettingError
from rfo.training import processes

TINY = {"environments": 8, "horizon": 4, "network.hidden": [8], "evaluation.episodes": 8}
WORDS = ["lqr", "--algo", "apg", "--envs", "8", "--horizon", "4", "--network.hidden", "8"]
LIMIT = 120.0
"""Longest time of one command [s]; it takes some ten."""


def started(words, folder):
    """Two processes with the same command, which find each other over the loopback interface."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = {"JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}", "JAX_NUM_PROCESSES": "2"}
    return [
        subprocess.Popen(
            [sys.executable, "-m", "rfo.cli", "train", *words, "--distributed"],
            cwd=folder,
            env={**os.environ, **place, "JAX_PROCESS_ID": str(i)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(2)
    ]


def ended(running):
    """Status, output and messages of each process."""
    try:
        said = [process.communicate(timeout=LIMIT) for process in running]
    finally:
        for process in running:
            process.kill()
    return [(process.returncode, *text) for process, text in zip(running, said, strict=True)]


def test_a_killed_process_ends_the_run_with_one_line_and_both_resume_it(tmp_path):
    run = tmp_path / "run"
    options = ["--evaluation.episodes", "8", "--checkpoint-every", "4", "--out", "run"]
    running = started([*WORDS, *options, "--steps", "100_000"], tmp_path)
    until = time.monotonic() + LIMIT
    while not list(run.glob("checkpoints/*.ckpt")) and time.monotonic() < until:
        time.sleep(0.1)
    running[1].kill()
    (status, _, messages), _ = ended(running)
    assert status == 1, messages
    assert "another process of this training is gone; checkpoints are intact" in messages
    assert "Traceback" not in messages

    done = rfo.load(run).metrics["update"][-1]
    steps = int(32 * (done + 20))
    leader, follower = ended(started(["--resume", "run", "--steps", str(steps)], tmp_path))
    assert leader[0] == follower[0] == 0, leader[2] + follower[2]
    assert follower[2] == ""
    assert leader[1].splitlines()[-1] == "run"
    there = rfo.load(run)
    assert there.status == "finished"
    assert there.metrics["env_steps"][-1] == steps

    alone = rfo.train("lqr", "apg", **TINY, steps=32 * 8, out=tmp_path / "alone")
    first = slice(0, 4)  # before the learning rates differ: schedules follow from the steps
    np.testing.assert_allclose(
        there.metrics["loss_actor"][first], alone.metrics["loss_actor"][first], rtol=1e-2
    )


def test_a_process_that_nothing_places_is_refused(monkeypatch):
    monkeypatch.setenv("JAX_COORDINATOR_ADDRESS", "127.0.0.1:1")
    monkeypatch.delenv("JAX_NUM_PROCESSES", raising=False)
    with pytest.raises(SettingError, match="JAX_NUM_PROCESSES must be a whole number, not None"):
        processes.join()


def test_other_errors_stay_what_they_are(tmp_path):
    with pytest.raises(ValueError, match="UNKNOWN: Gloo"), processes.watched(tmp_path):
        raise ValueError("UNKNOWN: Gloo AllGather failed")  # one process: none is gone
    with pytest.raises(RunError), pytest.MonkeyPatch.context() as patch:
        patch.setattr(processes, "several", lambda: True)
        with processes.watched(tmp_path):
            raise ValueError("UNKNOWN: Gloo AllGather failed")
