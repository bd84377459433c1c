"""Suites: committed tables of tasks x methods x seeds, read from TOML.

title = "Rigid and soft, small budgets"
seeds = 5
together = false            # true: all seeds of a cell are one program

[methods]                   # label = arguments of `rfo train`
rfo = ""
sapo = "--algo sapo"

[tasks.hopper]
steps = 524288

[tasks.soft_jumper_small]
steps = 160000
arguments = "--envs 32"     # of every method on this task
methods.sapo = "--algo sapo --initial-alpha 0.2"   # in place of the label's arguments above, or more labels
"""

from __future__ import annotations

import shlex
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class SuiteError(Exception):
    """A suite that cannot be run: one line that says what to do."""


@dataclass(frozen=True)
class Cell:
    """A task and a method, to be trained with several seeds."""

    task: str
    label: str
    arguments: tuple[str, ...]
    """Of `rfo train`, from the task's name on, without seed and folder."""
    seeds: tuple[int, ...]
    together: bool
    """Whether all seeds train as one program."""

    steps: int
    """Environment steps, as the arguments have them."""

    @property
    def name(self) -> str:
        """Folder of the cell below that of the suite."""
        return f"{self.task}/{self.label}"


def read(path: Path, seeds: int | None = None, budget: float = 1.0) -> list[Cell]:
    """The cells of a suite.

    Args:
        path: of the TOML file.
        seeds: how many in place of the suite's; they count up from its `first_seed`, 0 if it has none.
        budget: factor on the steps of every task.

    Raises:
        SuiteError: for a file that cannot be read, or an entry that is missing, unknown or of the wrong kind.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SuiteError(
            f"{path} cannot be read: {getattr(error, 'strerror', None) or error}"
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise SuiteError(f"{path} is not TOML: {error}") from None
    _refuse(path, content, {"title", "seeds", "first_seed", "together", "methods", "tasks"})
    tasks = _entry(path, content, "tasks", dict)
    methods = _arguments(path, content.get("methods", {}), "methods")
    first = _entry(path, {"first_seed": 0, **content}, "first_seed", int)
    count = seeds or _entry(path, content, "seeds", int)
    together = _entry(path, {"together": False, **content}, "together", bool)
    if count < 1 or first < 0:
        raise SuiteError(f"{path}: seeds must be at least 1, and none negative")
    cells = []
    for task, settings in tasks.items():
        where = f"tasks.{task}"
        if not isinstance(settings, dict):
            raise SuiteError(f"{path}: {where} must be a table with `steps`")
        _refuse(path, settings, {"steps", "arguments", "methods"}, where)
        steps = max(1, round(budget * _entry(path, settings, "steps", int, where)))
        common = shlex.split(_entry(path, {"arguments": "", **settings}, "arguments", str, where))
        mine = methods | _arguments(path, settings.get("methods", {}), f"{where}.methods")
        for label, arguments in mine.items():
            words = (task, "--steps", str(steps), *common, *arguments)
            cells.append(
                Cell(task, label, words, tuple(range(first, first + count)), together, steps)
            )
    if not cells:
        raise SuiteError(f"{path} has no cell: it needs [methods] and at least one [tasks.NAME]")
    return cells


def _arguments(path: Path, table: Any, where: str) -> dict[str, list[str]]:
    if not isinstance(table, dict):
        raise SuiteError(f"{path}: {where} must be a table of label = arguments")
    found = {}
    for label in table:
        if not label.replace("_", "").replace(".", "").replace(
            "-", ""
        ).isalnum() or label.startswith("."):
            raise SuiteError(
                f"{path}: '{label}' in {where} must be a name of letters, digits, '_', '-' and '.'"
            )
        found[label] = shlex.split(_entry(path, table, label, str, where))
    return found


def _entry(path: Path, table: Mapping[str, Any], name: str, kind: type, where: str = "") -> Any:
    place = f"{path}: {where + '.' if where else ''}{name}"
    if name not in table:
        raise SuiteError(f"{place} is missing")
    value = table[name]
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is int):
        raise SuiteError(f"{place} must be of the kind {kind.__name__}, not {value!r}")
    return value


def _refuse(path: Path, table: Mapping[str, Any], known: set[str], where: str = "") -> None:
    for name in table:
        if name not in known:
            place = f" in {where}" if where else ""
            raise SuiteError(
                f"{path}: unknown entry '{name}'{place}; known: {', '.join(sorted(known))}"
            )
