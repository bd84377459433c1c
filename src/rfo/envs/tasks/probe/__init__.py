"""Closed-form tasks: the best policy, its value and its gradient are known.

So learning can be checked against arithmetic.
"""

from rfo.envs.tasks.probe.bimodal import Bimodal
from rfo.envs.tasks.probe.endings import Delayed, Terminating, Truncating
from rfo.envs.tasks.probe.lqr import LQR
from rfo.envs.tasks.probe.one_step import Quadratic, ReachCloud

__all__ = [
    "LQR",
    "Bimodal",
    "Delayed",
    "Quadratic",
    "ReachCloud",
    "Terminating",
    "Truncating",
]
