"""The public library: its names, their documentation, and what a run can do."""

import doctest
import inspect
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rfo
from rfo.envs.tasks.probe import LQR
from rfo.errors import RunError, SettingError
from rfo.experiment import api
from rfo.training import record

PAGE = Path(__file__).parents[1] / "docs" / "api.md"
TINY = {"environments": 4, "horizon": 4}
"""As in the examples of the public names, whose programs then serve here, too."""


def rest(observation, key):
    """A policy that does nothing."""
    return jnp.zeros((len(observation), 1))


def test_the_public_names_are_the_documented_ones():
    cells = re.findall(r"^\| (`[^|]+) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    documented = [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]
    assert sorted(documented) == sorted(rfo.__all__)
    assert set(rfo.__all__) <= set(dir(rfo)) and len(rfo.__all__) >= 25


@pytest.mark.parametrize("name", rfo.__all__)
def test_a_public_name_has_an_example_that_works(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("rfo.experiment.catalogue._REGISTERED", {})  # an example adds a task
    finder = doctest.DocTestFinder(recurse=False)
    (examples,) = finder.find(getattr(rfo, name), name, module=False, globs={})
    assert examples.examples, f"{name} has no example"
    told = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    with jax.default_device(jax.devices("cpu")[0]):
        assert runner.run(examples, out=told.append).failed == 0, "".join(told)


def test_importing_the_library_imports_nothing_heavy():
    code = (
        "import rfo, sys; heavy = {'jax', 'warp', 'mujoco', 'numpy', 'scipy', 'tyro', 'rich'}; "
        "print(sorted(heavy & set(sys.modules)), hasattr(rfo, 'nothing'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == "[] False"


def test_train_is_the_function_also_where_its_earlier_namesake_is_imported():
    """Earlier programs import the run folder from a package that was named like the function."""
    from rfo.train.record import RunFolder

    assert RunFolder is record.RunFolder
    assert rfo.train is api.train and "Ctrl-C" in inspect.getdoc(rfo.train)


def test_double_precision_is_refused_where_the_physics_has_none():
    with jax.enable_x64(True):
        with pytest.raises(SettingError, match=r"cartpole computes in single .* JAX_ENABLE_X64"):
            rfo.make("cartpole", 2)
        assert rfo.make("lqr", 2).init(jax.random.key(0)).observation.dtype == np.float64


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("api") / "run"
    return rfo.train("lqr", "apg", steps=64, seed=3, out=out, **TINY)


def test_a_run_tells_its_metrics_in_columns(run):
    metrics = run.metrics
    assert run.status == "finished" and run.experiment.seed == 3
    np.testing.assert_array_equal(metrics["env_steps"], [16, 32, 48, 64])
    assert {column.shape for column in metrics.values()} == {(4,)}
    assert {"seconds", "return_mean", "grad_norm"} <= metrics.keys()
    assert set(run.evaluation) == {"stochastic", "deterministic"}


def test_a_policy_acts_on_one_observation_and_on_many(run):
    one = run.policy(np.zeros(2))
    many = run.policy(np.zeros((3, 2), np.float32))
    assert one.shape == (1,) and many.shape == (3, 1)
    np.testing.assert_allclose(many, np.broadcast_to(one, (3, 1)), rtol=1e-6)
    np.testing.assert_array_equal(one, run.policy([0.0, 0.0]))
    drawn = [run.policy(jnp.zeros(2), jax.random.key(seed)) for seed in (0, 1)]
    assert not np.array_equal(*drawn)
    for wrong in (np.zeros(3), [0.0], 0.0, {"vector": np.zeros(2)}):
        with pytest.raises(SettingError, match=r"has the shape \(2,\), or one axis more in front"):
            run.policy(wrong)


def test_a_loaded_run_is_the_run(run):
    again = rfo.load(run.path)
    assert again.experiment == run.experiment
    one, other = (x.evaluate(episodes=8, seed=1)["returns"] for x in (run, again))
    np.testing.assert_array_equal(one, other)


def test_evaluating_a_runs_policy_by_hand_agrees_with_the_run(run):
    """Both draw other episodes, by which alone a deterministic policy's mean return differs."""
    policy = rfo.load(run.path).policy  # its first call is inside of a compiled evaluation
    by_hand = rfo.evaluate(policy, "lqr", episodes=64, deterministic=True)
    own = run.evaluate(episodes=64, deterministic=True)
    spread = np.hypot(by_hand["std"], own["std"]) / 8
    assert abs(by_hand["mean"] - own["mean"]) < 5 * spread


def test_a_finished_run_goes_on_to_a_new_length(tmp_path):
    run = rfo.train("lqr", "apg", steps=64, out=tmp_path / "run", **TINY)
    longer = run.resume(steps=80)
    assert longer.experiment.steps == 80 and longer.metrics["env_steps"][-1] == 80
    with pytest.raises(RunError, match="is finished"):
        longer.resume()


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda: rfo.make("lqr", environments=0), "environments"),
        (lambda: rfo.make("lqr", chunk=0), "chunk"),
        (lambda: rfo.make("lqr", gian=1.0), "task.gian"),
        (lambda: rfo.preset("lqr", seed=2**32), "seed"),
        (lambda: rfo.preset("lqr", "sapo", **{"critic.iterations": "many"}), "critic.iterations"),
        (lambda: rfo.preset("lqr", c_past=float("inf")), "c_past"),
        (lambda: rfo.preset("lqr", steps=10**30), "steps"),
        (lambda: rfo.train_seeds(rfo.preset("lqr", seed=2**32 - 1), 2), "seed"),
        (lambda: rfo.register_task("ant", LQR), "name"),
        (lambda: rfo.evaluate(rest, "lqr", episodes=0), "episodes"),
    ],
)
def test_an_error_of_the_users_names_the_field(call, field):
    with pytest.raises(SettingError) as refused:
        call()
    assert refused.value.field == field and "\n" not in str(refused.value)
