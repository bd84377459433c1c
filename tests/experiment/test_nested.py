"""Nested records as plain data: edits by dotted name, types, and TOML that reads back equal."""

import math
import tomllib
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import pytest

from rfo.errors import SettingError
from rfo.experiment import nested
from rfo.experiment.record import preset


class Pair(NamedTuple):
    left: float
    right: float


@dataclass(frozen=True)
class Inner:
    size: int = 2
    rate: float = 0.5
    kind: Literal["a", "b"] = "a"
    widths: tuple[int, ...] = (1, 2)
    pair: Pair | None = None

    def __post_init__(self):
        if self.size < 1:
            raise SettingError(f"size must be positive, not {self.size}", "size")


@dataclass(frozen=True)
class Outer:
    name: str = "x"
    flag: bool = False
    inner: Inner = Inner()
    options: dict[str, Any] = field(default_factory=dict)


def test_edits_reach_into_records_and_leave_the_rest():
    outer = nested.edited(Outer(), {"inner.size": 3, "inner": {"rate": 1}, "options.depth": 4})
    assert outer == Outer(inner=Inner(size=3, rate=1.0), options={"depth": 4})
    assert type(outer.inner.rate) is float
    assert nested.edited(Outer(), {"inner.widths": [4, 5]}).inner.widths == (4, 5)
    assert nested.edited(Outer(), {"inner.pair": [1, 2]}).inner.pair == Pair(1.0, 2.0)
    assert nested.edited(Outer(), {"inner.size": 3e6}).inner.size == 3_000_000


def test_data_of_a_record_edits_another_into_it():
    outer = Outer("y", True, Inner(5, 0.1, "b", (), Pair(1.0, 2.0)), {"k": 1})
    assert nested.edited(Outer(), nested.to_data(outer)) == outer


@pytest.mark.parametrize(
    ("edits", "field", "line"),
    [
        ({"inner.sise": 1}, "inner.sise", "did you mean"),
        ({"flga": True}, "flga", "did you mean flag"),
        ({"inner.size": 0}, "inner.size", "inner.size must be positive, not 0"),
        ({"inner.size": 1.5}, "inner.size", "inner.size must be a whole number"),
        ({"inner.size": True}, "inner.size", "must be a whole number"),
        ({"inner.rate": math.inf}, "inner.rate", "must be a finite number"),
        ({"inner.rate": "high"}, "inner.rate", "must be a finite number"),
        ({"inner.kind": "c"}, "inner.kind", "must be a or b"),
        ({"inner.widths": 3}, "inner.widths", "must be a list of numbers"),
        ({"inner.pair": [1]}, "inner.pair", "must be 2 numbers .left, right."),
        ({"flag": 1}, "flag", "must be true or false"),
        ({"inner": 3}, "inner", "must be a table of settings"),
        ({"name.first": 3}, "name.first", "holds no settings"),
    ],
)
def test_what_cannot_be_set_is_told_with_the_fields_name(edits, field, line):
    with pytest.raises(SettingError, match=line) as refused:
        nested.edited(Outer(), edits)
    assert refused.value.field == field


@pytest.mark.parametrize(
    "value",
    [
        "plain",
        'a "quote" and \\ and \t and \x7f and é and 😀',
        "line\nbreak",
        1e-30,
        1e16,
        -0.0,
        2**53,
        True,
        [1, 2.5],
        ["a"],
        {"in.ner": {"deep": 1}},
        {"tasks": {"a": [1]}, "b": 2},
    ],
)
def test_toml_reads_back_equal(value):
    data = {"value": value, "table": {"value": value, 'odd "key"': 1}}
    assert tomllib.loads(nested.toml(data)) == data


def test_toml_leaves_out_none():
    assert nested.toml({"a": None, "b": 1}) == "b = 1\n"


def test_an_experiments_settings_can_be_named_without_the_algorithm():
    experiment = preset("lqr", "sapo")
    for name in ("critic.iterations", "algorithm.critic.iterations"):
        assert experiment.edited({name: 8}).algorithm.critic.iterations == 8
    assert experiment.edited({"algorithm": {"critic": {"iterations": 8}}}) == experiment.edited(
        {"critic": {"iterations": 8}}
    )
    with pytest.raises(SettingError, match=r"^critic.iterations must be positive, not 0$"):
        experiment.edited({"critic.iterations": 0})
    with pytest.raises(SettingError, match="start from the preset of another method"):
        experiment.edited({"method": "rfo"})


def test_the_schedule_follows_the_steps_unless_it_is_set():
    experiment = preset("lqr", "apg", environments=4, horizon=4, steps=160)
    longer = experiment.edited({"steps": 320})
    assert (experiment.algorithm.schedule.updates, longer.algorithm.schedule.updates) == (10, 20)
    course = {"algorithm": {"schedule": {"updates": 20, "begin": 10, "fraction": 0.5}}}
    extended = experiment.edited({"steps": 320, **course})
    assert extended.algorithm.schedule.begin == 10
    assert type(extended).from_json(extended.to_json()) == extended
    assert type(extended).from_toml(extended.to_toml()) == extended
