"""The tables that `rfo check-grad` prints."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rfo.experiment.gradients import GradientCheck, gradient_verdict
from rfo.physics.gradcheck import TOLERANCE, Direction
from rfo.training.guard import names
from rfo.training.record import plain
from rfo.training.screen import Phase

SHOWN_STEPS = (1, 2, 4, 8, 16, 32)
"""Control steps for which the table shows the norm of the gradient."""


def report_gradient(task: str, checks: Iterable[GradientCheck], as_json: bool) -> int:
    """Run the checks, report each on stderr, and print tables or one JSON object.

    Args:
        task: name of the task.
        checks: the checks; each runs when it is iterated over.
        as_json: whether to print JSON in place of tables.

    Returns:
        Exit status: 0 if the gradient is right, 1 if it is wrong.
    """
    done = []
    with Phase(f"{task}: compiling and checking") as phase:
        for check in checks:
            if check.dropped and all(check.start != before.start for before in done):
                phase.say(f"{task} from {check.start}: {lost(check)}")
            done.append(check)
            phase.say(f"checked {check.steps} control steps from {check.start}")
    ok, worst = gradient_verdict(done)
    if as_json:
        details = [gradient_details(check) for check in done]
        print(json.dumps(plain({"ok": ok, "worst_relative_error": worst, "checks": details})))
        return 0 if ok else 1
    console = Console()
    if not console.is_terminal:
        console.width = 140
    console.print(_agreement(task, done))
    console.print(_norms(task, done))
    for check in {check.start: check for check in done if check.dropped}.values():
        print(f"{task} from {check.start}: {lost(check)}")
    error = "its error is not finite" if np.isinf(worst) else f"worst relative error {worst:.2%}"
    print(f"{task}: the gradient is {'right' if ok else 'WRONG'}; {error}")
    return 0 if ok else 1


def lost(check: GradientCheck) -> str:
    """What is not finite of a gradient, by array."""
    arrays = names([f"{name} ({share:.0%})" for name, share in check.dropped.items()])
    return f"the gradient is not finite in {arrays} of the environments' steps; a training drops it"


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


def _agreement(task: str, checks: list[GradientCheck]) -> Table:
    sizes = [f"at {size:g}" for size in checks[0].report.directions[0].step_sizes[::2]]
    table = _table(
        f"{task}: adjoint against central differences "
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
    for check in checks:
        for direction in check.report.directions:
            table.add_row(f"{check.start}, {check.steps} steps", direction.name, *_cells(direction))
        table.add_section()
    return table


def _cells(direction: Direction) -> list[str]:
    verdict = "wrong" if direction.wrong else "right" if direction.judged else "rough"
    return [
        f"{np.median(np.abs(direction.analytic)):.4g}",
        f"{np.median(np.abs(direction.difference)):.4g}",
        *(f"{error:.1e}" for error in np.median(direction.errors, axis=1)[::2]),
        f"{direction.median_error:.1e}",
        f"{direction.converged.mean():.0%}",
        f"{direction.within:.0%}",
        verdict,
    ]


def _norms(task: str, checks: list[GradientCheck]) -> Table:
    longest = max(check.steps for check in checks)
    shown = [step for step in SHOWN_STEPS if step <= longest]
    table = _table(
        f"{task}: norm of the gradient over the environments, "
        "and the median norm of its part in control step t",
        ["rollout"],
        ["median", "90 %", "max", "not zero", *(f"t = {step}" for step in shown)],
    )
    for check in checks:
        parts = np.median(check.report.norm_by_step, axis=1)
        table.add_row(
            f"{check.start}, {check.steps} steps",
            *(f"{value:.3g}" for value in _quantiles(check.report.norm).values()),
            f"{check.report.alive:.0%}",
            *(f"{parts[step - 1]:.3g}" if step <= check.steps else "" for step in shown),
        )
    return table


def _quantiles(norm: np.ndarray) -> dict[str, float]:
    return {
        "median": float(np.median(norm)),
        "p90": float(np.quantile(norm, 0.9)),
        "max": float(norm.max()),
    }
