"""When a run counts as diverged."""

import signal

import jax.numpy as jnp
import numpy as np
import pytest

from rfo.train.guard import PATIENCE, Guard, Interruption, all_finite

HEALTHY = {"finite": True, "nonfinite": 0.0, "grad_norm": 1.0}
HORIZON = 32


@pytest.mark.parametrize(("value", "finite"), [(1.0, True), (np.nan, False), (np.inf, False)])
def test_finite_looks_at_every_leaf(value, finite):
    state = {"a": jnp.ones(3), "b": (jnp.array([0.0, value]), jnp.array(2)), "c": "static"}
    assert bool(all_finite(state)) is finite


def test_a_state_that_is_not_finite_ends_the_run_at_once():
    assert "state" in (Guard(HORIZON).judge(**{**HEALTHY, "finite": False}) or "")


@pytest.mark.parametrize(
    ("bad", "word"),
    [({"nonfinite": 0.5 / HORIZON}, "environments"), ({"grad_norm": np.nan}, "gradient")],
)
def test_trouble_ends_the_run_only_when_it_lasts(bad, word):
    guard = Guard(HORIZON)
    for _ in range(PATIENCE - 1):
        assert guard.judge(**{**HEALTHY, **bad}) is None
    assert guard.judge(**HEALTHY) is None  # one good update starts the count again
    verdicts = [guard.judge(**{**HEALTHY, **bad}) for _ in range(PATIENCE)]
    assert verdicts[:-1] == [None] * (PATIENCE - 1)
    assert word in (verdicts[-1] or "")


def test_a_few_contained_environments_are_no_divergence():
    guard = Guard(HORIZON)
    assert all(
        guard.judge(**{**HEALTHY, "nonfinite": 0.4 / HORIZON}) is None for _ in range(3 * PATIENCE)
    )


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
