"""Nested records of settings with some of their fields changed."""

import dataclasses


def tuned(record, **changes):
    """A copy of a frozen record; a dictionary changes fields of the record inside."""
    values = {
        name: tuned(getattr(record, name), **value) if isinstance(value, dict) else value
        for name, value in changes.items()
    }
    return dataclasses.replace(record, **values)
