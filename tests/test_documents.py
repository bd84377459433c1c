"""The documents hold together: links, headings, pictures, line lengths, the size of it all."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LIMIT = 100
LINK = re.compile(r"\]\(([^)\s]+)\)")


def tracked():
    """Paths of the files in git; none outside of a checkout."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).exists()]


DOCUMENTS = sorted(
    path
    for path in [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "bench").rglob("*.md"),
    ]
    if path.name != "report.md"
)


def names(documents):
    return [path.relative_to(ROOT).as_posix() for path in documents]


def anchors(document):
    """The names that GitHub gives to the headings of a document."""
    text = re.sub(r"^```.*?^```", "", document.read_text(encoding="utf-8"), flags=re.M | re.S)
    titles = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("document", DOCUMENTS, ids=names(DOCUMENTS))
def test_links_lead_to_files_and_headings(document):
    for target in LINK.findall(document.read_text(encoding="utf-8")):
        if target.startswith("https://"):
            continue
        file, _, anchor = target.partition("#")
        path = (document.parent / file).resolve() if file else document
        assert path.exists(), target
        assert not anchor or anchor in anchors(path), target


SHORT = [
    *DOCUMENTS,
    *(ROOT / name for name in ("Makefile", "mkdocs.yml", "pyproject.toml", ".ci/run")),
    *sorted((ROOT / "src/rfo/physics/native").glob("*.h")),
]
"""Ruff looks after Python's lines."""


@pytest.mark.parametrize("document", SHORT, ids=names(SHORT))
def test_lines_are_short_outside_of_tables_and_links(document):
    lines = enumerate(document.read_text(encoding="utf-8").splitlines(), start=1)
    long = [
        (number, line)
        for number, line in lines
        if len(line) > LIMIT and not line.startswith("|") and not LINK.search(line)
    ]
    assert long == []


def test_every_picture_is_shown_by_a_document():
    menu = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    shown = {ROOT / "docs" / name for name in re.findall(r"images/\w+\.svg", menu)}
    for document in DOCUMENTS:
        for target in LINK.findall(document.read_text(encoding="utf-8")):
            shown.add((document.parent / target).resolve())
    pictures = [path for path in tracked() if path.suffix in (".png", ".svg", ".jpg", ".gif")]
    assert [path for path in pictures if path not in shown] == []


def test_the_tracked_files_stay_below_10_megabytes():
    assert sum(path.stat().st_size for path in tracked()) < 10_000_000
