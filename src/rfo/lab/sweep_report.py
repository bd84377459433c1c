"""Report on a sweep: its trials in a table, what matters, and the best settings as a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from optuna.importance import get_param_importances
from optuna.trial import FrozenTrial, TrialState

from rfo.lab import sweep_figures
from rfo.lab.curves import save
from rfo.lab.sweep import REASON, Sweep, alone
from rfo.lab.tables import Column, Table, number, write_csv

SHOWN = 10
"""Trials in the page; the CSV file has all."""


def write(sweep: Sweep) -> list[Path]:
    """Write `report.md`, `trials.csv`, `best.toml` and the figures into the sweep's folder.

    Figures need two trials that were trained to their end.

    Returns:
        Paths of all files.
    """
    search, folder = sweep.search, sweep.folder / "report"
    page, best_settings = folder / "report.md", folder / "best.toml"
    with alone(sweep.folder):
        folder.mkdir(exist_ok=True)
        trials = sweep.trials()
        best = best_first(trials)
        lines = ["# Sweep", "", *_summary(trials), ""]
        lines += [*_table(best[:SHOWN], list(search.space)).markdown(), ""]
        written = [page]
        if best:
            chosen = search.cell(best[0].number, best[0].params).experiment
            best_settings.write_text(chosen.to_toml(), encoding="utf-8")
            written.append(best_settings)
        if best[1:]:
            shares = get_param_importances(sweep.study)
            lines += [*_importance_table(shares).markdown(), ""]
            lines += ["![Importance](importance.png)", "![Parallel coordinates](parallel.png)"]
            written.append(save(sweep_figures.importance(shares), folder / "importance"))
            written.append(save(sweep_figures.parallel(best, search.space), folder / "parallel"))
        page.write_text("\n".join(lines) + "\n", encoding="utf-8")
        table = (search.experiment.task.name, _table(trials, list(search.space)))
        return [*written, write_csv(folder / "trials.csv", [table])]


def best_first(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Trials with a value, the highest first."""
    valued = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    return sorted(valued, key=lambda trial: -(trial.value or 0.0))


def counts(trials: Sequence[FrozenTrial]) -> dict[str, int]:
    """Number of trials by state, as complete, pruned, fail and running."""
    names = [trial.state.name.lower() for trial in trials]
    return {name: names.count(name) for name in dict.fromkeys(names)}


def _summary(trials: Sequence[FrozenTrial]) -> list[str]:
    told = ", ".join(f"{n} {state}" for state, n in counts(trials).items())
    return [
        f"{len(trials)} trials: {told}.",
        "",
        "The value of a trial is the interquartile mean of its seeds' final returns. The",
        "importance of a setting is its share in what sets the best trials apart (Optuna's",
        "PED-ANOVA).",
    ]


def _table(trials: Sequence[FrozenTrial], settings: Sequence[str]) -> Table:
    columns = [
        Column("trial", "trial"),
        Column("value", "value", number),
        Column("state"),
        Column("reason"),
        *(Column(name, name, _shown) for name in settings),
    ]
    rows = [
        [
            trial.number,
            trial.value if trial.state == TrialState.COMPLETE else None,
            trial.state.name.lower(),
            trial.user_attrs.get(REASON),
            *(trial.params[name] for name in settings),
        ]
        for trial in trials
    ]
    return Table(columns, rows)


def _shown(setting: object) -> str:
    return f"{setting:.3g}" if isinstance(setting, float) else str(setting)


def _importance_table(importance: Mapping[str, float]) -> Table:
    columns = [Column("setting", "setting"), Column("importance", "importance", number)]
    return Table(columns, [[name, share] for name, share in importance.items()])
