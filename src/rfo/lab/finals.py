"""Figure of the final scores of all seeds and their interquartile means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rfo.lab.curves import RETURNS, styles
from rfo.lab.statistics import interquartile_mean

Scores = Mapping[str, np.ndarray]
"""Scores of one task by label, one number per seed."""


def draw_finals(tasks: Mapping[str, Scores], labels: Sequence[str], title: str = "") -> Figure:
    """Figure with one panel per task and one row per label.

    A row shows a dot for each seed, the interquartile mean and its 95 % interval. Rows are ordered
    by the mean rank of the labels over the tasks, best on top.

    Args:
        tasks: scores of each task; a label may be missing in some tasks.
        labels: labels in the order of their colours, so that several figures agree.
        title: title of the figure; by default the task, if there is only one.

    Raises:
        ValueError: if there is no task.
    """
    if not tasks:
        raise ValueError("a figure of final scores needs at least one task")
    rows = ranked(tasks)
    figure = Figure(figsize=(2 + 3 * len(tasks), 1.3 + 0.24 * len(rows)), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(tasks), sharey=True))
    look = styles(labels)
    for panel, (task, scores) in zip(panels, tasks.items(), strict=True):
        for label, values in scores.items():
            _row(panel, rows.index(label), values, look[label][1])
        _dress(panel, rows)
        if len(tasks) > 1:
            panel.set_title(task, fontsize=10)
    head = title or (next(iter(tasks)) if len(tasks) == 1 else "")
    what = "final returns of all seeds, interquartile mean and its 95 % interval"
    narrow = len(tasks) == 1
    separator = ":\n" if narrow else ": "
    figure.suptitle(head + separator + what if head else what, fontsize=9 if narrow else 11)
    return figure


def ranked(tasks: Mapping[str, Scores]) -> list[str]:
    """Labels ordered by their mean rank over the tasks in which they occur, best first."""
    ranks: dict[str, list[int]] = {}
    for scores in tasks.values():
        order = sorted(scores, key=lambda label: -_middle(scores[label]))
        for rank, label in enumerate(order):
            ranks.setdefault(label, []).append(rank)
    return sorted(ranks, key=lambda label: sum(ranks[label]) / len(ranks[label]))


def _middle(values: np.ndarray) -> float:
    return interquartile_mean(values).value


def _row(panel: Axes, row: int, values: np.ndarray, colour: str) -> None:
    middle = interquartile_mean(values)
    panel.plot(
        [middle.low, middle.high], [row, row], color=colour, lw=6, alpha=0.3, solid_capstyle="butt"
    )
    panel.plot(values, np.full(len(values), row), ".", color=colour, ms=4, zorder=3)
    panel.plot(middle.value, row, "|", color=colour, ms=13, mew=2.5, zorder=4)


def _dress(panel: Axes, rows: Sequence[str]) -> None:
    panel.set_yticks(range(len(rows)), rows)
    panel.set_ylim(len(rows) - 0.5, -0.5)
    panel.xaxis.set_major_formatter(RETURNS)
    panel.locator_params(axis="x", nbins=4)
    panel.tick_params(axis="y", length=0)
    panel.grid(axis="x", color="#ddd", lw=0.6)
    panel.spines[["top", "right", "left"]].set_visible(False)
