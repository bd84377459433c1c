"""Learning curves of several algorithms and seeds in one figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import product
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter
from PIL import Image

from rfo.lab.results import RunResult
from rfo.lab.statistics import half_interval

COLOURS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""The palette of Okabe and Ito, which colour-blind readers can tell apart."""

LINES = tuple(product(("-", "--", ":"), COLOURS))
"""Line styles and colours, in the order in which labels get them."""

METHODS = ("rfo", "rfo_fixed", "sapo", "shac", "apg", "ppo", "sac", "fpo")
"""Labels that always have the same line: the n-th one has the n-th of `LINES`."""

PUBLISHED_STYLES = ((0, (6, 2)), (0, (1, 2)), (0, (6, 2, 1, 2)))
"""Line styles of published numbers."""

RETURNS = "{x:,.10g}"
"""Format of the ticks on an axis of returns, with all their digits."""

AXES = {"env_steps": "environment steps", "seconds": "training time [s]"}
"""Labels of the axes that curves can be drawn along."""


@dataclass(frozen=True)
class ReferenceLine:
    """A published number, drawn as a horizontal line."""

    value: float
    label: str
    """Text of the legend, which says where the number comes from."""


@dataclass(frozen=True, eq=False)
class Band:
    """Mean over seeds and its 95 % confidence interval on a grid of N points."""

    x: np.ndarray
    """Grid, (N,)."""
    mean: np.ndarray
    """Mean over the seeds, (N,)."""
    low: np.ndarray
    """Lower bound of the interval, (N,); NaN for a single seed."""
    high: np.ndarray
    """Upper bound of the interval, (N,); NaN for a single seed."""


def band(runs: Sequence[RunResult], along: str = "env_steps", points: int = 200) -> Band:
    """Mean of `return_mean` over runs that differ only in their seeds.

    Curves are interpolated linearly on a grid over the range that all runs cover, so that every
    mean is over the same seeds. The interval is Student's t with n - 1 degrees of freedom. A run
    that did not finish keeps its last return to the end; without it, its method would look better
    than it is.

    Args:
        runs: runs to average, at least one.
        along: axis of the grid, "env_steps" or "seconds".
        points: number of grid points N.

    Raises:
        ValueError: if there is no run, or a run has no finished episode.
    """
    if not runs:
        raise ValueError("a band needs at least one run")
    curves = []
    for run in runs:
        finite = np.isfinite(run.curve.return_mean)
        if not finite.any():
            raise ValueError(
                f"{run.label}, seed {run.seed}: no episode finished, so there is no curve"
            )
        curves.append((getattr(run.curve, along)[finite], run.curve.return_mean[finite]))
    ends = [x[-1] for (x, _), run in zip(curves, runs, strict=True) if run.status == "finished"]
    end = min(ends) if ends else max(x[-1] for x, _ in curves)
    grid = np.linspace(max(x[0] for x, _ in curves), end, points)
    values = np.stack([np.interp(grid, x, y) for x, y in curves])
    mean, half = values.mean(axis=0), half_interval(values)
    return Band(grid, mean, mean - half, mean + half)


def styles(labels: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Line style and colour of each label.

    Labels in `METHODS` look the same in every figure; the others get what is left.
    """
    known = {label: LINES[METHODS.index(label)] for label in labels if label in METHODS}
    free = (line for line in LINES if line not in known.values())
    return {label: known.get(label) or next(free, LINES[-1]) for label in labels}


def draw(
    runs: Sequence[RunResult],
    along: Sequence[str] = ("env_steps",),
    published: Sequence[ReferenceLine] = (),
    title: str = "",
    labels: Sequence[str] = (),
) -> Figure:
    """Figure of learning curves with one line per label and one panel per axis.

    Args:
        runs: runs of one task; runs with the same label differ only in their seeds.
        along: axes of the panels, "env_steps", "seconds" or both.
        published: published numbers to show.
        title: title of the figure; by default the task.
        labels: labels in the order of their colours, so that several figures agree; by default
            those of the runs.

    Raises:
        ValueError: if the runs belong to several tasks, or one of them has no curve.
    """
    tasks = sorted({run.task for run in runs})
    if len(tasks) != 1:
        raise ValueError(f"one figure shows one task, not {', '.join(tasks) or 'none'}")
    groups: dict[str, list[RunResult]] = {}
    for run in runs:
        groups.setdefault(run.label, []).append(run)
    counts = {len(mine) for mine in groups.values()}
    look = styles(labels or list(groups))
    height = max(4.2, 0.8 + 0.22 * len(groups) + 0.35 * len(published))  # room for the legend
    figure = Figure(figsize=(3 + 5.5 * len(along), height), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(along), sharey=True))
    legend: dict[str, Line2D] = {}
    for panel, axis in zip(panels, along, strict=True):
        bands = {label: band(mine, axis) for label, mine in groups.items()}
        # The legend lists the labels in the order of their curves' ends.
        for label in sorted(bands, key=lambda label: -bands[label].mean[-1]):
            name = label if len(counts) == 1 else f"{label} ({_seeds(len(groups[label]))})"
            legend[name] = _draw_band(panel, bands[label], name, *look[label])
        for number, style in zip(published, PUBLISHED_STYLES, strict=False):
            legend[number.label] = panel.axhline(
                number.value, color="#666", lw=1.1, ls=style, zorder=1, label=number.label
            )
        _dress(panel, AXES[axis])
    panels[0].set_ylabel("return of training episodes")
    panels[0].set_ylim(*_range(runs, published))
    panels[0].yaxis.set_major_formatter(RETURNS)
    # named one by one: left to itself, matplotlib hides labels that begin with "_"
    figure.legend(list(legend.values()), list(legend), frameon=False, loc="outside right center")
    what = f"mean of {_seeds(counts.pop())}" if len(counts) == 1 else "mean over seeds"
    figure.suptitle(f"{title or tasks[0]}: {what} and its 95 % interval", fontsize=11)
    return figure


def _range(runs: Sequence[RunResult], published: Sequence[ReferenceLine]) -> tuple[float, float]:
    """Range of the returns of all seeds; the intervals of few seeds can be much wider."""
    shown = [run.curve.return_mean for run in runs] + [np.array([line.value for line in published])]
    low, high = np.nanmin(np.concatenate(shown)), np.nanmax(np.concatenate(shown))
    room = 0.05 * (high - low) or 1.0
    return low - room, high + room


def _seeds(count: int) -> str:
    return "1 seed" if count == 1 else f"{count} seeds"


def _draw_band(panel: Axes, curve: Band, label: str, style: str, colour: str) -> Line2D:
    (line,) = panel.plot(curve.x, curve.mean, color=colour, ls=style, lw=2, label=label, zorder=3)
    panel.fill_between(curve.x, curve.low, curve.high, color=colour, alpha=0.12, lw=0, zorder=2)
    for edge in (curve.low, curve.high):
        panel.plot(curve.x, edge, color=colour, ls=style, lw=0.5, alpha=0.6, zorder=2)
    return line


def _dress(panel: Axes, label: str) -> None:
    panel.set_xlabel(label)
    panel.xaxis.set_major_formatter(EngFormatter(sep=""))
    panel.margins(x=0.01)
    panel.set_xlim(left=0)
    panel.grid(color="#ddd", lw=0.6)
    panel.spines[["top", "right"]].set_visible(False)


def save(figure: Figure, stem: Path) -> Path:
    """Write a figure as `stem.png`; equal figures give equal bytes.

    The file has only 256 colours, which is enough for line drawings and makes it a third as large.
    """
    stem.parent.mkdir(parents=True, exist_ok=True)
    path = stem.with_name(f"{stem.name}.png")
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=160)
    colours = Image.open(buffer).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    colours.save(path, optimize=True)
    return path
