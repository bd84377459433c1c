"""Tables of a comparison: scores, sample efficiency, probabilities of improvement, profiles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rfo.lab import statistics
from rfo.lab.comparison import Comparison
from rfo.lab.published import PUBLISHED
from rfo.lab.statistics import Statistic
from rfo.lab.tables import Column, Table, bounded, number, plus_minus, steps

ALL_TASKS = "(all)"
"""Stands for the name of a task in CSV rows over all tasks."""

PROFILE_SCORES = np.linspace(0, 1, 101)
"""Normalised scores at which performance profiles are computed."""


def score_table(comparison: Comparison, task: str) -> Table:
    """Table of all runs of a task with their scores."""
    columns = [Column(name) for name in ("label", "seed", "status", "env_steps", "score")]
    rows = [
        [label, run.seed, run.status, run.env_steps, float(score)]
        for label in comparison.ranked(task)
        for run, score in zip(
            comparison.of(task, label), comparison.scores(task, label), strict=True
        )
    ]
    return Table(columns, rows)


def final_table(comparison: Comparison, task: str) -> Table:
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
    for label in comparison.ranked(task):
        mine, values = comparison.of(task, label), comparison.scores(task, label)
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


def thresholds(comparison: Comparison, task: str) -> dict[str, float]:
    """Returns for which the table shows the steps to reach them, by name.

    Two lie on the mean learning curve of the reference: half of its rise, and its end. The third is
    the return that SAPO's authors published.
    """
    curves = [
        run.curve.return_mean for run in comparison.of(task, comparison.reference) if run.has_curve
    ]
    found = {}
    if curves:
        known = [curve[np.isfinite(curve)] for curve in curves]
        begin, end = (float(np.mean([curve[at] for curve in known])) for at in (0, -1))
        found = {
            f"half of {comparison.reference}'s rise": (begin + end) / 2,
            f"{comparison.reference}'s final return": end,
        }
    there = PUBLISHED.get(task, {}).get("sapo")
    return found | ({"SAPO's published return": there.value} if there else {})


def comparison_table(comparison: Comparison, task: str) -> Table:
    """Table with a row per label: probability of improvement, and the steps to each threshold."""
    goals = thresholds(comparison, task)
    columns = [
        Column("label", ""),
        Column("improvement", f"P(better than {comparison.reference})", bounded),
    ]
    columns += [Column(name, f"steps to {name}", lambda e: bounded(e, steps)) for name in goals]
    theirs, rows = [comparison.scores(task, comparison.reference)], []
    for label in comparison.ranked(task):
        itself = label == comparison.reference
        better = (
            None if itself else statistics.improvement([comparison.scores(task, label)], theirs)
        )
        rows.append(
            [
                label,
                better,
                *(
                    statistics.middle_seed(_steps(comparison, task, label, goals[name]))
                    for name in goals
                ),
            ]
        )
    return Table(columns, rows)


def efficiency_table(comparison: Comparison, task: str) -> Table:
    """Table of the steps to each threshold, with a row per label and threshold."""
    columns = [
        Column(name) for name in ("label", "threshold", "return", "steps", "reached", "seeds")
    ]
    rows = []
    for label in comparison.ranked(task):
        for name, threshold in thresholds(comparison, task).items():
            taken = _steps(comparison, task, label, threshold)
            reached = int(np.isfinite(taken).sum())
            rows.append(
                [label, name, threshold, statistics.middle_seed(taken), reached, len(taken)]
            )
    return Table(columns, rows)


def _steps(comparison: Comparison, task: str, label: str, threshold: float) -> list[float]:
    curves = [run.curve for run in comparison.of(task, label)]
    return [statistics.steps_to(threshold, curve.env_steps, curve.return_mean) for curve in curves]


def improvement_tables(comparison: Comparison) -> list[tuple[str, Table]]:
    """Probabilities of improvement for all pairs of labels, by task and over all tasks."""
    columns = [Column(name) for name in ("label", "over", "probability")]

    def pairs(labels: Sequence[str], tasks: Sequence[str]) -> Table:
        samples = {label: [comparison.scores(task, label) for task in tasks] for label in labels}
        rows = [
            [a, b, statistics.improvement(samples[a], samples[b])]
            for a in labels
            for b in labels
            if a != b
        ]
        return Table(columns, rows)

    found = [(task, pairs(comparison.ranked(task), [task])) for task in comparison.tasks]
    return (
        [*found, (ALL_TASKS, pairs(comparison.everywhere, comparison.tasks))]
        if len(comparison.tasks) > 1
        else found
    )


def aggregate_table(comparison: Comparison) -> Table:
    """Table over all tasks with a row per label that has runs on every task, best first."""
    columns = [Column("label", ""), Column("iqm", "IQM of normalised scores", bounded)]
    columns.append(Column("improvement", f"P(better than {comparison.reference})", bounded))
    theirs = [comparison.scores(task, comparison.reference) for task in comparison.tasks]
    compared = all(len(sample) for sample in theirs)
    rows = []
    for label in comparison.everywhere:
        middle = statistics.interquartile_mean(
            *(comparison.normalised(task, label) for task in comparison.tasks)
        )
        ours = [comparison.scores(task, label) for task in comparison.tasks]
        better = (
            statistics.improvement(ours, theirs)
            if compared and label != comparison.reference
            else None
        )
        rows.append([label, middle, better])
    return Table(columns, sorted(rows, key=lambda row: -row[1].value))


def profile_table(comparison: Comparison) -> Table:
    """Table of the performance profiles."""
    rows = []
    for label in comparison.everywhere:
        curve = statistics.profile(
            [comparison.normalised(task, label) for task in comparison.tasks], PROFILE_SCORES
        )
        rows += [
            [label, float(x), Statistic(*map(float, row))]
            for x, *row in zip(PROFILE_SCORES, *curve, strict=True)
        ]
    return Table([Column("label"), Column("score"), Column("share")], rows)
