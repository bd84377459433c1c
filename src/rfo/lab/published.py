"""Published numbers that our results are compared with."""

from __future__ import annotations

from typing import NamedTuple


class Published(NamedTuple):
    """A final return published in `SAPO_PAPER`."""

    value: float
    half_interval: float
    """Half of the published 95 % interval."""
    env_steps: float
    """Environment steps of each seed."""


SAPO_PAPER = "SAPO paper (arXiv 2412.12089), table 2: 10 seeds, stochastic, on Rewarped"

BUDGET = {
    "ant": 4.1e6,
    "hand_reorient": 4.1e6,
    "rolling_flat": 4.1e6,
    "soft_jumper": 6.2e6,
    "hand_flip": 6.2e6,
    "fluid_move": 4.1e6,
}
"""Environment steps of each seed, by task."""

PUBLISHED: dict[str, dict[str, Published]] = {
    task: {method: Published(*number, BUDGET[task]) for method, number in rows.items()}
    for task, rows in {
        "ant": {
            "ppo": (2048.7, 36.6),
            "sac": (2063.6, 13.9),
            "apg": (258.7, 20.3),
            "shac": (3621.0, 54.4),
            "sapo": (4535.9, 24.5),
        },
        "hand_reorient": {
            "ppo": (5.9, 4.9),
            "sac": (70.5, 10.2),
            "apg": (-11.6, 1.9),
            "shac": (-2.5, 1.8),
            "sapo": (221.7, 9.5),
        },
        "rolling_flat": {
            "ppo": (81.2, 0.1),
            "sac": (83.0, 0.3),
            "apg": (86.9, 0.4),
            "shac": (86.8, 0.4),
            "sapo": (100.4, 0.4),
        },
        "soft_jumper": {
            "ppo": (261.5, 12.4),
            "sac": (-161.8, 2.5),
            "apg": (956.6, 15.6),
            "shac": (853.3, 10.2),
            "sapo": (1820.5, 47.9),
        },
        "hand_flip": {
            "ppo": (7.3, 1.1),
            "sac": (4.6, 1.1),
            "apg": (38.2, 3.5),
            "shac": (32.7, 2.9),
            "sapo": (90.0, 2.2),
        },
        "fluid_move": {
            "ppo": (27.3, 0.2),
            "sac": (28.2, 0.7),
            "apg": (26.3, 0.3),
            "shac": (21.7, 0.4),
            "sapo": (30.6, 0.4),
        },
    }.items()
}
"""Published returns by task and algorithm."""
