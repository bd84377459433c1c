"""When a run counts as diverged."""

import json
import signal

import jax.numpy as jnp
import numpy as np
import pytest

from rfo.algos.base import DROPPED, DROPPED_IN, NONFINITE_STEPS
from rfo.training.guard import PATIENCE, Guard, Interruption, all_finite, dropped_in, names

HEALTHY = {"nonfinite": 0.0, "grad_norm": 1.0}
HORIZON, EPISODE = 32, 1000


def guard(counts=None):
    return Guard(HORIZON, EPISODE, counts)


@pytest.mark.parametrize(("value", "finite"), [(1.0, True), (np.nan, False), (np.inf, False)])
def test_finite_looks_at_every_leaf(value, finite):
    state = {"a": jnp.ones(3), "b": (jnp.array([0.0, value]), jnp.array(2)), "c": "static"}
    assert bool(all_finite(state)) is finite


def test_a_state_that_is_not_finite_ends_the_run_at_once():
    assert "state" in (guard().judge(False, HEALTHY) or "")


TROUBLES = [
    ({"nonfinite": 0.5 / HORIZON}, "environments"),
    ({"grad_norm": np.nan}, "gradient"),
    ({DROPPED: 0.5, f"{DROPPED_IN}state.q": 0.5, f"{DROPPED_IN}action": 0.0}, "state.q and"),
]


@pytest.mark.parametrize(("bad", "word"), TROUBLES)
def test_trouble_ends_the_run_only_when_it_lasts(bad, word):
    watch = guard()
    for _ in range(PATIENCE - 1):
        assert watch.judge(True, {**HEALTHY, **bad}) is None
    assert watch.judge(True, HEALTHY) is None  # one good update starts the count again
    verdicts = [watch.judge(True, {**HEALTHY, **bad}) for _ in range(PATIENCE)]
    assert verdicts[:-1] == [None] * (PATIENCE - 1)
    assert word in (verdicts[-1] or "")


@pytest.mark.parametrize(("bad", "word"), TROUBLES)
def test_counts_go_on_in_another_process(bad, word):
    watch = guard()
    for _ in range(PATIENCE - 1):
        watch.judge(True, {**HEALTHY, **bad})
    resumed = guard(json.loads(json.dumps(watch.counts)))
    assert word in (resumed.judge(True, {**HEALTHY, **bad}) or "")


def test_a_few_contained_environments_are_no_divergence():
    watch = guard()
    few = {"nonfinite": 0.4 / HORIZON, DROPPED: 0.4, NONFINITE_STEPS: 0.4}
    assert all(watch.judge(True, {**HEALTHY, **few}) is None for _ in range(3 * PATIENCE))
    assert watch.verdict() is None


def test_the_worst_arrays_are_named_first_and_the_rest_counted():
    shares = {
        f"{DROPPED_IN}{name}": share
        for name, share in zip("abcde", (0.1, 0.9, 0, 0.5, 0.2), strict=True)
    }
    assert dropped_in({DROPPED: 0.9, **shares}) == ("b", "d", "e", "a")
    assert names(dropped_in(shares)) == "b, d, e and 1 more"
    assert names(["a"]) == "a"


def blowing_up(after):
    """Updates in which each environment blows up whenever its episode is `after` steps old."""
    age = 0
    while True:
        ends = (age + HORIZON) // after
        age = (age + HORIZON) % after
        lost = ends * after / HORIZON
        yield {**HEALTHY, "nonfinite": ends / HORIZON, NONFINITE_STEPS: lost}


def test_a_short_run_whose_episodes_all_blow_up_diverged():
    """39 updates, too few for any streak, as the robot of 120 g trains for."""
    watch, updates = guard(), blowing_up(after=30)
    assert all(watch.judge(True, next(updates)) is None for _ in range(39))
    assert "episodes" in (watch.verdict() or "")


@pytest.mark.parametrize("after", [100, 900])
def test_blowing_up_late_in_every_episode_ends_a_long_run(after):
    """Less than half of the environments in one rollout, but no episode ends in any other way."""
    watch, updates = guard(), blowing_up(after)
    verdicts = [watch.judge(True, next(updates)) for _ in range(2 * PATIENCE)]
    assert verdicts[:-1] == [None] * (2 * PATIENCE - 1)
    assert "episodes" in (verdicts[-1] or "")


def test_a_run_that_recovers_is_healthy():
    watch, updates = guard(), blowing_up(after=30)
    assert all(watch.judge(True, next(updates)) is None for _ in range(40))
    assert all(watch.judge(True, HEALTHY) is None for _ in range(80))
    assert watch.verdict() is None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_ask_once_then_stop_and_handlers_are_put_back(number):
    before = signal.getsignal(number)
    with Interruption() as interruption:
        assert not interruption.requested
        signal.raise_signal(number)
        assert interruption.requested
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert signal.getsignal(number) is before
