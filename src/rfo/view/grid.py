"""Several replays side by side in one HTML page that works offline."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

from rfo.view.replay import fill, replace, script_json, template, with_head


def write_grid(path: Path, replays: Sequence[dict[str, str]]) -> Path:
    """Write a page on which replays play at the same time.

    The page holds the viewer once. Each replay is a frame of its own.

    Args:
        path: file to write; one that is there is replaced.
        replays: `rfo.view.replay.fields_of` each of them.

    Returns:
        the path.
    """
    headings = dict.fromkeys(html.unescape(replay["HEADING"]) for replay in replays)
    fields = {
        "TITLE": html.escape(f"{', '.join(headings)} · rfo"),
        "COUNT": f"{len(replays)} replays",
        "PAGES": script_json({"template": template(), "replays": list(replays)}),
    }
    replace(path, fill(with_head("grid.html"), fields))
    return path
