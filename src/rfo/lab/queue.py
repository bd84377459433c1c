"""Trains a suite in processes that divide the cores, and continues one that was interrupted.

A suite keeps no record of its own, because the run folders show how far each run got. It can be
stopped, killed or extended at any time and started again: finished runs are skipped, interrupted
ones continue. Every training is a process in its own session. It can crash or be killed without any
effect on the others, and Ctrl-C reaches it only through this process.
"""

from __future__ import annotations

import fcntl
import itertools
import json
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from rfo.errors import RunError
from rfo.experiment.record import differences
from rfo.lab.board import Board, SuiteProgress
from rfo.lab.cores import keep_on
from rfo.lab.suite import Cell
from rfo.training.guard import Interruption
from rfo.training.lock import Lock
from rfo.training.record import LOCK, status_of

TRAIN = (sys.executable, "-m", "rfo.cli", "train")
POLL = 0.2
"""Time between two checks of the processes [s]."""
TAIL = 8192
"""Number of bytes at the end of a file that are searched for its last line."""
STOPPED = (130, -signal.SIGINT)
"""Exit statuses of a training that was asked to stop; the second one if it had only just
started."""

FINISHED, DIVERGED, STARTED, NEW = "finished", "diverged", "started", "new"
"""States of a run folder; `STARTED` means that there is a checkpoint to continue from."""
WAITING, RUNNING, INTERRUPTED, FAILED = "waiting", "running", "interrupted", "failed"
"""States of a job, which may also be `FINISHED` or `DIVERGED`."""


@dataclass
class Job:
    """Work of one process: one seed of a cell, or all of its seeds together."""

    cell: Cell
    seeds: tuple[int, ...]
    folder: Path
    """Folder of the cell."""
    resumes: bool
    """Whether it continues from a checkpoint."""
    status: str = WAITING
    reason: str = ""
    """Why the job failed; empty otherwise."""
    process: subprocess.Popen[bytes] | None = None

    @property
    def name(self) -> str:
        """Name that the user sees."""
        return f"{self.cell.name}/{'+'.join(f's{seed}' for seed in self.seeds)}"

    @property
    def outcome(self) -> str:
        """How it ended, in one line."""
        return f"{self.name}: {self.status}" + (f" ({self.reason})" if self.reason else "")

    @property
    def runs(self) -> list[Path]:
        """Run folders of the job."""
        return [self.folder / f"s{seed}" for seed in self.seeds]

    @property
    def log(self) -> Path:
        """File with the output of the process."""
        return self.folder / f"{self.name.rpartition('/')[2]}.log"

    @property
    def config(self) -> Path:
        """File with the experiment of the cell."""
        return self.folder / "experiment.toml"

    @property
    def progress(self) -> tuple[int, float]:
        """Environment steps done in each of its runs, and the training time so far [s]."""
        steps, seconds = reached(self.runs[0])
        return min(steps, self.cell.experiment.steps), seconds

    def options(self, threads: int | None = 1) -> list[str]:
        """Arguments of `rfo train`, with as many threads; None: with as many as help."""
        divided = [] if threads is None else ["--threads", str(threads)]
        if self.resumes:
            return ["--resume", str(self.runs[0]), *divided]
        words = ["--config", str(self.config), *divided, "--seed", str(self.seeds[0])]
        if len(self.seeds) == 1:
            return [*words, "--out", str(self.runs[0])]
        return [*words, "--seeds", str(len(self.seeds)), "--out", str(self.folder)]


def state_of(run: Path) -> str:
    """State of a run folder: `FINISHED`, `DIVERGED`, `STARTED` or `NEW`."""
    if (status := status_of(run)) != "unfinished":
        return status
    return STARTED if any((run / "checkpoints").glob("*.ckpt")) else NEW


def jobs(cells: Sequence[Cell], folder: Path) -> list[Job]:
    """Jobs that remain of a suite whose runs are in `folder`, ordered by their first seed.

    A run folder without a checkpoint is moved to `abandoned`, and its run starts again.

    Raises:
        RunError: if a process is training there.
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


def refuse_others(cells: Sequence[Cell], folder: Path) -> None:
    """Check that existing runs have the settings of this suite.

    Raises:
        RunError: if a run was trained with other settings; the message names the first one.
    """
    from rfo.experiment.folder import experiment_of

    for cell in cells:
        for seed in cell.seeds:
            path = folder / cell.name / f"s{seed}" / "config.json"
            if not path.exists():
                continue
            try:
                there = experiment_of(json.loads(path.read_text(encoding="utf-8")))
            except ValueError as error:
                raise RunError(f"{path}: {error}; name another folder with --out") from None
            if other := differences(there, replace(cell.experiment, seed=seed)):
                raise RunError(
                    f"{path.parent} was trained with other settings ({', '.join(other)}) than the "
                    f"suite has: name another folder with --out"
                )


class JobQueue:
    """Trains jobs on cores. Afterwards, the status of each job shows how it ended.

    Args:
        jobs: jobs to do, in this order.
        cores: numbers of the cores.
        board: display of the progress.
        lock: file descriptor of the lock on the suite's folder, which every process inherits.
        threads: cores of each job, which has them for itself.
        needs: memory that a job takes [bytes]; it is asked where jobs run beside each other.
        memory: memory that all running jobs share [bytes]. A job that does not fit waits until it
            does, or until it is alone. None for no limit.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        cores: Sequence[int],
        board: Board,
        lock: int,
        threads: int = 1,
        needs: Callable[[Job], int] = lambda job: 0,
        memory: int | None = None,
    ):
        starts = range(0, len(cores) - threads + 1, threads)
        shares = [tuple(cores[start : start + threads]) for start in starts]
        self.jobs, self.shares, self.board, self.lock = jobs, len(shares), board, lock
        self.threads, self.needs, self.memory = threads, needs, memory
        self.waiting, self.free = deque(jobs), deque(shares)
        self.running: dict[tuple[int, ...], Job] = {}
        self.told_to_stop = False

    def run(self) -> bool:
        """Train all jobs; one that fails does not stop the others.

        Returns:
            Whether SIGINT or SIGTERM stopped them. If so, every process has saved a checkpoint.

        Raises:
            KeyboardInterrupt: after a second such signal, which kills every process.
        """
        with Interruption() as interruption, self.board:
            try:
                while self.busy(interruption.requested):
                    time.sleep(POLL)
            finally:
                self.kill()
            return interruption.requested

    def busy(self, stopping: bool) -> bool:
        """Handle jobs that ended, start waiting ones and show the progress.

        Returns:
            Whether any job is running.
        """
        for cores, job in list(self.running.items()):
            if job.process is not None and job.process.poll() is not None:
                del self.running[cores]
                self.free.append(cores)
                judge(job, job.process.returncode)
                self.board.say(job.outcome)
        if stopping and not self.told_to_stop:
            self.told_to_stop = True
            self.board.say(
                "stopping; every training saves a checkpoint (a second Ctrl-C kills them)"
            )
            for job in self.running.values():
                send(job, signal.SIGINT)
        while self.waiting and self.free and not stopping and self.fits(self.waiting[0]):
            cores = self.free.popleft()
            self.running[cores] = self.start(self.waiting.popleft(), cores)
        self.board.show(lambda: suite_progress(self.jobs, self.shares))
        return bool(self.running)

    def fits(self, job: Job) -> bool:
        """Whether there is memory for a job beside those that run."""
        if self.memory is None or not self.running:
            return True
        taken = sum(self.needs(other) for other in self.running.values())
        return taken + self.needs(job) <= self.memory

    def start(self, job: Job, cores: Sequence[int]) -> Job:
        """Start a job, on the given cores if the system allows that."""
        process = launch(job, self.threads, self.lock)
        keep_on(list(cores), process.pid)  # before the process has more threads
        return job

    def kill(self) -> None:
        """Kill all running jobs."""
        for job in self.running.values():
            send(job, signal.SIGKILL)
            if job.process is not None:
                job.process.wait()
            job.status = INTERRUPTED


def launch(
    job: Job,
    threads: int | None,
    lock: int | None = None,
    before: Callable[[], None] | None = None,
) -> subprocess.Popen[bytes]:
    """Start the process of a job.

    Args:
        job: what to train.
        threads: CPU threads of the physics; None: as many as help.
        lock: file descriptor of a lock that the process inherits.
        before: what the process does first.
    """
    job.folder.mkdir(parents=True, exist_ok=True)
    if not job.resumes:
        job.config.write_text(job.cell.experiment.to_toml(), encoding="utf-8")
    with job.log.open("ab") as log:
        job.process = subprocess.Popen(
            [*TRAIN, *job.options(threads)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            pass_fds=() if lock is None else (lock,),
            preexec_fn=before,
        )
    job.status = RUNNING
    return job.process


def send(job: Job, number: int) -> None:
    """Send a signal to the process of a job, unless it has ended."""
    if job.process is not None and job.process.poll() is None:
        job.process.send_signal(number)


def judge(job: Job, code: int) -> None:
    """Set the status of a job that ended, from its run folders and the exit status of its
    process."""
    states = {state_of(run) for run in job.runs}
    if code == 0 and states == {FINISHED}:
        job.status = FINISHED
    elif DIVERGED in states:
        job.status = DIVERGED
    elif code in STOPPED:
        job.status = INTERRUPTED
    else:
        told = f"killed by {signal.Signals(-code).name}" if code < 0 else last_line(job.log)
        job.status, job.reason = FAILED, f"{told or f'status {code}'}; see {job.log}"


def suite_progress(jobs: Sequence[Job], cores: int) -> SuiteProgress:
    """Progress of the jobs.

    The time left assumes that a step takes as long as in other jobs of the same task, or in any job
    if there are none.
    """
    known = [(job, *job.progress) for job in jobs]

    def pace(task: str) -> float:
        """Time per environment step [s]; NaN if nothing is known."""
        for group in (
            [(n, t) for job, n, t in known if job.cell.task == task],
            [k[1:] for k in known],
        ):
            if steps := sum(n for n, _ in group):
                return sum(t for _, t in group) / steps
        return float("nan")

    open_jobs = [(job, n) for job, n, _ in known if job.status in (WAITING, RUNNING)]
    left = [(job.cell.experiment.steps - n) * pace(job.cell.task) for job, n in open_jobs]
    return SuiteProgress(
        counts={
            status: sum(job.status == status for job in jobs)
            for status in {job.status: 0 for job in jobs}
        },
        steps=sum(n * len(job.seeds) for job, n, _ in known),
        of_steps=sum(job.cell.experiment.steps * len(job.seeds) for job in jobs),
        running={
            job.name: (n, job.cell.experiment.steps) for job, n, _ in known if job.status == RUNNING
        },
        seconds_left=max(sum(left) / cores, *left) if left else 0.0,
    )


@contextmanager
def locked(folder: Path) -> Iterator[int]:
    """Lock a folder against others that train in it; gives the lock's file descriptor.

    Trainings inherit the lock, so a training that was left behind keeps the folder locked.

    Raises:
        RunError: if another process uses the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(
                f"another process of this command, or a training that it left behind, is at work "
                f"in {folder}"
            ) from None
        yield file.fileno()


def reached(run: Path) -> tuple[int, float]:
    """Environment steps that a run has come to, and its training time so far [s]."""
    try:
        line = json.loads(last_line(run / "metrics.jsonl"))
        return line["env_steps"], line["seconds"]
    except (OSError, ValueError, KeyError, TypeError):  # no line yet, or only a part of it
        return 0, 0.0


def last_line(path: Path) -> str:
    """Last line of a file that is not blank."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL))
        lines = file.read().decode(errors="replace").splitlines()
    return next((line for line in reversed(lines) if line.strip()), "")


def _set_aside(root: Path, run: Path) -> None:
    """Move a run folder out of the way, unless a process is at work in it.

    Raises:
        RunError: naming that process.
    """
    if not run.exists():
        return
    Lock(run / LOCK).release()
    for number in itertools.count(1):
        place = root / "abandoned" / f"{'-'.join(run.relative_to(root).parts)}-{number}"
        if not place.exists():
            place.parent.mkdir(exist_ok=True)
            run.rename(place)
            return
