"""Lines of `metrics.jsonl`: the good ones, and which are damaged."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MetricsLine = dict[str, float | int | None]
"""One update's metrics by name; None for a number that was not finite."""

SHOWN = 5
"""Numbers of damaged lines that a message names."""


@dataclass(frozen=True)
class MetricsFile:
    """What a metrics file holds.

    `lines` are the good lines in the order of the file, `damaged` the numbers of the others, from
    1. A last line that is cut off is in neither: a writer may be in the middle of it.
    """

    path: Path
    lines: list[MetricsLine]
    damaged: list[int]

    @property
    def complaint(self) -> str | None:
        """One line about the damaged lines, None if there is none."""
        if not self.damaged:
            return None
        shown = ", ".join(str(number) for number in self.damaged[:SHOWN])
        more = f" and {len(self.damaged) - SHOWN} more" if len(self.damaged) > SHOWN else ""
        what = "line" if len(self.damaged) == 1 else "lines"
        return f"{self.path}: left out {what} {shown}{more}, which cannot be read"


def read(path: Path) -> MetricsFile:
    """Read a metrics file; one that is missing holds nothing.

    Raises:
        OSError: if it is there and cannot be read.
    """
    lines: list[MetricsLine] = []
    damaged: list[int] = []
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        content = b""
    *whole, rest = content.split(b"\n")
    for number, text in enumerate(whole, start=1):
        line = _parse(text)
        if line is not None:
            lines.append(line)
        elif text.strip():
            damaged.append(number)
    last = _parse(rest)
    return MetricsFile(path, [*lines, last] if last is not None else lines, damaged)


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
