"""Report on runs: tables in Markdown and CSV, figures, and the raw results behind them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from rfo.lab import statistics
from rfo.lab.curves import ReferenceLine, draw, save, styles
from rfo.lab.finals import draw_finals
from rfo.lab.published import BUDGET, PUBLISHED, SAPO_PAPER
from rfo.lab.results import ResultsError, Run, collect, read_collection
from rfo.lab.statistics import Statistic
from rfo.lab.tables import (
    Column,
    Table,
    bounded,
    escaped,
    file_name,
    number,
    plus_minus,
    steps,
    write_csv,
)

ALL_TASKS = "(all)"
"""Stands for the name of a task in CSV rows over all tasks."""


@dataclass(frozen=True)
class Report:
    """Runs to compare.

    Args:
        runs: runs of one or several tasks. Runs of a task with the same label differ only in their
            seeds.
        reference: label that the others are compared with; it may be missing on some tasks.

    Raises:
        ResultsError: if there is no run, no run has the label of the reference, or a run occurs
            twice.
    """

    runs: Sequence[Run]
    reference: str

    def __post_init__(self) -> None:
        if not self.runs:
            raise ResultsError("there is no run to report on")
        if self.reference not in self.labels:
            raise ResultsError(
                f"no run has the label {self.reference}; known labels: {', '.join(self.labels)}"
            )
        (task, label, seed), count = Counter(
            (r.task, r.label, r.seed) for r in self.runs
        ).most_common(1)[0]
        if count > 1:
            raise ResultsError(
                f"{count} runs are {task}, {label}, seed {seed}: leave out all but one folder"
            )

    @property
    def tasks(self) -> list[str]:
        """All tasks, in the order of the runs."""
        return list(dict.fromkeys(run.task for run in self.runs))

    @property
    def labels(self) -> list[str]:
        """All labels, in the order of the runs."""
        return list(dict.fromkeys(run.label for run in self.runs))

    def of(self, task: str, label: str | None = None) -> list[Run]:
        """Runs of a task, or only those with a label."""
        return [run for run in self.runs if run.task == task and label in (None, run.label)]

    def ranked(self, task: str) -> list[str]:
        """Labels of a task, the one with the best mean first."""
        labels = dict.fromkeys(run.label for run in self.of(task))
        return sorted(labels, key=lambda label: -self.scores(task, label).mean())

    def scores(self, task: str, label: str) -> np.ndarray:
        """Scores of a label, one per seed.

        A run in which no episode ended counts as the worst run of its task.
        """
        every = [run.score for run in self.of(task)]
        worst = min((score for score in every if np.isfinite(score)), default=0.0)
        mine = np.array([run.score for run in self.of(task, label)])
        return np.where(np.isfinite(mine), mine, worst)

    def scores_by_label(self, task: str) -> dict[str, np.ndarray]:
        """Scores of a task by label, the one with the best mean first."""
        return {label: self.scores(task, label) for label in self.ranked(task)}

    def normalised(self, task: str, label: str) -> np.ndarray:
        """Scores scaled so that the worst run of the task is 0 and the best is 1."""
        every = np.concatenate([self.scores(task, other) for other in self.ranked(task)])
        return statistics.normalised(self.scores(task, label), every)

    @property
    def everywhere(self) -> list[str]:
        """Labels with runs on every task."""
        return [label for label in self.labels if all(self.of(task, label) for task in self.tasks)]


def write(
    report: Report,
    folder: Path,
    points: int = 100,
    along: Sequence[str] = ("env_steps", "seconds"),
    title: str = "",
    raw: Sequence[Run] = (),
) -> list[Path]:
    """Write `report.md`, the CSV files, the figures, and the raw results as `results.json`.

    Tables and figures are made from the raw results as written, so that a report on these is the
    same.

    Args:
        report: the runs to compare.
        folder: folder to write to; files of an earlier report are replaced.
        points: number of points that each learning curve keeps.
        along: axes of the learning curves.
        title: title of the figures of learning curves; by default the name of the task.
        raw: runs whose raw results are written; by default those of the report.

    Returns:
        Paths of all files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = [collect(raw or report.runs, folder, points)]
    kept = {(run.task, run.label, run.seed): run for run in read_collection(folder)}
    report = replace(report, runs=[kept[run.task, run.label, run.seed] for run in report.runs])
    finals = [(task, final(report, task)) for task in report.tasks]
    compared = [task for task in report.tasks if report.of(task, report.reference)]
    comparisons = [(task, comparison(report, task)) for task in compared]
    values = {task: report.scores_by_label(task) for task in report.tasks}
    written.append(save(draw_finals(values, report.labels, title), folder / "finals"))
    text = ["# Report", "", "![Final returns](finals.png)", ""]
    for task, table in finals:
        text += [f"## {escaped(task)}", ""]
        shown = [run for run in report.of(task) if run.has_curve]
        if shown:
            figure = draw(shown, along, lines(task), title, report.labels)
            picture = f"curves_{file_name(task)}"
            written.append(save(figure, folder / picture))
            text += [f"![Learning curves on {escaped(task)}]({picture}.png)", ""]
        text += [*table.markdown(), "", *failures(report.of(task))]
        text += [*dict(comparisons)[task].markdown(), ""] if task in compared else []
    if len(report.tasks) > 1 and report.everywhere:
        written.append(save(profiles(report), folder / "profiles"))
        text += ["## All tasks", "", "![Performance profiles](profiles.png)", ""]
        text += [*aggregate(report).markdown(), ""]
        written.append(write_csv(folder / "all_tasks.csv", [(ALL_TASKS, aggregate(report))]))
        written.append(write_csv(folder / "profiles.csv", [(ALL_TASKS, profile_table(report))]))
    written.append(folder / "report.md")
    written[-1].write_text("\n".join([*text, *notes(report)]), encoding="utf-8")
    written.append(
        write_csv(folder / "scores.csv", [(task, scores(report, task)) for task in report.tasks])
    )
    written.append(write_csv(folder / "final.csv", finals))
    written.append(
        write_csv(
            folder / "efficiency.csv", [(task, efficiency(report, task)) for task in compared]
        )
    )
    return [*written, write_csv(folder / "improvement.csv", improvement_matrix(report))]


def lines(task: str) -> list[ReferenceLine]:
    """Published numbers of a task, as lines of a figure."""
    found = PUBLISHED.get(task, {})
    shown = {method: found[method] for method in ("sapo", "shac") if method in found}
    return [
        ReferenceLine(
            there.value, f"{method.upper()}, published\n(at {there.env_steps / 1e6:g}M steps)"
        )
        for method, there in shown.items()
    ]


def scores(report: Report, task: str) -> Table:
    """Table of all runs of a task with their scores."""
    columns = [Column(name) for name in ("label", "seed", "status", "env_steps", "score")]
    rows = [
        [label, run.seed, run.status, run.env_steps, float(score)]
        for label in report.ranked(task)
        for run, score in zip(report.of(task, label), report.scores(task, label), strict=True)
    ]
    return Table(columns, rows)


def final(report: Report, task: str) -> Table:
    """Table of final scores with a row per label, best mean first."""
    columns = [
        Column("label", ""),
        Column("seeds", "seeds"),
        Column("unfinished"),
        Column("mean", "mean", plus_minus),
        Column("iqm", "IQM", bounded),
        Column("lowest", "lowest seed", number),
        Column("highest", "highest", number),
        Column("deterministic", "deterministic mean", plus_minus),
        Column("published", "published", plus_minus),
    ]
    rows = []
    for label in report.ranked(task):
        mine, values = report.of(task, label), report.scores(task, label)
        quiet = [run.evaluation["deterministic"]["mean"] for run in mine if run.evaluation]
        failed = sum(run.status != "finished" for run in mine)
        there = PUBLISHED.get(task, {}).get(label)
        rows.append(
            [
                label,
                f"{len(mine)}{'†' if failed else ''}",
                failed,
                statistics.mean(values),
                statistics.interquartile_mean(values),
                float(values.min()),
                float(values.max()),
                statistics.mean(quiet) if quiet else None,
                Statistic(
                    there.value,
                    there.value - there.half_interval,
                    there.value + there.half_interval,
                )
                if there
                else None,
            ]
        )
    return Table(columns, rows)


def thresholds(report: Report, task: str) -> dict[str, float]:
    """Returns for which the table shows the steps to reach them, by name.

    Two lie on the mean learning curve of the reference: half of its rise, and its end. The third is
    the return that SAPO's authors published.
    """
    curves = [run.curve.return_mean for run in report.of(task, report.reference) if run.has_curve]
    found = {}
    if curves:
        known = [curve[np.isfinite(curve)] for curve in curves]
        begin, end = (float(np.mean([curve[at] for curve in known])) for at in (0, -1))
        found = {
            f"half of {report.reference}'s rise": (begin + end) / 2,
            f"{report.reference}'s final return": end,
        }
    there = PUBLISHED.get(task, {}).get("sapo")
    return found | ({"SAPO's published return": there.value} if there else {})


def comparison(report: Report, task: str) -> Table:
    """Table with a row per label: probability of improvement, and the steps to each threshold."""
    goals = thresholds(report, task)
    columns = [
        Column("label", ""),
        Column("improvement", f"P(better than {report.reference})", bounded),
    ]
    columns += [Column(name, f"steps to {name}", lambda e: bounded(e, steps)) for name in goals]
    theirs, rows = [report.scores(task, report.reference)], []
    for label in report.ranked(task):
        itself = label == report.reference
        better = None if itself else statistics.improvement([report.scores(task, label)], theirs)
        rows.append(
            [
                label,
                better,
                *(
                    statistics.middle_seed(_steps(report, task, label, goals[name]))
                    for name in goals
                ),
            ]
        )
    return Table(columns, rows)


def efficiency(report: Report, task: str) -> Table:
    """Table of the steps to each threshold, with a row per label and threshold."""
    columns = [
        Column(name) for name in ("label", "threshold", "return", "steps", "reached", "seeds")
    ]
    rows = []
    for label in report.ranked(task):
        for name, threshold in thresholds(report, task).items():
            taken = _steps(report, task, label, threshold)
            reached = int(np.isfinite(taken).sum())
            rows.append(
                [label, name, threshold, statistics.middle_seed(taken), reached, len(taken)]
            )
    return Table(columns, rows)


def _steps(report: Report, task: str, label: str, threshold: float) -> list[float]:
    curves = [run.curve for run in report.of(task, label)]
    return [statistics.steps_to(threshold, curve.env_steps, curve.return_mean) for curve in curves]


def improvement_matrix(report: Report) -> list[tuple[str, Table]]:
    """Tables of the probability of improvement for every pair of labels, by task and over all
    tasks."""
    columns = [Column(name) for name in ("label", "over", "probability")]

    def pairs(labels: Sequence[str], tasks: Sequence[str]) -> Table:
        samples = {label: [report.scores(task, label) for task in tasks] for label in labels}
        rows = [
            [a, b, statistics.improvement(samples[a], samples[b])]
            for a in labels
            for b in labels
            if a != b
        ]
        return Table(columns, rows)

    found = [(task, pairs(report.ranked(task), [task])) for task in report.tasks]
    return (
        [*found, (ALL_TASKS, pairs(report.everywhere, report.tasks))]
        if len(report.tasks) > 1
        else found
    )


def aggregate(report: Report) -> Table:
    """Table over all tasks with a row per label that has runs on every task, best first."""
    columns = [Column("label", ""), Column("iqm", "IQM of normalised scores", bounded)]
    columns.append(Column("improvement", f"P(better than {report.reference})", bounded))
    theirs = [report.scores(task, report.reference) for task in report.tasks]
    compared = all(len(sample) for sample in theirs)
    rows = []
    for label in report.everywhere:
        middle = statistics.interquartile_mean(
            *(report.normalised(task, label) for task in report.tasks)
        )
        ours = [report.scores(task, label) for task in report.tasks]
        better = (
            statistics.improvement(ours, theirs) if compared and label != report.reference else None
        )
        rows.append([label, middle, better])
    return Table(columns, sorted(rows, key=lambda row: -row[1].value))


GRID = np.linspace(0, 1, 101)
"""Normalised scores at which performance profiles are computed."""


def profiles(report: Report) -> Figure:
    """Figure of performance profiles, for the labels that have runs on every task."""
    drawn = Figure(figsize=(8.5, 4.2), layout="constrained")
    panel = drawn.subplots()
    for label, (style, colour) in styles(report.labels).items():
        if label in report.everywhere:
            curve = statistics.profile(
                [report.normalised(task, label) for task in report.tasks], GRID
            )
            panel.plot(GRID, curve.share, color=colour, ls=style, lw=2, label=label)
            panel.fill_between(GRID, curve.low, curve.high, color=colour, alpha=0.12, lw=0)
    panel.set_xlabel("normalised score (0: worst run of a task, 1: best)")
    panel.set_ylabel("share of runs above it")
    panel.set_xlim(0, 1)
    panel.set_ylim(0, 1.02)
    panel.grid(color="#ddd", lw=0.6)
    panel.spines[["top", "right"]].set_visible(False)
    drawn.legend(frameon=False, loc="outside right center")
    drawn.suptitle(f"{', '.join(report.tasks)}: all seeds, 95 % bands", fontsize=11)
    return drawn


def profile_table(report: Report) -> Table:
    """Table of the performance profiles."""
    rows = []
    for label in report.everywhere:
        curve = statistics.profile([report.normalised(task, label) for task in report.tasks], GRID)
        rows += [
            [label, float(x), Statistic(*map(float, row))]
            for x, *row in zip(GRID, *curve, strict=True)
        ]
    return Table([Column("label"), Column("score"), Column("share")], rows)


def failures(runs: Sequence[Run]) -> list[str]:
    """Footnotes about runs that did not finish."""
    told = []
    for run in runs:
        if run.status != "finished":
            counts = (
                f"its score is its last return, {number(run.score)}"
                if run.has_curve
                else "no episode ended, so it counts as the task's worst run and has no curve"
            )
            told.append(
                f"† {escaped(run.label)}, seed {run.seed}: {run.status} after {run.env_steps:,} "
                f"steps; {counts}."
            )
    return ["  \n".join(told), ""] if told else []


def notes(report: Report) -> list[str]:
    """Explanation of the tables."""
    text = (
        "Scores are returns of the final policy with stochastic actions, one per seed. "
        "± is half of the 95 % interval of the mean (Student's t). [a, b] is a 95 % interval "
        "of the percentile bootstrap over the seeds of each task. IQM is the mean of the middle "
        "half of the scores. P is the share of all pairs of seeds in which this label has the "
        "higher score. Steps are the environment steps after which half of the seeds have reached "
        "a threshold with their training returns. A run that did not finish keeps the last return "
        "of its training, in tables and curves."
    )
    if any(len({tuple(r.curve.seconds) for r in mine}) < len(mine) for mine in _groups(report)):
        text += (
            " Seeds that trained together as one program share their training time, which is that "
            "of all of them."
        )
    for task in report.tasks:
        if task in PUBLISHED:
            text += f" Published for {task}: {SAPO_PAPER}, {BUDGET[task] / 1e6:g}M steps."
    return [text, ""]


def _groups(report: Report) -> list[list[Run]]:
    groups = [report.of(task, label) for task in report.tasks for label in report.ranked(task)]
    return [[run for run in mine if run.has_curve] for mine in groups]
