"""What a command is doing: a live line on a terminal or in a notebook, plain lines elsewhere."""

from __future__ import annotations

import html
import sys
import threading
import time
from collections import deque
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

LINE_INTERVAL = 10.0
"""Time between two plain lines [s]."""
NOTEBOOK_INTERVAL = 1.0
"""Time between two states of a notebook's line [s]."""
WIDTH = 80
"""Columns that a line may take where there is no terminal to ask."""
BAR_WIDTH = 24
UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


class NotebookLine:
    """One line of a notebook's output that is written over, with a bar where the end is known."""

    def __init__(self) -> None:
        self._handle: Any = None

    def show(self, text: str, share: float | None = None) -> None:
        """Write the line anew.

        Args:
            text: what it says.
            share: how much of the work is done, from 0 to 1.
        """
        from IPython.display import display  # pyright: ignore[reportMissingImports]

        bar = "" if share is None else f'<progress value="{share:.4f}"></progress> '
        content = {"text/plain": text, "text/html": f"{bar}<code>{html.escape(text)}</code>"}
        if self._handle is None:
            self._handle = display(content, raw=True, display_id=True)
        else:
            self._handle.update(content, raw=True)


class Phase:
    """Says what a command is busy with, from its first moment on and with the seconds running.

    On a terminal this is one line that vanishes in the end, in a notebook one that stays. Elsewhere
    it is a plain line at once and one every `LINE_INTERVAL` seconds. Phases follow one another;
    they do not nest.

    Args:
        name: what is going on, as in "ant rfo: compiling".
        console: where to show it; stderr by default.
        notebook: line to write over in a notebook, by default a new one.
    """

    def __init__(
        self, name: str, console: Console | None = None, notebook: NotebookLine | None = None
    ):
        self._name = name
        self._console = console or Console(stderr=True)
        self._notebook = notebook or notebook_line(self._console)
        self._line: Progress | None = None
        self._ticker: threading.Thread | None = None
        self._over = threading.Event()

    def __enter__(self) -> Phase:
        if self._console.is_terminal:
            self._line = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}", markup=False),
                TimeElapsedColumn(),
                console=self._console,
                transient=True,
            )
            self._task = self._line.add_task(self._name)
            self._line.start()
        else:
            self._begin()
            # a daemon: it must not keep alive a process that is told to end while it compiles
            self._ticker = threading.Thread(target=self._tick, daemon=True)
            self._ticker.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._line is not None:
            self._line.stop()
        if self._ticker is not None:
            self._ticker.join()
        if self._notebook is not None:
            self._notebook.show(f"{self._name}: {time.monotonic() - self._since:.0f} s")

    def now(self, name: str) -> None:
        """Go on to something else; its seconds start at 0."""
        self._name = name
        if self._line is not None:
            self._line.reset(self._task, description=name)
        else:
            self._begin()

    def say(self, line: str) -> None:
        """Print one line that stays, above the live one."""
        if self._line is not None:
            self._console.print(line, highlight=False, markup=False)
        else:
            say(line)

    def _begin(self) -> None:
        self._since = time.monotonic()
        self._write(self._name)

    def _tick(self) -> None:
        interval = LINE_INTERVAL if self._notebook is None else NOTEBOOK_INTERVAL
        while not self._over.wait(interval):
            seconds = time.monotonic() - self._since
            if seconds >= interval / 2:
                self._write(f"{self._name}: {seconds:.0f} s so far")

    def _write(self, line: str) -> None:
        if self._notebook is None:
            say(line)
        else:
            self._notebook.show(line)


class Screen:
    """Shows the progress of a training: compiling, then steps, speed, return and time left.

    Args:
        title: what is being trained.
        steps: environment steps of the whole run.
        start: environment steps done before this process.
    """

    def __init__(self, title: str, steps: int, start: int = 0):
        self._title, self._steps, self._start = title, steps, start
        self._console = Console(stderr=True)
        self._notebook = notebook_line(self._console)
        self._next_line = 0.0
        self._compiling: Phase | None = None
        self._bar: Progress | None = None
        self._dropped_in: tuple[str, ...] = ()

    def __enter__(self) -> Screen:
        compiling = Phase(f"{self._title}: compiling", self._console, self._notebook)
        self._compiling = compiling.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._end_compiling()
        if self._bar is not None:
            self._bar.stop()

    def show(
        self,
        steps: int,
        rate: float | None,
        return_mean: float | None,
        grad_norm: float,
        dropped: float = 0.0,
        dropped_in: tuple[str, ...] = (),
    ) -> None:
        """Tell where the run stands.

        Args:
            steps: environment steps done.
            rate: steps per second, None before it is known [1/s].
            return_mean: mean return of the newest episodes, None before the first one ended.
            grad_norm: norm of the gradient.
            dropped: share of the environments' gradients that were dropped.
            dropped_in: arrays in which those were not finite.
        """
        self._end_compiling()
        if dropped > 0 and set(dropped_in) - set(self._dropped_in):
            self._dropped_in = dropped_in
            self.say(
                f"{self._title}: gradients are dropped, as they are not finite in "
                + " and ".join(dropped_in)
            )
        facts = _facts(steps, self._steps, rate, return_mean, grad_norm, dropped)
        if self._console.is_terminal:
            self._draw(steps, facts)
            return
        now = time.monotonic()
        if now < self._next_line and steps < self._steps:
            return
        if self._notebook is None:
            self._next_line = now + LINE_INTERVAL
            self.say(fitted(self._title, facts, WIDTH))
        else:
            self._next_line = now + NOTEBOOK_INTERVAL
            self._notebook.show(f"{self._title}: {facts}", steps / self._steps)

    def say(self, line: str) -> None:
        """Print one line, above the bar if there is one."""
        if self._bar is not None:
            self._bar.console.print(line, highlight=False, markup=False)
        else:
            say(line)

    def _draw(self, steps: int, facts: str) -> None:
        wide = self._console.width >= WIDTH + BAR_WIDTH
        if self._bar is None:
            self._bar = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}", markup=False),
                *([BarColumn(BAR_WIDTH)] if wide else []),
                console=self._console,
            )
            self._task = self._bar.add_task("", total=self._steps, completed=self._start)
            self._bar.start()
        room = self._console.width - 3 - (BAR_WIDTH + 1 if wide else 0)
        line = fitted(self._title, facts, room)
        self._bar.update(self._task, completed=steps, description=line)

    def _end_compiling(self) -> None:
        if self._compiling is not None:
            self._compiling.__exit__(None, None, None)
            self._compiling = None


def notebook_line(console: Console) -> NotebookLine | None:
    """A line to write over, if this is a notebook."""
    return NotebookLine() if console.is_jupyter else None


def say(line: str) -> None:
    """Print one plain line on stderr."""
    print(line, file=sys.stderr, flush=True)


def _facts(
    steps: int,
    total: int,
    rate: float | None,
    return_mean: float | None,
    grad_norm: float,
    dropped: float,
) -> str:
    shown_return = "-" if return_mean is None else compact(return_mean, digits=4)
    parts = [
        f"{compact(steps)}/{compact(total)} steps",
        f"return {shown_return}",
        f"grad {grad_norm:.3g}" + (f", {dropped:.0%} dropped" if dropped > 0 else ""),
    ]
    if rate is not None and rate > 0:
        parts.insert(1, f"{compact(rate)}/s")
        if steps < total:
            parts.append(f"{duration((total - steps) / rate)} left")
    return ", ".join(parts)


def fitted(title: str, facts: str, width: int) -> str:
    """``title: facts``, the title cut so that all fits a number of columns."""
    room = width - len(facts) - 2
    if len(title) > room:
        title = title[: max(room - 1, 0)] + "…"
    return f"{title}: {facts}" if room > 1 else facts[:width]


def compact(number: float, digits: int = 3) -> str:
    """A number in a few digits, as in 25.3k or 4.1M."""
    number = float(f"{number:.{digits}g}")
    for size, unit in UNITS:
        if abs(number) >= size:
            return f"{number / size:.{digits}g}{unit}"
    return f"{number:.{digits}g}"


def duration(seconds: float) -> str:
    """A time in one unit, as in 42 s, 12 min or 3.5 h."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    if seconds < 99.5 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


class Rate:
    """Steps per second over the last few updates, without the time before the first one."""

    def __init__(self, window: int = 20):
        self._marks: deque[tuple[float, int]] = deque(maxlen=window)
        self._steps = 0

    def add(self, steps: int) -> float | None:
        """Count steps done just now.

        Returns:
            Steps per second [1/s]; None at the first call, whose time includes compilation.
        """
        self._steps += steps
        self._marks.append((time.perf_counter(), self._steps))
        (first_time, first_steps), (last_time, last_steps) = self._marks[0], self._marks[-1]
        seconds = last_time - first_time
        return (last_steps - first_steps) / seconds if seconds > 0 else None
