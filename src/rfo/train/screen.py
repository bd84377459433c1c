"""Progress of a training run on the screen: a bar on a terminal, plain lines elsewhere (stderr)."""

from __future__ import annotations

import sys
import time
from collections import deque
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

LINE_INTERVAL = 10.0
"""Time between two plain lines [s]."""


class Screen:
    """Shows env steps, steps per second, return, gradient norm and time left.

    Args:
        title: what is being trained.
        steps: environment steps of the whole run.
        start: environment steps done before this process.
    """

    def __init__(self, title: str, steps: int, start: int = 0):
        self._title, self._steps, self._start = title, steps, start
        self._console = Console(stderr=True)
        self._next_line = 0.0
        self._bar: Progress | None = None

    def __enter__(self) -> Screen:
        if self._console.is_terminal:
            self._bar = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.fields[facts]}"),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=self._console,
            )
            self._task = self._bar.add_task(
                self._title, total=self._steps, completed=self._start, facts="compiling"
            )
            self._bar.start()
        else:
            self.say(f"{self._title}: compiling, then {self._steps - self._start:,} steps")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, steps: int, rate: float, return_mean: float | None, grad_norm: float) -> None:
        """Tell where the run stands: steps done, steps per second, return, gradient norm."""
        shown_return = "-" if return_mean is None else f"{return_mean:,.4g}"
        facts = f"{steps:,}/{self._steps:,} steps  {rate:,.0f}/s  return {shown_return}  grad {grad_norm:.3g}"
        if self._bar is not None:
            self._bar.update(self._task, completed=steps, facts=facts)
            return
        now = time.monotonic()
        if now >= self._next_line or steps >= self._steps:
            self._next_line = now + LINE_INTERVAL
            left = (self._steps - steps) / rate if rate > 0 else float("nan")
            self.say(f"{self._title}: {facts}  {left:,.0f} s left")

    def say(self, line: str) -> None:
        """Print one line, above the bar if there is one."""
        if self._bar is not None:
            self._bar.console.print(line, highlight=False, markup=False)
        else:
            print(line, file=sys.stderr, flush=True)


class Rate:
    """Steps per second over the last few updates."""

    def __init__(self, window: int = 20):
        self._marks: deque[tuple[float, int]] = deque([(time.perf_counter(), 0)], maxlen=window)
        self._steps = 0

    def add(self, steps: int) -> float:
        """Count steps done just now; steps per second [1/s]."""
        self._steps += steps
        self._marks.append((time.perf_counter(), self._steps))
        (first_time, first_steps), (last_time, last_steps) = self._marks[0], self._marks[-1]
        return (last_steps - first_steps) / max(last_time - first_time, 1e-9)
