"""Learning curves of several algorithms and seeds in one figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from rfo.results.runs import Run
from rfo.results.statistics import half_interval

COLOURS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Okabe and Ito's, which colour-blind readers tell apart."""

LINES = tuple(product(("-", "--", ":"), COLOURS))
"""Style and colour of each label in turn."""

AXES = {"env_steps": "environment steps", "seconds": "training time [s]"}


@dataclass(frozen=True)
class Line:
    """A number from elsewhere, drawn as a dashed line: its label says where it comes from."""

    value: float
    label: str


@dataclass(frozen=True, eq=False)
class Band:
    """Mean over seeds and its 95 % confidence interval on a common grid of N points.

    `low` and `high` are NaN where fewer than two seeds have a value.
    """

    x: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def band(runs: Sequence[Run], along: str = "env_steps", points: int = 200) -> Band:
    """Mean of `return_mean` over runs that differ in their seeds only.

    Each curve is interpolated linearly on a grid over the range that *all* runs cover, so that the mean is
    always one of the same seeds; the interval is Student's t with n - 1 degrees of freedom.

    Args:
        runs: at least one.
        along: "env_steps" or "seconds".
        points: of the grid.

    Raises:
        ValueError: if no run is given, or a run has no finished episode.
    """
    if not runs:
        raise ValueError("a band needs at least one run")
    curves = []
    for run in runs:
        finite = np.isfinite(run.curve.return_mean)
        if not finite.any():
            raise ValueError(f"{run.label}, seed {run.seed}: no episode finished, so there is no curve")
        curves.append((getattr(run.curve, along)[finite], run.curve.return_mean[finite]))
    grid = np.linspace(max(x[0] for x, _ in curves), min(x[-1] for x, _ in curves), points)
    values = np.stack([np.interp(grid, x, y) for x, y in curves])
    mean, half = values.mean(axis=0), half_interval(values)
    return Band(grid, mean, mean - half, mean + half)


def draw(
    runs: Sequence[Run],
    along: Sequence[str] = ("env_steps",),
    published: Sequence[Line] = (),
    title: str = "",
    labels: Sequence[str] = (),
) -> Figure:
    """Figure of the runs' learning curves, one line a label, one panel an axis.

    Args:
        runs: of one task; those with the same label differ in their seeds only.
        along: "env_steps" and "seconds" or one of them.
        published: numbers to compare with.
        title: of the figure; the task, if empty.
        labels: that decide the colours, so that several figures agree; those of the runs, if empty.

    Raises:
        ValueError: if the runs are of several tasks, or one of them has no curve.
    """
    tasks = sorted({run.task for run in runs})
    if len(tasks) != 1:
        raise ValueError(f"one figure shows one task, not {', '.join(tasks) or 'none'}")
    labels = list(labels or dict.fromkeys(run.label for run in runs))
    figure = Figure(figsize=(2 + 6 * len(along), 4.2), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(along), sharey=True))
    for panel, axis in zip(panels, along, strict=True):
        for i, label in enumerate(labels):
            mine = [run for run in runs if run.label == label]
            if not mine:
                continue
            _draw_band(panel, band(mine, axis), f"{label} ({len(mine)} seeds)", *LINES[i % len(LINES)])
        for number in published:
            panel.axhline(number.value, color="#777", lw=1, ls="--", zorder=1)
            panel.annotate(
                number.label, (0.01, number.value), xycoords=("axes fraction", "data"),
                xytext=(0, 3), textcoords="offset points", fontsize=8, color="#555",
            )  # fmt: skip
        _dress(panel, AXES[axis])
    panels[0].set_ylabel("return of training episodes")
    figure.legend(*panels[0].get_legend_handles_labels(), frameon=False, loc="outside right center")
    figure.suptitle(title or tasks[0], fontsize=11)
    return figure


def _draw_band(panel: Axes, curve: Band, label: str, style: str, colour: str) -> None:
    panel.plot(curve.x, curve.mean, color=colour, ls=style, lw=1.8, label=label, zorder=3)
    panel.fill_between(curve.x, curve.low, curve.high, color=colour, alpha=0.18, lw=0, zorder=2)


def _dress(panel: Axes, label: str) -> None:
    panel.set_xlabel(label)
    panel.xaxis.set_major_formatter(EngFormatter(sep=""))
    panel.set_xlim(left=0)
    panel.grid(color="#ddd", lw=0.6)
    panel.spines[["top", "right"]].set_visible(False)


def save(figure: Figure, stem: Path) -> tuple[Path, Path]:
    """Write a figure as `stem.svg` and `stem.png`; the same figure gives the same bytes."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    svg, png = stem.with_suffix(".svg"), stem.with_suffix(".png")
    with matplotlib.rc_context({"svg.hashsalt": "rfo", "svg.fonttype": "none"}):
        figure.savefig(svg, metadata={"Date": None})
        figure.savefig(png, dpi=160)
    return svg, png
