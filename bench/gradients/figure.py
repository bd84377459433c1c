"""Draw docs/images/gradients.png from results.json: `python bench/gradients/figure.py`."""

import json
from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt

from rfo.lab.curves import save

HERE = Path(__file__).parent
OUTPUT = HERE.parents[1] / "docs" / "images" / "gradients"

EXACTNESS = {
    "rfo, float64, settled": ("ours, float64", "tab:blue", "--"),
    "rfo, float32, settled": ("ours, float32, on the ground", "tab:blue", "-"),
    "rfo, float32, reset": ("ours, float32, from reset", "tab:cyan", "-"),
    "brax, float64, reset": ("Brax spring, float64", "tab:green", "-"),
    "rewarped 1.3.3, float32, reset (recorded)": ("Rewarped 1.3.3, float32", "tab:red", "-"),
}
NORMS = {"reset": ("from reset", "tab:cyan"), "settled": ("on the ground", "tab:blue")}
LAWS = {
    "flight, no limits": ("flight, no joint limits", "tab:green"),
    "flight": ("flight", "tab:olive"),
    "ground": ("AntRun, on the ground", "tab:blue"),
    "ground, no damping of contact and limits": ("no damping at all", "tab:purple"),
    "stiffness and damping x 0.1": ("a tenth of stiffness and damping", "tab:orange"),
    "64 substeps": ("64 substeps", "tab:red"),
}


def main() -> None:
    """Draw and save."""
    results = json.loads((HERE / "results.json").read_text())
    plt.rcParams.update({"font.size": 8, "axes.grid": True, "grid.alpha": 0.3})
    figure, (exact, norm, useful) = plt.subplots(1, 3, figsize=(11, 3.4), layout="constrained")
    draw_exactness(exact, results["exactness"])
    draw_norms(norm, results["norms"])
    draw_usefulness(useful, results["laws"])
    save(figure, OUTPUT)


def draw_exactness(axes, exactness) -> None:
    """Error of the gradient against differences, by horizon."""
    for key, (label, color, style) in EXACTNESS.items():
        if key in exactness:
            rows = exactness[key]
            error = [max(row["median"], 1e-10) for row in rows]
            axes.plot(
                [row["steps"] for row in rows], error, style, color=color, marker=".", label=label
            )
    axes.set(
        xscale="log", yscale="log", xlabel="control steps", title="Right? Error against differences"
    )
    axes.set_xticks([1, 2, 4, 8, 16, 32], ["1", "2", "4", "8", "16", "32"])
    axes.minorticks_off()
    axes.axhline(0.01, color="black", linewidth=0.8, linestyle=":")
    axes.legend(fontsize=6.5)


def draw_norms(axes, norms) -> None:
    """Norm of the gradient with respect to each control step's action, median and 90th
    percentile."""
    for key, (label, color) in NORMS.items():
        parts = norms[key]["by_step"]
        steps = range(1, len(parts["median"]) + 1)
        axes.plot(steps, parts["median"], color=color, label=f"{label}, median")
        axes.plot(
            steps, parts["p90"], color=color, linestyle=":", label=f"{label}, 90th percentile"
        )
    axes.set(
        yscale="log", xlabel="control step of the action", title="How large? Norm by control step"
    )
    axes.legend(fontsize=6.5)


def draw_usefulness(axes, laws) -> None:
    """Error of the gradient against differences, at step sizes as in learning."""
    for key, (label, color) in LAWS.items():
        rows = laws[key]["usefulness"]
        axes.plot(
            [row["size"] for row in rows],
            [row["median"] for row in rows],
            color=color,
            marker=".",
            label=label,
        )
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="change of every action",
        title="Useful? Error at finite steps",
    )
    axes.legend(fontsize=6.5)


if __name__ == "__main__":
    main()
