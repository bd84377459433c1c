"""Results of runs, read from run folders or from one small file that can be committed.

A run folder holds megabytes. A figure or a table needs only a thinned learning curve and the final
evaluation. `collect` writes these for many runs to one `results.json`, and `read_collection` reads
them.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rfo.algos.base import DROPPED
from rfo.errors import RunError
from rfo.experiment.catalogue import short_name
from rfo.training import metrics

RESULTS = "results.json"
NAME = ("task", "label", "algorithm", "seed")
PROTOCOLS = ("stochastic", "deterministic")
STATUSES = ("finished", "diverged", "unfinished")
LONGEST_NAME = 200
APART = (
    *("seed", "method", "threads", "devices", "checkpoint_every", "evaluation", "parts"),
    *("schedule", "task.name"),
)
"""Settings by which runs may differ that are averaged: they are no other training, or follow from
the others."""
CLIPPED = 1.001
"""A gradient counts as clipped if its norm was so many times as large before."""
SHOWN = 3
"""Settings that the label of a run tells."""
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
    """The gradient over the training, see `health_of`; empty for collected results."""

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
            return _number(self.evaluation["stochastic"]["mean"])
        returns = self.curve.return_mean[np.isfinite(self.curve.return_mean)]
        return float(returns[-1]) if len(returns) else float("nan")


def _checked(record: Mapping[str, Any], curve: Curve) -> RunResult:
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


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def find_runs(root: Path) -> list[RunResult]:
    """Read all runs in a folder and below it, in the order of their paths.

    A run in `.../TASK/CELL/s3`, where `rfo bench learn` puts it, has the label CELL, and so has one
    in `root/CELL/s3`. A run directly in `root`, or `root` itself, is labelled by its method. Runs
    that were set aside in `abandoned` are left out.

    Raises:
        ResultsError: if there is no run, or one is damaged.
    """
    root = Path(root)
    found = (path.parent for path in root.rglob("config.json"))
    folders = sorted(
        folder for folder in found if "abandoned" not in folder.relative_to(root).parts
    )
    if not folders:
        raise ResultsError(f"no run folder in {root}")
    runs = []
    for folder in folders:
        run = read_run(folder)
        runs.append(replace(run, label=_cell(folder, root, run) or run.label))
    return runs


def _cell(folder: Path, root: Path, run: RunResult) -> str:
    """Name of the cell in the path of a run; empty if there is none."""
    *_, task, label, seed = ("", "", *folder.resolve().parts)
    if (task, seed) == (_task(_read_json(folder / "config.json")), f"s{run.seed}"):
        return label
    return "/".join(folder.relative_to(root).parent.parts)


def read_run(folder: Path) -> RunResult:
    """Read one run folder.

    Reads `config.json` and, if they exist, `metrics.jsonl` and `evaluation.json`. Damaged lines of
    metrics are left out, with a message on stderr.

    Raises:
        ResultsError: if another file is damaged or has a value that no run has.
    """
    config, evaluation = folder / "config.json", folder / "evaluation.json"
    settings = _read_json(config)
    algorithm = settings.get("algorithm")
    name = algorithm.get("name") if isinstance(algorithm, Mapping) else None
    method = settings.get("method") or name
    record = {
        "task": _shown_task(settings, folder),
        "label": method,
        "algorithm": method,
        "seed": settings.get("seed"),
        "evaluation": _read_json(evaluation) if evaluation.exists() else {},
        "status": _status(folder),
    }
    lines = _read_lines(folder / "metrics.jsonl")
    try:
        run = _checked(record, _curve(lines))
    except ResultsError as error:
        raise ResultsError(f"{folder} is not a run folder that can be reported: {error}") from None
    return replace(run, folder=folder, settings=_flat(settings), health=health_of(lines))


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings by dotted name, without those by which runs that belong together may differ."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        if prefix + name in APART:
            continue
        inner = prefix + name + "." if name != "algorithm" else prefix
        found |= _flat(value, inner) if isinstance(value, Mapping) else {prefix + name: value}
    return found


def health_of(lines: Sequence[metrics.MetricsLine]) -> dict[str, float]:
    """How the gradient was over a training.

    Returns:
        ``norm``: median of the actor's gradient before its clip; ``clipped``: share of the updates
        in which it was clipped; ``dropped``: mean share of the environment steps whose gradient was
        dropped; ``skipped``: number of actor steps left out; ``nonfinite``: mean share of the
        environment steps that were not finite. What the metrics do not tell is left out.
    """
    columns = {
        name: np.array([_number(line.get(name)) for line in lines], dtype=float)
        for name in ("grad_norm", "grad_norm_clipped", DROPPED, "skipped_updates", "nonfinite")
    }
    norm, after = columns["grad_norm"], columns["grad_norm_clipped"]
    known = np.isfinite(norm) & np.isfinite(after)
    found = {
        "norm": np.median(norm[known]) if known.any() else np.nan,
        "clipped": np.mean(norm[known] > CLIPPED * after[known]) if known.any() else np.nan,
    }
    shares = {"dropped": DROPPED, "skipped": "skipped_updates", "nonfinite": "nonfinite"}
    for name, column in shares.items():
        there = columns[column][np.isfinite(columns[column])]
        reduced = np.sum if name == "skipped" else np.mean
        found[name] = reduced(there) if len(there) else np.nan
    return {name: float(value) for name, value in found.items() if np.isfinite(value)}


def separated(runs: Sequence[RunResult]) -> list[RunResult]:
    """The runs, with labels of their own where runs of one task and label differ in a setting.

    Runs are averaged over their seeds only, so those that differ in anything else are shown apart:
    ``rfo`` becomes ``rfo (c_past 0.3)``. Settings that one of them lacks are not compared.
    """
    groups: dict[tuple[str, str], list[RunResult]] = {}
    for run in runs:
        groups.setdefault((run.task, run.label), []).append(run)
    names = {key: differing([run.settings for run in mine]) for key, mine in groups.items()}
    told = []
    for run in runs:
        found = names[run.task, run.label]
        marks = ", ".join(f"{name} {_short(run.settings.get(name))}" for name in found[:SHOWN])
        if len(found) > SHOWN:
            values = repr([run.settings.get(name) for name in found])
            marks += f", {hashlib.sha256(values.encode()).hexdigest()[:6]}"
        told.append(replace(run, label=f"{run.label} ({marks})") if found else run)
    for (task, label), found in names.items():
        if found:
            print(
                f"rfo: runs of {label} on {task} differ in {', '.join(found)}: they are shown "
                f"apart, not averaged",
                file=sys.stderr,
            )
    return told


def differing(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of the settings that all have and in which they are not equal."""
    known = [each for each in settings if each]
    common = [name for name in known[0] if all(name in each for each in known)] if known else []
    return [name for name in common if any(each[name] != known[0][name] for each in known)]


def _short(value: Any) -> str:
    """A setting in a label: printable, and no more than a few words."""
    text = " ".join(map(str, value)) if isinstance(value, list) else str(value)
    return re.sub(r"[^ -~]|\$", "_", text)[:24]


def _task(settings: Mapping[str, Any]) -> Any:
    """Name of the task in a configuration."""
    task = settings.get("task")
    name = task.get("name") if isinstance(task, Mapping) else task
    return short_name(name) if isinstance(name, str) else name


def _shown_task(settings: Mapping[str, Any], folder: Path) -> Any:
    """Name of the task for a report: robots and users' own tasks are told apart by their content.

    A path tells neither: the file may change, and the same one may lie in two places. A task of an
    installed package has the package's version, too."""
    name, about = _task(settings), folder / "task.json"
    if not about.exists():
        return name
    there = _read_json(about)
    version, digest = there.get("version"), there.get("sha256")
    marks = [version] if isinstance(version, str) else []
    if isinstance(digest, str) and re.fullmatch("[0-9a-f]{64}", digest):
        marks.append(digest[:8])
    return " ".join([str(there.get("model", name)), *marks])


def _status(folder: Path) -> str:
    if (folder / "evaluation.json").exists():
        return "finished"
    return "diverged" if (folder / "diverged").exists() else "unfinished"


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


def read_any(path: Path) -> list[RunResult]:
    """Read the runs of a run folder, of a folder of them, or of collected results.

    Args:
        path: a folder, or the file that `collect` wrote.

    Raises:
        ResultsError: if there is no run, or one is damaged.
    """
    if path.is_file() or (path / RESULTS).exists():
        return read_collection(path)
    return find_runs(path)


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
            runs.append(_checked(record, Curve(*columns)))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ResultsError(f"{file} does not hold collected results: {error}") from None
    return runs


def _read_lines(path: Path) -> list[metrics.MetricsLine]:
    """Lines of a metrics file that a curve can be made of; none if there is no file."""
    try:
        there = metrics.read(path)
    except OSError as error:
        raise ResultsError(f"{path} cannot be read: {error}") from None
    clocks = ("env_steps", "seconds")
    lines = [line for line in there.lines if all(line.get(name) is not None for name in clocks)]
    lost = len(there.lines) - len(lines)
    told = [f"{path}: left out {lost} lines without {' or '.join(clocks)}"] if lost else []
    for complaint in [there.complaint, *told]:
        if complaint is not None:
            print(f"rfo: {complaint}", file=sys.stderr)
    return lines


def _curve(lines: Sequence[metrics.MetricsLine]) -> Curve:
    """Learning curve of a run's metrics."""
    columns = ([_number(line.get(name)) for line in lines] for name in Curve._fields)
    return Curve(*(np.array(column, dtype=float) for column in columns))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ResultsError(f"{path} cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise ResultsError(f"{path} does not hold a JSON object")
    return content
