"""Draw docs/images/mechanism.png from results/comparison/mechanism_TASK.json, which mechanism.py
made.

python bench/learning/mechanism_figure.py
"""

import json
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from rfo.lab.curves import save, styles

RESULTS = Path(__file__).parent / "results" / "comparison"
OUTPUT = Path(__file__).parents[2] / "docs" / "images" / "mechanism"
TASKS = ("ant", "hopper", "cartpole", "soft_jumper_small")
METHODS = ("rfo_fixed", "naive_flow", "sapo", "shac2")
METRICS = {
    "action_spread": "spread of\na state's actions",
    "policy_change": "change of an\naction per update",
    "action_saturation": "share of actions\nat the bounds",
    "critic_explained_variance": "returns' variance that\nthe critics explain",
    "grad_norm": "norm of the\nactor's gradient",
}


def main() -> None:
    """Draw a row of panels for each metric and save them."""
    found = {task: json.loads((RESULTS / f"mechanism_{task}.json").read_text()) for task in TASKS}
    figure = Figure(figsize=(3 * len(TASKS), 2 * len(METRICS)), layout="constrained")
    panels = figure.subplots(len(METRICS), len(TASKS), sharex="col")
    for row, (metric, name) in zip(panels, METRICS.items(), strict=True):
        row[0].set_ylabel(name)
        for panel, runs in zip(row, found.values(), strict=True):
            draw(panel, runs, metric)
    for panel, task in zip(panels[0], TASKS, strict=True):
        panel.set_title(task)
    for panel in panels[-1]:
        panel.set_xlabel("environment steps")
    figure.legend(
        *panels[0][0].get_legend_handles_labels(),
        ncols=len(METHODS),
        frameon=False,
        loc="outside upper center",
    )
    save(figure, OUTPUT)


def draw(panel: Axes, runs: dict[str, dict[str, list[float]]], metric: str) -> None:
    """Draw every seed of every method as a thin line, and the median as a thick one."""
    for method, (style, colour) in styles(METHODS).items():
        seeds = [run for name, run in runs.items() if name.split("/")[0] == method]
        count = min(len(seed["steps"]) for seed in seeds)  # the steps that all seeds reached
        at = seeds[0]["steps"][:count]
        missing = [np.nan] * count
        curves = np.array([seed.get(metric, missing)[:count] for seed in seeds], dtype=float)
        panel.plot(at, curves.T, color=colour, ls=style, lw=0.5, alpha=0.5)
        panel.plot(at, np.median(curves, axis=0), color=colour, ls=style, lw=2, label=method)
    if metric == "grad_norm":
        panel.set_yscale("log")
    panel.xaxis.set_major_formatter(EngFormatter(sep=""))
    panel.grid(color="#ddd", lw=0.6)
    panel.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main()
