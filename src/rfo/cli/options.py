"""Options of the commands, read with tyro; what is wrong with them in one line."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import itertools
from typing import Annotated, Any

import tyro

from rfo.algos.settings import Schedule
from rfo.cli.commands import NOT_OPTIONS, Train, UsageError
from rfo.experiment import build as experiments


def parse_train(arguments: list[str]) -> Train:
    """Options of `rfo train`, which depend on the task and the algorithm among them."""
    task = next(
        (word for word in arguments if word in experiments.TASKS or experiments.is_robot(word)),
        next(iter(experiments.TASKS)),
    )
    preset = experiments.preset(task, _value_of("--algo", arguments) or "rfo")
    kind = type(preset.algorithm)
    # the schedule's length follows from the steps, so it is no option
    hidden = dataclasses.make_dataclass(
        kind.__name__,
        [("schedule", tyro.conf.Suppress[Schedule], preset.algorithm.schedule)],
        bases=(kind,),
        frozen=True,
    )
    options = dataclasses.make_dataclass(
        "Train",
        [("hyperparameters", Annotated[hidden, tyro.conf.arg(name="")])],
        bases=(Train,),
        frozen=True,
    )
    options.__doc__ = Train.__doc__
    defaults = options(
        hyperparameters=hidden(**_fields(preset.algorithm)),
        steps=preset.steps,
        envs=preset.environments,
    )
    return parse(options, "train", arguments, defaults)


def _value_of(option: str, arguments: list[str]) -> str | None:
    for word, following in itertools.pairwise([*arguments, ""]):
        if word == option:
            return following
        if word.startswith(f"{option}="):
            return word.partition("=")[2]
    return None


def parse(kind: type, name: str, arguments: list[str], defaults: Any = None) -> Any:
    """Read the options of one command.

    Raises:
        UsageError: one line in place of the parser's box.
    """
    given: dict[str, Any] = {} if defaults is None else {"default": defaults}
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            options, unknown = tyro.cli(
                kind,
                prog=f"rfo {name}",
                args=arguments,
                return_unknown_args=True,
                config=(tyro.conf.FlagCreatePairsOff,),
                **given,
            )
    except SystemExit as stop:
        if not stop.code:  # --help
            raise
        raise UsageError(f"{_first_sentence(said.getvalue())}; see rfo {name} --help") from None
    except ValueError as error:  # what a hyperparameter record refuses
        raise UsageError(f"{error}; see rfo {name} --help") from None
    if unknown:
        raise UsageError(_unknown_option(unknown[0], options, name))
    return options


def _first_sentence(box: str) -> str:
    """The message in a box that tyro draws: the lines between its title and its first rule."""
    lines = [line.strip("│ \t") for line in box.splitlines()[1:]]
    end = next((i for i, line in enumerate(lines) if line.startswith(("─", "╰"))), len(lines))
    return " ".join(" ".join(lines[:end]).split()).rstrip(".:")


def _unknown_option(word: str, options: Any, name: str) -> str:
    if not word.startswith("-"):
        return f"unexpected '{word}'; see rfo {name} --help"
    known = _fields(options) | _nested(getattr(options, "hyperparameters", None))
    known = [f"--{field.replace('_', '-')}" for field in known.keys() - NOT_OPTIONS]
    given = word.split("=")[0].replace("_", "-")
    return f"{experiments.unknown('option', given, known)} (rfo {name} --help)"


def _fields(record: Any) -> dict[str, Any]:
    """Fields of a dataclass instance, none of None."""
    return (
        {}
        if record is None
        else {f.name: getattr(record, f.name) for f in dataclasses.fields(record)}
    )


def _nested(record: Any) -> dict[str, Any]:
    """Fields of a dataclass instance and of those in it, by dotted name."""
    names: dict[str, Any] = {}
    for name, value in _fields(record).items():
        inner = _nested(value) if dataclasses.is_dataclass(value) else {}
        names |= {f"{name}.{key}": own for key, own in inner.items()} or {name: value}
    return names
