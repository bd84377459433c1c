"""Report on runs: tables in Markdown and CSV, figures, and the raw results behind them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rfo.lab import comparison_tables as tables
from rfo.lab import statistics
from rfo.lab.comparison import Comparison
from rfo.lab.comparison_tables import ALL_TASKS, PROFILE_SCORES
from rfo.lab.curves import ReferenceLine, draw, save, styles
from rfo.lab.finals import draw_finals
from rfo.lab.page import report_page
from rfo.lab.published import BUDGET, PUBLISHED, SAPO_PAPER
from rfo.lab.results import RunResult, collect, read_collection
from rfo.lab.tables import escaped, file_name, number, write_csv


def write(
    comparison: Comparison,
    folder: Path,
    points: int = 100,
    along: Sequence[str] = ("env_steps", "seconds"),
    title: str = "",
    raw: Sequence[RunResult] = (),
) -> list[Path]:
    """Write `report.html`, `report.md`, CSV files, figures, and raw results as `results.json`.

    Tables and figures are made from the raw results as written, so that a report on these is the
    same.

    Args:
        comparison: runs to compare.
        folder: folder to write to; files of an earlier report are replaced.
        points: number of points that each learning curve keeps.
        along: axes of the learning curves.
        title: title of the figures of learning curves; by default the name of the task.
        raw: runs whose raw results are written; by default those of the comparison.

    Returns:
        Paths of all files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    results = collect(raw or comparison.runs, folder, points)
    kept = {(run.task, run.label, run.seed): run for run in read_collection(folder)}
    runs = [
        replace(
            kept[run.task, run.label, run.seed],
            folder=run.folder,
            settings=run.settings,
            health=run.health,
        )
        for run in comparison.runs
    ]
    comparison = replace(comparison, runs=runs)
    text = folder / "report.md"
    text.write_text("\n".join(_markdown(comparison)), encoding="utf-8")
    figures = _write_figures(comparison, folder, along, title)
    tables_ = _write_csv_files(comparison, folder)
    failed = {task: failure_lines(comparison.of(task)) for task in comparison.tasks}
    page = folder / "report.html"
    page.write_text(report_page(comparison, folder, title, failed, notes(comparison)), "utf-8")
    return [results, *figures, text, *tables_, page]


def _over_tasks(comparison: Comparison) -> bool:
    """Whether there is anything to say about all tasks together."""
    return len(comparison.tasks) > 1 and bool(comparison.everywhere)


def _with_curve(comparison: Comparison, task: str) -> list[RunResult]:
    return [run for run in comparison.of(task) if run.has_curve]


def _markdown(comparison: Comparison) -> list[str]:
    """Lines of `report.md`."""
    text = ["# Report", "", "![Final returns](finals.png)", ""]
    for task in comparison.tasks:
        text += [f"## {escaped(task)}", ""]
        if _with_curve(comparison, task):
            picture = f"curves_{file_name(task)}.png"
            text += [f"![Learning curves on {escaped(task)}]({picture})", ""]
        text += [*tables.final_table(comparison, task).markdown(), ""]
        text += failures(comparison.of(task))
        if comparison.of(task, comparison.reference):
            text += [*tables.comparison_table(comparison, task).markdown(), ""]
    if _over_tasks(comparison):
        text += ["## All tasks", "", "![Performance profiles](profiles.png)", ""]
        text += [*tables.aggregate_table(comparison).markdown(), ""]
    return [*text, *notes(comparison)]


def _write_figures(
    comparison: Comparison, folder: Path, along: Sequence[str], title: str
) -> list[Path]:
    labels = comparison.labels
    values = {task: comparison.scores_by_label(task) for task in comparison.tasks}
    written = [save(draw_finals(values, labels, title), folder / "finals")]
    for task in comparison.tasks:
        if runs := _with_curve(comparison, task):
            figure = draw(runs, along, lines(task), title, labels)
            written.append(save(figure, folder / f"curves_{file_name(task)}"))
    if _over_tasks(comparison):
        written.append(save(profiles(comparison), folder / "profiles"))
    return written


def _write_csv_files(comparison: Comparison, folder: Path) -> list[Path]:
    tasks = comparison.tasks
    compared = [task for task in tasks if comparison.of(task, comparison.reference)]
    found = {
        "scores": [(task, tables.score_table(comparison, task)) for task in tasks],
        "final": [(task, tables.final_table(comparison, task)) for task in tasks],
        "efficiency": [(task, tables.efficiency_table(comparison, task)) for task in compared],
        "improvement": tables.improvement_tables(comparison),
    }
    if _over_tasks(comparison):
        found["all_tasks"] = [(ALL_TASKS, tables.aggregate_table(comparison))]
        found["profiles"] = [(ALL_TASKS, tables.profile_table(comparison))]
    return [write_csv(folder / f"{name}.csv", content) for name, content in found.items()]


def lines(task: str) -> list[ReferenceLine]:
    """Published numbers of a task, as lines of a figure."""
    found = PUBLISHED.get(task, {})
    shown = {method: found[method] for method in ("sapo", "shac") if method in found}
    return [
        ReferenceLine(
            there.value, f"{method.upper()}, published\n(at {there.env_steps / 1e6:g}M steps)"
        )
        for method, there in shown.items()
    ]


def profiles(comparison: Comparison) -> Figure:
    """Figure of performance profiles, for the labels that have runs on every task."""
    drawn = Figure(figsize=(8.5, 4.2), layout="constrained")
    panel = drawn.subplots()
    legend: dict[str, Line2D] = {}
    for label, (style, colour) in styles(comparison.labels).items():
        if label in comparison.everywhere:
            curve = statistics.profile(
                [comparison.normalised(task, label) for task in comparison.tasks], PROFILE_SCORES
            )
            (legend[label],) = panel.plot(
                PROFILE_SCORES, curve.share, color=colour, ls=style, lw=2, label=label
            )
            panel.fill_between(
                PROFILE_SCORES, curve.low, curve.high, color=colour, alpha=0.12, lw=0
            )
    panel.set_xlabel("normalised score (0: worst run of a task, 1: best)")
    panel.set_ylabel("share of runs above it")
    panel.set_xlim(0, 1)
    panel.set_ylim(0, 1.02)
    panel.grid(color="#ddd", lw=0.6)
    panel.spines[["top", "right"]].set_visible(False)
    drawn.legend(list(legend.values()), list(legend), frameon=False, loc="outside right center")
    drawn.suptitle(f"{', '.join(comparison.tasks)}: all seeds, 95 % bands", fontsize=11)
    return drawn


def failures(runs: Sequence[RunResult]) -> list[str]:
    """Footnotes about runs that did not finish, in Markdown."""
    told = [escaped(line) for line in failure_lines(runs)]
    return ["  \n".join(told), ""] if told else []


def failure_lines(runs: Sequence[RunResult]) -> list[str]:
    """One line about each run that did not finish."""
    told = []
    for run in runs:
        if run.status != "finished":
            counts = (
                f"its score is its last return, {number(run.score)}"
                if run.has_curve
                else "no episode ended, so it counts as the task's worst run and has no curve"
            )
            told.append(
                f"† {run.label}, seed {run.seed}: {run.status} after {run.env_steps:,} steps; "
                f"{counts}."
            )
    return told


def notes(comparison: Comparison) -> list[str]:
    """Explanation of the tables."""
    text = (
        "Scores are returns of the final policy with stochastic actions, one per seed. "
        "± is half of the 95 % interval of the mean (Student's t). [a, b] is a 95 % interval "
        "of the percentile bootstrap over the seeds of each task. IQM is the mean of the middle "
        "half of the scores. P is the share of all pairs of seeds in which this label has the "
        "higher score. Steps are the environment steps after which half of the seeds have reached "
        "a threshold with their training returns. A run that did not finish keeps the last return "
        "of its training, in tables and curves."
    )
    if any(len({tuple(r.curve.seconds) for r in mine}) < len(mine) for mine in _groups(comparison)):
        text += (
            " Seeds that trained together as one program share their training time, which is that "
            "of all of them."
        )
    for task in comparison.tasks:
        if task in PUBLISHED:
            text += f" Published for {task}: {SAPO_PAPER}, {BUDGET[task] / 1e6:g}M steps."
    return [text, ""]


def _groups(comparison: Comparison) -> list[list[RunResult]]:
    groups = [
        comparison.of(task, label) for task in comparison.tasks for label in comparison.ranked(task)
    ]
    return [[run for run in mine if run.has_curve] for mine in groups]
