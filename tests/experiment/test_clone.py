"""Clones: a flow keeps two ways where a Gaussian has their mean; trainings start from them."""

import json

import jax
import numpy as np
import pytest

import rfo
from rfo.cli.main import main
from rfo.errors import SettingError
from rfo.experiment.folder import load_state
from rfo.training.record import RunFolder

SMALL = {"environments": 4, "horizon": 4, "network.hidden": (32,)}
FLOW = {"flow.steps": 8}


def two_ways(mode=0.6, episodes=40):
    """`bimodal` played with its best actions, one half each."""
    action = mode * np.tile([[1.0], [-1.0]], (episodes, 1))
    start = np.arange(2 * episodes) % 2 == 0
    return rfo.Demonstrations(
        np.zeros((2 * episodes, 1)), action, start, np.zeros(episodes), "bimodal"
    )


@pytest.fixture(scope="module")
def clones(tmp_path_factory):
    """A flow and a Gaussian, fitted to the same actions."""
    folder = tmp_path_factory.mktemp("clones")
    common = {"updates": 800, **SMALL}
    return {
        "rfo": rfo.clone("bimodal", two_ways(), "rfo", out=folder / "flow", **common, **FLOW),
        "sapo": rfo.clone("bimodal", two_ways(), "sapo", out=folder / "gaussian", **common),
    }


def actions(run):
    return np.asarray(run.policy(np.zeros((2000, 1)), jax.random.key(0)))[:, 0]


def test_a_flow_keeps_both_ways_and_a_gaussian_their_mean(clones):
    """A Gaussian has the moments of the latents, so that a third of it is between the modes."""
    gaussian, flow = actions(clones["sapo"]), actions(clones["rfo"])
    latent = np.arctanh(gaussian)
    assert abs(latent.mean()) < 0.15 and abs(latent.std() - np.arctanh(0.6)) < 0.15
    near = [np.mean(np.abs(flow - way) < 0.3) for way in (-0.6, 0.6)]
    assert min(near) > 0.3 and sum(near) > 0.75
    assert np.mean(np.abs(flow) < 0.3) < 0.2 < 0.3 < np.mean(np.abs(gaussian) < 0.3)


def test_a_clone_is_a_run_before_its_first_update(clones):
    run = rfo.load(clones["rfo"].path)
    assert run.status == "finished" and run.metrics == {}
    assert set(run.evaluation) == {"stochastic", "deterministic"}
    assert run.evaluate(episodes=4)["env_steps"] == 0
    told = json.loads((run.path / "cloning.json").read_text())
    assert told["episodes"] == 40 and told["steps"] == 80
    losses = [line["held_out"] for line in told["curve"]]
    assert losses[-1] < losses[0] and told["curve"][-1]["updates"] == 800


def test_a_training_starts_from_the_clones_policy_and_normaliser(clones, tmp_path, monkeypatch):
    """Before its first update every seed has the clone's weights, and critics of its own."""
    caught = {}

    def train(experiments, folders, start):
        caught["start"] = start
        for folder in folders:
            folder.unlock()

    monkeypatch.setattr("rfo.experiment.api.training.train", train)
    for seeds in (1, 2):
        experiment = rfo.preset("bimodal", "rfo", **SMALL)
        rfo.train_seeds(experiment, seeds, out=tmp_path / str(seeds), start=clones["rfo"])
        state = caught["start"].state
        source, _ = load_state(RunFolder.open(clones["rfo"].path), clones["rfo"].experiment)
        pairs = ((state.actor, source.actor), (state.normalizer, source.normalizer))
        for ours, theirs in pairs:
            for x, y in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
                np.testing.assert_array_equal(x if seeds == 1 else x[1], y)
    critics = jax.tree.leaves(state.critics)[0]
    assert not np.array_equal(critics[0], critics[1])
    told = json.loads((tmp_path / "1" / "start.json").read_text())
    assert told["run"] == str(clones["rfo"].path) and told["method"] == "rfo"


@pytest.mark.parametrize(
    ("method", "settings", "told"),
    [
        ("sapo", {}, "holds a FlowPolicy, and sapo trains a TanhGaussianPolicy"),
        ("rfo", {"network.hidden": (8,)}, r"give --network.hidden 32$"),
        ("rfo", {"flow.source_noise": 1.0}, r"give --flow.source-noise 0.5$"),
    ],
)
def test_a_policy_that_does_not_fit_is_refused_in_one_line(clones, method, settings, told):
    with pytest.raises(SettingError, match=told):
        rfo.train("bimodal", method, start=clones["rfo"], **{**SMALL, **settings})


def test_a_policy_of_other_sizes_is_refused(clones):
    with pytest.raises(SettingError, match="cannot act in lqr: observation 1 against 2"):
        rfo.train("lqr", "rfo", start=clones["rfo"], **SMALL)


def test_data_of_another_task_are_refused():
    with pytest.raises(SettingError, match=r"lqr has observations of the shape \(2,\) and 1"):
        rfo.clone("lqr", two_ways(), **SMALL)
    with pytest.raises(SettingError, match="no episode of the data has 4 steps"):
        rfo.clone("bimodal", two_ways(), chunk=4, **{**SMALL, "horizon": 16})


def test_the_commands_collect_clone_and_train_on(clones, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    small = ["--algo", "apg", "--envs", "4", "--horizon", "4", "--network.hidden", "32"]
    source = str(clones["rfo"].path)
    assert main(["collect", source, "--episodes", "8", "--out", "demos.npz"]) == 0
    assert "rfo.Demonstrations of bimodal: 8 episodes, 16 steps" in capsys.readouterr().out
    words = ["--data", "demos.npz", "demos.npz", "--updates", "10", "--out", "clone", *small]
    assert main(["clone", "bimodal", *words]) == 0
    assert json.loads((tmp_path / "clone" / "cloning.json").read_text())["episodes"] == 16
    words = ["--from", "clone", "--steps", "32", "--out", "tuned", *small]
    assert main(["train", "bimodal", *words]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "tuned"
    assert rfo.load("tuned").metrics["env_steps"].tolist() == [16, 32]
    assert main(["clone", "bimodal", *small]) == 2
    assert "as in --data demos.npz" in capsys.readouterr().err
