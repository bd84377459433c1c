"""Suites: tables of tasks x methods x seeds, read from TOML files such as this one.

title = "Rigid and soft, small budgets"
seeds = 5
first_seed = 100            # default: 0
together = false            # true: all seeds of a cell train as one program
method = "rfo"              # default: of labels that name none

[methods]                   # label = settings, with the names that `rfo show` prints
rfo = {}
sapo = {method = "sapo"}

[tasks.hopper]
steps = 524288

[tasks.soft_jumper_small]   # or [tasks."my_task.py:Reach"]
steps = 160000
settings = {environments = 32}   # for every method on this task
methods.sapo = {method = "sapo", initial_alpha = 0.2}   # replaces the label above, or adds one
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rfo.errors import SettingError
from rfo.experiment.catalogue import short_name
from rfo.experiment.record import Experiment, preset
from rfo.lab.entries import entry, read_toml, refuse_unknown, seed_numbers

ENTRIES = ("title", "method", "seeds", "first_seed", "together", "methods", "tasks")
TASK_ENTRIES = ("steps", "settings", "methods")


@dataclass(frozen=True)
class Cell:
    """A task and a method that are trained with several seeds."""

    label: str
    experiment: Experiment
    """Experiment with the first of the seeds."""
    seeds: tuple[int, ...]
    together: bool
    """Whether all seeds train as one program."""

    @property
    def task(self) -> str:
        """Name of the task without the path of its file."""
        return short_name(self.experiment.task.name)

    @property
    def name(self) -> str:
        """Folder of the cell within the folder of the suite."""
        return f"{self.task}/{self.label}"


def read(path: Path, seeds: int | None = None, budget: float = 1.0) -> list[Cell]:
    """Read the cells of a suite.

    Args:
        path: the TOML file.
        seeds: number of seeds, counted from the suite's `first_seed`; by default the suite's
            number.
        budget: factor on the steps of every task.

    Raises:
        SettingError: if the file cannot be read, an entry is missing, unknown or of a wrong type,
            or a setting is refused.
    """
    if not (math.isfinite(budget) and budget > 0):
        raise SettingError(f"budget must be a number above 0, such as 0.1, not {budget}", "budget")
    content = read_toml(path)
    try:
        return _cells(content, seeds, budget)
    except SettingError as error:
        raise SettingError(f"{path}: {error}", error.field) from None


def _cells(content: Mapping[str, Any], seeds: int | None, budget: float) -> list[Cell]:
    refuse_unknown(content, ENTRIES)
    methods = _settings(content.get("methods", {}), "methods")
    numbers = seed_numbers(content, seeds)
    together = entry({"together": False, **content}, "together", bool)
    method = entry({"method": "rfo", **content}, "method", str)
    cells = []
    for task, table in entry(content, "tasks", dict).items():
        where = f"tasks.{task}"
        if not isinstance(table, dict):
            raise SettingError(f"{where} must be a table with steps", where)
        refuse_unknown(table, TASK_ENTRIES, where)
        steps = max(1, round(budget * entry(table, "steps", int, where)))
        common = entry({"settings": {}, **table}, "settings", dict, where)
        mine = methods | _settings(table.get("methods", {}), f"{where}.methods")
        for label, settings in mine.items():
            try:
                experiment = _experiment(task, method, common, settings, steps, numbers[0])
            except SettingError as error:
                raise SettingError(f"{short_name(task)}/{label}: {error}", error.field) from None
            cells.append(Cell(label, experiment, numbers, together))
    for name, count in Counter(cell.name for cell in cells).items():
        if count > 1:
            raise SettingError(
                f"{count} tasks have the name {name.partition('/')[0]}, which names their folder: "
                f"give one of their files another name",
                "tasks",
            )
    if not cells:
        raise SettingError("there is nothing to train: add [methods] and a [tasks.NAME]")
    return cells


def _experiment(
    task: str,
    method: str,
    common: dict[str, Any],
    settings: dict[str, Any],
    steps: int,
    seed: int,
) -> Experiment:
    both = {"method": method, **common, **settings}
    for name in ("seed", "steps"):
        if name in both:
            raise SettingError(f"{name} is set by the suite and cannot be set by a method", name)
    chosen = preset(task, both["method"])
    return chosen.edited(common).edited(settings).edited({"steps": steps, "seed": seed})


def _settings(table: Any, where: str) -> dict[str, dict[str, Any]]:
    """Settings of each label."""
    if not isinstance(table, dict):
        raise SettingError(f"{where} must be a table of label = settings", where)
    for label in table:
        plain = label.replace("_", "").replace(".", "").replace("-", "")
        if not plain.isalnum() or label.startswith("."):
            raise SettingError(
                f"'{label}' in {where} must be a name of letters, digits, '_', '-' and '.'", where
            )
        entry(table, label, dict, where)
    return dict(table)
