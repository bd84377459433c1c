"""Entries of TOML files that describe suites and searches; one line says what is wrong."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rfo.errors import SettingError, unknown
from rfo.experiment.record import LARGEST_SEED

KINDS = {
    dict: "a table of settings",
    int: "a whole number",
    bool: "true or false",
    str: "a text",
}


def read_toml(path: Path) -> dict[str, Any]:
    """Content of a TOML file.

    Raises:
        SettingError: if it cannot be read.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SettingError(f"{path} cannot be read: {reason}") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingError(f"{path} is not TOML: {error}") from None


def entry(table: Mapping[str, Any], name: str, kind: type, where: str = "") -> Any:
    """An entry of a table.

    Args:
        table: the table.
        name: name of the entry in it.
        kind: one of `KINDS`.
        where: name of the table.

    Raises:
        SettingError: if it is missing or of another kind.
    """
    place = f"{where}.{name}" if where else name
    if name not in table:
        raise SettingError(f"{place} is missing", place)
    value = table[name]
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is int):
        raise SettingError(f"{place} must be {KINDS[kind]}, not {value!r}", place)
    return value


def refuse_unknown(table: Mapping[str, Any], known: tuple[str, ...], where: str = "") -> None:
    """Check that a table has only known entries.

    Raises:
        SettingError: naming the first unknown one, and known ones that are like it.
    """
    for name in table:
        if name not in known:
            place = f" in {where}" if where else ""
            raise SettingError(unknown(f"entry{place}", name, known), name)


def seed_numbers(content: Mapping[str, Any], seeds: int | None = None) -> tuple[int, ...]:
    """Seeds that the entries `seeds` and `first_seed` ask for.

    Args:
        content: the file's.
        seeds: number of seeds, in place of the file's.

    Raises:
        SettingError: if there is none, or one is out of range.
    """
    first = entry({"first_seed": 0, **content}, "first_seed", int)
    count = seeds or entry(content, "seeds", int)
    if count < 1 or first < 0 or first + count - 1 > LARGEST_SEED:
        raise SettingError(
            f"seeds must be at least 1, and every seed must be from 0 to {LARGEST_SEED}", "seeds"
        )
    return tuple(range(first, first + count))
