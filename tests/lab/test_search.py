"""A search file: what its settings are drawn from, and what is refused."""

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from rfo.errors import SettingError
from rfo.lab import search

SEARCH = """
task = "lqr"
steps = 4096
trials = 4
seeds = 3
first_seed = 10
settings = {environments = 8, flow.steps = 4}
[space]
c_past = {low = 0.01, high = 1, log = true}
critic.iterations = {low = 4, high = 16, step = 4}
network.hidden = [[4], [8, 8]]
flow.steps = [2, 4]
"""


@pytest.fixture
def read(tmp_path):
    def read(text):
        (tmp_path / "search.toml").write_text(text)
        return search.read(tmp_path / "search.toml")

    return read


def test_settings_are_drawn_as_what_they_are(read):
    """Whole ends of a setting that is a float give floats; lists are choices, kept as text."""
    found = read(SEARCH)
    assert found.space == {
        "c_past": FloatDistribution(0.01, 1.0, log=True),
        "critic.iterations": IntDistribution(4, 16, step=4),
        "network.hidden": CategoricalDistribution(["[4]", "[8, 8]"]),
        "flow.steps": CategoricalDistribution([2, 4]),
    }
    drawn = {"c_past": 0.5, "critic.iterations": 8, "network.hidden": "[8, 8]", "flow.steps": 2}
    cell = found.cell(7, drawn)
    chosen = cell.experiment.algorithm
    assert (cell.name, cell.seeds, cell.experiment.environments) == ("lqr/0007", (10, 11, 12), 8)
    assert (chosen.c_past, chosen.critic.iterations, chosen.flow.steps) == (0.5, 8, 2)
    assert chosen.network.hidden == (8, 8)


@pytest.mark.parametrize(
    "before, after, told",
    [
        ("c_past = {low", "c_pats = {low", "unknown setting 'c_pats': did you mean c_past"),
        ("low = 0.01", "low = -1", "c_past must"),
        ("high = 16", "high = 16.5", "critic.iterations must be a whole number, not 16.5"),
        ("high = 16", "high = 2", r"space.critic.iterations: .*low"),
        ("high = 1,", "hi = 1,", "space.c_past"),
        ("log = true", "log = 1", "space.c_past.log must be true or false"),
        ("[2, 4]", "[]", r"space.flow.steps must have choices"),
        ("[2, 4]", "3", "space.flow.steps must be {low"),
        ("[2, 4]", "[2, 0]", "flow.steps must be positive"),
        ("flow.steps = [2, 4]", "seed = [1, 2]", "seed is the same for all trials"),
        ("trials = 4", "trials = 0", "trials must be at least 1"),
        ("trials = 4", "", "trials is missing"),
        ("seeds = 3", "seeds = 0", "seeds must be at least 1"),
        ("trials = 4", 'trials = 4\nsampler = "magic"', "sampler must be one of tpe, random"),
        ("trials = 4", "trials = 4\npruner = true", "unknown entry 'pruner'"),
    ],
)
def test_what_cannot_be_searched_is_told_in_one_line(read, before, after, told):
    assert SEARCH.replace(before, after) != SEARCH
    with pytest.raises(SettingError, match=told):
        read(SEARCH.replace(before, after, 1))
