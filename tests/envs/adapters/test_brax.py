"""Our tasks as Brax's environments; skipped where Brax is missing (`make extras` installs it)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rfo

training = pytest.importorskip("brax.envs.wrappers.training")


def test_brax_steps_our_tasks_as_we_do():
    """Under Brax's wrappers, which map over the batch, end episodes and reset."""
    from rfo.envs.adapters.brax import Task

    env = training.wrap(Task("lqr"), episode_length=4)
    state = jax.jit(env.reset)(jax.random.split(jax.random.PRNGKey(0), 3))
    task, step = rfo.make("lqr").task, jax.jit(env.step)
    inner = state.pipeline_state
    for number in range(4):
        action = jnp.full((3, 1), 0.1 * number)
        want = task.step(inner, action)
        inner = want.state
        state = step(state, action)
        np.testing.assert_allclose(state.reward, want.reward, rtol=1e-5)
        assert state.done.tolist() == [float(number == 3)] * 3
    assert state.info["truncation"].tolist() == [1.0] * 3


@pytest.mark.long
def test_a_trainer_of_brax_trains_one_of_our_tasks(monkeypatch):
    """PPO of Brax halves the cost of the linear task.

    Brax 0.14 calls a function that JAX 0.10 no longer has, so we lend it one for its one device.
    """
    monkeypatch.setattr(
        jax,
        "device_put_replicated",
        lambda tree, devices: jax.tree.map(lambda x: jnp.stack([x] * len(devices)), tree),
        raising=False,
    )
    from rfo.envs.adapters.brax import Task

    ppo = pytest.importorskip("brax.training.agents.ppo.train")
    env = Task("lqr")
    seen = []
    ppo.train(
        env,
        num_timesteps=60_000,
        episode_length=env.episode_length,
        num_envs=64,
        num_evals=3,
        unroll_length=16,
        batch_size=64,
        num_minibatches=4,
        num_updates_per_batch=4,
        learning_rate=3e-3,
        discounting=0.95,
        reward_scaling=10.0,
        normalize_observations=True,
        num_eval_envs=64,
        seed=0,
        progress_fn=lambda _, metrics: seen.append(float(metrics["eval/episode_reward"])),
    )
    assert seen[-1] > seen[0] / 2
