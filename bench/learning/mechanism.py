"""What happened inside trainings: means of some metrics up to given steps, as JSON.

    python bench/learning/mechanism.py runs/ant 100 400 700 1000 > mechanism.json

Steps are in thousands; each mean is over the 40,000 steps before. Stopped runs count as far as they went.
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


def means(metrics: Path, steps: int) -> dict[str, float]:
    """Empty if the run did not get there."""
    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    near = [row for row in rows if steps - WINDOW < row["env_steps"] <= steps]
    if not near or rows[-1]["env_steps"] < 0.95 * steps:
        return {}
    return {name: round(mean(row[name] for row in near), 4) for name in METRICS if name in near[-1]}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path)
    parser.add_argument("steps", type=int, nargs="+")
    options = parser.parse_args()
    found = {
        path.parent.relative_to(options.runs).as_posix(): {
            str(k): values for k in options.steps if (values := means(path, 1000 * k))
        }
        for path in sorted(options.runs.rglob("metrics.jsonl"))
    }
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
