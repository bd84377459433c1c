"""Cores of this machine, and processes that stay on some of them, where the system can do that."""

from __future__ import annotations

import os


def usable_cores() -> list[int]:
    """Numbers of the cores that this process may use; all cores if the system does not tell."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def keep_on(cores: list[int], process: int = 0) -> bool:
    """Keep a process on some cores.

    Args:
        cores: numbers of the cores.
        process: id of the process; 0 for this one.

    Returns:
        Whether the system can do that.
    """
    if not hasattr(os, "sched_setaffinity"):
        return False
    os.sched_setaffinity(process, cores)
    return True
