"""`rfo clone`: fit a policy to demonstrations."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from rfo.cli.settings import Settings
from rfo.cli.train import OutPath
from rfo.errors import SettingError
from rfo.experiment.record import Experiment

DataFiles = Annotated[
    tuple[Path, ...], tyro.conf.arg(metavar="FILE", help_behavior_hint="(required)")
]


@dataclass(frozen=True)
class Clone(Settings):
    """Fit a policy to demonstrations, evaluate it, and write a replay.

    The policy is that of the method which is to train it later: a flow for rfo, a Gaussian for sapo
    or shac. Everything lands in one run folder, whose path is the last line printed. `rfo train
    TASK --from RUN` goes on from there.
    """

    steps: tyro.conf.Suppress[int] = 1_000_000
    checkpoint_every: tyro.conf.Suppress[int] = 100
    data: DataFiles = ()
    """Demonstrations, as `rfo collect` writes them; several files are joined."""
    updates: int = 5000
    """Gradient steps."""
    batch: int = 256
    """Decisions that are drawn for each of them."""
    out: OutPath = None
    """Run folder to make. It must not exist."""

    def run(self, experiment: Experiment) -> int:
        """Fit and evaluate."""
        if not self.data:
            raise SettingError("name the demonstrations, as in --data demos.npz", "data")
        from rfo.experiment.api import clone

        done = clone(experiment, self.data, out=self.out, updates=self.updates, batch=self.batch)
        print(done.path)
        return done.exit_status
