"""A run can be made longer: with its own length it is the uninterrupted run, bit for bit, and with
another its learning rate goes on from where it is."""

import dataclasses
import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rfo.algos.settings import Schedule
from rfo.cli.main import main
from rfo.errors import RunError
from rfo.experiment import build as experiments
from rfo.experiment import train as training
from rfo.experiment.finish import EVALUATION, REPLAY
from rfo.experiment.folder import open_run
from rfo.experiment.record import preset
from rfo.training import checkpoint, trainer

STEPS = 8  # of one update
WORDS = ["lqr", "--algo", "apg", "--envs", "2", "--horizon", "4", "--checkpoint-every", "1"]
WORDS += ["--evaluation.episodes", "2"]
CLOCKS = {"seconds", "steps_per_second"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished run of 6 updates."""
    path = tmp_path_factory.mktemp("runs") / "whole"
    assert main(["train", *WORDS, "--steps", str(6 * STEPS), "--out", str(path)]) == 0
    return path


@pytest.fixture
def stopped(whole, tmp_path):
    """The same, stopped after its fourth update, with a fifth that is lost."""
    return stop(whole, tmp_path / "stopped", 4)


def stop(run, path, update):
    shutil.copytree(run, path)
    for left in (*REPLAY, EVALUATION):
        (path / left).unlink(missing_ok=True)
    for there in checkpoint.newest_first(path / "checkpoints"):
        if there != checkpoint.path_after(path / "checkpoints", update):
            there.unlink()
    return path


def resumed(path, *words):
    return main(["train", "--resume", str(path), *map(str, words)])


def lines(run):
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name not in CLOCKS} for row in rows]


def final_state(run):
    folder, experiment = open_run(run)
    algorithm, env = experiments.build(experiment)
    shapes = trainer.state_shapes(algorithm, env)
    return checkpoint.load(folder.checkpoints / checkpoint.FINAL, shapes)


def assert_equal_ends(ours, theirs):
    assert lines(ours) == lines(theirs)
    for a, b in zip(*(jax.tree.leaves(final_state(run)[0]) for run in (ours, theirs)), strict=True):
        if hasattr(a, "dtype"):
            is_key = jnp.issubdtype(a.dtype, jax.dtypes.prng_key)
            a, b = (np.asarray(jax.random.key_data(x) if is_key else x) for x in (a, b))
            assert a.tobytes() == b.tobytes()


def test_the_schedule_goes_on_from_where_it_is():
    """100 updates, extended at 40 to 160: 0.6 of the way to the final rate is left for 120."""
    run = preset("lqr", "apg", environments=2, horizon=4, steps=100 * STEPS)
    longer = training.extend(run, {"update": 40, "env_steps": 40 * STEPS}, 160 * STEPS)
    assert (longer.updates, longer.algorithm.schedule) == (160, Schedule(160, 40, 0.6))
    updates = map(jnp.array, (40, 100, 160, 170))
    rates = [longer.algorithm.schedule.rate(0.11, 0.01, update) for update in updates]
    np.testing.assert_allclose(rates, [0.01 + 0.1 * left for left in (0.6, 0.3, 0, 0)], rtol=1e-6)
    assert rates[0] == pytest.approx(float(run.algorithm.schedule.rate(0.11, 0.01, jnp.array(40))))
    # once more, half-way through the second part: 0.3 is left, over 200 updates
    again = training.extend(longer, {"update": 100, "env_steps": 100 * STEPS}, 300 * STEPS)
    assert again.algorithm.schedule == Schedule(300, 100, 0.3)
    # and back to a shorter one, which is still longer than what is done
    assert training.extend(longer, {"update": 100, "env_steps": 1}, 120 * STEPS).updates == 120
    # nothing else changes
    kept = dataclasses.replace(longer.algorithm, schedule=run.algorithm.schedule)
    assert dataclasses.replace(longer, steps=run.steps, algorithm=kept) == run


@pytest.mark.parametrize("steps", [100 * STEPS, 100 * STEPS - 1, 99 * STEPS + 1])
def test_the_own_length_changes_nothing(steps):
    run = preset("lqr", "apg", environments=2, horizon=4, steps=100 * STEPS)
    for update in (40, 100):
        assert training.extend(run, {"update": update, "env_steps": update * STEPS}, steps) == run


@pytest.mark.parametrize("steps", [-1, 0, 1, 40 * STEPS])
def test_what_is_trained_already_is_refused(steps):
    run = preset("lqr", "apg", environments=2, horizon=4, steps=100 * STEPS)
    with pytest.raises(RunError, match="320 steps are trained already"):
        training.extend(run, {"update": 40, "env_steps": 320}, steps)


def test_with_its_own_length_it_is_the_uninterrupted_run(stopped, whole):
    before = (stopped / "config.json").read_bytes()
    assert resumed(stopped, "--steps", 6 * STEPS) == 0
    assert_equal_ends(stopped, whole)
    assert (stopped / "config.json").read_bytes() == before


def test_a_longer_run_is_the_one_that_had_this_schedule(stopped, whole):
    """Its three last updates are those of the method with that schedule, from the same state."""
    assert resumed(stopped, "--steps", 7 * STEPS) == 0
    assert [row["update"] for row in lines(stopped)] == list(range(1, 8))
    assert lines(stopped)[:4] == lines(whole)[:4]
    config = json.loads((stopped / "config.json").read_text())
    first = {"steps": 48, "updates": 6, "begin": 0, "fraction": 1.0}
    assert config["parts"] == [first, {"steps": 56, "updates": 7, "begin": 4, "fraction": 1 / 3}]
    assert config["steps"] == 56 and config["algorithm"]["schedule"]["begin"] == 4

    _, experiment = open_run(whole)
    plain, env = experiments.build(experiment)
    state, _ = checkpoint.load(
        checkpoint.path_after(whole / "checkpoints", 4), trainer.state_shapes(plain, env)
    )
    method = dataclasses.replace(plain, schedule=Schedule(7, 4, 1 / 3))
    for _ in range(3):
        state, _, _ = trainer.compiled_update(method, env, 1)(state)
    for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(final_state(stopped)[0]), strict=True):
        if hasattr(a, "dtype") and not jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            np.testing.assert_array_equal(a, b)


def test_a_finished_run_goes_on_and_keeps_what_its_end_left(whole, tmp_path):
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    evaluation = (run / "evaluation.json").read_bytes()
    assert resumed(run, "--steps", 8 * STEPS) == 0
    assert [row["update"] for row in lines(run)] == list(range(1, 9))
    assert lines(run)[:6] == lines(whole)
    assert final_state(run)[1]["update"] == 8
    assert (run / "ends" / "1" / "evaluation.json").read_bytes() == evaluation
    assert (run / "evaluation.json").exists()
    parts = json.loads((run / "config.json").read_text())["parts"]
    assert parts[1] == {"steps": 64, "updates": 8, "begin": 6, "fraction": 0.0}
    assert resumed(run) == 1  # finished


def test_an_extension_that_is_interrupted_goes_on_as_if_it_had_not_been(whole, tmp_path):
    first = Path(shutil.copytree(whole, tmp_path / "first"))
    assert resumed(first, "--steps", 9 * STEPS) == 0
    second = stop(first, tmp_path / "second", 8)
    assert resumed(second) == 0
    assert_equal_ends(second, first)


@pytest.mark.parametrize("damaged", [False, True])
def test_an_extension_that_crashed_at_once_goes_on(damaged, whole, tmp_path):
    """The configuration is written, and nothing else. The run goes on from the final checkpoint, if
    that is whole; the evaluation is the earlier end's."""
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    folder, experiment = open_run(run)
    longer = training.extend(experiment, {"update": 6, "env_steps": 6 * STEPS}, 8 * STEPS)
    training._write_part(folder, experiment, longer)
    if damaged:
        final = run / "checkpoints" / checkpoint.FINAL
        final.write_bytes(final.read_bytes()[:-5])
    assert resumed(run) == 0
    assert [row["update"] for row in lines(run)] == list(range(1, 9))
    assert final_state(run)[1]["update"] == 8 and (run / "ends" / "1" / "evaluation.json").exists()


def test_a_length_that_is_done_is_refused_in_one_line(whole, capsys):
    before = {path: path.read_bytes() for path in whole.rglob("*") if path.is_file()}
    assert resumed(whole, "--steps", 5 * STEPS) == 1
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and "48 steps are trained already" in line
    assert {path: path.read_bytes() for path in whole.rglob("*") if path.is_file()} == before
