"""Reparameterization Flow Policy Optimization: flow policies and differentiable physics.

The library's interface are the names that ``__init__.pyi`` imports. Here they are imported when
they are first used; docs/api.md lists them.
"""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Any

__version__ = "0.2.0"

_IMPORTS = Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8")
_PLACES = {
    name: module for module, name in re.findall(r"^from (\S+) import (\w+) as", _IMPORTS, re.M)
}
"""Module of each public name."""

__all__ = sorted(_PLACES)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'rfo' has no attribute '{name}'")
    value = getattr(import_module(_PLACES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
