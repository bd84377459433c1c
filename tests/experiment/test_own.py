"""Tasks of one's own: named by their code, with settings, checked, and told when changed."""

import sys
from importlib import metadata, resources
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest

import rfo
from rfo.envs.base import EnvSpec, Step
from rfo.errors import SettingError
from rfo.experiment import catalogue, own
from rfo.experiment.build import build_task
from rfo.experiment.contract import check_contract
from rfo.experiment.record import TaskSettings

TINY = {"environments": 4, "horizon": 4, "network.hidden": (4,)}


@pytest.fixture
def template(tmp_path, monkeypatch):
    """A copy of the template, in the working folder of a user that has named nothing before."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    text = resources.files("rfo.cli").joinpath("template_task.py").read_text("utf-8")
    (tmp_path / "my_task.py").write_text(text)
    return "my_task.py:Reach"


def forget():
    """Let the files that were imported be imported anew, as another process would."""
    for name in [name for name in sys.modules if name.startswith("rfo_own_")]:
        del sys.modules[name]


def test_a_task_is_built_with_its_own_settings(template):
    assert build_task(template).gain == 4.0
    assert build_task(TaskSettings(template, {"gain": 3})).gain == 3.0
    experiment = rfo.preset(template, "rfo", **{"task.gain": 3.0})
    assert experiment.task == TaskSettings(template, {"gain": 3.0})
    assert rfo.Experiment.from_toml(experiment.to_toml()) == experiment
    for options, field in ({"gian": 3}, "task.gian"), ({"gain": "much"}, "task.gain"):
        with pytest.raises(SettingError) as refused:
            build_task(TaskSettings(template, options))
        assert refused.value.field == field
    with pytest.raises(SettingError, match="did you mean gain"):
        build_task(TaskSettings(template, {"gian": 3}))


def test_a_module_on_the_path_holds_tasks_too(template, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    assert build_task("my_task:Reach").gain == 4.0


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("absent.py:Reach", "`rfo new-task absent.py` writes one"),
        ("my_task.py:Reech", "has no class or function Reech: it has Reach"),
        ("my_task.py:", "is named FILE.py:CLASS or MODULE:CLASS"),
        (":Reach", "is named FILE.py:CLASS or MODULE:CLASS"),
        ("no_such_module:Reach", "no module no_such_module"),
        ("broken.py:Reach", "line 1 is not Python"),
    ],
)
def test_code_that_cannot_be_found_is_told_in_one_line(name, line, template, tmp_path):
    (tmp_path / "broken.py").write_text("def (:\n")
    with pytest.raises(SettingError, match=line) as refused:
        build_task(name)
    assert "\n" not in str(refused.value)


def test_an_error_in_the_users_code_keeps_its_traceback(template, tmp_path):
    (tmp_path / "raises.py").write_text("raise ValueError('mine')\n")
    with pytest.raises(ValueError, match="mine") as raised:
        build_task("raises.py:Reach")
    assert not isinstance(raised.value, SettingError)


def test_a_run_is_of_the_code_that_was_named(template, tmp_path, capsys, monkeypatch):
    """It says when the code has changed, and runs it for nobody who has not named it."""
    run = rfo.train(template, "apg", steps=32, out="run", **TINY, **{"task.gain": 3.0})
    assert run.experiment.task.name == str(tmp_path / "my_task.py:Reach")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    capsys.readouterr()
    assert rfo.load(run.path.resolve() if run.path.is_absolute() else tmp_path / "run").path
    assert "changed" not in capsys.readouterr().err
    file = tmp_path / "my_task.py"
    file.write_text(file.read_text().replace("gain: float = 4.0", "gain: float = 5.0"))
    forget()
    assert rfo.load(tmp_path / "run").experiment == run.experiment
    assert "my_task.py has changed since the run was trained" in capsys.readouterr().err

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "stranger"))
    forget()
    with pytest.raises(SettingError, match=r"--task .*my_task\.py:Reach"):
        rfo.load(tmp_path / "run")
    assert not any(name.startswith("rfo_own_") for name in sys.modules), "the code was run"
    moved = file.rename(tmp_path / "moved.py")
    assert rfo.load(tmp_path / "run", task=f"{moved}:Reach").experiment.task.options == {"gain": 3}


def test_installed_packages_offer_tasks_by_name(template, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    point = metadata.EntryPoint("offered_reach", "my_task:Reach", catalogue.ENTRY_POINTS)
    monkeypatch.setattr(
        catalogue,
        "metadata",
        SimpleNamespace(
            entry_points=lambda group: [point] if group == "rfo.tasks" else [],
            EntryPoint=metadata.EntryPoint,
        ),
    )
    assert "my_task:Reach" in rfo.tasks()["offered_reach"].summary
    assert build_task("offered_reach").spec.name == "reach"


class Good:
    """A task that keeps the contract."""

    spec = EnvSpec("good", observation=2, action_size=1, episode_length=8, dt=1.0)

    def reset(self, key, batch):
        return jax.random.uniform(key, (batch, 2))

    def observe(self, state):
        return state

    def step(self, state, action):
        return Step(state, state, action[:, 0], jnp.zeros(len(state), bool))


def changed(**attributes):
    return type("Changed", (Good,), attributes)()


FAULTS = {
    "it has no observe": SimpleNamespace(spec=Good.spec, reset=0, step=0),
    "spec must be an rfo.EnvSpec": changed(spec={"name": "good"}),
    r"reset: the state must have the leading axis B": changed(
        reset=lambda self, k, n: jnp.zeros(2)
    ),
    r"observe: the observation must have the shape \(B, 2\); for B = 3 it has \(3, 1\)": changed(
        observe=lambda self, state: state[:, :1]
    ),
    r"observe: the observation must hold floating-point numbers, not int32": changed(
        observe=lambda self, state: state.astype(jnp.int32)
    ),
    r"step must return an rfo.Step, not a tuple": changed(step=lambda self, s, a: (s, s)),
    r"step: reward must have the shape \(B,\); for B = 3 it has \(3, 1\)": changed(
        step=lambda self, s, a: Step(s, s, a, jnp.zeros(len(s), bool))
    ),
    r"step: terminated must hold bools, not float32": changed(
        step=lambda self, s, a: Step(s, s, a[:, 0], jnp.zeros(len(s)))
    ),
    r"step: state must have the shape \(3, 2\).*not \(3, 1\)": changed(
        step=lambda self, s, a: Step(s[:, :1], s, a[:, 0], jnp.zeros(len(s), bool))
    ),
    r"scene and frame: a geom in replay.json lacks body": changed(
        scene=lambda self: {"geoms": [{"type": "sphere"}]},
        frame=lambda self, s: {"poses": jnp.zeros((len(s), 1, 7))},
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_task_that_breaks_the_contract_is_told_where(fault):
    with pytest.raises(SettingError, match=fault) as refused:
        check_contract(FAULTS[fault], "good")
    assert "\n" not in str(refused.value) and str(refused.value).startswith("good: ")


def test_a_task_that_keeps_the_contract_passes(template):
    check_contract(Good(), "good")
    check_contract(build_task(template), "template")
    dictionary = changed(
        spec=EnvSpec("good", {"place": (2,)}, 1, 8, 1.0),
        observe=lambda self, state: {"place": state},
        step=lambda self, s, a: Step(s, {"place": s}, a[:, 0], jnp.zeros(len(s), bool)),
    )
    check_contract(dictionary, "dictionary")


def test_a_name_is_short_in_titles_and_folders():
    assert catalogue.short_name("/a/b/my_task.py:Reach") == "my_task.Reach"
    assert catalogue.short_name("pkg.tasks:Reach") == "pkg.tasks.Reach"
    assert catalogue.short_name("/a/dog.xml") == "dog"
    assert own.located("pkg.tasks:Reach") == "pkg.tasks:Reach"
