"""Suites are read as they stand, and what is wrong with one is told in one line."""

from pathlib import Path

import pytest

from rfo.cli.options import parse_train
from rfo.lab.suite import Cell, SuiteError, read

SUITES = sorted((Path(__file__).parents[2] / "bench" / "learning" / "suites").glob("*.toml"))

SUITE = """
title = "two tasks"
seeds = 3
first_seed = 10
[methods]
rfo = ""
sapo = "--algo sapo"
[tasks.lqr]
steps = 1000
arguments = "--envs 8"
[tasks.quadratic]
steps = 500
methods.sapo = "--algo sapo --initial-alpha 0.2"
methods."rfo_K1.5" = "--flow.steps 1"
"""


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "suite.toml"
        path.write_text(text)
        return path

    return write


def test_cells_are_tasks_times_methods(write):
    cells = {cell.name: cell for cell in read(write(SUITE))}
    assert list(cells) == [
        "lqr/rfo",
        "lqr/sapo",
        "quadratic/rfo",
        "quadratic/sapo",
        "quadratic/rfo_K1.5",
    ]
    assert cells["lqr/sapo"] == Cell(
        "lqr",
        "sapo",
        ("lqr", "--steps", "1000", "--envs", "8", "--algo", "sapo"),
        (10, 11, 12),
        False,
        1000,
    )
    assert cells["quadratic/sapo"].arguments[3:] == ("--algo", "sapo", "--initial-alpha", "0.2")


def test_seeds_and_budget_can_be_changed(write):
    cell = read(write(SUITE), seeds=2, budget=0.25)[0]
    assert cell.seeds == (10, 11) and cell.arguments[:3] == ("lqr", "--steps", "250")


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("seeds = 3", "", "seeds is missing"),
        ("seeds = 3", "seeds = 0", "at least 1"),
        ("seeds = 3", 'seeds = "3"', "seeds must be of the kind int, not '3'"),
        ("seeds = 3", "seeds = true", "of the kind int"),
        ("steps = 500", "", "tasks.quadratic.steps is missing"),
        ('rfo = ""', "rfo = 1", "methods.rfo must be of the kind str"),
        ('rfo = ""', '"../rfo" = ""', "must be a name of letters"),
        ("title", "titel", "unknown entry 'titel'; known: first_seed"),
        ("arguments", "argument", "unknown entry 'argument' in tasks.lqr"),
        ("[methods]", "[methods", "is not TOML"),
        (
            "[tasks.lqr]",
            "[tasks]\nlqr = 3\n[other]",
            "tasks.lqr must be a table|unknown entry 'other'",
        ),
    ],
)
def test_what_is_wrong_is_told(write, old, new, complaint):
    with pytest.raises(SuiteError, match=complaint) as refused:
        read(write(SUITE.replace(old, new, 1)))
    assert "\n" not in str(refused.value)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(SuiteError, match="No such file"):
        read(tmp_path / "none.toml")


@pytest.mark.parametrize("path", SUITES, ids=lambda path: path.stem)
def test_committed_suites_can_be_trained(path):
    """Every cell's arguments are understood."""
    for cell in read(path):
        experiment = parse_train([*cell.arguments]).experiment()
        assert experiment.task == cell.task and experiment.steps == int(cell.arguments[2])
