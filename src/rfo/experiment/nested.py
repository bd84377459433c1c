"""Nested frozen records as plain data: written, read and edited by dotted names.

A field's dotted name is its path through the records: ``critic.iterations``.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import math
import types
import typing
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Literal, TypeVar

from rfo.errors import SettingError, unknown

Record = TypeVar("Record")


def is_record(value: Any) -> bool:
    """Whether a value is an instance of a dataclass."""
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def names(record: Any) -> list[str]:
    """Names of a record's fields, in their order."""
    return [field.name for field in dataclasses.fields(record)]


def leaves(record: Any) -> dict[str, Any]:
    """Values of a record and of the records in it, by dotted name."""
    found: dict[str, Any] = {}
    for name in names(record):
        value = getattr(record, name)
        if is_record(value):
            found |= {f"{name}.{inner}": leaf for inner, leaf in leaves(value).items()}
        else:
            found[name] = value
    return found


def to_data(record: Any) -> dict[str, Any]:
    """A record as nested dictionaries of plain values; tuples become lists."""
    return {name: _plain(getattr(record, name)) for name in names(record)}


def _plain(value: Any) -> Any:
    if is_record(value):
        return to_data(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def edited(record: Record, edits: Mapping[str, Any]) -> Record:
    """A copy with some fields changed.

    Args:
        record: a frozen dataclass, with others in its fields.
        edits: new values by dotted name, or nested mappings of them. Values are plain: lists stand
            for tuples, whole numbers for floats, mappings for records.

    Raises:
        SettingError: for an unknown name, a value of another type, or one that a record refuses.
    """
    kinds = field_types(type(record))
    changes: dict[str, Any] = {}
    inside: dict[str, dict[str, Any]] = {}
    for name, value in edits.items():
        head, _, rest = name.partition(".")
        if head not in kinds:
            raise SettingError(unknown("setting", head, [*kinds, *leaves(record)]), head)
        present = getattr(record, head)
        if rest and not is_record(present) and not isinstance(present, Mapping):
            raise SettingError(f"{head} holds no settings, so {name} is not one", name)
        if rest or (is_record(present) and isinstance(value, Mapping)):
            inside.setdefault(head, {}).update({rest: value} if rest else value)
        elif is_record(present) and not is_record(value):
            raise SettingError(f"{head} must be a table of settings, not {value!r}", head)
        else:
            changes[head] = value if is_record(present) else fitted(value, kinds[head], head)
    for head, inner in inside.items():
        present = getattr(record, head)
        with within(head):
            changes[head] = edited(present, inner) if is_record(present) else {**present, **inner}
    try:
        return dataclasses.replace(record, **changes)  # pyright: ignore[reportArgumentType]
    except SettingError:
        raise
    except ValueError as error:  # a record refuses its values
        raise SettingError(str(error)) from None


@contextmanager
def within(prefix: str) -> Iterator[None]:
    """Put the name of the surrounding record before the field that an error names."""
    try:
        yield
    except SettingError as error:
        raise error.within(prefix) from None


@lru_cache(maxsize=64)
def field_types(kind: type) -> dict[str, Any]:
    """Types of a dataclass's fields; Any for one whose name only type checkers import."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(kind):
        owner = next(c for c in kind.__mro__ if field.name in inspect.get_annotations(c))
        try:
            found[field.name] = typing.get_type_hints(_only(field, owner), include_extras=True)["x"]
        except NameError:
            found[field.name] = Any
    return found


def _only(field: dataclasses.Field, owner: type) -> Any:
    """A class with one annotation, to be resolved where the field's class was written."""
    return type("Only", (), {"__annotations__": {"x": field.type}, "__module__": owner.__module__})


def fitted(value: Any, kind: Any, name: str) -> Any:
    """A plain value as the type that its field declares.

    Args:
        value: None, a bool, a number, a string, or a list or mapping of them.
        kind: bool, int, float, str, a Literal, a tuple, a mapping, a record or a NamedTuple, or a
            union with None of one of them. A value of any other type stays as it is.
        name: the field's, for the message.

    Raises:
        SettingError: if it does not fit.
    """
    options = alternatives(kind)
    if value is None and type(None) in options:
        return None
    options = tuple(option for option in options if option is not type(None))
    if len(options) == 1:
        return _fitted(value, options[0], name)
    for option in options:
        try:
            return _fitted(value, option, name)
        except SettingError:
            continue
    raise _misfit(value, kind, name)


def alternatives(kind: Any) -> tuple[Any, ...]:
    """The members of a union, or the one type, without annotations."""
    kind = typing.get_args(kind)[0] if typing.get_origin(kind) is typing.Annotated else kind
    union = typing.get_origin(kind) in (typing.Union, types.UnionType)
    return typing.get_args(kind) if union else (kind,)


def _fitted(value: Any, kind: Any, name: str) -> Any:
    origin, inside = typing.get_origin(kind), typing.get_args(kind)
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if origin is Literal:
        if value in inside:
            return value
    elif origin is tuple:
        if isinstance(value, (list, tuple)):
            if inside[1:] == (...,):
                return tuple(fitted(item, inside[0], name) for item in value)
            if len(value) == len(inside):
                return tuple(fitted(x, k, name) for x, k in zip(value, inside, strict=True))
    elif kind is bool or kind is str:
        if isinstance(value, kind):
            return value
    elif kind is int:
        if number and math.isfinite(value) and value == int(value):
            return int(value)
    elif kind is float:
        if number and math.isfinite(value):
            return float(value)
    elif isinstance(kind, type) and (hasattr(kind, "_fields") or dataclasses.is_dataclass(kind)):
        if isinstance(value, kind):
            return value
        if isinstance(value, Mapping):
            return kind(**value)
        needed = len(required_fields(kind))
        if isinstance(value, (list, tuple)) and needed <= len(value) <= len(all_fields(kind)):
            return kind(*value)
    elif origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        if isinstance(value, Mapping):
            return dict(value)
    else:
        return value
    raise _misfit(value, kind, name)


def all_fields(kind: type) -> list[str]:
    """Names of the fields of a NamedTuple or a dataclass, none of another type."""
    if dataclasses.is_dataclass(kind):
        return names(kind)
    return list(getattr(kind, "_fields", ()))


def required_fields(kind: type) -> list[str]:
    """Names of those fields that have no default."""
    given = getattr(kind, "_field_defaults", {})
    if dataclasses.is_dataclass(kind):
        fields = dataclasses.fields(kind)
        given = {f.name for f in fields if f.default is not dataclasses.MISSING}
    return [name for name in all_fields(kind) if name not in given]


PLAIN = {
    bool: "true or false",
    int: "a whole number",
    float: "a finite number",
    str: "a text",
    type(None): "none",
}


def _misfit(value: Any, kind: Any, name: str) -> SettingError:
    return SettingError(f"{name} must be {_described(kind)}, not {value!r}", name)


def _described(kind: Any) -> str:
    origin, inside = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return " or ".join(map(str, inside))
    if origin is tuple:
        return "a list of numbers" if int in inside or float in inside else "a list"
    if len(options := alternatives(kind)) > 1:
        return " or ".join(_described(option) for option in options)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return "a table of settings"
    fields = required_fields(kind) if isinstance(kind, type) else []
    return f"{len(fields)} numbers ({', '.join(fields)})" if fields else PLAIN.get(kind, str(kind))


def toml(data: Mapping[str, Any], path: tuple[str, ...] = ()) -> str:
    """Nested dictionaries of plain values as TOML; None, which TOML lacks, is left out."""
    tables = {key: value for key, value in data.items() if isinstance(value, Mapping)}
    values = {k: v for k, v in data.items() if k not in tables and v is not None}
    lines = [f"{_key(key)} = {_value(value)}" for key, value in values.items()]
    header = [f"\n[{'.'.join(map(_key, path))}]"] if path and (lines or not tables) else []
    text = "".join(f"{line}\n" for line in header + lines)
    return text + "".join(toml(table, (*path, key)) for key, table in tables.items())


def _key(name: str) -> str:
    bare = name.replace("_", "").replace("-", "")
    return name if bare.isascii() and bare.isalnum() else _value(name)


def _value(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_key(k)} = {_value(v)}' for k, v in value.items())}}}"
    if isinstance(value, float):
        return repr(value)
    # JSON's strings are TOML's but for a character that JSON leaves as it is
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
