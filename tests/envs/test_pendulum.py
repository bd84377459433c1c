"""The pendulum agrees with Gymnasium's in every step."""

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np

from rfo.envs.batch import Batch
from rfo.envs.tasks.pendulum import Pendulum, PendulumState

EPISODES = 6


def oracles(angle, speed):
    """One Gymnasium environment per episode, set to the given states."""
    for i in range(EPISODES):
        env = gymnasium.make("Pendulum-v1")
        env.reset(seed=i)
        env.unwrapped.state = np.array([angle[i], speed[i]])
        yield env


def test_every_step_is_that_of_gymnasium():
    """Compares observation, reward and truncation over an episode; some actions exceed the bounds.

    Every step starts from Gymnasium's state, because a pendulum doubles rounding errors several
    times a second.
    """
    task = Pendulum()
    generator = np.random.default_rng(0)
    angle, speed = generator.uniform(-np.pi, np.pi, EPISODES), generator.uniform(-1, 1, EPISODES)
    envs = list(oracles(angle, speed))
    controls = (
        generator.uniform(-1.3, 1.3, (task.spec.episode_length, EPISODES, 1)).cumsum(0) % 2.6 - 1.3
    )
    fastest = 0.0
    with jax.enable_x64(True):
        step = jax.jit(task.step)
        for t, control in enumerate(controls):
            state = PendulumState(
                *map(jnp.asarray, np.transpose([env.unwrapped.state for env in envs]))
            )
            ours = step(state, jnp.asarray(control))
            theirs = [env.step(2 * action) for env, action in zip(envs, control, strict=True)]
            observation, reward, terminated, truncated, _ = zip(*theirs, strict=True)
            np.testing.assert_allclose(ours.observation, observation, rtol=1e-6, atol=1e-6)
            np.testing.assert_allclose(ours.reward, np.array(reward), rtol=1e-9)
            assert not ours.terminated.any() and not any(terminated)
            assert set(truncated) == {t + 1 == task.spec.episode_length}
            fastest = max(fastest, np.abs(ours.state.speed).max())
    assert fastest == 8.0  # the limit was reached


def test_episodes_start_where_those_of_gymnasium_do():
    env = gymnasium.make("Pendulum-v1")
    theirs = np.array([env.reset(seed=i)[0] for i in range(400)])
    ours = np.asarray(Pendulum().observe(Pendulum().reset(jax.random.key(0), 4000)))
    np.testing.assert_allclose(ours.mean(0), theirs.mean(0), atol=0.12)
    np.testing.assert_allclose(ours.std(0), theirs.std(0), atol=0.06)
    assert 0.99 < np.abs(ours[:, 2]).max() <= 1 and np.abs(theirs[:, 2]).max() <= 1


def test_an_episode_is_cut_after_200_steps():
    env = Batch(Pendulum(), 3)

    def step(state, _):
        after = env.step(state, jnp.zeros((3, 1)))
        return after.state, (after.truncated, after.terminated)

    _, (truncated, terminated) = jax.jit(lambda s: jax.lax.scan(step, s, length=401))(
        env.init(jax.random.key(0))
    )
    assert np.flatnonzero(truncated[:, 0]).tolist() == [199, 399] and not terminated.any()
