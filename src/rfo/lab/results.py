"""Results of runs, and one small file of them that can be committed.

A run folder holds megabytes. A figure or a table needs only a thinned learning curve and the final
evaluation. `collect` writes these for many runs to one `results.json`, and `read_collection` reads
them. `rfo.lab.folders` reads the run folders themselves.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rfo.errors import RunError
from rfo.training.metrics import number

RESULTS = "results.json"
NAME = ("task", "label", "algorithm", "seed")
PROTOCOLS = ("stochastic", "deterministic")
STATUSES = ("finished", "diverged", "unfinished")
LONGEST_NAME = 200
FORMULA = ("=", "+", "-", "@")
"""First characters of a CSV cell that a spreadsheet would run as a formula."""


class ResultsError(RunError, ValueError):
    """Results that cannot be read; the message says in one line which ones and why."""


class Curve(NamedTuple):
    """A learning curve of N points."""

    env_steps: np.ndarray
    """Environment steps so far, (N,)."""
    seconds: np.ndarray
    """Training time so far [s], (N,). Seeds that trained as one program share their time."""
    return_mean: np.ndarray
    """Mean return of the last finished episodes, (N,); NaN before the first."""


@dataclass(frozen=True, eq=False)
class RunResult:
    """Results of one training run; its names may hold any printable character."""

    task: str
    label: str
    """What a report compares: the name of a method, or of a cell of a suite."""
    algorithm: str
    seed: int
    curve: Curve
    evaluation: dict[str, dict[str, Any]]
    """Statistics of the final evaluation with "stochastic" and "deterministic" actions; empty if
    there was none."""
    status: str = "finished"
    """One of "finished", "diverged" and "unfinished" (stopped or still running)."""
    folder: Path | None = None
    """The run folder; None for collected results."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What was trained, by dotted name, without the seed and what belongs to the machine; empty for
    collected results."""
    health: Mapping[str, float] = field(default_factory=dict)
    """The gradient over the training, see `rfo.lab.folders.health_of`; empty for
    collected results."""

    @property
    def has_curve(self) -> bool:
        """Whether any episode finished in training."""
        return bool(np.isfinite(self.curve.return_mean).any())

    @property
    def env_steps(self) -> int:
        """Environment steps trained so far."""
        return int(self.curve.env_steps[-1]) if len(self.curve.env_steps) else 0

    @property
    def score(self) -> float:
        """Mean return of the final evaluation with stochastic actions.

        Without an evaluation it is the mean return of the last training episodes, or NaN if no
        episode ended.
        """
        if self.evaluation:
            return number(self.evaluation["stochastic"]["mean"])
        returns = self.curve.return_mean[np.isfinite(self.curve.return_mean)]
        return float(returns[-1]) if len(returns) else float("nan")


def checked(record: Mapping[str, Any], curve: Curve) -> RunResult:
    """A run made from data that someone else may have written.

    Raises:
        ResultsError: if a value is missing or is none that a run can have.
    """
    for name in ("task", "label", "algorithm"):
        _refuse_name(record.get(name), name)
    if type(record.get("seed")) is not int:
        raise ResultsError(f"a run's seed must be a whole number, not {record.get('seed')!r:.80}")
    if record.get("status") not in STATUSES:
        raise ResultsError(
            f"a run's status must be {' or '.join(STATUSES)}, not {record.get('status')!r:.80}"
        )
    _refuse_evaluation(record.get("evaluation"))
    return RunResult(**record, curve=curve)


def _refuse_name(name: Any, what: str) -> None:
    """Refuse a name that figures or tables could not show as it is."""
    if not (isinstance(name, str) and name.strip() and len(name) <= LONGEST_NAME):
        raise ResultsError(f"a run's {what} must be a short name, not {name!r:.80}")
    if not name.isprintable() or "$" in name or name.startswith(FORMULA):
        raise ResultsError(
            f"a run's {what} must be plain text without '$' that does not begin with "
            f"{' '.join(FORMULA)}, not {name!r:.80}"
        )


def _refuse_evaluation(evaluation: Any) -> None:
    if not isinstance(evaluation, dict) or set(evaluation) - set(PROTOCOLS):
        raise ResultsError("an evaluation has only the parts stochastic and deterministic")
    for protocol in PROTOCOLS if evaluation else ():
        summary = evaluation.get(protocol)
        mean = summary.get("mean", "") if isinstance(summary, dict) else ""
        if mean is not None and type(mean) not in (int, float):
            raise ResultsError(f"an evaluation lacks the mean of its {protocol} part")


def thin(curve: Curve, points: int) -> Curve:
    """Reduce a curve to at most `points` rows.

    A block of rows becomes one row with the mean of their `return_mean` (without NaNs) and the last
    of their `env_steps` and `seconds`.
    """
    rows = len(curve.env_steps)
    if rows <= points:
        return curve
    ends = np.linspace(0, rows, points + 1).astype(int)[1:]
    blocks = [block[np.isfinite(block)] for block in np.split(curve.return_mean, ends[:-1])]
    mean = np.array([block.mean() if len(block) else np.nan for block in blocks])
    return Curve(curve.env_steps[ends - 1], curve.seconds[ends - 1], mean)


def collect(runs: Iterable[RunResult], folder: Path, points: int = 100) -> Path:
    """Write the thinned curves and the evaluations of runs to one file, with one run per line.

    Returns are rounded to six significant digits, training times to four. Evaluations are written
    without the returns of single episodes.

    Args:
        runs: runs to write.
        folder: folder to write to; it is made if it does not exist.
        points: largest number of points of a curve.

    Returns:
        Path of `results.json`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    records = []
    for run in runs:
        curve = thin(run.curve, points)
        record = {
            **{key: getattr(run, key) for key in NAME},
            "status": run.status,
            "env_steps": [int(steps) for steps in curve.env_steps],
            "seconds": [_rounded(seconds, 4) for seconds in curve.seconds],
            "return_mean": [_rounded(value, 6) for value in curve.return_mean],
            "evaluation": {
                protocol: {key: value for key, value in summary.items() if key != "returns"}
                for protocol, summary in run.evaluation.items()
            },
        }
        records.append(json.dumps(record, separators=(",", ":")))
    path = folder / RESULTS
    path.write_text("[\n" + ",\n".join(records) + "\n]\n", encoding="utf-8")
    return path


def _rounded(value: float, digits: int) -> float | int | None:
    """A number rounded to significant digits; None for NaN and infinity, which JSON lacks."""
    if not np.isfinite(value):
        return None
    short = float(f"{value:.{digits}g}")
    return int(short) if short.is_integer() else short


def read_collection(path: Path) -> list[RunResult]:
    """Read the runs that `collect` wrote.

    Args:
        path: the file, or its folder.

    Raises:
        ResultsError: if the file is missing or damaged.
    """
    file = path / RESULTS if path.is_dir() else path
    try:
        runs = []
        for record in json.loads(file.read_text(encoding="utf-8")):
            columns = np.array([record.pop(name) for name in Curve._fields], dtype=float)
            runs.append(checked(record, Curve(*columns)))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ResultsError(f"{file} does not hold collected results: {error}") from None
    return runs
