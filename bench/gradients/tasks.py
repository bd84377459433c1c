"""Check the gradient of every task and write tasks.json: `python bench/gradients/tasks.py [TASK
...]`.

If tasks are named, only these are checked again; the others keep their results.
"""

import json
import sys
from pathlib import Path

import numpy as np

from rfo.experiment.build import build_task
from rfo.experiment.gradients import check_gradient
from rfo.experiment.presets import TASKS
from rfo.physics.mpm import MPM
from rfo.training.record import plain

OUTPUT = Path(__file__).with_name("tasks.json")

USUAL = {"environments": 32, "horizons": (1, 8, 32)}
SMALLER = {"environments": 6, "horizons": (1, 8)}
SMALLEST = {"environments": 3, "horizons": (1, 4)}
"""Settings for hundreds and for thousands of particles, which take a few minutes each."""


def main(names: list[str]) -> None:
    """Check task by task and save after each."""
    results = json.loads(OUTPUT.read_text()) if OUTPUT.exists() else {}
    for name in names or TASKS:
        results[name] = plain(checked(name))
        ordered = {task: results[task] for task in TASKS if task in results}
        OUTPUT.write_text(json.dumps(ordered, indent=1) + "\n")
        print(name, results[name], flush=True)


def checked(name: str) -> dict:
    """Verdict, worst error, and norms of the gradient over the longest horizon from the first
    start."""
    settings = affordable(getattr(build_task(name), "simulator", None))
    report = check_gradient(name, **settings)
    norm = report.checks[len(settings["horizons"]) - 1].report.norm
    return {
        "ok": report.passed,
        "worst_relative_error": report.worst_error,
        "start": report.checks[0].start,
        "norm": {"median": float(np.median(norm)), "max": float(norm.max())},
        **settings,
    }


def affordable(simulator) -> dict:
    """Settings of the check that suit a simulator."""
    if not isinstance(simulator, MPM):
        return USUAL
    return SMALLEST if simulator.particles > 1000 else SMALLER


if __name__ == "__main__":
    main(sys.argv[1:])
