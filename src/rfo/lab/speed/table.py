"""The tables that `rfo bench speed` prints."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

KINDS = {"forward": "forward", "physics": "forward and backward"}
"""Kinds of measurements of the physics, as the results and as the table name them."""
BUSY = 0.5
"""Load of the machine above which other programs may have disturbed a measurement."""


def show(result: dict[str, Any], to_stderr: bool = False) -> None:
    """Print the tables and notes of `rfo.lab.speed.measure.measure`."""
    console = Console(stderr=to_stderr)
    if not console.is_terminal:
        console.width = 130
    for task, by_cores in result["tasks"].items():
        console.print(_table(task, by_cores, result))
    for note in notes(result):
        console.print(note, style="dim", highlight=False, markup=False)


def _table(task: str, by_cores: dict[str, Any], result: dict[str, Any]) -> Table:
    title = f"{task}: env-steps/s, median ± half the distance of the quartiles"
    table = Table(
        title=escape(title), title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    table.add_column("")
    for heading in ("substeps", "environments", *(f"{n} core{'s' * (n != '1')}" for n in by_cores)):
        table.add_column(heading, justify="right", no_wrap=True)
    runs = list(by_cores.values())
    substeps = str(runs[0]["substeps"] or "")
    for kind, name in KINDS.items():
        for entries in zip(*(run[kind] for run in runs), strict=True):
            table.add_row(f"physics, {name}", substeps, *_cells(entries))
    name = f"training with {result['algorithm']}, whole updates"
    table.add_row(escape(name), substeps, *_cells([run["train"] for run in runs]))
    _add_mjx(table, result["mjx"].get(task, {}))
    peer = result["peer"]
    if task == "ant" and peer and "missing" not in peer:
        entries = [peer[cores] for cores in by_cores]
        table.add_row(escape(entries[0]["name"]), str(entries[0]["substeps"]), *_cells(entries))
    for name, quoted in result["quoted"].items():
        if name.endswith(f", {task}"):
            rate = f"{quoted['env_steps_per_s']:,.0f}"
            table.add_row(escape(f"{name} (quoted)"), substeps, str(quoted["environments"]), rate)
    return table


def _add_mjx(table: Table, by_cores: dict[str, Any]) -> None:
    """Rows of MJX; what is missing is told in `notes`."""
    for kind, name in KINDS.items():
        entries = [found[kind] for found in by_cores.values()]
        if entries and all("missing" not in entry for entry in entries):
            title = escape(f"{entries[0]['name']}, {name}")
            table.add_row(title, str(entries[0]["substeps"]), *_cells(entries))


def _cells(entries: Any) -> list[str]:
    """Number of environments, then the rate for each number of cores."""
    cells = [str(entries[0]["environments"])]
    for entry in entries:
        low, high = entry["quartiles"]
        spread = (high - low) / 2 / entry["env_steps_per_s"]
        cells.append(f"{entry['env_steps_per_s']:,.0f} ± {spread:.0%}")
    return cells


def notes(result: dict[str, Any]) -> list[str]:
    """Lines to print below the tables."""
    machine = result["machine"]
    packages = ", ".join(
        f"{name} {machine['packages'][name]}"
        for name in ("jax", "warp-lang")
        if machine["packages"].get(name)
    )
    lines = [f"{machine['cpu']}, {machine['cpus']} cores; {packages}; horizon {result['horizon']}"]
    if result["quoted"]:
        lines.append(
            "Rewarped's numbers were recorded earlier, with warp-lang 1.3.3 on one core of a "
            "machine with four; they are quoted for scale and were not measured here."
        )
    if result["peer"]:
        lines.append(
            result["peer"].get("missing")
            or "The peer's ant has another body, other contacts and its own number of substeps: "
            "compare only orders of magnitude."
        )
    for task, by_cores in result["mjx"].items():
        for cores, found in by_cores.items():
            lines += _told_of_mjx(f"MJX, {task}, cores {cores}", found)
    if machine["load_at_start"] > BUSY:
        lines.append(
            f"Other programs were running (load {machine['load_at_start']:.1f}): "
            "an idle machine is faster."
        )
    return lines


def _told_of_mjx(title: str, found: dict[str, Any]) -> list[str]:
    """What MJX could not do."""
    lines = []
    for kind, name in KINDS.items():
        entry = found[kind]
        if "missing" in entry:
            lines.append(f"{title}, {name}: {entry['missing']}")
        elif not entry["finite"]:
            lines.append(f"{title}, {name}: some numbers were not finite")
    return lines
