"""A report on a gradient as tables, as text, and as data for JSON."""

from __future__ import annotations

from collections.abc import Sequence
from io import StringIO
from typing import Any

import numpy as np
from rich import box
from rich.console import Console, Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from rfo.experiment.gradients import GradientCheck, GradientReport
from rfo.physics.gradcheck import TOLERANCE

SHOWN_STEPS = (1, 2, 4, 8, 16, 32)
"""Control steps for which the table shows the norm of the gradient."""
WIDTH = 140
"""Columns of the tables where there is no terminal to ask."""


def tables(report: GradientReport) -> Group:
    """The report for rich: agreement, norms, and the verdict."""
    complaints = dict.fromkeys(check.complaint for check in report.checks if check.dropped)
    worst = report.worst_error
    error = "its error is not finite" if np.isinf(worst) else f"worst relative error {worst:.2%}"
    verdict = f"the gradient is {'right' if report.passed else 'WRONG'}; {error}"
    lines = [*(f"{report.task} {line}" for line in complaints), f"{report.task}: {verdict}"]
    told = (Text(line, no_wrap=True, overflow="ignore") for line in lines)
    return Group(_agreement(report), _norms(report), *told)


def as_text(report: GradientReport) -> str:
    """The report as plain text."""
    text = StringIO()
    console = Console(file=text, width=WIDTH, force_terminal=False, force_jupyter=False)
    console.print(tables(report))
    return text.getvalue().rstrip()


def details(report: GradientReport) -> dict[str, Any]:
    """The report as data for JSON."""
    return {
        "ok": report.passed,
        "worst_relative_error": report.worst_error,
        "checks": [gradient_details(check) for check in report.checks],
    }


def gradient_details(check: GradientCheck) -> dict[str, Any]:
    """One check as data for JSON."""
    report = check.report
    return {
        "start": check.start,
        "steps": check.steps,
        "ok": check.ok,
        "dropped": check.dropped,
        "finite_share": float(np.isfinite(report.norm).mean()),
        "nonzero_share": report.alive,
        "norm": _quantiles(report.norm),
        "norm_by_step": np.median(report.norm_by_step, axis=1),
        "directions": [
            {
                "name": direction.name,
                "analytic": np.median(np.abs(direction.analytic)),
                "step_sizes": direction.step_sizes,
                "difference": np.median(np.abs(direction.difference)),
                "median_error_by_step_size": np.median(direction.errors, axis=1),
                "median_error": direction.median_error,
                "converged_share": direction.converged.mean(),
                "within_share": direction.within,
                "judged": direction.judged,
                "wrong": direction.wrong,
            }
            for direction in report.directions
        ],
    }


def _table(title: str, text: Sequence[str], numbers: Sequence[str]) -> Table:
    table = Table(
        title=escape(title), title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    for name in text:
        table.add_column(name, no_wrap=True)
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _agreement(report: GradientReport) -> Table:
    checks = report.checks
    sizes = [f"at {size:g}" for size in checks[0].report.directions[0].step_sizes[::2]]
    table = _table(
        f"{report.task}: adjoint against central differences "
        "(medians over environments; errors are relative)",
        ["rollout", "direction"],
        [
            "adjoint",
            "difference",
            *sizes,
            "error",
            "converged",
            f"within {TOLERANCE:.0%}",
            "verdict",
        ],
    )
    directions = [direction for check in checks for direction in check.report.directions]
    for row, direction in zip(report.rows, directions, strict=True):
        table.add_row(
            f"{row['start']}, {row['steps']} steps",
            row["direction"],
            f"{row['adjoint']:.4g}",
            f"{row['difference']:.4g}",
            *(f"{error:.1e}" for error in np.median(direction.errors, axis=1)[::2]),
            f"{row['error']:.1e}",
            f"{row['converged']:.0%}",
            f"{row['within']:.0%}",
            row["verdict"],
            end_section=direction.name == checks[0].report.directions[-1].name,
        )
    return table


def _norms(report: GradientReport) -> Table:
    longest = max(check.steps for check in report.checks)
    shown = [step for step in SHOWN_STEPS if step <= longest]
    table = _table(
        f"{report.task}: norm of the gradient over the environments, "
        "and the median norm of its part in control step t",
        ["rollout"],
        ["median", "90 %", "max", "not zero", *(f"t = {step}" for step in shown)],
    )
    for check in report.checks:
        parts = np.median(check.report.norm_by_step, axis=1)
        table.add_row(
            f"{check.start}, {check.steps} steps",
            *(f"{value:.3g}" for value in _quantiles(check.report.norm).values()),
            f"{check.report.alive:.0%}",
            *(f"{parts[step - 1]:.3g}" if step <= len(parts) else "" for step in shown),
        )
    return table


def _quantiles(norm: np.ndarray) -> dict[str, float]:
    return {
        "median": float(np.median(norm)),
        "p90": float(np.quantile(norm, 0.9)),
        "max": float(norm.max()),
    }
