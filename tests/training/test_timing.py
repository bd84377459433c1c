"""The parts of an update: which are timed, and how their rates follow from the times."""

import jax
import pytest
from toy import small_apg

from rfo.envs.batch import Batch
from rfo.envs.tasks.probe import LQR, ReachCloud
from rfo.training import timing
from rfo.training.trainer import initial_state


@pytest.fixture
def clock(monkeypatch):
    """A clock that ticks one second more each time it is read.

    So no test waits for a real one.
    """
    reading = {"time": 0.0}

    def read():
        reading["time"] += 1.0
        return reading["time"]

    monkeypatch.setattr(timing.time, "perf_counter", read)


def test_rates_follow_from_the_times_by_hand(monkeypatch):
    """32 steps: 1 s the update, half of it the physics, a fifth the policy, so 0.3 s the critic."""
    seconds = iter([1.0, 0.5, 0.2])
    monkeypatch.setattr(timing, "_fastest", lambda call: next(seconds))
    algorithm, env = small_apg(horizon=8), Batch(LQR(), 4)
    speeds = timing.split(algorithm, env, initial_state(algorithm, env, [0]))
    assert speeds == pytest.approx(
        {
            "update_steps_per_second": 32.0,
            "physics_steps_per_second": 64.0,
            "policy_steps_per_second": 160.0,
            "critic_steps_per_second": 32 / 0.3,
        }
    )


def test_the_fastest_of_the_repetitions_counts_and_the_first_call_compiles(clock):
    calls = []
    assert timing._fastest(lambda: calls.append(1)) == 1.0
    assert len(calls) == 1 + timing.REPETITIONS


def test_a_dict_observation_is_timed_too_and_the_state_stays(clock):
    algorithm = small_apg(network={"point_hidden": (4,), "point_features": 4, "vector_features": 4})
    env = Batch(ReachCloud(points=4), 4)
    state = initial_state(algorithm, env, [0])
    speeds = timing.split(algorithm, env, state)
    assert speeds["policy_steps_per_second"] == algorithm.horizon * env.size
    assert jax.tree.leaves(state)  # not donated
