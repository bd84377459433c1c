"""Suites are read from TOML files, and faults in them are reported in one line."""

from pathlib import Path

import pytest

from rfo.errors import SettingError
from rfo.experiment.record import Experiment, TaskSettings, preset
from rfo.lab.suite import Cell, read

SUITES = sorted((Path(__file__).parents[2] / "bench" / "learning" / "suites").glob("*.toml"))

SUITE = """
title = "two tasks"
seeds = 3
first_seed = 10
[methods]
rfo = {}
sapo = {method = "sapo"}
[tasks.lqr]
steps = 1000
settings = {environments = 8}
[tasks.quadratic]
steps = 500
methods.sapo = {method = "sapo", initial_alpha = 0.2}
methods."rfo_1.5" = {c_past = 1.5, evaluation.episodes = 6}
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
        "quadratic/rfo_1.5",
    ]
    wanted = preset("lqr", "sapo", steps=1000, environments=8, seed=10)
    assert cells["lqr/sapo"] == Cell("sapo", wanted, (10, 11, 12), together=False)
    assert cells["quadratic/sapo"].experiment.algorithm.initial_alpha == 0.2
    other = cells["quadratic/rfo_1.5"].experiment
    assert (other.algorithm.c_past, other.evaluation.episodes, other.steps) == (1.5, 6, 500)


def test_a_label_without_a_method_has_the_suites(write):
    named = SUITE.replace("seeds = 3", 'method = "apg"\nseeds = 3').replace("c_past = 1.5, ", "")
    cells = {cell.name: cell.experiment.method for cell in read(write(named))}
    assert set(cells.values()) == {"apg", "sapo"} and cells["lqr/rfo"] == "apg"


def test_seeds_and_budget_can_be_changed(write):
    cell = read(write(SUITE), seeds=2, budget=0.25)[0]
    assert cell.seeds == (10, 11) and cell.experiment.steps == 250


def test_a_task_of_ones_own_has_cells_like_any_other(write):
    (cell,) = read(
        write(
            """
            seeds = 1
            [methods]
            rfo = {}
            [tasks."somewhere/my_task.py:Reach"]
            steps = 64
            settings = {task.gain = 3.0}
            """
        )
    )
    assert cell.name == "my_task.Reach/rfo"
    assert cell.experiment.task == TaskSettings("somewhere/my_task.py:Reach", {"gain": 3.0})


def test_two_tasks_that_would_share_their_folders_are_refused(write):
    tables = [f'[tasks."{place}/my_task.py:Reach"]\nsteps = 64' for place in ("a", "b")]
    with pytest.raises(SettingError, match=r"2 tasks have the name my_task.Reach, which names"):
        read(write("\n".join(["seeds = 1", "[methods]", "rfo = {}", *tables])))


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("seeds = 3", "", "seeds is missing"),
        ("seeds = 3", "seeds = 0", "at least 1"),
        ("seeds = 3", 'seeds = "3"', "seeds must be a whole number, not '3'"),
        ("seeds = 3", "seeds = true", "a whole number"),
        ("first_seed = 10", "first_seed = 4294967295", "from 0 to 4294967295"),
        ("steps = 500", "", "tasks.quadratic.steps is missing"),
        ("rfo = {}", "rfo = 1", "methods.rfo must be a table of settings"),
        ("rfo = {}", '"../rfo" = {}', "must be a name of letters"),
        (
            "rfo = {}",
            "rfo = {c_pats = 1}",
            "lqr/rfo: unknown setting 'c_pats': did you mean c_past",
        ),
        ("rfo = {}", "rfo = {c_past = 'high'}", "lqr/rfo: c_past must be a finite number"),
        ("rfo = {}", 'rfo = {method = "sappo"}', "did you mean sapo"),
        ("rfo = {}", "rfo = {seed = 3}", "seed is set by the suite"),
        ("rfo = {}", 'rfo = "--help"', "methods.rfo must be a table of settings"),
        ("title", "titel", "unknown entry 'titel': did you mean title"),
        ("settings", "setting", "unknown entry in tasks.lqr 'setting': did you mean settings"),
        ("[tasks.lqr]", "[tasks.lqrr]", "did you mean lqr"),
        ("[methods]", "[methods", "is not TOML"),
        (
            "[tasks.lqr]",
            "[tasks]\nlqr = 3\n[other]",
            "tasks.lqr must be a table|unknown entry 'other'",
        ),
    ],
)
def test_what_is_wrong_is_told(write, old, new, complaint):
    with pytest.raises(SettingError, match=complaint) as refused:
        read(write(SUITE.replace(old, new, 1)))
    assert "\n" not in str(refused.value) and "suite.toml" in str(refused.value)


@pytest.mark.parametrize("budget", [0.0, -1.0, float("inf"), float("nan")])
def test_a_budget_that_is_no_factor_is_told(write, budget):
    with pytest.raises(SettingError, match="budget must be a number above 0"):
        read(write(SUITE), budget=budget)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(SettingError, match="No such file"):
        read(tmp_path / "none.toml")


@pytest.mark.parametrize("path", SUITES, ids=lambda path: path.stem)
def test_committed_suites_can_be_trained(path):
    """The experiment of every cell can be written to the file that its training reads."""
    for cell in read(path):
        assert Experiment.from_toml(cell.experiment.to_toml()) == cell.experiment
