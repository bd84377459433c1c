"""Tables of numbers that can be written as Markdown, rounded, and as CSV, with more digits."""

from __future__ import annotations

import csv
import hashlib
import html
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rfo.lab.statistics import Statistic


def number(value: float) -> str:
    """A number as tables show it: an integer from a hundred on, else three digits."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def steps(value: float) -> str:
    """A number of environment steps; "not reached" if it is not finite."""
    if not np.isfinite(value):
        return "not reached"
    if value >= 999_500:
        return f"{value / 1e6:.2f}M"
    return f"{value / 1e3:.0f}k" if value >= 1000 else f"{value:.0f}"


def plus_minus(statistic: Statistic) -> str:
    """A value and half of its symmetric interval, "3 ± 1"."""
    half = statistic.high - statistic.value
    return number(statistic.value) + (f" ± {number(half)}" if np.isfinite(half) else "")


def bounded(statistic: Statistic, show: Callable[[float], str] = number) -> str:
    """A value and its interval, "3 [2, 5]"."""
    known = np.isfinite(statistic.low)
    return show(statistic.value) + (
        f" [{show(statistic.low)}, {show(statistic.high)}]" if known else ""
    )


def escaped(name: str) -> str:
    """A name as Markdown text, with the characters escaped that have a meaning there."""
    return re.sub(r"([\\`*\[\]|])", r"\\\1", html.escape(name, quote=False))


def file_name(name: str) -> str:
    """A name as part of a file name.

    Names of other characters than letters, digits, `_` and `-` are shortened and get a hash.
    """
    safe = re.sub(r"[^A-Za-z0-9_-]", "_", name)
    if safe == name:
        return name
    return f"{safe[-40:]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


@dataclass(frozen=True)
class Column:
    """A column of a table."""

    name: str
    """Name in the CSV file. A column of statistics adds the columns NAME_low and NAME_high."""
    heading: str | None = None
    """Heading in Markdown; None to leave the column out there."""
    show: Callable[[Any], str] = str
    """Text of a cell in Markdown."""


@dataclass(frozen=True)
class Table:
    """Rows of cells: text, numbers, statistics, or None for an empty cell."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Any]]

    def markdown(self) -> list[str]:
        """The lines of the table in Markdown."""
        shown = [i for i, column in enumerate(self.columns) if column.heading is not None]
        headings = [escaped(self.columns[i].heading or "") for i in shown]
        lines = [headings, ["---"] * len(shown)]
        lines += [[self._cell(row, i) for i in shown] for row in self.rows]
        return [f"| {' | '.join(cells)} |" for cells in lines]

    def page(self) -> str:
        """The table in HTML, with the cells that Markdown has."""
        shown = [i for i, column in enumerate(self.columns) if column.heading is not None]
        head = "".join(f"<th>{html.escape(self.columns[i].heading or '')}</th>" for i in shown)
        body = "".join(
            f"<tr>{''.join(f'<td>{html.escape(self._text(row, i))}</td>' for i in shown)}</tr>"
            for row in self.rows
        )
        return f"<div class=wide><table><tr>{head}</tr>{body}</table></div>"

    def _cell(self, row: Sequence[Any], column: int) -> str:
        text = self._text(row, column)
        return escaped(text) if isinstance(row[column], str) else text

    def _text(self, row: Sequence[Any], column: int) -> str:
        value = row[column]
        return "" if value is None else self.columns[column].show(value)


def write_csv(path: Path, tables: Sequence[tuple[str, Table]]) -> Path:
    """Write tables with the same columns into one file, with the task of each in the first column.

    Args:
        path: file to write.
        tables: pairs of a task and its table.

    Returns:
        `path`.
    """
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        columns = tables[0][1].columns if tables else []
        rows = [(task, row) for task, table in tables for row in table.rows]
        spread = [
            any(isinstance(row[i], Statistic) for _, row in rows) for i in range(len(columns))
        ]
        names = [_names(column, wide) for column, wide in zip(columns, spread, strict=True)]
        writer.writerow(["task", *(name for group in names for name in group)])
        for task, row in rows:
            cells = [_cells(cell, wide) for cell, wide in zip(row, spread, strict=True)]
            writer.writerow([task, *(cell for group in cells for cell in group)])
    return path


def _names(column: Column, wide: bool) -> list[str]:
    return [column.name, f"{column.name}_low", f"{column.name}_high"] if wide else [column.name]


def _cells(cell: Any, wide: bool) -> list[str]:
    values = list(cell) if isinstance(cell, Statistic) else [cell] + [None] * (2 * wide)
    return [_plain(value) for value in values]


def _plain(value: Any) -> str:
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
