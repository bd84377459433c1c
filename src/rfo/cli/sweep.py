"""`rfo sweep`: search good settings."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from rfo.cli.options import Threads
from rfo.errors import RunError, SettingError

if TYPE_CHECKING:
    from rfo.lab.sweep import Sweep as Sweeping

SearchPath = tyro.conf.Positional[
    Annotated[Path | None, tyro.conf.arg(metavar="SEARCH", help_behavior_hint="")]
]
SweepOut = Annotated[
    Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="(default: runs/SEARCH)")
]


@dataclass(frozen=True)
class Sweep:
    """Search good settings with Optuna, trial after trial.

    Start the command as often as there are cores or machines: all processes share the trials. The
    same command goes on with what was interrupted or killed. Needs pip install 'rfo[sweep]'.
    """

    search: SearchPath = None
    """TOML file; bench/learning/searches holds examples."""
    out: SweepOut = None
    """Folder of the trials and of the report."""
    threads: Threads = None
    json: bool = False
    """Print one JSON object: the best trial's value and settings, and the trials by state."""

    def run(self) -> int:
        """Search and report."""
        if self.search is None:
            raise SettingError(
                "name a search, as in `rfo sweep bench/learning/searches/hopper.toml`"
            )
        try:
            import optuna

            from rfo.lab import search, sweep, sweep_report
        except ModuleNotFoundError as error:
            if error.name != "optuna":
                raise
            raise RunError("optuna is not installed: pip install 'rfo[sweep]'") from None

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        searched = search.read(self.search)
        out = self.out or Path("runs") / self.search.stem
        sweeping = sweep.Sweep(searched, out, self.threads)
        stopped = sweeping.run()
        files = sweep_report.write(sweeping)
        states = sweep_report.counts(sweeping.trials())
        best = next(iter(sweep_report.best_first(sweeping.trials())), None)
        _tell(sweeping, states, stopped)
        if self.json:
            told = best and {
                "trial": best.number,
                "value": best.value,
                "settings": search.settings(best.params),
            }
            print(json.dumps({"best": told, "trials": states}))
        else:
            print(*files, sep="\n")
        return 130 if stopped else 1 if "fail" in states else 0


def _tell(sweeping: Sweeping, states: dict[str, int], stopped: bool) -> None:
    told = []
    if failed := states.get("fail"):
        told.append(f"{failed} trials failed: report/trials.csv says why")
    if running := states.get("running"):
        told.append(f"{running} trials are not finished")
    if stopped or running:
        told.append("go on by giving the same command again, also where a process was killed")
    for line in told:
        print(f"rfo: {line}", file=sys.stderr)
