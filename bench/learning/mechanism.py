"""Course of trainings: means of some metrics before given steps, as JSON.

    python bench/learning/mechanism.py runs/ant 100 400 700 1000 > mechanism.json

The steps are given in thousands, and each mean is over the 40,000 steps before. A stopped run has
the means up to where it stopped. The output has one line per run, with `steps` (N,) and each metric
(N,), null where it was not recorded.
"""

import argparse
import json
from pathlib import Path
from statistics import mean

METRICS = (
    "action_spread",
    "policy_change",
    "action_saturation",
    "critic_explained_variance",
    "grad_norm",
    "reward",
)
WINDOW = 40_000


def means(metrics: Path, thousands: list[int]) -> dict[str, list[float | None]]:
    """Means of one run by metric, for the steps that it reached."""
    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    windows = {}
    for k in thousands:
        near = [row for row in rows if 1000 * k - WINDOW < row["env_steps"] <= 1000 * k]
        if near and rows[-1]["env_steps"] >= 950 * k:
            windows[1000 * k] = near
    columns = {
        name: [
            round(mean(row[name] for row in window), 4) if name in window[-1] else None
            for window in windows.values()
        ]
        for name in METRICS
    }
    recorded = {
        name: column for name, column in columns.items() if any(x is not None for x in column)
    }
    return {"steps": list(windows), **recorded}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path)
    parser.add_argument("steps", type=int, nargs="+")
    options = parser.parse_args()
    found = {
        path.parent.relative_to(options.runs).as_posix(): means(path, options.steps)
        for path in sorted(options.runs.rglob("metrics.jsonl"))
    }
    lines = (
        f"{json.dumps(name)}:{json.dumps(values, separators=(',', ':'))}"
        for name, values in found.items()
    )
    print("{\n" + ",\n".join(lines) + "\n}")


if __name__ == "__main__":
    main()
