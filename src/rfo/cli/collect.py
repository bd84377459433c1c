"""`rfo collect`: write demonstrations to a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from rfo.cli.options import OwnTask
from rfo.errors import SettingError

MINARI = "minari:"

SourceName = tyro.conf.Positional[
    Annotated[str, tyro.conf.arg(metavar="RUN", help_behavior_hint="")]
]
OutFile = Annotated[Path, tyro.conf.arg(metavar="FILE")]


@dataclass(frozen=True)
class Collect:
    """Write episodes to a file of demonstrations, for `rfo clone`."""

    source: SourceName = ""
    """Run folder whose newest policy acts; or minari:NAME for a dataset of Minari on this machine
    (pip install 'rfo[minari]')."""
    episodes: int = 64
    """Episodes, rounded up to equal shares of the environments; of a dataset, at most so many."""
    out: OutFile = Path("demos.npz")
    """File to write."""
    deterministic: bool = False
    """Act with noise zero instead of drawing actions."""
    seed: int = 0
    """Seed of the episodes."""
    task: OwnTask = None

    def run(self) -> int:
        """Collect, write and tell what it is."""
        if not self.source:
            raise SettingError("name a run folder, as in `rfo collect runs/...`")
        if self.source.startswith(MINARI):
            from rfo.envs.adapters.minari import demonstrations

            demos = demonstrations(self.source.removeprefix(MINARI), self.episodes)
        else:
            from rfo.experiment.api import collect
            from rfo.experiment.run import load

            run = load(self.source, task=self.task)
            demos = collect(run, self.episodes, deterministic=self.deterministic, seed=self.seed)
        demos.save(self.out)
        print(f"{self.out}: {str(demos).strip('<>')}")
        return 0
