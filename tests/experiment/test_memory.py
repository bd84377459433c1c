"""A training that exceeds the machine is refused with a figure before anything is made."""

import os

import jax
import pytest

from rfo.cli.main import main
from rfo.errors import SettingError
from rfo.experiment import memory
from rfo.experiment.build import build
from rfo.experiment.memory import MemoryPlan, plan, refuse_beyond
from rfo.experiment.record import preset
from rfo.training import trainer

GB = 10**9


def lqr(method="apg", **changes):
    return preset("lqr", method, **{"environments": 8, "horizon": 8, **changes})


def test_parts_grow_with_what_they_are_made_of():
    base = plan(lqr())
    assert plan(lqr(horizon=16)).rollout == 2 * base.rollout
    wider = plan(lqr(environments=16))
    # the batch's key and one integer key of the state are not per environment
    assert wider.environments == pytest.approx(2 * base.environments, rel=0.05)
    assert wider.rollout == pytest.approx(2 * base.rollout, rel=0.05)
    assert wider.networks == base.networks and base.replay == 0
    twice = plan(lqr(), seeds=2)
    assert twice.parts == {name: 2 * size for name, size in base.parts.items()}


def test_a_replay_buffer_by_hand():
    """A transition has two observations of 2, an action of 1, a reward and a discount, in float32.

    There are two buffers during an update, and three while a checkpoint is written."""
    buffer = 2**20 * (2 * 2 + 1 + 1 + 1) * 4
    planned = plan(lqr("sac", capacity=2**20))
    assert planned.replay == 2 * buffer
    assert planned.checkpoint == pytest.approx(3 * buffer, rel=0.01)


@pytest.mark.parametrize("method", ["shac", "rfo_fixed", "rfo"])
def test_the_plan_of_a_rollout_agrees_with_what_xla_needs(method):
    """An independent count: the temporary memory of the compiled update, within a factor of two."""
    experiment = preset("lqr", method, environments=2048, horizon=32)
    algorithm, env = build(experiment)
    update = trainer.compiled_update(algorithm, env, seeds=1)
    program = update.lower(trainer.initial_state(algorithm, env, [0])).compile()
    needed = program.compiled.memory_analysis().temp_size_in_bytes
    assert 0.5 < plan(experiment).rollout / needed < 2


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["lqr", "--envs", "1000000000"], "rollout"),
        (["lqr", "--network.hidden", "1000000", "1000000"], "networks"),
        (["lqr", "--algo", "sac", "--capacity", "1000000000000"], "replay"),
        (["soft_jumper_small", "--envs", "10000000"], "rollout"),
    ],
)
def test_a_wish_beyond_the_machine_is_refused_in_one_line(words, part, tmp_path, capsys):
    assert main(["train", *words, "--out", str(tmp_path / "run")]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and "GB of memory and this machine has" in line
    assert f"{part} alone" in line and "lower" in line
    assert not (tmp_path / "run").exists()


def test_the_refusal_names_the_figure_and_what_to_lower():
    wish = MemoryPlan(GB, 20 * GB, 2 * GB, 0, GB)
    refuse_beyond(wish, 24 * GB)
    refuse_beyond(wish, None)  # a system that does not tell
    advice = r"24 GB .* 23.9 GB; rollout alone: 20 GB; lower environments \(--envs\) or horizon"
    with pytest.raises(SettingError, match=advice) as e:
        refuse_beyond(wish, 24 * GB - GB // 10)
    assert e.value.field == "environments"


def test_the_memory_of_this_machine(monkeypatch):
    known = memory.available_memory()
    assert known is None or 2**28 < known < 2**46
    monkeypatch.setattr(memory, "_container", lambda: 5 * GB)
    monkeypatch.setattr(memory, "_physical", lambda: 8 * GB)
    assert memory.available_memory() == 5 * GB


@pytest.mark.parametrize("gone", ["sysconf", "SC_PHYS_PAGES"])
def test_a_system_that_does_not_tell_its_memory_refuses_nothing(gone, monkeypatch):
    if gone == "sysconf":
        monkeypatch.delattr(os, "sysconf")
    else:
        monkeypatch.setattr(os, "sysconf", lambda name: int(name))  # ValueError, as for a stranger
    monkeypatch.setattr(memory, "_container", lambda: None)
    if jax.default_backend() == "cpu":
        assert memory.available_memory() is None
    memory.require_room(lqr(environments=10**9), trainer.state_shapes(*build(lqr())))
