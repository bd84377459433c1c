"""Running a suite: one process a core, what is finished skipped, what was interrupted gone on with.

A run folder tells by itself where it stands, so a suite keeps no books of its own: it may be stopped,
killed or extended at any time and run again.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rfo.learning.suite import Cell, SuiteError

TOLD_EVERY = 15.0
"""Time between two lines of progress [s]."""

FINISHED, DIVERGED, STARTED, NEW = "finished", "diverged", "started", "new"


@dataclass
class Job:
    """One process: a seed of a cell, or all of them together."""

    cell: Cell
    seeds: tuple[int, ...]
    folder: Path
    """Of the cell."""
    resumes: bool
    share: float = 0.0
    """Done so far, of all its steps."""
    seconds: float = 0.0
    """Spent by this process."""
    process: subprocess.Popen | None = None
    status: int | None = None

    @property
    def name(self) -> str:
        """For the user."""
        return f"{self.cell.name}/{'+'.join(f's{seed}' for seed in self.seeds)}"

    @property
    def runs(self) -> list[Path]:
        """Its run folders."""
        return [self.folder / f"s{seed}" for seed in self.seeds]

    def command(self) -> list[str]:
        """What is executed."""
        rfo = [sys.executable, "-m", "rfo.cli", "train"]
        if self.resumes:
            return [*rfo, "--resume", str(self.runs[0]), "--threads", "1"]
        words = [*rfo, *self.cell.arguments, "--threads", "1", "--seed", str(self.seeds[0])]
        if len(self.seeds) == 1:
            return [*words, "--out", str(self.runs[0])]
        return [*words, "--seeds", str(len(self.seeds)), "--out", str(self.folder)]


def state_of(run: Path) -> str:
    """`FINISHED`, `DIVERGED`, `STARTED` (with a checkpoint to go on from) or `NEW`."""
    if (run / "evaluation.json").exists():
        return FINISHED
    if (run / "diverged").exists():
        return DIVERGED
    return STARTED if any((run / "checkpoints").glob("*.ckpt")) else NEW


def jobs(cells: Sequence[Cell], folder: Path) -> list[Job]:
    """What is left to do of a suite whose runs are in `folder`, first seeds of all cells first.

    A folder that was begun without getting to a checkpoint is set aside, under `abandoned`.
    """
    found = []
    for cell in cells:
        states = {seed: state_of(folder / cell.name / f"s{seed}") for seed in cell.seeds}
        new = tuple(seed for seed, state in states.items() if state == NEW)
        for seed in new:
            _set_aside(folder, folder / cell.name / f"s{seed}")
        started = [(seed,) for seed, state in states.items() if state == STARTED]
        fresh = [new] if cell.together and new == cell.seeds else [(seed,) for seed in new]
        found += [Job(cell, seeds, folder / cell.name, resumes=True) for seeds in started]
        found += [Job(cell, seeds, folder / cell.name, resumes=False) for seeds in fresh]
    return sorted(found, key=lambda job: job.seeds[0])


def refuse_others(cells: Sequence[Cell], folder: Path, settings: Callable[[Cell], dict[str, Any]]) -> None:
    """Check that the runs that are there already are those of this suite.

    Args:
        settings: of a cell's first seed, as `config.json` has them.

    Raises:
        SuiteError: naming the first run that was trained with other settings.
    """
    for cell in cells:
        wanted = settings(cell)
        for seed in cell.seeds:
            path = folder / cell.name / f"s{seed}" / "config.json"
            if not path.exists():
                continue
            there = json.loads(path.read_text(encoding="utf-8"))
            here = json.loads(json.dumps({**wanted, "seed": seed}))
            other = sorted(name for name in here.keys() - {"threads"} if there.get(name) != here[name])
            if other:
                raise SuiteError(
                    f"{path.parent} was trained with other settings ({', '.join(other)}) than the suite's: "
                    f"name another folder with --out"
                )


@dataclass
class Runner:
    """Trains jobs on cores.

    Args:
        waiting: what is to be done, in this order.
        cores: one job at a time on each.
        tell: takes lines for the user.
    """

    waiting: deque[Job]
    cores: Sequence[int]
    tell: Callable[[str], None]
    stopping: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self) -> tuple[list[Job], bool]:
        """Train all; a job that fails does not stop the others.

        Returns:
            All jobs, each with the status of its process (None if it did not begin), and whether Ctrl-C
            stopped them; then every process was let to save its checkpoint.
        """
        every, begin = list(self.waiting), time.monotonic()
        workers = [threading.Thread(target=self._work, args=(core,), daemon=True) for core in self.cores]
        for worker in workers:
            worker.start()
        told = begin
        try:
            while any(worker.is_alive() for worker in workers):
                time.sleep(0.1)
                if time.monotonic() - told >= TOLD_EVERY:
                    told = time.monotonic()
                    self.tell(progress(every, len(self.cores)))
        except KeyboardInterrupt:
            self.stop(every)
            for worker in workers:
                worker.join()
        return every, self.stopping

    def stop(self, every: Sequence[Job]) -> None:
        """Let every process save its checkpoint and end."""
        self.tell("stopping; every training saves a checkpoint")
        with self.lock:
            self.stopping = True
            for job in every:
                if job.process is not None and job.status is None:
                    job.process.send_signal(signal.SIGINT)

    def _work(self, core: int) -> None:
        while True:
            with self.lock:
                if self.stopping or not self.waiting:
                    return
                job = self.waiting.popleft()
                job.folder.mkdir(parents=True, exist_ok=True)
                log = (job.folder / f"{job.name.rpartition('/')[2]}.log").open("a")
                # of its own session, so that Ctrl-C reaches it once, from here
                job.process = subprocess.Popen(job.command(), stdout=log, stderr=log, start_new_session=True)
                if hasattr(os, "sched_setaffinity"):
                    os.sched_setaffinity(job.process.pid, {core})
            begin = time.monotonic()
            with log:
                while job.process.poll() is None:
                    time.sleep(0.2)
                    job.seconds, job.share = time.monotonic() - begin, share_done(job)
            job.status = job.process.returncode
            if not self.stopping:
                self.tell(f"{job.name}: {outcome(job)} after {job.seconds:,.0f} s")


def share_done(job: Job) -> float:
    """Of a job's steps, by the last line of its metrics."""
    try:
        steps = json.loads((job.runs[0] / "config.json").read_text())["steps"]
        with (job.runs[0] / "metrics.jsonl").open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 8192))
            last = file.read().decode(errors="ignore").splitlines()[-1]
        return min(1.0, json.loads(last)["env_steps"] / steps)
    except (OSError, ValueError, KeyError, IndexError):  # nothing yet, or in the middle of a line
        return job.share


def outcome(job: Job) -> str:
    """One word about a job that ended."""
    states = {state_of(run) for run in job.runs}
    if job.status == 0:
        return "done"
    return DIVERGED if DIVERGED in states else f"FAILED (status {job.status}), see {job.folder}/*.log"


def progress(every: Sequence[Job], cores: int) -> str:
    """One line about all jobs: done, running, left, and the time that may take."""
    done = [job for job in every if job.status is not None]
    running = [job for job in every if job.process is not None and job.status is None]
    where = ", ".join(f"{job.name} {job.share:.0%}" for job in running)
    return f"{len(done)} of {len(every)} done; {where}; {time_left(every, cores)}"


def time_left(every: Sequence[Job], cores: int) -> str:
    """An estimate from what jobs of the same task took so far."""
    known: dict[str, list[float]] = {}
    for job in every:
        if job.share > 0.02:
            known.setdefault(job.cell.task, []).append(job.seconds / job.share)
    if not known:
        return "time left unknown"
    overall = [*itertools.chain(*known.values())]
    left = 0.0
    for job in every:
        if job.status is None:
            times = known.get(job.cell.task, overall)
            left += (1 - job.share) * sum(times) / len(times)
    minutes = round(left / cores / 60)
    return f"about {minutes // 60} h {minutes % 60:02d} min left"


def _set_aside(root: Path, run: Path) -> None:
    if not run.exists():
        return
    for number in itertools.count(1):
        place = root / "abandoned" / f"{'-'.join(run.relative_to(root).parts)}-{number}"
        if not place.exists():
            place.parent.mkdir(exist_ok=True)
            run.rename(place)
            return
