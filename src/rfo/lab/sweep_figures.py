"""Figures of a sweep: how much each setting matters, and which settings the good trials have."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial

from rfo.lab.tables import number

PALEST, DARKEST = 0.9, 0.0
"""Places in the colour map of the lowest and the highest value."""


def importance(shares: Mapping[str, float]) -> Figure:
    """Bars of the share that each setting has in the variance of the values."""
    figure = Figure(figsize=(6, 0.8 + 0.35 * len(shares)), layout="constrained")
    axes = figure.subplots()
    bars = axes.barh(list(shares), list(shares.values()), color="tab:blue")
    axes.bar_label(bars, [f"{share:.2f}" for share in shares.values()], padding=3)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.1)
    axes.set_xlabel("importance")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def parallel(trials: Sequence[FrozenTrial], space: Mapping[str, BaseDistribution]) -> Figure:
    """Parallel coordinates: a line for each trial through its settings to its value.

    Args:
        trials: trials with values.
        space: what the settings are drawn from; each is an axis.
    """
    values = np.array([trial.value for trial in trials], float)
    low, high = float(values.min()), float(values.max())
    goodness = ((values - low) / (high - low if high > low else 1.0)).tolist()
    figure = Figure(figsize=(1.6 * len(space) + 2.4, 4), layout="constrained")
    axes = figure.subplots()
    across = range(len(space) + 1)
    for i in np.argsort(values):  # the best on top
        drawn = [place(trials[i].params[name], space[name]) for name in space]
        colour = colormaps["viridis"](PALEST + (DARKEST - PALEST) * goodness[i])
        axes.plot(across, [*drawn, goodness[i]], color=colour, linewidth=1 + goodness[i])
    ticks = [_ticks(distribution) for distribution in space.values()]
    ticks.append({number(low): 0.0, number(high): 1.0})
    for x, labels in enumerate(ticks):
        axes.axvline(x, color="grey", linewidth=0.8, zorder=0)
        for label, y in labels.items():
            axes.annotate(label, (x, y), xytext=(3, 2), textcoords="offset points", fontsize=8)
    axes.set_xticks(list(across), [name.replace(".", ".\n") for name in (*space, "value")])
    axes.set_yticks([])
    axes.set_xlim(-0.1, len(space) + 0.5)
    axes.spines[:].set_visible(False)
    return figure


def place(drawn: Any, distribution: BaseDistribution) -> float:
    """Where a drawn setting is between the ends of its axis, from 0 to 1."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices.index(drawn) / max(1, len(distribution.choices) - 1)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    ends = (distribution.low, distribution.high, drawn)
    low, high, here = map(math.log, ends) if distribution.log else ends
    return (here - low) / (high - low) if high > low else 0.5


def _ticks(distribution: BaseDistribution) -> dict[str, float]:
    """Labels of a setting's axis and their places."""
    if isinstance(distribution, CategoricalDistribution):
        return {str(choice): place(choice, distribution) for choice in distribution.choices}
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    return {f"{end:g}": place(end, distribution) for end in (distribution.low, distribution.high)}
