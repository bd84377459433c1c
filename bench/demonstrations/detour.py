"""Two ways around a column: what clones and fine-tuned policies keep of them.

    python bench/demonstrations/detour.py          # trains, writes results.json and detour.png
    python bench/demonstrations/detour.py figure   # draws the figure again

Five seeds, each with demonstrations, clones and trainings of its own. Runs go
to runs/demonstrations.
"""

import json
import runpy
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

import rfo

HERE = Path(__file__).parent
EXAMPLE = runpy.run_path(str(HERE.parents[1] / "examples" / "demonstrations.py"))
RUNS = Path("runs/demonstrations")
RESULTS, PATHS = HERE / "results.json", HERE / "paths.json"
SEEDS = range(5)
CHUNK, FLOW = {"chunk": 8}, {"flow.steps": 8}
STEPS = 102_400
CLONES = {"flow clone": ("rfo", FLOW), "Gaussian clone": ("sapo", {})}
TRAININGS = {
    "rfo": ("rfo", "flow clone", FLOW),
    "rfo, c_past 0": ("rfo", "flow clone", FLOW | {"c_past": 0.0}),
    "rfo_fixed": ("rfo_fixed", "flow clone", FLOW),
    "sapo": ("sapo", "Gaussian clone", {}),
}
SHOWN = ("flow clone", "Gaussian clone", "rfo", "rfo, c_past 0", "rfo_fixed")
COLOURS = {"left": "#3b6fb6", "right": "#d0762b", "through": "#999999"}


def main():
    rows, paths = [], {}
    for seed in SEEDS:
        demos = EXAMPLE["demonstrations"](episodes=128, seed=seed)
        rows.append({"policy": "demonstrations", "seed": seed, "return": demos.returns.mean()})
        for name, run in trained(seed).items():
            rows.append(measured(name, seed, run, paths))
        RESULTS.write_text(json.dumps(rows, indent=1, default=float) + "\n")
    PATHS.write_text(json.dumps(paths) + "\n")


def trained(seed):
    """The runs of one seed by name; what is there already is not trained again."""
    demos = EXAMPLE["demonstrations"](episodes=128, seed=seed)
    found = {}
    for name, (method, settings) in CLONES.items():
        out, own = place(name, seed), settings | CHUNK | {"seed": seed}
        if not out.exists():
            rfo.clone("detour", demos, method, out=out, updates=2000, **own)
        found[name] = rfo.load(out)
    for name, (method, start, settings) in TRAININGS.items():
        out, own = place(name, seed), settings | CHUNK | {"seed": seed, "steps": STEPS}
        if not out.exists():
            rfo.train("detour", method, out=out, start=found.get(start), **own)
        found[name] = rfo.load(out)
    return found


def place(name, seed):
    return RUNS / name.replace(", ", "-").replace(" ", "_") / f"s{seed}"


def measured(name, seed, run, paths):
    """Return and shares of the ways, over 256 episodes; the first seed's paths are kept."""
    row = {"policy": name, "seed": seed, **EXAMPLE["ways"](run)}
    print(row, flush=True)
    if seed == 0 and name in SHOWN:
        seen = rfo.collect(run, 64).observation.reshape(64, -1, 2)[:24]
        paths[name] = np.round(seen, 2).tolist()
    return row


def figure():
    rows, paths = json.loads(RESULTS.read_text()), json.loads(PATHS.read_text())
    fig, axes = plt.subplots(2, len(SHOWN), figsize=(12, 5), layout="constrained", sharey="row")
    for (above, below), name in zip(axes.T, SHOWN, strict=True):
        draw_paths(above, np.array(paths[name]), name)
        draw_shares(below, [row for row in rows if row["policy"] == name])
    axes[0, 0].set_ylabel("y [m]")
    axes[1, 0].set_ylabel("share of episodes")
    handles, labels = axes[1, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    fig.savefig(HERE / "detour.png", dpi=100)


def draw_paths(axes, paths, name):
    axes.add_patch(plt.Circle((0, 0), 0.4, color="#dddddd"))
    for path in paths:
        axes.plot(*path.T, lw=0.7, color="#3b6fb6", alpha=0.7)
    axes.plot(1, 0, "o", color="#2b8a3e", ms=5)
    axes.set_title(name, fontsize=10)
    axes.set_aspect("equal")
    axes.set_xlim(-1.2, 1.3)
    axes.set_ylim(-1.1, 1.1)


def draw_shares(axes, rows):
    """One stacked bar a seed, with the return above it."""
    bottom = np.zeros(len(rows))
    for way, colour in COLOURS.items():
        share = np.array([row[way] for row in rows])
        axes.bar([row["seed"] for row in rows], share, bottom=bottom, color=colour, label=way)
        bottom += share
    for row in rows:
        axes.text(row["seed"], 1.02, f"{row['return']:.0f}", ha="center", fontsize=8)
    axes.set_ylim(0, 1.15)
    axes.set_xticks([row["seed"] for row in rows])
    axes.set_xlabel("seed; its return above", fontsize=8)


if __name__ == "__main__":
    if sys.argv[1:] != ["figure"]:
        main()
    figure()
