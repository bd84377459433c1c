"""A picture of an identification: what was recorded, the fit, and what is left."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from rfo.deploy.identify import Identification

MOST = 6
"""Columns that are drawn: those whose residual is largest beside their noise come last."""


def draw(found: Identification, path: Path) -> None:
    """Write it as PNG, SVG or PDF, by the suffix."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    spread = found.recorded.std(axis=(0, 1))
    shown = np.sort(np.argsort(-spread / np.maximum(found.noise, 1e-12))[:MOST])
    figure = Figure(figsize=(10, 1.8 * len(shown)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(shown), 2, squeeze=False, width_ratios=(3, 1))
    windows, rows = found.recorded.shape[:2]
    time = found.dt * np.arange(windows * rows).reshape(windows, rows)
    for (path_axis, rest), column in zip(axes, shown, strict=True):
        recorded, fitted = found.recorded[..., column], found.fitted[..., column]
        path_axis.plot(time.ravel(), recorded.ravel(), ".", ms=2, color="0.6", label="recorded")
        for w in range(windows):
            label = "fit" if w == 0 else None
            path_axis.plot(time[w], fitted[w], lw=1, color="C0", label=label)
        path_axis.set_ylabel(found.names[column], fontsize=8)
        rest.hist((recorded - fitted).ravel(), bins=30, color="C0")
        rest.set_yticks([])
    axes[0, 0].legend(fontsize=8, loc="upper right")
    axes[0, 0].set_title("motion, windows one after the other", fontsize=9)
    axes[0, 1].set_title("residual", fontsize=9)
    axes[-1, 0].set_xlabel("time [s]")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
