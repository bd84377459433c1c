"""`rfo check-grad` finds a right gradient right and a wrong one wrong."""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest

from rfo.envs.tasks.probe import LQR
from rfo.experiment import build as experiments
from rfo.experiment import gradients
from rfo.experiment.catalogue import TASKS, Task
from rfo.lab.gradient_table import report_gradient


def test_gradient_of_a_task_is_right_and_alive():
    checks = list(gradients.check_gradient("lqr", environments=6, horizons=(1, 4)))
    ok, worst = gradients.gradient_verdict(checks)
    assert ok and worst < 1e-3
    assert [(c.start, c.steps) for c in checks] == [("reset", 1), ("reset", 4)]
    # one step pays -x Q x - R a^2 before it moves: the gradient is -2 R a, and |a| is at most 0.8
    norm = checks[0].report.norm
    assert norm.shape == (6,) and np.all(norm > 0) and np.all(norm <= 2 * 0.1 * 0.8)


@dataclasses.dataclass(frozen=True)
class WrongLQR(LQR):
    """The gradient to the action is 3 % too large."""

    def step(self, state, action):
        return super().step(state, action + 0.03 * (action - _constant(action)))


def _constant(x):
    import jax

    return jax.lax.stop_gradient(x)


def test_wrong_gradient_of_a_task_is_found(monkeypatch):
    monkeypatch.setitem(TASKS, "wrong", Task(__name__, "WrongLQR", "3 % off", steps=100))
    checks = list(gradients.check_gradient("wrong", environments=6, horizons=(1, 4)))
    ok, worst = gradients.gradient_verdict(checks)
    assert not ok and worst == pytest.approx(0.03, rel=0.2)


@pytest.mark.parametrize("name", [name for name, task in TASKS.items() if task.fine])
def test_a_task_that_is_checked_in_double_precision_can_have_it(name):
    assert experiments.build_task(name, 1, dtype="float64").simulator.dtype == np.float64


def test_a_check_in_double_precision_changes_no_setting_of_the_process():
    """Not while the caller is at work, and not afterwards, whatever was set before. The error tells
    that the physics' threads computed in double precision: single would leave 1e-4."""
    import jax

    worst = []
    for check in gradients.check_gradient(
        "soft_jumper_small", environments=2, horizons=(1,), settling_steps=2, threads=1
    ):
        assert not jax.config.jax_enable_x64
        worst.append(check.report.worst_error)
    assert len(worst) == 2 and max(worst) < 1e-6
    with jax.enable_x64(True):
        checks = gradients.check_gradient("lqr", environments=2, horizons=(1,))
        assert next(checks).report.ok and jax.config.jax_enable_x64
    checks.close()
    assert not jax.config.jax_enable_x64


@dataclasses.dataclass(frozen=True)
class BlindLQR(LQR):
    """The reward is right and its derivative is NaN everywhere: a root of 0 behind a `where`."""

    def step(self, state, action):
        out = super().step(state, action)
        depth = jnp.sqrt(jnp.sum((0 * out.state) ** 2, -1))
        touched = jnp.zeros(len(depth), bool)
        return out._replace(reward=out.reward - jnp.where(touched, depth, 0.0))


def test_a_gradient_that_is_not_finite_is_told_by_array_at_once(monkeypatch, capsys):
    monkeypatch.setitem(TASKS, "blind", Task(__name__, "BlindLQR", "NaN", steps=100))
    checks = gradients.check_gradient("blind", environments=6, horizons=(1, 4))
    assert report_gradient("blind", checks, as_json=True) == 1
    out, err = capsys.readouterr()
    told = "the gradient is not finite in action (100%) and state (100%)"
    assert told in err and err.index(told) < err.index("checked 1 control steps")
    report = json.loads(out)
    assert not report["ok"] and report["worst_relative_error"] is None
    assert [check["dropped"] for check in report["checks"]] == [{"action": 1.0, "state": 1.0}] * 2
    assert [check["finite_share"] for check in report["checks"]] == [0.0] * 2

    checks = gradients.check_gradient("blind", environments=6, horizons=(1, 4))
    assert report_gradient("blind", checks, as_json=False) == 1
    out, _ = capsys.readouterr()
    assert told in out and "WRONG; its error is not finite" in out


@dataclasses.dataclass(frozen=True)
class Speckled(LQR):
    """Next to an unused part of the state, whose derivative is NaN, the gradient is LQR's."""

    def reset(self, key, batch):
        return {"x": super().reset(key, batch), "mark": jnp.zeros(batch)}

    def observe(self, state):
        return super().observe(state["x"])

    def step(self, state, action):
        out = super().step(state["x"], action)
        reward = out.reward + 0.0 * jnp.sqrt(state["mark"])
        return out._replace(state={**state, "x": out.state}, reward=reward)


def test_a_right_gradient_that_a_training_would_drop_is_told(monkeypatch):
    """Differences agree, and yet a batch drops it with the part of the state that is not finite."""
    monkeypatch.setitem(TASKS, "mark", Task(__name__, "Speckled", "NaN", steps=100))
    checks = list(gradients.check_gradient("mark", environments=6, horizons=(1, 4)))
    assert all(check.report.ok and not check.ok for check in checks)
    assert [check.dropped for check in checks] == [{"state.mark": 1.0}] * 2
    assert not gradients.gradient_verdict(checks)[0]
