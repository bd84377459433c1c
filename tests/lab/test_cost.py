"""What `rfo estimate` tells."""

import json

import pytest

import rfo
from rfo.cli.main import main
from rfo.errors import SettingError
from rfo.lab.cost import Cost, measure

TINY = ["lqr", "--algo", "apg", "--envs", "4", "--horizon", "4"]


def test_time_of_a_training_is_its_first_update_and_the_others():
    cost = Cost(
        compile_seconds=20.0,
        update_seconds=0.5,
        updates=101,
        update_steps=2048,
        memory_planned=3_000_000_000,
        memory_peak=4_000_000_000,
    )
    assert cost.seconds == 20.0 + 100 * 0.5
    assert cost.steps_per_second == 4096
    assert str(cost).splitlines() == [
        "compiling: 20 s",
        "an update: 0.5 s for 2,048 environment steps (4,096/s)",
        "the training: 70 s for 101 updates, without the evaluation",
        "memory: about 3 GB for its arrays; this process had 4 GB at most",
    ]


def test_command_measures_and_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["estimate", *TINY, "--steps", "1600", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["updates"], told["update_steps"]) == (100, 16)
    assert 0 < told["update_seconds"] < told["compile_seconds"] < told["seconds"]
    assert told["memory_peak"] > 1e8
    assert list(tmp_path.iterdir()) == []


def test_training_that_exceeds_the_machine_is_refused_before_it_is_tried():
    with pytest.raises(SettingError, match="lower environments"):
        measure(rfo.preset("lqr", "apg", environments=4_000_000_000))
