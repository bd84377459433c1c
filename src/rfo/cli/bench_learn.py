"""`rfo bench learn`: train a suite."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from rfo.errors import SettingError
from rfo.lab.cluster import Slurm

if TYPE_CHECKING:
    from rfo.lab.queue import Job

SuitePath = tyro.conf.Positional[
    Annotated[Path | None, tyro.conf.arg(metavar="SUITE", help_behavior_hint="")]
]
SuiteSeeds = Annotated[
    int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: the suite's)")
]
SuiteOut = Annotated[
    Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="(default: runs/SUITE)")
]
CoreNumbers = Annotated[
    tuple[int, ...], tyro.conf.arg(metavar="INT ...", help_behavior_hint="(default: all)")
]


@dataclass(frozen=True)
class BenchLearn:
    """Train a suite: tasks x methods x seeds, one process a core, or on a cluster.

    What is finished is skipped, and what was interrupted goes on from its checkpoint, so the same
    command may be given again at any time. A run that fails does not stop the others. `rfo report`
    makes tables and figures of the folder.
    """

    suite: SuitePath = None
    """TOML file; bench/learning/suites holds examples."""
    seeds: SuiteSeeds = None
    """Seeds of each cell."""
    budget: float = 1.0
    """Factor on the steps of every task, as 0.1 for a tenth."""
    out: SuiteOut = None
    """Folder of the runs, each in TASK/METHOD/sSEED."""
    executor: Literal["local", "slurm"] = "local"
    """Where to train: on this machine, or on a cluster (pip install 'rfo[slurm]')."""
    cores: CoreNumbers = ()
    """Numbers of the cores of this machine to train on."""
    threads: int = 1
    """Cores of each training."""
    slurm: Slurm = field(default_factory=Slurm)
    json: bool = False
    """Print one JSON object with the state of every run, by TASK/METHOD/sSEED."""

    def run(self) -> int:
        """Train and tell."""
        if self.suite is None:
            raise SettingError(
                "name a suite, as in `rfo bench learn bench/learning/suites/ant.toml`"
            )
        if self.seeds is not None and self.seeds < 1:
            raise SettingError(f"--seeds must be at least 1, not {self.seeds}", "seeds")
        if self.threads < 1:
            raise SettingError(f"--threads must be at least 1, not {self.threads}", "threads")
        import jax

        from rfo.lab import queue, suite

        jax.config.update("jax_platforms", "cpu")  # the GPU is for the trainings
        out = self.out or Path("runs") / self.suite.stem
        cells = suite.read(self.suite, self.seeds, self.budget)
        queue.refuse_others(cells, out)
        with queue.locked(out) as lock:
            jobs = queue.jobs(cells, out)
            stopped = False
            if not jobs:
                print("rfo: nothing is left to train", file=sys.stderr)
            elif self.executor == "local":
                stopped = self._train_here(jobs, out, lock)
            else:
                stopped = self._train_on_a_cluster(jobs, out)
        states = {
            f"{cell.name}/s{seed}": queue.state_of(out / cell.name / f"s{seed}")
            for cell in cells
            for seed in cell.seeds
        }
        _tell_what_is_left(states, jobs, stopped)
        print(json.dumps(states) if self.json else out)
        return 130 if stopped else 1 if set(states.values()) != {queue.FINISHED} else 0

    def _train_here(self, jobs: Sequence[Job], out: Path, lock: int) -> bool:
        from rfo.experiment.memory import host_memory
        from rfo.lab.board import Board
        from rfo.lab.cores import usable_cores
        from rfo.lab.needs import Needs
        from rfo.lab.queue import JobQueue

        available = usable_cores()
        if not set(self.cores) <= set(available):
            raise SettingError(
                f"--cores must be among {', '.join(map(str, available))}, not "
                f"{', '.join(map(str, self.cores))}",
                "cores",
            )
        cores = self.cores or available
        if self.threads > len(cores):
            raise SettingError(
                f"--threads must be at most {len(cores)}, the number of cores, not {self.threads}",
                "threads",
            )
        board = Board(str(out))
        return JobQueue(jobs, cores, board, lock, self.threads, Needs(), host_memory()).run()

    def _train_on_a_cluster(self, jobs: Sequence[Job], out: Path) -> bool:
        from rfo.lab import slurm
        from rfo.lab.board import Board
        from rfo.lab.needs import Needs

        return slurm.train(jobs, out, self.slurm, Board(str(out)), Needs(), self.threads)


def _tell_what_is_left(states: dict[str, str], jobs: Sequence[Job], stopped: bool) -> None:
    left = [name for name, state in states.items() if state != "finished"]
    told = [f"{job.name} failed: {job.reason}" for job in jobs if job.status == "failed"]
    if left:
        told.append(f"{len(left)} of {len(states)} runs are not finished: {', '.join(left)}")
    if stopped:
        told.append("go on by giving the same command again")
    for line in told:
        print(f"rfo: {line}", file=sys.stderr)
