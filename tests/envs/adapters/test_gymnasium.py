"""Our tasks pass Gymnasium's checker, and keep the observation before a reset apart."""

import gymnasium
import jax
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

import rfo
from rfo.envs.adapters.gymnasium import Recorder, gymnasium_id
from rfo.errors import SettingError


@pytest.mark.parametrize("name", ["rfo/Pendulum-v0", "rfo/ReachCloud-v0", "rfo/Ant-v0"])
@pytest.mark.filterwarnings("ignore:.*A Box observation space.*")
def test_a_task_passes_gymnasiums_checker(name, recwarn):
    check_env(gymnasium.make(name).unwrapped, skip_render_check=True)
    told = [str(w.message) for w in recwarn if issubclass(w.category, UserWarning)]
    unbounded = "Box observation space m"  # "minimum value is -infinity", which is meant
    assert [line for line in told if unbounded not in line] == []


def test_all_tasks_are_registered():
    assert gymnasium_id("soft_jumper_small") == "rfo/SoftJumperSmall-v0"
    assert {gymnasium_id(task) for task in rfo.tasks()} <= set(gymnasium.registry)


def test_a_batch_steps_as_the_task_does():
    """Two episodes of Pendulum, whose reset needs no physics, against `Batch` itself."""
    env = gymnasium.make_vec("rfo/Pendulum-v0", num_envs=3)
    assert env.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP
    observation, _ = env.reset(seed=1)
    again, _ = env.reset(seed=1)
    np.testing.assert_array_equal(observation, again)
    other, _ = env.reset()
    assert not np.array_equal(observation, other)

    batch = rfo.make("pendulum", 3)
    state = env.unwrapped._state
    rng = np.random.default_rng(0)
    step = jax.jit(batch.step)
    for _ in range(batch.spec.episode_length + 1):
        action = rng.uniform(-1, 1, (3, 1)).astype(np.float32)
        want = step(state, action)
        state = want.state
        seen, reward, terminated, truncated, infos = env.step(action)
        np.testing.assert_array_equal(seen, want.state.observation)
        np.testing.assert_array_equal(reward, np.asarray(want.reward, float))
        assert not terminated.any() and np.array_equal(truncated, want.truncated)
        if truncated.any():
            last = np.stack(infos["final_obs"])
            np.testing.assert_array_equal(last, want.next_observation)
            assert infos["_final_obs"].all() and not np.allclose(last, seen)
    assert env.observation_space.contains(seen)


def test_gymnasiums_statistics_count_our_episodes():
    env = gymnasium.make_vec("rfo/Lqr-v0", num_envs=2, episode_length=10)
    env = gymnasium.wrappers.vector.RecordEpisodeStatistics(env)
    env.reset(seed=0)
    rewards = 0.0
    for step in range(10):
        _, reward, _, _, infos = env.step(env.action_space.sample())
        rewards += reward
        assert ("episode" in infos) == (step == 9)
    assert infos["episode"]["l"].tolist() == [10, 10]
    np.testing.assert_allclose(infos["episode"]["r"], rewards)


def test_one_environment_ends_and_waits_for_its_reset():
    env = gymnasium.make("rfo/Lqr-v0", episode_length=10)
    env.reset(seed=0)
    ends = [env.step(np.zeros(1, np.float32))[2:4] for _ in range(10)]
    assert ends == [(False, False)] * 9 + [(False, True)]


def test_settings_of_a_task_are_taken_and_checked():
    env = gymnasium.make_vec("rfo/Lqr-v0", num_envs=2, episode_length=10)
    env.reset(seed=0)
    truncated = [env.step(np.zeros((2, 1), np.float32))[3] for _ in range(10)]
    assert np.argwhere(np.all(truncated, axis=1)).ravel().tolist() == [9]
    with pytest.raises(SettingError, match="unknown option 'gian'"):
        gymnasium.make("rfo/Lqr-v0", gian=1.0)
    with pytest.raises(SettingError, match="call reset before step"):
        gymnasium.make_vec("rfo/Lqr-v0", num_envs=2).step(np.zeros((2, 1)))
    with pytest.raises(SettingError, match="one number"):
        env.reset(seed=[1, 2])


@pytest.mark.long
def test_stable_baselines_learns_one_of_our_tasks():
    """PPO halves the cost of `quadratic`, the task with one step and one optimum."""
    baselines = pytest.importorskip("stable_baselines3")
    evaluate_policy = baselines.common.evaluation.evaluate_policy
    env = gymnasium.make("rfo/Quadratic-v0")
    model = baselines.PPO("MlpPolicy", env, n_steps=256, batch_size=64, learning_rate=3e-3, seed=0)
    before, _ = evaluate_policy(model, model.get_env(), 20)
    model.learn(8_192)
    after, _ = evaluate_policy(model, model.get_env(), 20)
    assert after > before / 2 > before


def test_a_recorder_keeps_whole_episodes_as_demonstrations():
    """Two episodes of Gymnasium's pendulum, whose torque is from -2 to 2, and a part of a third."""
    env = Recorder(gymnasium.make("Pendulum-v1", max_episode_steps=3), task="pendulum")
    with pytest.raises(SettingError, match="no episode has come to its end"):
        env.demonstrations()
    seen, returns = [], []
    for episode in range(3):
        observation, _ = env.reset(seed=episode)
        total = 0.0
        for step in range(3 if episode < 2 else 2):
            seen.append(observation)
            observation, reward, _, _, _ = env.step(np.array([step - 1.0], np.float32))
            total += reward
        returns.append(total)
    demos = env.demonstrations()
    assert demos.start.tolist() == [True, False, False] * 2 and demos.task == "pendulum"
    np.testing.assert_allclose(demos.action[:, 0], [-0.5, 0, 0.5] * 2)
    np.testing.assert_allclose(demos.observation, seen[:6], rtol=1e-6)
    np.testing.assert_allclose(demos.returns, returns[:2], rtol=1e-6)
