"""Trainings of each kind of task end in a process that has exactly two CPUs.

XLA's CPU client has as many threads as the process has CPUs. Calls that wait for one another, such
as the batched LAPACK calls of an initialiser under `vmap`, once left it with none.
"""

import os
import signal
import subprocess
import sys

import pytest

LIMIT = 900
"""Time after which the trainings count as hanging [s]: many times what they take."""
TRAININGS = """
import os, shlex, sys
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
    assert len(os.sched_getaffinity(0)) <= 2
import jax, warp
warp.config.optimization_level = 1  # as all tests have it, so that its kernels are theirs
from rfo.cli.main import main
from rfo.experiment import train
finish = train.finish
def finish_first(runs):  # the end of a training compiles for as long again
    if runs[0][0].task.name == "lqr":
        return finish(runs)
    for _, folder, _ in runs:
        folder.write_json("evaluation.json", {})
    return [None] * len(runs)
train.finish = finish_first
words = "--envs 2 --horizon 4 --steps 16 --network.hidden 8".split()
for kind in sys.argv[1:]:
    print("training", kind, flush=True)
    status = main(["train", *shlex.split(kind), *words, "--out", kind])
    if status:
        sys.exit(status)
    jax.clear_caches()
"""
KINDS = (
    "lqr --algo rfo",  # a closed form
    "detour --algo apg",  # of two ways
    "cartpole --algo apg",  # rigid
    "cartpole --algo apg --task.randomise body.mass 'uniform 0.8 1.2' latency 'integers 0 2'",
    "go2_velocity --algo apg",  # a robot paid by terms
    "soft_jumper_small_camera --algo rfo",  # soft, and a point cloud, from a depth camera
    "rolling_flat_small --algo apg",  # plasticine
    "fluid_move_small --algo apg",  # fluid
    "hand_reorient --algo apg",  # a hand
)
"""One task of each kind, with RFO where its networks matter, and elsewhere with what compiles
fastest."""


@pytest.mark.timeout(LIMIT + 60)
def test_trainings_on_two_cpus_end(tmp_path):
    """One process trains all kinds of tasks in turn; a time limit ends it and all that it began.

    It compiles everything itself: programs of other processes may be made for more CPUs."""
    process = subprocess.Popen(
        [sys.executable, "-c", TRAININGS, *KINDS],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        cwd=tmp_path,
        env={name: x for name, x in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"},
    )
    try:
        output, _ = process.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired as hang:
        output = f"{(hang.stdout or b'').decode()}\nand here it hangs"
    finally:
        end(process)
    assert process.returncode == 0, output
    for kind in KINDS:
        assert (tmp_path / kind / "checkpoints" / "final.ckpt").exists()


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
