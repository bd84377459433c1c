"""Gaits of trained ants, from the replays of their runs, as JSON.

    python bench/learning/gaits.py runs/ant > gaits.json

Uses five seconds in the middle of each replay. Prints the speed of the torso [m/s], the travel of
the feet relative to the torso [m] (twice the standard deviation of their positions, mean of the
four feet), and the frequency of that motion [Hz].
"""

import argparse
import json
from pathlib import Path

import numpy as np

RATE = 60
"""Frames per second."""
MIDDLE = slice(300, 600)
FEET = slice(2, None, 2)
"""Links of the lower legs."""


def gait(replay: Path) -> dict[str, float]:
    """Speed [m/s], travel of the feet [m] and frequency [Hz] in one replay."""
    position = np.load(replay)["poses"][MIDDLE, :, :3]
    torso = position[:, 0]
    feet = position[:, FEET] - torso[:, None]
    feet = feet - feet.mean(0)
    travel = 2 * np.sqrt((feet**2).mean(0).sum(-1)).mean()
    power = (np.abs(np.fft.rfft(feet, axis=0)) ** 2).sum((1, 2))
    seconds = len(position) / RATE
    return {
        "speed": round(float(np.linalg.norm(torso[-1] - torso[0])) / seconds, 2),
        "travel": round(float(travel), 3),
        "frequency": round(float(power.argmax()) / seconds, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path)
    runs = parser.parse_args().runs
    found = {
        path.parent.relative_to(runs).as_posix(): gait(path)
        for path in sorted(runs.rglob("replay.npz"))
    }
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
