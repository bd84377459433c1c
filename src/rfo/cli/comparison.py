"""The commands that compare methods: `rfo bench learn` and `rfo report`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from rfo.cli.commands import UsageError
from rfo.experiment import build as experiments
from rfo.experiment.build import ExperimentError

if TYPE_CHECKING:
    from rfo.lab.queue import Job
    from rfo.lab.suite import Cell

SuitePath = tyro.conf.Positional[
    Annotated[Path | None, tyro.conf.arg(metavar="SUITE", help_behavior_hint="")]
]
SuiteSeeds = Annotated[
    int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: the suite's)")
]
SuiteOut = Annotated[
    Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="(default: runs/SUITE)")
]
CoreNumbers = Annotated[
    tuple[int, ...], tyro.conf.arg(metavar="INT ...", help_behavior_hint="(default: all)")
]


@dataclass(frozen=True)
class BenchLearn:
    """Train a suite: tasks x methods x seeds, one process a core.

    What is finished is skipped, and what was interrupted goes on from its checkpoint, so the same command may
    be given again at any time. A run that fails does not stop the others. `rfo report` makes tables and
    figures of the folder.
    """

    suite: SuitePath = None
    """TOML file; bench/learning/suites holds examples."""
    seeds: SuiteSeeds = None
    """Seeds of each cell."""
    budget: float = 1.0
    """Factor on the steps of every task, as 0.1 for a tenth."""
    out: SuiteOut = None
    """Folder of the runs, each in TASK/METHOD/sSEED."""
    cores: CoreNumbers = ()
    """Numbers of the cores to train on, one process on each."""
    json: bool = False
    """Print one JSON object with the state of every run, by TASK/METHOD/sSEED."""

    def run(self) -> int:
        """Train and tell."""
        if self.suite is None:
            raise UsageError("name a suite, as in `rfo bench learn bench/learning/suites/ant.toml`")
        if (self.seeds is not None and self.seeds < 1) or not self.budget > 0:
            raise UsageError("--seeds must be at least 1, --budget positive")
        from rfo.lab import queue, suite
        from rfo.lab.board import Board

        available = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
        if not set(self.cores) <= set(available):
            raise UsageError(f"--cores must be among {', '.join(map(str, available))}")
        out = self.out or Path("runs") / self.suite.stem
        try:
            cells = suite.read(self.suite, self.seeds, self.budget)
            queue.refuse_others(cells, out, _settings, lambda there: experiment_of(there).to_json())
            with queue.locked(out) as lock:
                jobs = queue.jobs(cells, out)
                if jobs:
                    stopped = queue.Runner(
                        jobs, self.cores or available, Board(str(out)), lock
                    ).run()
                else:
                    stopped = False
                    print("rfo: nothing is left to train", file=sys.stderr)
        except suite.SuiteError as error:
            raise UsageError(str(error)) from None
        states = {
            f"{cell.name}/s{seed}": queue.state_of(out / cell.name / f"s{seed}")
            for cell in cells
            for seed in cell.seeds
        }
        _tell_what_is_left(states, jobs, stopped)
        print(json.dumps(states) if self.json else out)
        return 130 if stopped else 1 if set(states.values()) != {queue.FINISHED} else 0


def _tell_what_is_left(states: dict[str, str], jobs: Sequence[Job], stopped: bool) -> None:
    left = [name for name, state in states.items() if state != "finished"]
    told = [f"{job.name} failed: {job.reason}" for job in jobs if job.status == "failed"]
    if left:
        told.append(f"{len(left)} of {len(states)} runs are not finished: {', '.join(left)}")
    if stopped:
        told.append("go on by giving the same command again")
    for line in told:
        print(f"rfo: {line}", file=sys.stderr)


def _settings(cell: Cell) -> dict[str, Any]:
    """Settings of a cell's first seed, as its `config.json` has them.

    Raises:
        UsageError: naming the cell, if `rfo train` would refuse its arguments.
    """
    from rfo.cli.options import parse_train

    try:
        return parse_train([*cell.arguments, "--seed", str(cell.seeds[0])]).experiment().to_json()
    except (UsageError, ExperimentError) as error:
        raise UsageError(f"{cell.name}: {error}") from None


@dataclass(frozen=True)
class MakeReport:
    """Compare runs: learning curves, final tables with intervals, sample efficiency.

    Writes Markdown, CSV and PNG, and the thinned raw results, from which the same report can be made.
    """

    runs: tyro.conf.Positional[Annotated[tuple[Path, ...], tyro.conf.arg(metavar="RUNS ...")]] = ()
    """Run folders, folders of them (as from `rfo bench learn`), or the results.json of a report."""
    out: Path = Path("report")
    """Folder to write to; a report that is there already is replaced."""
    reference: str = "sapo"
    """Label of the method that the others are compared with; the first one, if nothing has this label."""
    labels: tuple[str, ...] = ()
    """What to show; everything, if not given. The raw results are those of all runs in any case."""
    points: int = 100
    """Points kept of each learning curve in results.json."""
    along: tuple[Literal["env_steps", "seconds"], ...] = ("env_steps", "seconds")
    """Axes of the learning curves, a panel each."""
    title: str = ""
    """Of the learning curves; the task's name, if not given."""

    def run(self) -> int:
        """Read, write, and print the tables."""
        if not self.runs:
            raise UsageError("name run folders or a folder of them, as in `rfo report runs/small`")
        if self.points < 2:
            raise UsageError("--points must be at least 2")
        from rfo.lab.comparison import Comparison
        from rfo.lab.report import write
        from rfo.lab.results import ResultsError, read_any

        try:
            runs = [run for path in self.runs for run in read_any(path)]
            known = list(dict.fromkeys(run.label for run in runs))
            for label in self.labels:
                if label not in known:
                    raise UsageError(experiments.unknown("label", label, known))
            shown = [run for label in self.labels or known for run in runs if run.label == label]
            first = (
                self.reference if self.reference in {run.label for run in shown} else shown[0].label
            )
            written = write(
                Comparison(shown, first), self.out, self.points, self.along, self.title, runs
            )
        except ResultsError as error:
            raise UsageError(str(error)) from None
        print((self.out / "report.md").read_text(encoding="utf-8"))
        print(*written, sep="\n")
        return 0
