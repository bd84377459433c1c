"""Tables whose cells are numbers: the same one is written as Markdown, rounded, and as CSV, in full."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rfo.lab.statistics import Estimate


def number(value: float) -> str:
    """As tables show it: whole above a hundred, else three figures."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def steps(value: float) -> str:
    """Environment steps, or that they were not enough."""
    if not np.isfinite(value):
        return "not reached"
    if value >= 999_500:
        return f"{value / 1e6:.2f}M"
    return f"{value / 1e3:.0f}k" if value >= 1000 else f"{value:.0f}"


def plus_minus(estimate: Estimate) -> str:
    """Value and half of its symmetric interval."""
    half = estimate.high - estimate.value
    return number(estimate.value) + (f" ± {number(half)}" if np.isfinite(half) else "")


def bounded(estimate: Estimate, show: Callable[[float], str] = number) -> str:
    """Value and its interval."""
    known = np.isfinite(estimate.low)
    return show(estimate.value) + (
        f" [{show(estimate.low)}, {show(estimate.high)}]" if known else ""
    )


@dataclass(frozen=True)
class Column:
    """A column: its name in the CSV file (an estimate adds NAME_low and NAME_high), its heading in Markdown,
    None if it is left out there, and how a cell is shown there."""

    name: str
    heading: str | None = None
    show: Callable[[Any], str] = str


@dataclass(frozen=True)
class Table:
    """Rows of cells: text, numbers, estimates, or None where there is nothing."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Any]]

    def markdown(self) -> list[str]:
        """Lines of the table."""
        shown = [i for i, column in enumerate(self.columns) if column.heading is not None]
        lines = [[self.columns[i].heading or "" for i in shown], ["---"] * len(shown)]
        lines += [
            ["" if row[i] is None else self.columns[i].show(row[i]) for i in shown]
            for row in self.rows
        ]
        return [f"| {' | '.join(cells)} |" for cells in lines]


def write_csv(path: Path, tables: Sequence[tuple[str, Table]]) -> Path:
    """Write tables of the same columns below each other, each with its task in the first column."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        columns = tables[0][1].columns if tables else []
        rows = [(task, row) for task, table in tables for row in table.rows]
        spread = [any(isinstance(row[i], Estimate) for _, row in rows) for i in range(len(columns))]
        names = [_names(column, wide) for column, wide in zip(columns, spread, strict=True)]
        writer.writerow(["task", *(name for group in names for name in group)])
        for task, row in rows:
            cells = [_cells(cell, wide) for cell, wide in zip(row, spread, strict=True)]
            writer.writerow([task, *(cell for group in cells for cell in group)])
    return path


def _names(column: Column, wide: bool) -> list[str]:
    return [column.name, f"{column.name}_low", f"{column.name}_high"] if wide else [column.name]


def _cells(cell: Any, wide: bool) -> list[str]:
    values = list(cell) if isinstance(cell, Estimate) else [cell] + [None] * (2 * wide)
    return [_plain(value) for value in values]


def _plain(value: Any) -> str:
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
