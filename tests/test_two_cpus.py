"""A training of each kind of task ends in a process that has exactly two CPUs.

XLA's CPU client has as many threads as the process has CPUs. Calls that wait for one another, such
as the batched LAPACK calls of an initialiser under `vmap`, once left it with none.
"""

import os
import signal
import subprocess
import sys

import pytest

LIMIT = 400
"""Time after which a training counts as hanging [s]: 20 times what it takes when all is quiet."""
PINNED = """
import os, sys
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
    assert len(os.sched_getaffinity(0)) <= 2
from rfo.cli.main import main
from rfo.experiment import run
def finish(env, runs):
    for _, folder, _ in runs:
        folder.write_json("evaluation.json", {})
    return [None] * len(runs)
if "lqr" not in sys.argv:  # the end of a training compiles for as long again
    run._finish = finish
sys.exit(main(sys.argv[1:]))
"""
KINDS = {
    "closed form": "lqr",
    "rigid": "cartpole",
    "soft, point cloud": "soft_jumper_small",
    "plasticine": "rolling_flat_small",
    "fluid": "fluid_move_small",
    "hand and plasticine": "hand_flip_small",
    "hand": "hand_reorient",
    "depth camera": "soft_jumper_small_camera",
}


@pytest.mark.parametrize("task", KINDS.values(), ids=KINDS)
def test_a_training_on_two_cpus_ends(task, tmp_path):
    words = [task, "--envs", "2", "--horizon", "4", "--steps", "16", "--out", str(tmp_path / "run")]
    process = subprocess.Popen(
        [sys.executable, "-c", PINNED, "train", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        output = "it hangs"
    finally:
        end(process)
    assert process.returncode == 0, output
    assert (tmp_path / "run" / "checkpoints" / "final.ckpt").exists()


def end(process):
    """Kill a process and all processes that it started."""
    try:
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    except ProcessLookupError:  # it has ended by itself
        pass
    process.wait()
