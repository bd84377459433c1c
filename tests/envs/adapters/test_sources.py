"""Environments of other packages as tasks: they agree with their source, step by step.

They are skipped where the package is missing; `make extras` installs all.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rfo
from rfo.errors import SettingError
from rfo.experiment.build import build_task
from rfo.experiment.contract import check_contract

B = 3


@pytest.mark.parametrize("name", ["brax:ant", "playground:CartpoleBalance", "gymnax:Pendulum-v1"])
def test_a_preset_needs_no_package_and_a_missing_one_is_told_in_one_line(name):
    experiment = rfo.preset(name, "ppo")
    assert experiment.title == f"{name} ppo"
    assert rfo.Experiment.from_toml(experiment.to_toml()) == experiment
    package = {"brax": "brax", "playground": "mujoco_playground", "gymnax": "gymnax"}
    source = name.partition(":")[0]
    try:
        __import__(package[source])
    except ImportError:
        with pytest.raises(SettingError, match=rf"not installed: pip install 'rfo\[{source}\]'"):
            build_task(name)


def stepped(task, actions):
    """Observations, rewards and ends of the first environment, by the task."""
    state = task.reset(jax.random.key(0), B)
    begun, step, rows = state, jax.jit(task.step), []
    for action in actions:
        after = step(state, jnp.broadcast_to(action, (B, task.spec.action_size)))
        state = after.state
        rows.append([x[0] for x in (after.observation, after.reward, after.terminated)])
    return begun, rows


def assert_same(rows, theirs):
    for ours, others in zip(rows, theirs, strict=True):
        for x, y in zip(ours, others, strict=True):
            np.testing.assert_allclose(np.asarray(x, float), np.asarray(y, float), atol=1e-5)


@pytest.mark.parametrize("name", ["brax:inverted_pendulum", "playground:CartpoleBalance"])
def test_a_stepped_environment_agrees_with_its_source(name):
    package = {"brax": "brax", "playground": "mujoco_playground"}[name.partition(":")[0]]
    pytest.importorskip(package)
    task = build_task(name)
    check_contract(task, name)
    actions = np.random.default_rng(0).uniform(-1, 1, (5, task.spec.action_size))
    begun, rows = stepped(task, actions)
    state = jax.tree.map(lambda x: x[0], begun)
    step, theirs = jax.jit(task._env.step), []
    for action in actions:
        state = step(state, jnp.asarray(action, jnp.float32))
        theirs.append((state.obs, state.reward, state.done))
    assert_same(rows, theirs)
    assert task.spec.episode_length == 1000 and task.spec.differentiable
    starts = task.reset(jax.random.key(1), 8)
    assert len(np.unique(np.asarray(starts.obs), axis=0)) > 4
    assert "rng" not in starts.info or len(np.unique(starts.info["rng"], axis=0)) == 8
    with pytest.raises(SettingError, match="has no environment nothing"):
        build_task(f"{name.partition(':')[0]}:nothing")


def test_a_gymnax_environment_is_that_of_gymnasium():
    """gymnax's pendulum against ours, which agrees with Gymnasium's; no gradient passes a step."""
    pytest.importorskip("gymnax")
    task, ours = build_task("gymnax:Pendulum-v1"), build_task("pendulum")
    check_contract(task, "gymnax:Pendulum-v1")
    assert task.spec.episode_length == ours.spec.episode_length == 200
    assert task.spec.dt == ours.spec.dt and not task.spec.differentiable
    begun, rows = stepped(task, np.linspace(-1, 1, 5)[:, None])
    cos, sin, speed = (begun.observation[:, i] for i in range(3))
    state, theirs = type(ours.reset(jax.random.key(0), 1))(jnp.arctan2(sin, cos), speed), []
    for action in np.linspace(-1, 1, 5):
        after = ours.step(state, jnp.full((B, 1), action))
        state = after.state
        theirs.append([x[0] for x in (after.observation, after.reward, after.terminated)])
    assert_same(rows, theirs)
    with pytest.raises(SettingError, match=r"needs the gradient .*use ppo or sac or fpo"):
        rfo.train("gymnax:Pendulum-v1")
    with pytest.raises(SettingError, match="has discrete actions"):
        build_task("gymnax:CartPole-v1")
