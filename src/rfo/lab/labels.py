"""Labels of runs that tell settings apart, so that only what is alike is averaged."""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from rfo.lab.results import RunResult

SHOWN = 3
"""Settings that the label of a run tells."""


def separated(runs: Sequence[RunResult]) -> list[RunResult]:
    """The runs, with labels of their own where runs of one task and label differ in a setting.

    Runs are averaged over their seeds only, so those that differ in anything else are shown apart:
    ``rfo`` becomes ``rfo (c_past 0.3)``. Settings that one of them lacks are not compared.
    """
    groups: dict[tuple[str, str], list[RunResult]] = {}
    for run in runs:
        groups.setdefault((run.task, run.label), []).append(run)
    names = {key: differing([run.settings for run in mine]) for key, mine in groups.items()}
    told = []
    for run in runs:
        found = names[run.task, run.label]
        marks = ", ".join(f"{name} {_short(run.settings.get(name))}" for name in found[:SHOWN])
        if len(found) > SHOWN:
            values = repr([run.settings.get(name) for name in found])
            marks += f", {hashlib.sha256(values.encode()).hexdigest()[:6]}"
        told.append(replace(run, label=f"{run.label} ({marks})") if found else run)
    for (task, label), found in names.items():
        if found:
            print(
                f"rfo: runs of {label} on {task} differ in {', '.join(found)}: they are shown "
                f"apart, not averaged",
                file=sys.stderr,
            )
    return told


def differing(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of the settings that all have and in which they are not equal."""
    known = [each for each in settings if each]
    common = [name for name in known[0] if all(name in each for each in known)] if known else []
    return [name for name in common if any(each[name] != known[0][name] for each in known)]


def _short(value: Any) -> str:
    """A setting in a label: printable, and no more than a few words."""
    text = " ".join(map(str, value)) if isinstance(value, list) else str(value)
    return re.sub(r"[^ -~]|\$", "_", text)[:24]
