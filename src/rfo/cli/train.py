"""`rfo train`: train a policy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from rfo.cli.settings import Settings
from rfo.experiment.record import Experiment

OutPath = Annotated[
    Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="(default: under runs/)")
]
WandbProject = Annotated[
    str | None, tyro.conf.arg(metavar="PROJECT", help_behavior_hint="(default: none)")
]

StartRun = Annotated[
    Path | None,
    tyro.conf.arg(name="from", metavar="RUN", help_behavior_hint="(default: a new policy)"),
]


@dataclass(frozen=True)
class Train(Settings):
    """Train a policy, evaluate it, and write a replay.

    The defaults are the preset of the task and the method. Everything lands in one run folder,
    whose path is the last line printed. Ctrl-C saves a checkpoint and stops; `rfo train --resume
    RUN` goes on from it. Every setting of the chosen method is an option too: `rfo train ant --algo
    sapo --help` shows SAPO's.
    """

    seeds: int = 1
    """Seeds to train together in one program, counted up from --seed, each with its own run
    folder."""
    out: OutPath = None
    """Run folder to make; with --seeds, the folder around theirs. It must not exist."""
    distributed: bool = False
    """Train with the other processes that srun or mpirun started, on the devices of all; or that
    JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID describe."""
    wandb: WandbProject = None
    """Project of Weights & Biases to send the metrics to as well (pip install 'rfo[wandb]')."""

    start: StartRun = None
    """Run whose policy and normaliser the training starts from, say a clone's."""

    def run(self, experiment: Experiment) -> int:
        """Train and evaluate."""
        if not self.distributed:
            return self._train(experiment)
        from rfo.training import processes

        def train() -> int:
            devices = processes.shared_devices(experiment.devices)
            return self._train(experiment.edited({"devices": devices}))

        return processes.together(train)

    def _train(self, experiment: Experiment) -> int:
        from rfo.experiment.api import train_seeds
        from rfo.training.processes import leads

        runs = train_seeds(experiment, self.seeds, out=self.out, wandb=self.wandb, start=self.start)
        if not leads():
            return 0
        print(*(run.path for run in runs), sep="\n")
        return max(run.exit_status for run in runs)
