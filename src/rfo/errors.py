"""Errors that a user can cause. Any other exception is a bug and keeps its traceback."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable


class SettingError(ValueError):
    """A setting that cannot work: one line that says what to do.

    Args:
        message: names the setting, what was given, and a value that works.
        field: name of the setting, dotted where it is nested ("critic.iterations"); "" if the
            fault is not one setting's.

    Example:
        >>> import rfo
        >>> try:
        ...     rfo.preset("lqr", "rfo", **{"critic.iterations": 0})
        ... except rfo.SettingError as error:
        ...     print(error.field)
        critic.iterations
    """

    def __init__(self, message: str, field: str = ""):
        super().__init__(message)
        self.field = field

    def within(self, prefix: str) -> SettingError:
        """The same error of a field inside the record that `prefix` names."""
        if not self.field:
            return self
        field, message = f"{prefix}.{self.field}", str(self)
        if message.startswith(f"{self.field} "):
            message = f"{prefix}.{message}"
        return SettingError(message, field)

    def without(self, prefix: str) -> SettingError:
        """The same error of a field that users name without the record that `prefix` names."""
        short = self.field.removeprefix(f"{prefix}.")
        return SettingError(str(self).replace(f"{prefix}.{short}", short), short)


class RunError(Exception):
    """A run folder that cannot be read or written: one line that says what to do.

    Example:
        >>> import rfo
        >>> try:
        ...     rfo.load("nowhere")
        ... except rfo.RunError as error:
        ...     print(error)
        no run folder nowhere; `rfo train TASK` makes one under runs/
    """


def require_known(value: str, known: Collection[str], field: str) -> None:
    """Check that a setting is one of the known names.

    Raises:
        SettingError: naming the field, its value and the known names.
    """
    if value not in known:
        raise SettingError(f"{field} must be one of {', '.join(known)}, not '{value}'", field)


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """A line that says a name is unknown and lists near ones, or all if none is near."""
    known = sorted(set(known))
    near = near_names(name, known)
    hint = f"did you mean {' or '.join(near)}?" if near else f"choose from {', '.join(known)}"
    return f"unknown {kind} '{name}': {hint}"


def near_names(name: str, known: Iterable[str]) -> list[str]:
    """Up to three names that look like one, or that end in it after a dot."""
    known = list(known)
    ends = [other for other in known if other.rpartition(".")[2] == name.lstrip("-")]
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    return list(dict.fromkeys([*ends, *near]))[:3]
