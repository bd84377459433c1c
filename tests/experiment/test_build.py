"""Registries, presets, the spec check, and configurations that survive a file."""

import ast
import dataclasses
import inspect
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from rfo.algos.reuse import Reuse
from rfo.algos.settings import Critic, Ensemble, Flow, Network, Optimiser, Schedule
from rfo.cli.resume import Resume
from rfo.cli.train import Train
from rfo.envs.base import EnvSpec
from rfo.envs.batch import Batch
from rfo.envs.chunk import ChunkedBatch
from rfo.envs.tasks.probe import LQR
from rfo.errors import SettingError
from rfo.experiment import build as experiments
from rfo.experiment.catalogue import find_method
from rfo.experiment.presets import METHODS, TASKS, Method, Task
from rfo.experiment.record import Evaluation, Experiment, TaskSettings, preset

SOURCE = Path(experiments.__file__).parents[1]


@pytest.mark.parametrize("algorithm", METHODS)
@pytest.mark.parametrize("task", TASKS)
def test_every_preset_builds_and_survives_json_and_toml(task, algorithm):
    experiment = preset(task, algorithm, seed=3)
    again = Experiment.from_json(json.loads(json.dumps(experiment.to_json())))
    assert again == experiment == Experiment.from_toml(experiment.to_toml())
    assert type(again.algorithm) is find_method(algorithm).load()
    method, env = experiments.build(experiment)
    assert env.size == experiment.environments
    assert method.schedule.updates == experiment.updates


def test_a_chunk_reaches_the_environments_and_survives_json():
    experiment = preset("lqr", "rfo", chunk=4, executed=2, gamma=0.9)
    assert Experiment.from_json(json.loads(json.dumps(experiment.to_json()))) == experiment
    _, env = experiments.build(experiment)
    assert isinstance(env, ChunkedBatch)
    assert (env.chunk, env.executed, env.discount) == (4, 2, 0.9)
    assert type(experiments.build(preset("lqr", "rfo"))[1]) is Batch


def read_attributes(source):
    """Names that a source reads as attributes, outside of the validation in __post_init__."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            node.body = [item for item in node.body if getattr(item, "name", "") != "__post_init__"]
    nodes = (node for node in ast.walk(tree) if isinstance(node, ast.Attribute))
    return {node.attr for node in nodes if isinstance(node.ctx, ast.Load)}


@pytest.mark.parametrize("algorithm", METHODS)
def test_every_hyperparameter_is_read(algorithm):
    """By the method's file or one that it inherits from, or by what it hands its record to."""
    kind = find_method(algorithm).load()
    modules = {base.__module__ for base in kind.__mro__ if dataclasses.is_dataclass(base)}
    source = "\n".join(inspect.getsource(sys.modules[name]) for name in sorted(modules))
    assert {f.name for f in dataclasses.fields(kind)} <= read_attributes(source)


@pytest.mark.parametrize("record", [Network, Ensemble, Critic, Flow, Optimiser, Schedule, Reuse])
def test_every_field_of_the_shared_records_is_read(record):
    read = set()
    for name in ("fitting", "method", "optimize", "reuse", "settings"):
        read |= read_attributes((SOURCE / "algos" / f"{name}.py").read_text())
    assert {f.name for f in dataclasses.fields(record)} <= read


@pytest.mark.parametrize("kind", [Experiment, Evaluation, TaskSettings, Task, Method])
def test_every_setting_is_read(kind):
    read = set()
    rooms = ("record", "presets", "catalogue", "build", "gradients", "train", "run", "api")
    for name in (*(f"experiment/{room}.py" for room in rooms), "cli/list.py"):
        read |= read_attributes((SOURCE / name).read_text())
    assert {f.name for f in dataclasses.fields(kind)} <= read


@pytest.mark.parametrize("algorithm", METHODS)
def test_no_hyperparameter_hides_an_option_of_the_command_line(algorithm):
    options = {f.name for f in dataclasses.fields(Train)} | {
        f.name for f in dataclasses.fields(Resume)
    }
    names = {f.name for f in dataclasses.fields(find_method(algorithm).load())}
    assert not names & (options | {f.name for f in dataclasses.fields(Experiment)})


def test_the_ant_has_the_published_budget_and_networks():
    """SAPO's AntRun: 64 environments, 4.1M steps in 2000 updates of 32 steps, networks as below."""
    for name in METHODS:
        experiment = preset("ant", name)
        assert (experiment.environments, experiment.steps, experiment.updates) == (
            64,
            4_096_000,
            2000,
        )
        assert experiment.algorithm.horizon == 32
        assert experiment.algorithm.network.hidden == (128, 64, 32)
        if name != "apg":
            assert experiment.algorithm.critic.hidden == (64, 64)


@pytest.mark.parametrize(("steps", "updates"), [(1, 1), (128, 1), (129, 2), (1280, 10)])
def test_steps_are_rounded_up_to_whole_updates_which_the_schedule_spans(steps, updates):
    experiment = preset("lqr", "apg", steps=steps, environments=4, horizon=32)
    assert experiment.updates == experiment.algorithm.schedule.updates == updates


def test_evaluation_has_two_episodes_per_environment_unless_told():
    assert preset("lqr", "apg", environments=10).evaluation_episodes == 20
    told = preset("lqr", "apg", environments=10, evaluation={"episodes": 3})
    assert told.evaluation_episodes == 3


@dataclasses.dataclass(frozen=True)
class BlindLQR(LQR):
    @property
    def spec(self):
        return EnvSpec("blind", 2, 1, 64, 0.2, differentiable=False)


def test_an_algorithm_that_needs_a_gradient_is_refused_without_one(monkeypatch):
    monkeypatch.setitem(TASKS, "blind", Task(__name__, "BlindLQR", "no gradient", steps=100))
    with pytest.raises(
        SettingError, match=r"needs the gradient .*: use ppo or sac or fpo$"
    ) as refused:
        experiments.build(preset("blind", "apg"))
    assert "\n" not in str(refused.value)
    for name in ("ppo", "sac", "fpo"):
        assert experiments.build(preset("blind", name))[0].name == name


def test_variants_are_algorithms_with_other_settings_which_come_before_the_task():
    """SHAC2 as the SAPO paper's code has it: two critics, mean and min, AdamW, SiLU, no entropy."""
    shac2 = preset("ant", "shac2")
    sapo = preset("ant", "sapo", initial_alpha=1e-30, alpha_learning_rate=0.0)
    assert shac2 == dataclasses.replace(sapo, method="shac2")
    algorithm = shac2.algorithm
    assert (algorithm.critic, algorithm.critic_target) == (Critic((64, 64), 2, 5e-4, 16, 4), "min")
    assert (algorithm.network.activation, algorithm.network.gain) == ("silu", 1.0)
    assert algorithm.optimiser == Optimiser(2e-3, 1e-5, 0.7, 0.95, 0.01, 0.5)
    assert (algorithm.min_log_std, algorithm.max_log_std) == (-5.0, 2.0)
    assert np.float32(1) + np.float32(shac2.algorithm.initial_alpha) == 1
    assert (shac2.label, preset("ant", "sapo").label) == ("shac2", "sapo")
    old = preset("ant", "sapo").to_json()
    del old["method"]
    assert Experiment.from_json(old) == preset("ant", "sapo")
    assert preset("ant", "naive_flow", c_past=0.1).algorithm.c_past == 0.1


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"task": "antt"}, "did you mean ant"),
        ({"method": "sappo"}, "did you mean sapo"),
        (
            {"method": "zzz"},
            "choose from apg, fpo, naive_flow, ppo, rfo, rfo_bound, rfo_fixed, rfo_reuse, sac, "
            "sapo, sapo_reuse, sapo_tuned, shac, shac2, soft_flow, soft_flow_reuse",
        ),
        ({"gama": 0.9}, "did you mean gamma"),
        ({"gamma": 1.5}, "gamma must be"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"environments": -1}, "environments must be at least 1"),
        ({"chunk": 0}, "chunk must be at least 1"),
        ({"chunk": 4, "executed": 5}, "executed must be from 1 to the chunk's 4 actions, not 5"),
        ({"executed": 0}, "executed must be from 1"),
        ({"seed": -1}, "seed must be from 0 to 4294967295"),
        ({"threads": 0}, "threads must be at least 1"),
        ({"checkpoint_every": 0}, "checkpoint_every must be at least 1"),
        ({"evaluation.episodes": 0}, "evaluation.episodes must be at least 1"),
    ],
)
def test_bad_settings_are_refused_with_one_line(change, line):
    with pytest.raises(SettingError, match=line) as refused:
        preset(**({"task": "lqr", "method": "apg"} | change))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "edit",
    [
        lambda c: c.pop("task"),
        lambda c: c.update(colour="red"),
        lambda c: c["algorithm"].update(colour="red"),
        lambda c: c["algorithm"].update(name="zzz"),
        lambda c: c["algorithm"].update(gamma="high"),
        lambda c: c.update(algorithm=3),
        lambda c: c.update(steps="many"),
        lambda c: c.update(method="zzz"),
    ],
)
@pytest.mark.usefixtures("annotations_unchecked")
def test_an_edited_configuration_is_refused_with_one_line(edit):
    config = preset("lqr", "apg").to_json()
    edit(config)
    with pytest.raises(SettingError) as refused:
        Experiment.from_json(config)
    assert "\n" not in str(refused.value)
