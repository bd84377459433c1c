"""A report on runs: tables in Markdown and CSV, figures, and the raw results they came from."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from rfo.results import statistics
from rfo.results.curves import LINES, Line, draw, save
from rfo.results.published import PUBLISHED
from rfo.results.runs import ResultsError, Run, collect
from rfo.results.statistics import Estimate

Row = list[str]


@dataclass(frozen=True)
class Report:
    """What is compared with what.

    Args:
        runs: of one task or several; runs of a task with the same label differ in their seeds only.
        reference: label that the others are compared with; it may be missing on some tasks.

    Raises:
        ResultsError: if there is no run, or no task has the reference.
    """

    runs: Sequence[Run]
    reference: str

    def __post_init__(self) -> None:
        if not self.runs:
            raise ResultsError("there is no run to report on")
        if self.reference not in self.labels:
            raise ResultsError(f"no run has the label {self.reference}; there are {', '.join(self.labels)}")

    @property
    def tasks(self) -> list[str]:
        """In the order of the runs."""
        return list(dict.fromkeys(run.task for run in self.runs))

    @property
    def labels(self) -> list[str]:
        """In the order of the runs."""
        return list(dict.fromkeys(run.label for run in self.runs))

    def of(self, task: str, label: str | None = None) -> list[Run]:
        """Runs of a task, and a label if given."""
        return [run for run in self.runs if run.task == task and label in (None, run.label)]

    def scores(self, task: str, label: str) -> np.ndarray:
        """One per seed. A run in which no episode ever ended counts as the worst of its task."""
        every = [run.score for run in self.of(task)]
        worst = min((score for score in every if np.isfinite(score)), default=0.0)
        mine = np.array([run.score for run in self.of(task, label)])
        return np.where(np.isfinite(mine), mine, worst)

    def normalised(self, task: str, label: str) -> np.ndarray:
        """Scores on the scale on which the task's worst run is 0 and its best 1."""
        labels = dict.fromkeys(run.label for run in self.of(task))
        return statistics.normalised(
            self.scores(task, label), np.concatenate([self.scores(task, other) for other in labels])
        )

    @property
    def everywhere(self) -> list[str]:
        """Labels that were run on every task."""
        return [label for label in self.labels if all(self.of(task, label) for task in self.tasks)]


def write(
    report: Report,
    folder: Path,
    points: int = 100,
    along: Sequence[str] = ("env_steps", "seconds"),
    title: str = "",
) -> list[Path]:
    """Write `report.md`, the CSV files, the figures, and the collected raw results, all of one report.

    Args:
        report: what to tell.
        folder: where to; files of an earlier report are replaced.
        points: kept of each learning curve in the raw results.
        along: axes of the learning curves.
        title: of the figures of learning curves; the task's name if empty.

    Returns:
        Paths of all files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    text, written = ["# Report", ""], [*collect(report.runs, folder, points)]
    for task in report.tasks:
        shown = [run for run in report.of(task) if has_curve(run)]
        if shown:
            drawn = draw(shown, along, lines(task), title, report.labels)
            written += save(drawn, folder / f"curves_{task}")
        text += [f"## {task}", ""]
        text += [f"![Learning curves on {task}](curves_{task}.png)", ""] if shown else []
        text += [*markdown(SCORES, scores(report, task)), "", *failures(report.of(task)), ""]
        if report.of(task, report.reference):
            text += [*markdown(comparison_heading(report), comparison(report, task)), ""]
    if len(report.tasks) > 1:
        written += save(profiles(report), folder / "profiles")
        text += ["## All tasks", "", "![Performance profiles](profiles.png)", ""]
        text += [*markdown(AGGREGATE, aggregate(report)), ""]
    text += notes(report)
    written.append(folder / "report.md")
    written[-1].write_text("\n".join(text), encoding="utf-8")
    written.append(
        _csv(folder / "scores.csv", ["task", "label", "seed", "status", "score"], score_rows(report))
    )
    matrix = ["task", "label", "over", "probability", "low", "high"]
    written.append(_csv(folder / "improvement.csv", matrix, improvement_rows(report)))
    return written


def has_curve(run: Run) -> bool:
    """Whether any episode finished in training."""
    return bool(np.isfinite(run.curve.return_mean).any())


def lines(task: str) -> list[Line]:
    """Published numbers, as lines of a figure."""
    shown = {"sapo", "shac"}
    return [
        Line(number.value, f"{method.upper()}, published (SAPO paper, table 2)")
        for method, number in PUBLISHED.get(task, {}).items()
        if method in shown
    ]


SCORES = ["", "seeds", "mean", "IQM", "lowest, highest seed", "deterministic mean", "published"]


def scores(report: Report, task: str) -> list[Row]:
    """A row per label, best mean first."""
    rows = []
    for label in dict.fromkeys(run.label for run in report.of(task)):
        mine, values = report.of(task, label), report.scores(task, label)
        quiet = [run.evaluation["deterministic"]["mean"] for run in mine if run.evaluation]
        number = PUBLISHED.get(task, {}).get(label)
        cells = [
            label,
            str(len(mine)) + ("†" if any(run.status != "finished" for run in mine) else ""),
            plus_minus(statistics.mean(values)),
            bounded(statistics.interquartile_mean(values)),
            f"{figure(values.min())}, {figure(values.max())}",
            plus_minus(statistics.mean(quiet)) if quiet else "-",
            f"{figure(number.value)} ± {figure(number.half_interval)}" if number else "",
        ]
        rows.append((values.mean(), cells))
    return [cells for _, cells in sorted(rows, key=lambda row: -row[0])]


def comparison_heading(report: Report) -> Row:
    """Of `comparison`."""
    return [
        "",
        f"P(better than {report.reference})",
        f"steps to {report.reference}'s final return",
        f"steps to half of {report.reference}'s rise",
    ]


def comparison(report: Report, task: str) -> list[Row]:
    """A row per label but the reference's: probability of improvement, and sample efficiency."""
    theirs, rows = report.of(task, report.reference), []
    curves = [run.curve.return_mean[np.isfinite(run.curve.return_mean)] for run in theirs if has_curve(run)]
    if not curves:
        return rows
    final, first = np.mean([curve[-1] for curve in curves]), np.mean([curve[0] for curve in curves])
    for label in dict.fromkeys(run.label for run in report.of(task)):
        mine = report.of(task, label)
        better = statistics.improvement(report.scores(task, label), report.scores(task, report.reference))
        cells = [label, "-" if label == report.reference else bounded(better)]
        cells += [efficiency(mine, float(threshold)) for threshold in (final, (first + final) / 2)]
        rows.append(cells)
    return rows


def efficiency(runs: Sequence[Run], threshold: float) -> str:
    """Median steps to a return over all seeds, those that never reach it counting as later than any."""
    steps = [statistics.steps_to(threshold, run.curve.env_steps, run.curve.return_mean) for run in runs]
    reached = sum(np.isfinite(steps))
    middle = float(np.median(steps))
    shown = f"{middle:,.0f}" if np.isfinite(middle) else "not reached"
    return f"{shown} ({reached} of {len(steps)} seeds)"


AGGREGATE = ["", "IQM of normalised scores"]


def aggregate(report: Report) -> list[Row]:
    """A row per label that was run on every task."""
    rows = []
    for label in report.everywhere:
        samples = [report.normalised(task, label) for task in report.tasks]
        estimate = statistics.interquartile_mean(*samples)
        rows.append((estimate.value, [label, bounded(estimate)]))
    return [cells for _, cells in sorted(rows, key=lambda row: -row[0])]


def profiles(report: Report) -> Figure:
    """Share of runs above each normalised score, for the labels that were run on every task."""
    drawn = Figure(figsize=(8, 4.2), layout="constrained")
    panel = drawn.subplots()
    grid = np.linspace(0, 1, 201)
    for i, label in enumerate(report.labels):
        if label not in report.everywhere:
            continue
        values = np.concatenate([report.normalised(task, label) for task in report.tasks])
        style, colour = LINES[i % len(LINES)]
        panel.plot(grid, statistics.profile(values, grid), color=colour, ls=style, lw=1.8, label=label)
    panel.set_xlabel("normalised score: a task's worst run 0, its best 1")
    panel.set_ylabel("share of runs above it")
    panel.set_xlim(0, 1)
    panel.set_ylim(0, 1.02)
    panel.grid(color="#ddd", lw=0.6)
    panel.spines[["top", "right"]].set_visible(False)
    drawn.legend(frameon=False, loc="outside right center")
    return drawn


def failures(runs: Iterable[Run]) -> list[str]:
    """What is told of runs that did not finish."""
    lines = [f"† {run.label}, seed {run.seed}: {run.status}" for run in runs if run.status != "finished"]
    told = " Counted with the last return of its training, or as the worst run of the task if it has none."
    return [f"{line}.{told}" for line in lines]


def notes(report: Report) -> list[str]:
    """How to read the tables."""
    numbers = [
        "Scores are returns of the final policy with stochastic actions, one per seed; ± is half a 95 %",
        "interval of the mean (Student's t), [a, b] a 95 % interval of 2,000 bootstrap resamples, within",
        "each task. IQM: mean of the middle half. P: share of all pairs of seeds in which this method's is",
        "better. Steps: median over seeds of where the curve of training returns first reaches the",
        "reference's last one, or half-way to it.",
    ]
    if any(run.task in PUBLISHED for run in report.runs):
        source = next(iter(next(iter(PUBLISHED.values())).values())).source
        numbers.append(f"Published: {source}.")
    return [*numbers, ""]


def score_rows(report: Report) -> list[Row]:
    """Every run."""
    rows = []
    for task in report.tasks:
        for label in report.labels:
            for run, score in zip(report.of(task, label), report.scores(task, label), strict=True):
                rows.append([task, label, str(run.seed), run.status, f"{score:.6g}"])
    return rows


def improvement_rows(report: Report) -> list[Row]:
    """Every pair of labels of every task."""
    rows = []
    for task in report.tasks:
        labels = list(dict.fromkeys(run.label for run in report.of(task)))
        for a in labels:
            for b in labels:
                if a != b:
                    estimate = statistics.improvement(report.scores(task, a), report.scores(task, b))
                    rows.append([task, a, b, *(f"{x:.4g}" for x in estimate)])
    return rows


def markdown(heading: Row, rows: Sequence[Row]) -> list[str]:
    """A table."""
    return [f"| {' | '.join(cells)} |" for cells in [heading, ["---"] * len(heading), *rows]]


def figure(value: float) -> str:
    """A number as tables show it: four figures below a thousand."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def plus_minus(estimate: Estimate) -> str:
    """Value and half of its symmetric interval."""
    half = estimate.high - estimate.value
    return figure(estimate.value) + (f" ± {figure(half)}" if np.isfinite(half) else "")


def bounded(estimate: Estimate) -> str:
    """Value and its interval."""
    interval = f" [{figure(estimate.low)}, {figure(estimate.high)}]" if np.isfinite(estimate.low) else ""
    return figure(estimate.value) + interval


def _csv(path: Path, heading: Row, rows: Iterable[Row]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([heading, *rows])
    return path
