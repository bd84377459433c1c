"""Statistics are checked against hand arithmetic, a slow direct bootstrap, and known coverage."""

import numpy as np
import pytest
from scipy import stats

from rfo.lab import statistics


def test_mean_and_its_interval_by_hand():
    """t(0.975, 2 degrees of freedom) = 4.302653; the variance of 1, 2, 6 is 7."""
    half = 4.302653 * np.sqrt(7 / 3)
    np.testing.assert_allclose(statistics.mean([1, 2, 6]), [3, 3 - half, 3 + half], rtol=1e-6)
    assert np.isnan(statistics.mean([5.0]).low)


def test_interquartile_mean_leaves_the_outer_quarters_out():
    assert statistics.interquartile_mean([100, 2, 3, -50]).value == 2.5
    assert statistics.interquartile_mean([0, 1, 2, 3], [4, 5, 6, 700]).value == (2 + 3 + 4 + 5) / 4
    assert np.isnan(statistics.interquartile_mean([3.0]).high)


def test_the_bootstrap_resamples_each_task_apart(rng):
    """The interval agrees with a loop. Two constant samples have no spread, although their union
    has."""
    a, b = rng.normal(size=5), rng.normal(3, 1, size=5)
    draws = []
    for _ in range(4000):
        both = np.sort(np.concatenate([rng.choice(x, 5) for x in (a, b)]))
        draws.append(both[2:-2].mean())
    expected = np.quantile(draws, [0.025, 0.975])
    np.testing.assert_allclose(statistics.interquartile_mean(a, b)[1:], expected, atol=0.1)
    assert statistics.interquartile_mean([0, 0, 0], [6, 6, 6]) == (3, 3, 3)


def test_intervals_repeat():
    values = [1.0, 4.0, 9.0, 16.0]
    assert statistics.interquartile_mean(values) == statistics.interquartile_mean(values)


def test_interval_covers_the_truth_as_often_as_a_percentile_bootstrap_of_ten_can(rng):
    """Coverage of the interquartile mean of normals, 0: nominally 95 %, less for so few values."""
    hits = 0
    for _ in range(100):
        estimate = statistics.interquartile_mean(rng.normal(size=10))
        hits += estimate.low <= 0 <= estimate.high
    assert 82 <= hits <= 99


def test_improvement_counts_pairs_and_ties_half():
    """In the nine pairs, 1 beats 0; 2 beats 0 and ties with 2; 3 beats 0 and 2."""
    assert statistics.improvement([[1, 2, 3]], [[0, 2, 5]]).value == pytest.approx(4.5 / 9)
    assert statistics.improvement([[7, 8]], [[1, 2]]) == (1, 1, 1)
    even = statistics.improvement([[1, 2, 3, 4]], [[1, 2, 3, 4]])
    assert even.value == 0.5 and even.low < 0.3 and even.high > 0.7


def test_improvement_is_that_of_mann_and_whitney(rng):
    a, b = rng.integers(0, 9, size=7), rng.integers(0, 9, size=5)
    expected = stats.mannwhitneyu(a, b).statistic / 35
    assert statistics.improvement([a], [b]).value == pytest.approx(expected)


def test_improvement_over_several_tasks_is_the_mean_of_theirs():
    """Always better on one task and never on the other gives 1/2, whatever is resampled."""
    assert statistics.improvement([[5, 6], [1, 2, 3]], [[3, 4, 4], [7, 8]]) == (0.5, 0.5, 0.5)


def test_middle_seed_and_its_bootstrap_interval_against_a_loop(rng):
    """Half of 5 seeds are 3 of them, half of 4 are 2. Seeds that never get there come last."""
    inf = float("inf")
    assert statistics.middle_seed([5, 1, inf, 3, 4]).value == 4
    assert statistics.middle_seed([4, 1, inf, 3]).value == 3
    assert statistics.middle_seed([1, inf, inf]).value == inf
    assert statistics.middle_seed([7]).value == 7 and np.isnan(statistics.middle_seed([7]).low)
    for n in (4, 10, 21):
        values = np.append(rng.normal(size=n - 1), inf)
        resampled = np.sort(values[rng.integers(n, size=(20_000, n))], axis=1)[:, -(-n // 2) - 1]
        expected = np.quantile(resampled, [0.025, 0.975], method="inverted_cdf")
        np.testing.assert_array_equal(statistics.middle_seed(values)[1:], expected)


def test_profile_and_normalisation():
    scores = statistics.normalised([2, 3, 4], every=[2, 4, 6])
    np.testing.assert_allclose(scores, [0, 0.25, 0.5])
    shares = statistics.profile([scores], np.array([-0.1, 0.1, 0.3, 0.5]))
    np.testing.assert_allclose(shares.share, [1, 2 / 3, 1 / 3, 0])
    # All three or none are above 0.1 with probabilities (2/3)^3 and (1/3)^3, both over 2.5 %.
    np.testing.assert_allclose([shares.low[1], shares.high[1]], [0, 1])
    two = statistics.profile([scores, [1.0]], np.array([0.3]))
    np.testing.assert_allclose(two.share, (1 / 3 + 1) / 2)
    assert two.low[0] == 0.5 and two.high[0] == 1
    np.testing.assert_array_equal(statistics.normalised([5, 5], every=[5, 5]), [0, 0])


@pytest.mark.parametrize(
    ("threshold", "steps"), [(5, 150), (10, 200), (-1, 100), (10.5, 325), (12, float("inf"))]
)
def test_steps_to_a_return(threshold, steps):
    """The first crossing counts, even if the curve falls again."""
    env_steps = np.array([50, 100, 200, 300, 400])
    returns = np.array([np.nan, 0, 10, 10, 12 - 1e-9])
    assert statistics.steps_to(threshold, env_steps, returns) == pytest.approx(steps, rel=1e-6)
