"""`rfo check-grad` finds a right gradient right and a wrong one wrong."""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest

from rfo.cli.main import main
from rfo.envs.tasks.probe import LQR
from rfo.experiment import build as experiments
from rfo.experiment import gradients
from rfo.experiment.presets import TASKS, Task
from rfo.experiment.record import TaskSettings


def test_gradient_of_a_task_is_right_and_alive():
    found = gradients.check_gradient("lqr", environments=6, horizons=(1, 4))
    checks = found.checks
    assert found.passed and found.worst_error < 1e-3
    assert [(c.start, c.steps) for c in checks] == [("reset", 1), ("reset", 4)]
    assert len(found.rows) == 8 and {row["verdict"] for row in found.rows} == {"right"}
    assert "lqr: the gradient is right" in str(found) and "reset, 4 steps" in str(found)
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
    for found in (
        gradients.check_gradient("wrong", environments=6, horizons=(1, 4)),
        gradients.check_gradient(WrongLQR(), environments=6, horizons=(1, 4)),
    ):
        assert not found.passed and found.worst_error == pytest.approx(0.03, rel=0.2)


def test_a_tasks_own_settings_change_what_is_checked(tmp_path, monkeypatch, capsys):
    """The template's reward is linear in the effort: an effort of 1e6 makes the gradient as much
    larger."""
    monkeypatch.chdir(tmp_path)
    assert main(["new-task", "mine.py"]) == 0
    norms = []
    for effort in ("0", "1e6"):
        capsys.readouterr()
        words = ["--envs", "3", "--horizons", "1", "--json", "--task.effort", effort]
        assert main(["check-grad", "mine.py:Reach", *words]) == 0
        norms.append(json.loads(capsys.readouterr().out)["checks"][0]["norm"]["median"])
    assert norms[1] > 1e4 * norms[0]
    found = gradients.check_gradient("mine.py:Reach", 3, (1,), effort=1e6)
    assert np.median(found.checks[0].report.norm) == pytest.approx(norms[1])


@pytest.mark.parametrize("name", [name for name, task in TASKS.items() if task.fine])
def test_a_task_that_is_checked_in_double_precision_can_have_it(name):
    assert experiments.build_task(name, 1, dtype="float64").simulator.dtype == np.float64


def test_a_check_in_double_precision_changes_no_setting_of_the_process():
    """Not while the caller is at work, and not afterwards, whatever was set before. The error tells
    that the physics' threads computed in double precision: single would leave 1e-4."""
    import jax

    worst = []
    small = TaskSettings("soft_jumper_small")
    for check in gradients.gradient_checks(small, 2, (1,), settling_steps=2, threads=1):
        assert not jax.config.jax_enable_x64
        worst.append(check.report.worst_error)
    assert len(worst) == 2 and max(worst) < 1e-6
    with jax.enable_x64(True):
        checks = gradients.gradient_checks(TaskSettings("lqr"), environments=2, horizons=(1,))
        assert next(checks).report.ok and jax.config.jax_enable_x64
    checks.close()
    assert not jax.config.jax_enable_x64


@pytest.mark.parametrize(
    "name", ["soft_jumper_small", pytest.param("rolling_flat_small", marks=pytest.mark.long)]
)
def test_the_gradient_in_each_array_of_parameters(name):
    found = gradients.check_gradient(name, 3, (1,), 2, threads=1, parameters=True)
    assert found.passed and found.worst_error < 1e-3
    arrays = {row["direction"].split(",")[0] for row in found.rows}
    assert arrays == set(experiments.build_task(name, 1).simulator.parameters._fields)


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
    words = ["check-grad", "blind", "--envs", "6", "--horizons", "1", "4"]
    assert main([*words, "--json"]) == 1
    out, err = capsys.readouterr()
    told = "the gradient is not finite in action (100%) and state (100%)"
    assert told in err and err.index(told) < err.index("checked 1 control steps")
    report = json.loads(out)
    assert not report["ok"] and report["worst_relative_error"] is None
    assert [check["dropped"] for check in report["checks"]] == [{"action": 1.0, "state": 1.0}] * 2
    assert [check["finite_share"] for check in report["checks"]] == [0.0] * 2

    assert main(words) == 1
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
    found = gradients.check_gradient("mark", environments=6, horizons=(1, 4))
    checks = found.checks
    assert all(check.report.ok and not check.ok for check in checks)
    assert [check.dropped for check in checks] == [{"state.mark": 1.0}] * 2
    assert not found.passed
