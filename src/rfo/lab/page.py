"""A report as one HTML page that opens offline: its figures and tables are inside."""

from __future__ import annotations

import base64
import html
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from rfo.lab import comparison_tables as tables
from rfo.lab.comparison import Comparison
from rfo.lab.labels import differing
from rfo.lab.results import RunResult
from rfo.lab.tables import Column, Table, file_name, number

STYLE = """
:root { --ink: #1d2733; --soft: #5b6877; --line: #dbe1e8; --link: #1f62c9;
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  color: var(--ink); background: #fff; font-variant-numeric: tabular-nums; }
body { max-width: 68rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { margin: 0; font-size: 1.7rem; letter-spacing: -.01em; }
h2 { margin: 2.5rem 0 .5rem; border-top: 1px solid var(--line); padding-top: 1.2rem; }
h3 { margin: 1.5rem 0 .3rem; font-size: 1rem; }
p, figcaption, summary { color: var(--soft); max-width: 46rem; }
nav a { margin-right: 1rem; }
a { color: var(--link); }
img { max-width: 100%; height: auto; display: block; margin: .5rem 0; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .86rem; }
th, td { padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--line); text-align: right;
  white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
th { color: var(--soft); font-weight: 600; vertical-align: bottom; white-space: normal; }
"""

FILMS = (".mp4", ".gif")
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def report_page(
    comparison: Comparison,
    folder: Path,
    title: str,
    failed: Mapping[str, Sequence[str]],
    notes: Sequence[str],
) -> str:
    """The page.

    Args:
        comparison: runs to compare.
        folder: where the page will lie, beside the figures.
        title: its title; by default the tasks.
        failed: for each task, lines about runs that did not finish.
        notes: explanations of the tables.
    """
    tasks = comparison.tasks
    name = html.escape(title or ", ".join(tasks))
    body = [f"<h1>{name}</h1>", f"<p>{_counted(comparison)}.</p>"]
    if len(tasks) > 1:
        links = (f'<a href="#{file_name(task)}">{html.escape(task)}</a>' for task in tasks)
        body.append(f"<nav>{''.join(links)}</nav>")
    body += picture(folder / "finals.png", "Final returns of all seeds")
    for task in tasks:
        body += _task(comparison, task, folder, failed[task])
    if (folder / "profiles.png").exists() and len(tasks) > 1 and comparison.everywhere:
        body.append("<h2>All tasks</h2>")
        body += picture(folder / "profiles.png", "Performance profiles")
        body.append(tables.aggregate_table(comparison).page())
    body.append("<h2>How to read it</h2>")
    body += [f"<p>{html.escape(note)}</p>" for note in notes if note]
    return _document(f"{name} · rfo report", body)


def _counted(comparison: Comparison) -> str:
    """How much there is to compare, as in "12 runs, 3 methods, 1 task"."""
    counts = {
        "run": len(comparison.runs),
        "method": len(comparison.labels),
        "task": len(comparison.tasks),
    }
    return ", ".join(f"{n} {what}{'s' if n != 1 else ''}" for what, n in counts.items())


def _task(comparison: Comparison, task: str, folder: Path, failed: Sequence[str]) -> Iterator[str]:
    runs = comparison.of(task)
    heading = task if len(comparison.tasks) > 1 else "Curves and tables"
    yield f'<h2 id="{file_name(task)}">{html.escape(heading)}</h2>'
    if any(run.has_curve for run in runs):
        yield from picture(folder / f"curves_{file_name(task)}.png", "Learning curves")
    yield "<h3>Final returns</h3>"
    yield tables.final_table(comparison, task).page()
    yield from (f"<p>{html.escape(line)}</p>" for line in failed)
    if comparison.of(task, comparison.reference):
        yield "<h3>Against the reference</h3>"
        yield tables.comparison_table(comparison, task).page()
    labels = comparison.ranked(task)
    first = {label: comparison.of(task, label)[0].settings for label in labels}
    if any(first.values()):
        yield "<h3>Settings</h3>"
        yield from _settings(first)
    if any(run.health for run in runs):
        yield "<h3>Gradient</h3>"
        yield _health(comparison, task, labels).page()
    yield from _replays(comparison, task, labels, folder)


def _settings(settings: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """The settings in which labels differ, and those that only some of them have."""
    names = dict.fromkeys(name for each in settings.values() for name in each)
    unequal = differing(list(settings.values()))
    partly = [name for name in names if any(name not in each for each in settings.values() if each)]
    if len(settings) > 1 and not unequal and not partly:
        yield "<p>All have the same settings.</p>"
    if unequal:
        yield "<p>These differ; all others that the methods share are equal.</p>"
        yield _setting_table(settings, unequal)
    rest = [name for name in names if name not in unequal and name not in partly]
    for heading, some in (("Settings that only some have", partly), ("Equal settings", rest)):
        if some:
            shown = settings if some is partly else dict([next(iter(settings.items()))])
            table = _setting_table(shown, some)
            yield f"<details><summary>{heading}: {len(some)}</summary>{table}</details>"


def _setting_table(settings: Mapping[str, Mapping[str, Any]], names: Sequence[str]) -> str:
    columns = [Column("setting", ""), *(Column(label, label) for label in settings)]
    rows = [[name, *(_value(each, name) for each in settings.values())] for name in names]
    return Table(columns, rows).page()


def _value(settings: Mapping[str, Any], name: str) -> str:
    if name not in settings:
        return ""
    value = settings[name]
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _health(comparison: Comparison, task: str, labels: Sequence[str]) -> Table:
    """Table of what `rfo.lab.folders.health_of` tells, a row a label."""
    columns = [
        Column("label", ""),
        Column("norm", "norm, median", number),
        Column("clipped", "clipped updates", "{:.0%}".format),
        Column("dropped", "dropped gradients", "{:.2%}".format),
        Column("skipped", "skipped actor steps", number),
        Column("nonfinite", "non-finite steps", "{:.2%}".format),
    ]
    rows = []
    for label in labels:
        each = [run.health for run in comparison.of(task, label)]
        cells = []
        for column in columns[1:]:
            values = [health[column.name] for health in each if column.name in health]
            reduced = np.median if column.name == "norm" else np.mean
            cells.append(float(reduced(values)) if values else None)
        rows.append([label, *cells])
    return Table(columns, rows)


def _replays(
    comparison: Comparison, task: str, labels: Sequence[str], folder: Path
) -> Iterator[str]:
    """Links to the replays and films in the run folders."""
    lines = []
    for label in labels:
        links = [link for run in comparison.of(task, label) for link in _links(run, folder)]
        if links:
            lines.append(f"<li>{html.escape(label)}: {', '.join(links)}</li>")
    if lines:
        yield "<h3>Replays</h3>"
        yield f"<ul>{''.join(lines)}</ul>"


def _links(run: RunResult, folder: Path) -> Iterator[str]:
    if run.folder is None:
        return
    films = sorted(path for path in run.folder.iterdir() if path.suffix in FILMS)
    for path in [run.folder / "replay.html", *films]:
        if path.exists():
            there = quote(os.path.relpath(path.resolve(), folder.resolve()))
            what = f"seed {run.seed}" + ("" if path.suffix == ".html" else f" {path.name}")
            yield f'<a href="{there}">{html.escape(what)}</a>'


def picture(path: Path, caption: str) -> list[str]:
    """A PNG file as a part of the page."""
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    text = html.escape(caption)
    return [f'<img alt="{text}" src="data:image/png;base64,{data}">']


def _document(title: str, body: Sequence[str]) -> str:
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            '<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
            f"<title>{title}</title>",
            f"<style>{STYLE}</style>",
            *body,
            "</html>",
            "",
        ]
    )
