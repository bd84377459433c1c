"""The tables of docs/environments.md are up to date: its command writes the same ones."""

import runpy
from pathlib import Path

import pytest

from rfo.experiment.presets import TASKS

ROOT = Path(__file__).parents[1]
COMMAND = "bench/environments/page.py"


@pytest.fixture(scope="module")
def command():
    return runpy.run_path(str(ROOT / COMMAND))


def test_the_page_is_what_its_command_writes(command):
    """The command also corrects a number that is out of date."""
    page = (ROOT / "docs" / "environments.md").read_text(encoding="utf-8")
    row = "| `hopper` | 6 | 15.8 |"
    written = command["filled"](page.replace(row, "| `hopper` | 7 | 15.8 |"))
    assert row in written
    for line, due in zip(page.splitlines(), written.splitlines(), strict=True):
        assert line == due, f"run python {COMMAND}"


def test_every_body_has_a_picture(command):
    bodies = [name for name, task in TASKS.items() if task.simulated]
    assert [name for name in bodies if not command["picture"](name)] == []


def test_what_was_not_measured_is_a_dash(command):
    assert set(command["measured"]("nobody").values()) == {"`nobody`", command["UNKNOWN"]}
