"""Demonstrations are whole episodes, as they were acted; their file is read back as it was."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rfo
from rfo.envs.batch import Batch
from rfo.envs.tasks.probe import Terminating
from rfo.errors import RunError, SettingError
from rfo.training.collect import collect


def made(episodes=3, length=4, **changes):
    """Episodes whose actions count the steps."""
    steps = episodes * length
    arrays = {
        "observation": np.arange(2.0 * steps).reshape(steps, 2),
        "action": np.linspace(-1, 1, steps)[:, None],
        "start": np.arange(steps) % length == 0,
        "returns": np.arange(float(episodes)),
        "task": "lqr",
    }
    return rfo.Demonstrations(**arrays | changes)


@pytest.mark.parametrize("named", [False, True])
def test_a_file_is_read_back_as_it_was(tmp_path, named):
    cloud = np.zeros((12, 5, 3), np.float32)
    demos = made(**({"observation": {"cloud": cloud, "speed": cloud[:, 0]}} if named else {}))
    demos.save(tmp_path / "demos.npz")
    again = rfo.Demonstrations.load(tmp_path / "demos.npz")
    assert jax.tree.structure(again.observation) == jax.tree.structure(demos.observation)
    jax.tree.map(np.testing.assert_array_equal, again.observation, demos.observation)
    np.testing.assert_allclose(again.action, demos.action, rtol=1e-7)
    np.testing.assert_array_equal(again.start, demos.start)
    assert again.task == "lqr" and again.returns.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"action": np.zeros((11, 1))}, "same length"),
        ({"action": np.full((12, 1), 1.1)}, r"lie in \[-1, 1\], not \(12, 1\) up to 1.1"),
        ({"action": np.zeros(12)}, r"shape \(N, A\)"),
        ({"start": np.arange(12) % 4 == 1}, "start must be true at the first step"),
        ({"returns": np.zeros(2)}, "once for each of the 2 returns, not 3 times"),
        ({"observation": np.full((12, 2), np.nan)}, "observation holds numbers that are not"),
    ],
)
def test_arrays_that_do_not_belong_together_are_refused(changes, told):
    with pytest.raises(SettingError, match=told):
        made(**changes)


def test_files_that_cannot_be_read_are_told_in_one_line(tmp_path):
    path = tmp_path / "demos.npz"
    with pytest.raises(SettingError, match=r"no file .*demos.npz; `rfo collect RUN"):
        rfo.Demonstrations.load(path)
    path.write_bytes(b"not a zip")
    with pytest.raises(SettingError, match=r"is not an \.npz file"):
        rfo.Demonstrations.load(path)
    np.savez(path, action=np.zeros((2, 1)), start=np.array([True, False]))
    with pytest.raises(SettingError, match="lacks observation, returns"):
        rfo.Demonstrations.load(path)


def test_chunks_stay_inside_of_their_episode():
    first, actions = made(episodes=2, length=3).chunked(2)
    assert first.tolist() == [0, 1, 3, 4]
    np.testing.assert_allclose(actions[2], np.linspace(-1, 1, 6)[3:5])
    assert not len(made().chunked(5)[0])


def test_files_are_joined_in_order():
    joined = rfo.Demonstrations.joined([made(2), made(3)])
    assert len(joined.returns) == 5 and joined.episode.tolist() == sorted([*range(5)] * 4)
    with pytest.raises(SettingError, match="other shapes cannot be joined"):
        rfo.Demonstrations.joined([made(), made(action=np.zeros((12, 2)))])


def counting(observation, key):
    """A policy whose chunk of three actions says where in the chunk they are."""
    del key
    count = len(observation)
    return jnp.tile(jnp.array([0.1, 0.2, 0.3]), (count, 1))


def test_collected_episodes_are_those_of_the_task():
    """Replays the actions by hand, and executes two actions of each chunk of three."""
    task = Terminating()
    env = Batch(task, 3)
    demos = collect(env, counting, jax.random.key(0), 2, chunk=3, executed=2)
    assert len(demos.returns) == 6 and demos.start.sum() == 6 and demos.task == "terminating"
    for number in range(6):
        rows = demos.episode == number
        place = np.arange(rows.sum())
        np.testing.assert_allclose(demos.action[rows, 0], np.where(place % 2, 0.2, 0.1))
        left, target = demos.observation[rows].T
        assert round(left[0] * task.life) == rows.sum()
        reward = 1 - (demos.action[rows, 0] - target) ** 2
        np.testing.assert_allclose(demos.returns[number], reward.sum(), rtol=1e-5)


def test_episodes_that_end_in_nan_are_left_out():
    def broken(observation, key):
        return jnp.full((len(observation), 1), jnp.nan)

    with pytest.raises(RunError, match="nothing is collected"):
        collect(Batch(Terminating(), 2), broken, jax.random.key(0), 1)
