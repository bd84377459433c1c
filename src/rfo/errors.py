"""Errors that a user can cause. Any other exception is a bug and keeps its traceback."""

from __future__ import annotations


class SettingError(ValueError):
    """A setting that cannot work: one line that says what to do.

    Args:
        message: names the setting, what was given, and a value that works.
        field: name of the setting, dotted where it is nested ("critic.iterations"); "" if the
            fault is not one setting's.
    """

    def __init__(self, message: str, field: str = ""):
        super().__init__(message)
        self.field = field


class RunError(Exception):
    """A run folder that cannot be read or written: one line that says what to do."""
