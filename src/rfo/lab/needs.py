"""Memory that trainings need, so that several fit beside each other."""

from __future__ import annotations

from rfo.errors import SettingError
from rfo.experiment import memory
from rfo.lab.queue import Job

PROCESS = 1_000_000_000
"""Memory of a process that trains next to nothing: libraries and compiled programs [bytes]."""


class Needs:
    """Memory that a job takes [bytes], by `rfo.experiment.memory.plan`; each is made once."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], int] = {}

    def __call__(self, job: Job) -> int:
        """Estimate a job's; a training that is refused takes no more than its process."""
        key = (job.cell.name, len(job.seeds))
        if key not in self._known:
            try:
                planned = memory.plan(job.cell.experiment, len(job.seeds)).total
            except SettingError:  # its own process tells
                planned = 0
            self._known[key] = PROCESS + planned
        return self._known[key]
