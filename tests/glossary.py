"""The metrics that docs/glossary.md explains."""

import re
from pathlib import Path

from rfo.algos.base import DROPPED_IN

PAGE = Path(__file__).parents[1] / "docs" / "glossary.md"


def documented():
    """Names in the first column of the page's tables."""
    rows = re.findall(r"^\| (`[^|]+) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`(\w+)`", row)}


def unexplained(metrics):
    """Metrics that reach a run's folder and that the page does not explain."""
    kept = {name for name in metrics if not name.startswith(DROPPED_IN)}
    return kept - documented()
