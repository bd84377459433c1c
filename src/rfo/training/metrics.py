"""Lines of `metrics.jsonl`: the good ones, and which are damaged."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MetricsLine = dict[str, Any]
"""One update's metrics: a whole `update`, and numbers by name, None for one that was not finite."""

SHOWN = 5
"""Numbers of damaged lines that a message names."""


@dataclass(frozen=True)
class MetricsFile:
    """What a metrics file holds: each row as it stands there, and what it says.

    A row that cannot be read says None. A last row that is cut off is left out: a writer may be in
    the middle of it.
    """

    path: Path
    rows: list[tuple[bytes, MetricsLine | None]]

    @property
    def lines(self) -> list[MetricsLine]:
        """The good lines, in the order of the file."""
        return [line for _, line in self.rows if line is not None]

    @property
    def damaged(self) -> list[int]:
        """Numbers of the damaged rows, from 1."""
        return [number for number, (_, line) in enumerate(self.rows, start=1) if line is None]

    @property
    def complaint(self) -> str | None:
        """One line about the damaged rows, None if there is none."""
        numbers = self.damaged
        if not numbers:
            return None
        shown = ", ".join(str(number) for number in numbers[:SHOWN])
        more = f" and {len(numbers) - SHOWN} more" if len(numbers) > SHOWN else ""
        what = "line" if len(numbers) == 1 else "lines"
        return f"{self.path}: left out {what} {shown}{more}, which cannot be read"

    def until(self, update: int) -> bytes:
        """The file up to an update: every good line until then, and all rows between those."""
        kept = [
            (text, line) for text, line in self.rows if line is None or line["update"] <= update
        ]
        while kept and kept[-1][1] is None:
            kept.pop()
        return b"".join(text + b"\n" for text, _ in kept)


def number(value: float | None) -> float:
    """A value of a line, or of another JSON file; NaN for null."""
    return float("nan") if value is None else float(value)


def read(path: Path) -> MetricsFile:
    """Read a metrics file; one that is missing holds nothing.

    Raises:
        OSError: if it is there and cannot be read.
    """
    try:
        *texts, rest = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return MetricsFile(path, [])
    rows = [(text, _parse(text)) for text in [*texts, rest]]
    return MetricsFile(path, rows if rows[-1][1] is not None else rows[:-1])


def _parse(text: bytes) -> MetricsLine | None:
    """A line with a whole `update`, and a number or nothing under every other name; else None."""
    try:
        line = json.loads(text.decode("utf-8"), parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    if not isinstance(line, Mapping) or type(line.get("update")) is not int:
        return None
    return dict(line) if all(_is_number(value) for value in line.values()) else None


def _is_number(value: Any) -> bool:
    return value is None or type(value) is int or (type(value) is float and math.isfinite(value))


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not JSON")
