"""A dataset of Minari becomes demonstrations; skipped where Minari is missing (`make extras`)."""

import gymnasium
import numpy as np
import pytest

from rfo.errors import SettingError


def test_a_dataset_is_read_as_it_was_acted(tmp_path, monkeypatch):
    """Gymnasium's pendulum, three episodes of four steps; torques are from -2 to 2."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    minari = pytest.importorskip("minari")
    from rfo.envs.adapters.minari import demonstrations

    env = minari.DataCollector(gymnasium.make("Pendulum-v1", max_episode_steps=4))
    seen, paid = [], []
    for episode in range(3):
        observation, _ = env.reset(seed=episode)
        total = 0.0
        for step in range(4):
            seen.append(observation)
            observation, reward, _, _, _ = env.step(np.array([step - 1.0], np.float32))
            total += reward
        paid.append(total)
    env.create_dataset("pendulum/test-v0")
    demos = demonstrations("pendulum/test-v0")
    np.testing.assert_allclose(demos.observation, seen, rtol=1e-6)
    np.testing.assert_allclose(demos.action[:, 0], [-0.5, 0, 0.5, 1] * 3)
    np.testing.assert_allclose(demos.returns, paid, rtol=1e-6)
    assert demos.start.tolist() == [True, False, False, False] * 3
    assert len(demonstrations("pendulum/test-v0", 2).returns) == 2
    with pytest.raises(SettingError, match="no dataset pendulum/none-v0 on this machine"):
        demonstrations("pendulum/none-v0")
