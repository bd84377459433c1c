"""Options of the commands, read with tyro; what is wrong with them is told in one line."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import re
import typing
from collections.abc import Iterator
from typing import Annotated, Any

import tyro

from rfo.errors import SettingError, unknown
from rfo.experiment.nested import alternatives, field_types

ACTOR = {
    "--actor-hidden": "--network.hidden",
    "--actor-learning-rate": "--optimiser.learning-rate",
}
"""Prefixes that people put before settings of the actor, to which these records belong."""

FLAT = tyro.conf.arg(name="")
"""Marks a field that holds a record whose options have no prefix."""

Threads = Annotated[
    int | None,
    tyro.conf.arg(
        metavar="INT",
        help="CPU threads of the physics.",
        help_behavior_hint="(default: as many as speed it up)",
    ),
]
TaskName = tyro.conf.Positional[
    Annotated[str, tyro.conf.arg(metavar="TASK", help_behavior_hint="")]
]
RunPath = tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="RUN", help_behavior_hint="")]]
OwnTask = Annotated[
    str | None,
    tyro.conf.arg(
        metavar="TASK",
        help="The run's task, where it is code of your own that has moved or that rfo has not run "
        "before.",
        help_behavior_hint="(default: the run's)",
    ),
]


def parse(kind: type, name: str, arguments: list[str], defaults: Any = None) -> Any:
    """Read the options of one command.

    Args:
        kind: dataclass of the options.
        name: the command's.
        arguments: words after the command's name. Lists may be given with commas, whole numbers
            as in 1e6.
        defaults: values of options that are not given, by default the dataclass's own.

    Raises:
        SettingError: one line in place of the parser's box.
    """
    known = options_of(kind)
    given: dict[str, Any] = {} if defaults is None else {"default": defaults}
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            options, unread = tyro.cli(
                kind,
                prog=f"rfo {name}",
                args=list(_plain_words(arguments, known)),
                return_unknown_args=True,
                config=(tyro.conf.FlagCreatePairsOff,),
                **given,
            )
    except SystemExit as stop:
        if not stop.code:  # --help
            raise
        raise SettingError(f"{_told(said.getvalue())}; see rfo {name} --help") from None
    except ValueError as error:  # what a record refuses
        field = _given_name(getattr(error, "field", ""), arguments)
        message = str(error)
        if field and message.startswith(f"{error.field} "):  # pyright: ignore
            message = field + message[len(error.field) :]  # pyright: ignore
        raise SettingError(f"{message}; see rfo {name} --help", field) from None
    if unread:
        raise SettingError(_unread(unread[0], known, name))
    return options


def options_of(kind: type) -> dict[str, Any]:
    """Types of the options of a dataclass and of the records in it, by their names with dashes."""
    hints = field_types(kind)
    found: dict[str, Any] = {}
    for field in dataclasses.fields(kind):
        hint = hints[field.name]
        extras = typing.get_args(hint)[1:] if typing.get_origin(hint) is Annotated else ()
        plain = typing.get_args(hint)[0] if extras else hint
        if tyro.conf.Suppress in extras or tyro.conf.Positional in extras:
            continue
        name = field.name.replace("_", "-")
        for extra in extras:
            name = (
                getattr(extra, "name", None) if getattr(extra, "name", None) is not None else name
            )
        if isinstance(plain, type) and dataclasses.is_dataclass(plain):
            prefix = f"{name}." if name else ""
            inner = options_of(plain)
            found |= {f"--{prefix}{option.removeprefix('--')}": t for option, t in inner.items()}
        else:
            found[f"--{name}"] = plain
    return found


def value_of(option: str, arguments: list[str]) -> str | None:
    """Value that is given for an option, before the options are read."""
    for i, word in enumerate(arguments):
        if word == option:
            return arguments[i + 1] if i + 1 < len(arguments) else None
        if word.startswith(f"{option}="):
            return word.partition("=")[2]
    return None


def _plain_words(arguments: list[str], known: dict[str, Any]) -> Iterator[str]:
    """The words with lists of commas taken apart and whole numbers like 1e6 written out."""
    kind: Any = None
    for word in arguments:
        option, assigned, value = word.partition("=")
        if word.startswith("--"):
            option = _nested_name(option, known)
            kind = known.get(option)
            yield option
            if not assigned:
                continue
            word = value
        elements = _element_types(kind)
        parts = word.split(",") if elements and "," in word.strip(",") else [word]
        yield from (
            _whole(part) if int in (elements or alternatives(kind)) else part for part in parts
        )


def _nested_name(option: str, known: dict[str, Any]) -> str:
    """The option that is meant: with dashes, and with a dot where --critic-batches has a dash."""
    option = option.replace("_", "-")
    record, dash, field = option.removeprefix("--").partition("-")
    dotted = ACTOR.get(option, f"--{record}.{field}" if dash else option)
    return dotted if option not in known and dotted in known else option


def _element_types(kind: Any) -> tuple[Any, ...]:
    """Types of a list's elements; none if it is no list."""
    for option in alternatives(kind):
        if typing.get_origin(option) is tuple:
            return typing.get_args(option)
    return ()


def _whole(word: str) -> str:
    if re.fullmatch(r"\d+(\.\d+)?[eE]\+?\d{1,2}", word) and float(word).is_integer():
        return str(int(float(word)))
    return word


def _given_name(field: str, arguments: list[str]) -> str:
    """Full name of the given option that ends in a field's name; the field itself if none does."""
    for word in arguments:
        option = word.lstrip("-").partition("=")[0].replace("-", "_")
        if word.startswith("--") and field and option.rpartition(".")[2] == field:
            return option
    return field


def _told(box: str) -> str:
    """What the parser says, with the names that its options have."""
    message = _first_sentence(box)
    refused = re.fullmatch(r"Error parsing (?:hyperparameters\.?)?([\w.]*): (.*)", message)
    if refused is None or refused[1].startswith("-"):
        return message
    return f"{refused[1]}.{refused[2]}" if refused[1] else refused[2]


def _first_sentence(box: str) -> str:
    """The message in a box that tyro draws: the lines between its title and its first rule."""
    lines = [line.strip("│ \t") for line in box.splitlines()[1:]]
    end = next((i for i, line in enumerate(lines) if line.startswith(("─", "╰"))), len(lines))
    return " ".join(" ".join(lines[:end]).split()).rstrip(".:")


def _unread(word: str, known: dict[str, Any], name: str) -> str:
    if not word.startswith("-"):
        return f"unexpected '{word}'; see rfo {name} --help"
    given = word.partition("=")[0].replace("_", "-")
    return f"{unknown('option', given, known)} (rfo {name} --help)"
