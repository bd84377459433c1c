"""`rfo bench speed`: measure how fast tasks simulate and train."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from rfo.errors import SettingError
from rfo.experiment.catalogue import find_method, find_task

Cores = Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: all)")]
PeerPython = Annotated[
    Path | None, tyro.conf.arg(metavar="PATH", help_behavior_hint="(default: this one)")
]


@dataclass(frozen=True)
class BenchSpeed:
    """Measure how fast tasks simulate and train on this machine, on one core and on all.

    Every measurement is a process of its own that cannot use more cores than it is told. Physics is
    a rollout of 32 control steps, alone and with its gradient, without any policy; training is
    whole updates. The ant is compared with that of a peer, Brax, go2_velocity and g1_velocity with
    MJX on the same files, if they are installed (pip install 'rfo[peers]'). It takes a few minutes
    in all.
    """

    tasks: tyro.conf.Positional[Annotated[tuple[str, ...], tyro.conf.arg(metavar="TASK ...")]] = (
        "ant",
    )
    """Tasks to measure."""
    algo: str = "rfo"
    """Method of the training."""
    cores: Cores = None
    """Cores of the second measurement."""
    peer_python: PeerPython = None
    """Interpreter that has Brax and MJX, if they should not be installed beside rfo."""
    json: bool = False
    """Print one JSON object with physics_env_steps_per_s, train_env_steps_per_s (of the first
    task), threads and all details; the tables go to stderr."""

    def run(self) -> int:
        """Measure and print."""
        for task in self.tasks:
            find_task(task)
        find_method(self.algo)
        if not self.tasks or (self.cores is not None and self.cores < 1):
            raise SettingError("name at least one task; --cores must be at least 1")
        from rfo.lab.speed.measure import measure
        from rfo.lab.speed.table import show
        from rfo.training.screen import Phase

        with Phase("compiling and measuring") as phase:
            result = measure(self.tasks, self.algo, self.cores, self.peer_python, phase.now)
        show(result, to_stderr=self.json)
        if self.json:
            print(json.dumps(result))
        return 0
