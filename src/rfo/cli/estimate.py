"""`rfo estimate`: tell what a training will take."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass

from rfo.cli.settings import Settings
from rfo.errors import SettingError
from rfo.experiment.record import Experiment


@dataclass(frozen=True)
class Estimate(Settings):
    """Tell how long a training will take on this machine, and how much memory.

    It takes the settings that `rfo train` takes, makes the first updates, and writes nothing:
    `rfo estimate ant --envs 1024 --steps 10_000_000`.
    """

    seeds: int = 1
    """Seeds that train together in one program."""
    timed: int = 3
    """Updates to time."""
    json: bool = False
    """Print one JSON object."""

    def run(self, experiment: Experiment) -> int:
        """Measure and print."""
        if self.seeds < 1 or self.timed < 1:
            raise SettingError("--seeds and --timed must be at least 1")
        from rfo.lab.cost import measure
        from rfo.training.screen import Phase

        with Phase(f"{experiment.title}: compiling and making {1 + self.timed} updates"):
            cost = measure(experiment, self.seeds, self.timed)
        told = {**dataclasses.asdict(cost), "steps_per_second": cost.steps_per_second}
        print(json.dumps({**told, "seconds": cost.seconds}) if self.json else cost)
        return 0
