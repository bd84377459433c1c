"""Trains a suite on a cluster: submitit hands every training to Slurm, and this process watches.

The trainings do not need the watching process. A training that Slurm stops, because its time is up
or another job comes first, saves a checkpoint, queues again and goes on. The id of each job is kept
beside its run folders, so the next watcher finds the job and submits no training twice.
"""

from __future__ import annotations

import math
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from rfo.errors import RunError
from rfo.lab import queue
from rfo.lab.board import Board
from rfo.lab.cluster import Slurm
from rfo.lab.suite import Cell
from rfo.training.guard import Interruption

POLL = 1.0
"""Time between two looks at the jobs [s]."""
SAVING = 120
"""Time before the end of a job at which its training is told to save [s]."""
MARGIN = 2
"""Memory that is asked for, in estimates; Slurm ends what takes more."""
MOST_REQUEUED = 100
"""How often a job whose time is up may queue again."""


class Training:
    """What is left of a job when the cluster starts it; submitit keeps it in a file."""

    def __init__(self, cell: Cell, folder: Path, threads: int):
        self.cell, self.folder, self.threads = cell, folder, threads
        self._process: subprocess.Popen[bytes] | None = None

    def __call__(self) -> int:
        """Train; returns the first exit status that is not 0, or 0."""
        for job in queue.jobs([self.cell], self.folder):
            self._process = queue.launch(job, self.threads, before=_ignore_preemption)
            try:
                while self._process.poll() is None:
                    time.sleep(queue.POLL)
            except BaseException:
                queue.send(job, signal.SIGINT)
                raise
            if self._process.returncode != 0:
                return self._process.returncode
        return 0

    def checkpoint(self) -> Any:
        """Save, as Slurm is about to end the job; returns what to go on with."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            # not wait(): this runs inside of __call__, which may hold the process's lock
            with suppress(ChildProcessError):  # __call__ has seen its end already
                os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        rest = Training(self.cell, self.folder, self.threads)
        return _submitit().helpers.DelayedSubmission(rest)


def _ignore_preemption() -> None:
    """Slurm signals all processes of a job; submitit's stops the training, by `checkpoint`."""
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)


def train(
    jobs: Sequence[queue.Job],
    folder: Path,
    slurm: Slurm,
    board: Board,
    needs: Callable[[queue.Job], int],
    threads: int = 1,
) -> bool:
    """Submit jobs that are not submitted yet, and watch all of them until they end.

    Args:
        jobs: jobs to do; afterwards, the status of each shows how it ended.
        folder: folder of the suite, which all nodes of the cluster see.
        slurm: what to ask for.
        board: display of the progress.
        needs: memory that a job takes [bytes].
        threads: cores of each job.

    Returns:
        Whether SIGINT or SIGTERM ended the watching. The jobs go on.

    Raises:
        RunError: if submitit is not installed, or there is no Slurm.
    """
    known = [(job, _handed_in(job, folder, slurm)) for job in jobs]
    tickets = [(job, ticket) for job, ticket in known if ticket is not None]
    new = [job for job, ticket in known if ticket is None]
    if tickets:
        board.say(f"{len(tickets)} trainings are in the cluster already")
    if new:
        tickets += zip(new, _hand_in(new, folder, slurm, needs, threads), strict=True)
    with Interruption() as interruption, board:
        while tickets and not interruption.requested:
            for job, ticket in list(tickets):
                if ticket.done():
                    tickets.remove((job, ticket))
                    _judge(job, ticket)
                    board.say(job.outcome)
                elif job.status == queue.WAITING and job.progress[0] > 0:
                    job.status = queue.RUNNING
            board.show(lambda: queue.suite_progress(jobs, slurm.at_once))
            time.sleep(POLL if tickets else 0)
        if tickets:
            board.say(
                f"{len(tickets)} trainings go on in the cluster: the same command watches them "
                "again, scancel ends them"
            )
        return bool(tickets)


def _hand_in(
    jobs: Sequence[queue.Job],
    folder: Path,
    slurm: Slurm,
    needs: Callable[[queue.Job], int],
    threads: int,
) -> list[Any]:
    """Tickets of new jobs, which are one array of Slurm's."""
    try:
        executor = _submitit().AutoExecutor(
            folder / "submitit", cluster=slurm.cluster, slurm_max_num_timeout=MOST_REQUEUED
        )
    except RuntimeError as error:  # no srun
        raise RunError(f"there is no Slurm here ({error}); leave out --executor slurm") from None
    memory_gb = slurm.memory_gb or math.ceil(MARGIN * max(map(needs, jobs)) / 1e9)
    given = {"slurm_partition": slurm.partition, "slurm_account": slurm.account}
    executor.update_parameters(
        name=folder.name,
        timeout_min=max(1, round(60 * slurm.hours)),
        cpus_per_task=threads,
        gpus_per_node=slurm.gpus,
        mem_gb=memory_gb,
        stderr_to_stdout=True,
        slurm_array_parallelism=slurm.at_once,
        slurm_signal_delay_s=SAVING,
        slurm_setup=list(slurm.setup),
        **{name: value for name, value in given.items() if value},
    )
    with executor.batch():
        tickets = [executor.submit(Training(_part(job), folder, threads)) for job in jobs]
    for job, ticket in zip(jobs, tickets, strict=True):
        job.folder.mkdir(parents=True, exist_ok=True)
        _ticket_file(job).write_text(ticket.job_id, encoding="utf-8")
    return tickets


def _handed_in(job: queue.Job, folder: Path, slurm: Slurm) -> Any | None:
    """Ticket of a job that is in the cluster from earlier; None if it is not."""
    file = _ticket_file(job)
    if slurm.cluster != "slurm" or not file.exists():
        return None
    ticket = _submitit().SlurmJob(folder / "submitit", file.read_text(encoding="utf-8").strip())
    return None if ticket.done(force_check=True) else ticket


def _ticket_file(job: queue.Job) -> Path:
    return job.log.with_suffix(".slurm")


def _part(job: queue.Job) -> Cell:
    """The cell with the seeds of one job."""
    cell = job.cell
    return Cell(cell.label, cell.experiment, job.seeds, cell.together and job.seeds == cell.seeds)


def _judge(job: queue.Job, ticket: Any) -> None:
    """Set the status of a job that ended in the cluster."""
    try:
        code = ticket.result()
    except Exception:  # the job gave no result, or an error of submitit's
        job.status = queue.FAILED
        job.reason = f"job {ticket.job_id} ended as {ticket.state}; see {ticket.paths.stdout}"
    else:
        queue.judge(job, code)


def _submitit() -> Any:
    try:
        import submitit
    except ImportError:
        raise RunError("submitit is not installed: pip install 'rfo[slurm]'") from None
    return submitit
