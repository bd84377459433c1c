"""The reference pages of the site, made from the code: its commands, settings and public names."""

from __future__ import annotations

import dataclasses
import inspect
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import docstring_parser
import tyro

import rfo
from rfo.cli.main import COMMANDS, find
from rfo.cli.resume import Resume
from rfo.cli.settings import Settings
from rfo.experiment.presets import METHODS, TASKS
from rfo.experiment.record import Experiment, preset

API = Path(__file__).parents[1] / "api.md"


def cell(text: str) -> str:
    """Text of one cell of a table."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


# ---------------------------------------------------------------- commands


def commands() -> str:
    """Every command with its options."""
    text = [
        "# Commands",
        "",
        "Made from the help that the commands print themselves: `rfo COMMAND --help`. Options may",
        "be written with dashes or underscores. Lists may be given with commas, and whole numbers",
        "as in `1e6`.",
        "",
    ]
    for name in COMMANDS:
        text += command(f"rfo {name}", find(name))
        if name == "train":
            text += command("rfo train --resume", Resume)
    return "\n".join(text)


def command(title: str, kind: type) -> list[str]:
    """A command's section."""
    text = [f"## {title}", "", inspect.cleandoc(kind.__doc__ or ""), ""]
    rows = list(options(kind))
    if rows:
        text += ["| option | value | what it does | default |", "| --- | --- | --- | --- |"]
        text += [
            f"| `{option}` | {value} | {help_} | {shown} |" for option, value, help_, shown in rows
        ]
    if issubclass(kind, Settings):
        text += [
            "",
            "Each [setting of the method](settings.md) is an option, too, as `--c-past 0.3`",
        ]
        text += ["or `--critic.iterations 8`, and each setting of the task, as `--task.gain 2`."]
    return [*text, ""]


def options(kind: type) -> Iterator[tuple[str, str, str, str]]:
    """Name, value, help and default of each option, as the command's own help has them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        parser = tyro.extras.get_parser(_plain(kind), config=(tyro.conf.FlagCreatePairsOff,))
    for action in parser._actions:
        if "--help" in action.option_strings:
            continue
        text, _, default = (action.help or "").rpartition("(default: ")
        text, default = (text, default.rstrip(") ")) if text else (action.help or "", "")
        name = action.option_strings[-1] if action.option_strings else str(action.metavar)
        value = f"`{action.metavar}`" if action.metavar and action.option_strings else ""
        yield name, cell(value), cell(text), cell(f"`{default}`") if default else ""


def _plain(kind: type) -> type:
    """A command's class without the options that depend on the method and the task."""
    own = ("hyperparameters", "task_options")
    fields = [
        (field.name, tyro.conf.Suppress[Any], dataclasses.field(default=None))
        for field in dataclasses.fields(kind)
        if field.name in own
    ]
    if not fields:
        return kind
    made = dataclasses.make_dataclass(kind.__name__, fields, bases=(kind,), frozen=True)
    made.__module__, made.__doc__ = kind.__module__, kind.__doc__
    return made


# ---------------------------------------------------------------- settings


def settings() -> str:
    """Every setting of an experiment and of each method, with its default."""
    text = [
        "# Settings",
        "",
        "Made from the frozen records that a run is described by. `rfo show TASK --algo METHOD`",
        "prints them for a task; `rfo train TASK --algo METHOD --help` shows them as options. An",
        "option has dashes where a setting has underscores. Defaults are those of the method;",
        "[tasks change some](#what-tasks-change).",
        "",
        "## The experiment",
        "",
        "The same for all methods.",
        "",
        *table(records(Experiment, preset("cartpole", "rfo"), ("task", "algorithm", "method"))),
    ]
    for name, method in METHODS.items():
        if method.settings:
            continue
        made = preset("bimodal", name).algorithm
        text += [f"## {name}", "", f"{method.summary[0].upper()}{method.summary[1:]}.", ""]
        text += table(records(type(made), type(made)(), ("schedule",)))
    text += ["## Variants", "", "A variant is a method with other settings.", ""]
    text += ["| method | is | with |", "| --- | --- | --- |"]
    text += [
        f"| `{name}` | {cell(method.summary)} | {changes(method.settings)} |"
        for name, method in METHODS.items()
        if method.settings
    ]
    text += ["", "## What tasks change", "", "| task | steps | environments | settings |"]
    text += ["| --- | --- | --- | --- |"]
    text += [
        f"| `{name}` | {task.steps:,} | {task.environments} | {changes(task.settings)} |"
        for name, task in TASKS.items()
    ]
    return "\n".join(text) + "\n"


def changes(settings: Mapping[str, Any]) -> str:
    """Settings and their values in one cell."""
    return ", ".join(f"`{name} = {shown(value)}`" for name, value in settings.items())


def records(
    kind: type, record: Any, left_out: tuple[str, ...] = (), prefix: str = ""
) -> Iterator[tuple[str, str, str]]:
    """Dotted name, default and meaning of each field of a record and of the records in it."""
    meanings = described(kind)
    for field in dataclasses.fields(kind):
        if field.name in left_out:
            continue
        value, name = getattr(record, field.name), prefix + field.name
        if dataclasses.is_dataclass(value):
            yield from records(type(value), value, (), f"{name}.")
        else:
            yield name, shown(value), meanings[field.name]


def described(kind: type) -> dict[str, str]:
    """What the docstrings of a record's fields say, those of its bases too."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if dataclasses.is_dataclass(base):
            told = docstring_parser.parse_from_object(base).params
            found |= {field.arg_name: field.description or "" for field in told}
    return found


def shown(value: Any) -> str:
    """A value as TOML has it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(shown, value))}]"
    if value is None:
        return "none"
    return f'"{value}"' if isinstance(value, str) else f"{value}"


def table(rows: Iterable[tuple[str, str, str]]) -> list[str]:
    """A table of settings."""
    lines = [f"| `{name}` | `{default}` | {cell(text)} |" for name, default, text in rows]
    return ["| setting | default | meaning |", "| --- | --- | --- |", *lines, ""]


# ---------------------------------------------------------------- Python


def python() -> str:
    """All public names, in the groups of api.md, for mkdocstrings to fill in."""
    text = [
        "# Python",
        "",
        "All public names of `import rfo`. [One page](../api.md) lists them.",
        "",
    ]
    for section in re.split(r"^## ", API.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        title, _, rest = section.partition("\n")
        names = [
            name
            for row in re.findall(r"^\| (`[^|]+) \|", rest, re.MULTILINE)
            for name in re.findall(r"`(\w+)`", row)
        ]
        text += [f"## {title}", ""]
        for name in names:
            there = getattr(rfo, name)
            text += [f"::: {there.__module__}.{there.__qualname__}", ""]
    return "\n".join(text)


PAGES = {"commands": commands, "settings": settings, "python": python}
"""Pages below reference/, and what makes them."""
