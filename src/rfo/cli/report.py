"""`rfo report`: compare runs in tables and figures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from rfo.errors import SettingError, unknown


@dataclass(frozen=True)
class Report:
    """Compare runs: learning curves, final tables with intervals, sample efficiency.

    Writes one HTML page that opens offline, the same in Markdown, CSV and PNG, and the thinned raw
    results, from which the tables and figures can be made again. Runs of one task and label that
    differ in a setting other than the seed are shown apart.
    """

    runs: tyro.conf.Positional[Annotated[tuple[Path, ...], tyro.conf.arg(metavar="RUNS ...")]] = ()
    """Run folders, folders of them (as from `rfo bench learn`), or the results.json of a report."""
    out: Path = Path("report")
    """Folder to write to; a report that is there already is replaced."""
    reference: str = "sapo"
    """Label of the method that the others are compared with; the first one, if nothing has this
    label."""
    labels: tuple[str, ...] = ()
    """Labels to show; all, if none is given. The raw results are those of all runs in any case."""
    points: int = 100
    """Points kept of each learning curve in results.json."""
    along: tuple[Literal["env_steps", "seconds"], ...] = ("env_steps", "seconds")
    """Axes of the learning curves, a panel each."""
    title: str = ""
    """Title of the learning curves; the task's name, if not given."""

    def run(self) -> int:
        """Read, write, and print the tables."""
        if not self.runs:
            raise SettingError(
                "name run folders or a folder of them, as in `rfo report runs/small`"
            )
        if self.points < 2:
            raise SettingError(f"--points must be at least 2, not {self.points}", "points")
        if not self.along:
            raise SettingError("--along needs env_steps, seconds or both", "along")
        from rfo.lab.comparison import Comparison
        from rfo.lab.folders import read_any
        from rfo.lab.labels import separated
        from rfo.lab.report import write

        runs = separated([run for path in self.runs for run in read_any(path)])
        known = list(dict.fromkeys(run.label for run in runs))
        for label in self.labels:
            if label not in known:
                raise SettingError(unknown("label", label, known), "labels")
        shown = [run for label in self.labels or known for run in runs if run.label == label]
        there = self.reference in {run.label for run in shown}
        first = self.reference if there else shown[0].label
        written = write(
            Comparison(shown, first), self.out, self.points, self.along, self.title, runs
        )
        print((self.out / "report.md").read_text(encoding="utf-8"))
        print(*written, sep="\n")
        return 0
