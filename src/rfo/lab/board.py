"""Progress of a suite on stderr: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

BAR_INTERVAL, LINE_INTERVAL = 1.0, 60.0
"""Time between two updates of the bars, and between two plain lines [s]."""


@dataclass(frozen=True)
class SuiteProgress:
    """Progress of a suite."""

    counts: Mapping[str, int]
    """Number of jobs by status."""
    steps: int
    """Environment steps done, over all runs."""
    of_steps: int
    """Environment steps of the whole suite."""
    running: Mapping[str, tuple[int, int]]
    """Steps done and steps in total of each running job, by its name."""
    seconds_left: float
    """Estimate of the time left [s]; NaN if nothing is known yet."""

    def __str__(self) -> str:
        finished, total = self.counts.get("finished", 0), sum(self.counts.values())
        others = ", ".join(
            f"{n} {status}" for status, n in self.counts.items() if status != "finished"
        )
        finished = f"{finished}/{total} finished" + (f" ({others})" if others else "")
        return f"{finished}, {self.steps / self.of_steps:.0%} of the steps, {self.left}"

    @property
    def left(self) -> str:
        """The time left, in words."""
        if math.isnan(self.seconds_left):
            return "time left unknown"
        hours, minutes = divmod(round(self.seconds_left / 60), 60)
        return f"{hours} h {minutes:02} min left" if hours else f"{minutes} min left"


class Board:
    """Display of a suite's progress; use it as a context manager.

    Args:
        title: title of the suite.
    """

    def __init__(self, title: str):
        self._title = title
        self._console = Console(stderr=True)
        self._next = 0.0
        self._bars: Progress | None = None
        self._rows: dict[str, TaskID] = {}

    def __enter__(self) -> Board:
        if self._console.is_terminal:
            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                TextColumn("{task.fields[facts]}", markup=False),
            )
            self._bars = Progress(*columns, console=self._console, auto_refresh=False)
            self._rows[""] = self._bars.add_task(self._title, total=None, facts="")
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bars is not None:
            self._bars.stop()

    def show(self, progress: Callable[[], SuiteProgress]) -> None:
        """Show the progress if it is time for an update; only then is `progress` called."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + (LINE_INTERVAL if self._bars is None else BAR_INTERVAL)
        now = progress()
        if self._bars is None:
            self.say(f"{self._title}: {now}")
            return
        self._bars.update(self._rows[""], total=now.of_steps, completed=now.steps, facts=str(now))
        for name in self._rows.keys() - now.running.keys() - {""}:
            self._bars.remove_task(self._rows.pop(name))
        for name, (steps, total) in now.running.items():
            if name not in self._rows:
                self._rows[name] = self._bars.add_task(f"  {name}", total=total, facts="")
            self._bars.update(self._rows[name], completed=steps, facts=f"{steps:,}/{total:,} steps")
        self._bars.refresh()

    def say(self, line: str) -> None:
        """Print one line, above the bars if there are any."""
        if self._bars is not None:
            self._bars.console.print(line, highlight=False, markup=False)
        else:
            print(line, file=sys.stderr, flush=True)
