"""Evaluation: equal shares of episodes, both protocols, statistics against hand arithmetic."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from toy import Lives

from rfo.envs.batch import Batch
from rfo.envs.tasks.probe import LQR, Truncating
from rfo.training.evaluate import Episodes, Evaluator, evaluation_key, shares, summarise


class Noisy(NamedTuple):
    """Acts `mean` plus noise."""

    mean: jax.Array

    def __call__(self, observation, key):
        noise = 0.0 if key is None else 0.1 * jax.random.normal(key, (len(observation), 1))
        return jnp.full((len(observation), 1), self.mean) + noise


STILL = Noisy(jnp.array(0.0))


def episodes(returns):
    returns = np.array(returns, float).reshape(1, -1)
    return Episodes(
        returns, np.ones_like(returns, int), np.zeros_like(returns, bool), {}, np.zeros(1)
    )


def test_short_episodes_are_not_favoured():
    """Lives last 1 or 20 steps and pay 1 per step: 10.5 on average.

    Hardly any of the first 600 to finish is long, whichever environment they come from. Four from
    each environment have the right mean.
    """
    result = Evaluator(Batch(Lives(), 150), deterministic=True)(
        STILL, jax.random.key(0), per_environment=4
    )
    assert result.returns.shape == (4, 150)
    assert set(np.unique(result.returns)) == {1.0, 20.0}
    np.testing.assert_array_equal(result.returns, result.lengths)
    assert result.returns.mean() == pytest.approx(10.5, abs=3 * 9.5 / np.sqrt(600))


def test_long_episodes_are_run_to_their_end():
    """LQR is truncated after 250 steps, more than two chunks.

    At rest at the origin it pays nothing.
    """
    result = Evaluator(Batch(LQR(episode_length=250), 3), deterministic=True)(
        STILL, jax.random.key(0), 2
    )
    assert np.all(result.lengths == 250)
    assert len(result.reward) == 250


def test_deterministic_means_without_noise_and_both_protocols_repeat():
    """The target is drawn in [-0.6, 0.6] and the action is 0: an episode pays 5 (1 - target^2)."""
    still = Evaluator(Batch(Truncating(), 8), deterministic=True)
    noisy = Evaluator(Batch(Truncating(), 8), deterministic=False)
    key = jax.random.key(3)
    for evaluator in (still, noisy):
        np.testing.assert_array_equal(
            evaluator(STILL, key, 40).returns, evaluator(STILL, key, 40).returns
        )
    assert still(STILL, key, 40).returns.min() > 5 * (1 - 0.36)
    # the same targets, and noise of variance 0.01 at each of 5 steps
    difference = still(STILL, key, 40).returns - noisy(STILL, key, 40).returns
    assert difference.mean() == pytest.approx(0.05, abs=0.05)
    assert np.abs(difference).min() > 0


def test_replayed_episode_is_that_of_the_first_environment():
    result = Evaluator(Batch(Lives(), 5), deterministic=True)(STILL, jax.random.key(1), 1)
    steps = int(result.lengths[0, 0])
    left = np.arange(steps, 0, -1)  # before each step
    assert result.frames["poses"].shape == (steps, 1, 7)
    np.testing.assert_array_equal(result.frames["poses"][:, 0, 0], left)
    np.testing.assert_array_equal(result.frames["vertices"], left[:, None, None] * np.eye(3))
    np.testing.assert_array_equal(result.reward, np.ones(steps))
    assert Evaluator(Batch(LQR(), 2), deterministic=True)(STILL, jax.random.key(1), 1).frames == {}


def test_statistics_by_hand():
    returns = [3.0, 1.0, 2.0, 100.0, 4.0, 5.0, 6.0, -50.0]
    summary = summarise(episodes(returns), deterministic=True)
    assert summary["mean"] == pytest.approx(71 / 8)
    assert summary["std"] == pytest.approx(np.sqrt(np.sum((np.array(returns) - 71 / 8) ** 2) / 7))
    assert summary["iqm"] == pytest.approx(
        (2 + 3 + 4 + 5) / 4
    )  # without the two lowest and highest
    low, high = stats.t.interval(0.95, 7, 71 / 8, summary["std"] / np.sqrt(8))
    assert summary["interval"] == pytest.approx([low, high])
    assert summary["episodes"] == 8 and summary["deterministic"] is True


def test_one_episode_has_no_spread():
    summary = summarise(episodes([2.0]), deterministic=False)
    assert summary["mean"] == summary["iqm"] == 2.0
    assert np.isnan(summary["std"]) and np.isnan(summary["interval"]).all()


@pytest.mark.parametrize(
    ("wanted", "environments", "split"),
    [
        (128, 64, (64, 2)),
        (1, 64, (1, 1)),
        (100, 64, (50, 2)),
        (101, 64, (51, 2)),
        (64, 64, (64, 1)),
    ],
)
def test_shares_reach_the_number_with_few_to_spare(wanted, environments, split):
    size, each = shares(wanted, environments)
    assert (size, each) == split
    assert size <= environments and wanted <= size * each < wanted + each


def test_evaluations_share_no_key_with_the_training_of_the_same_seed():
    """Nor with each other. A training splits its key first; here into more than any method does."""
    known = {tuple(jax.random.key_data(jax.random.key(3)).tolist())}
    known |= {
        tuple(x.tolist()) for x in jax.random.key_data(jax.random.split(jax.random.key(3), 64))
    }
    keys = [evaluation_key(3, deterministic) for deterministic in (False, True)]
    given = {tuple(jax.random.key_data(key).tolist()) for key in keys}
    assert len(given) == 2 and not given & known
