"""Results of runs from their run folders."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from rfo.algos.base import DROPPED
from rfo.experiment.catalogue import short_name
from rfo.lab.results import RESULTS, Curve, ResultsError, RunResult, checked, read_collection
from rfo.training import metrics
from rfo.training.metrics import number
from rfo.training.record import status_of

APART = (
    *("seed", "method", "threads", "devices", "checkpoint_every", "evaluation", "parts"),
    *("schedule", "task.name"),
)
"""Settings by which runs may differ that are averaged: they are no other training, or follow from
the others."""
CLIPPED = 1.001
"""A gradient counts as clipped if its norm was so many times as large before."""


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
        "status": status_of(folder),
    }
    lines = _read_lines(folder / "metrics.jsonl")
    try:
        run = checked(record, _curve(lines))
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
        name: np.array([number(line.get(name)) for line in lines], dtype=float)
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
    columns = ([number(line.get(name)) for line in lines] for name in Curve._fields)
    return Curve(*(np.array(column, dtype=float) for column in columns))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ResultsError(f"{path} cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise ResultsError(f"{path} does not hold a JSON object")
    return content
