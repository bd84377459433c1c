"""`rfo train --resume`: go on with an interrupted run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from rfo.cli.options import OwnTask, Threads

ResumedPath = Annotated[Path, tyro.conf.arg(metavar="RUN", help_behavior_hint="(required)")]
NewLength = Annotated[
    int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: the run's)")
]
RunDevices = Annotated[
    int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: the run's)")
]


@dataclass(frozen=True)
class Resume:
    """Go on with an interrupted run, from its newest checkpoint and with its own settings."""

    resume: ResumedPath
    """Run folder to go on with."""
    steps: NewLength = None
    """Environment steps of the whole training, to extend the run. The learning rate goes on from
    where it is, over the new length."""
    task: OwnTask = None
    threads: Threads = None
    devices: RunDevices = None
    """Devices that share the environments."""
    distributed: bool = False
    """Train with the other processes that srun or mpirun started, as `rfo train --distributed`."""

    def run(self) -> int:
        """Train on."""
        if not self.distributed:
            return self._resume(self.devices)
        from rfo.training import processes

        return processes.together(lambda: self._resume(processes.shared_devices(self.devices or 1)))

    def _resume(self, devices: int | None) -> int:
        from rfo.experiment.train import resume
        from rfo.training.processes import leads

        status = resume(self.resume, self.threads, self.steps, self.task, devices)
        if leads():
            print(self.resume)
        return status
