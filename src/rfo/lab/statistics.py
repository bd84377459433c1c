"""Statistics over seeds: means with intervals, robust means, comparisons, sample efficiency.

These are the aggregates that Agarwal et al. (2021, arXiv 2108.13264) recommend for few seeds. Their
package rliable needs pandas, seaborn and arch. We use `scipy.stats.bootstrap`, which resamples each
sample separately and so computes the same stratified bootstrap.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

RESAMPLES = 2000
"""Resamples of the bootstrap. Its random numbers have a fixed seed, so that a report can be
reproduced."""


Sample = Sequence[float] | np.ndarray
"""Scores of n seeds."""


class Statistic(NamedTuple):
    """A statistic and its 95 % interval; the bounds are NaN if there is only one seed."""

    value: float
    low: float
    high: float


def mean(values: Sample) -> Statistic:
    """Mean of n values with Student's t interval for n - 1 degrees of freedom."""
    array = np.asarray(values, float)
    half = float(half_interval(array))
    return Statistic(float(array.mean()), float(array.mean()) - half, float(array.mean()) + half)


def half_interval(values: np.ndarray) -> np.ndarray:
    """Half of the 95 % interval of the mean over axis 0 (Student's t); NaN for a single value."""
    seeds = len(values)
    if seeds < 2:
        return np.full(values.shape[1:], np.nan)
    return np.asarray(stats.t.ppf(0.975, seeds - 1) * values.std(axis=0, ddof=1) / np.sqrt(seeds))


def interquartile_mean(*samples: Sample) -> Statistic:
    """Mean of the middle half of all values, with a bootstrap that resamples within each sample.

    Args:
        samples: scores of the seeds, one sample per task. Those of several tasks must be
            normalised.
    """

    def middle(*resampled: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.asarray(stats.trim_mean(np.concatenate(resampled, axis=axis), 0.25, axis=axis))

    return _bootstrapped(samples, middle)


def improvement(ours: Sequence[Sample], theirs: Sequence[Sample]) -> Statistic:
    """Probability that a random seed of ours scores higher than a random seed of theirs.

    This is the share of all pairs of seeds in which ours is higher; ties count half. For one task
    it is the Mann-Whitney statistic divided by the number of pairs, for several tasks the mean over
    the tasks. The bootstrap resamples within each sample.

    Args:
        ours: scores of our seeds, one sample per task.
        theirs: scores of their seeds, one sample per task, in the same order.
    """

    def share(*samples: np.ndarray, axis: int = -1) -> np.ndarray:
        sides = [np.moveaxis(sample, axis, -1) for sample in samples]
        pairs = zip(sides[: len(ours)], sides[len(ours) :], strict=True)
        wins = [np.sign(a[..., :, None] - b[..., None, :]).mean(axis=(-2, -1)) for a, b in pairs]
        return np.asarray(0.5 + 0.5 * np.mean(wins, axis=0))

    return _bootstrapped((*ours, *theirs), share)


class Profile(NamedTuple):
    """A performance profile: the share of scores above each of N thresholds."""

    share: np.ndarray
    """Share of scores, (N,)."""
    low: np.ndarray
    """Lower bound of the 95 % band, (N,)."""
    high: np.ndarray
    """Upper bound of the 95 % band, (N,)."""


def profile(samples: Sequence[Sample], thresholds: np.ndarray) -> Profile:
    """Share of scores above each threshold, averaged over the tasks.

    The bootstrap resamples within each task.

    Args:
        samples: normalised scores of the seeds, one sample per task.
        thresholds: (N,) normalised scores.
    """
    above = [np.asarray(sample, float)[:, None] > thresholds for sample in samples]
    generator = np.random.default_rng(0)
    drawn = [
        task[generator.integers(len(task), size=(RESAMPLES, len(task)))].mean(axis=1)
        for task in above
    ]
    low, high = np.quantile(np.mean(drawn, axis=0), [0.025, 0.975], axis=0)
    return Profile(np.mean([task.mean(axis=0) for task in above], axis=0), low, high)


def middle_seed(values: Sample) -> Statistic:
    """The ceil(n / 2)-th smallest of n values, which half of the seeds do not exceed.

    Values may be infinite. The interval is that of the percentile bootstrap, in closed form: if k
    of the n values are at most x, then a resample has m or more values up to x with the probability
    that a binomial variable with n trials of probability k / n is at least m.
    """
    ordered, n = np.sort(np.asarray(values, float)), len(values)
    m = -(-n // 2)
    if n < 2:
        return Statistic(float(ordered[0]), float("nan"), float("nan"))
    reached = stats.binom.sf(m - 1, n, np.arange(1, n + 1) / n)
    low, high = (ordered[np.argmax(reached >= level)] for level in (0.025, 0.975))
    return Statistic(float(ordered[m - 1]), float(low), float(high))


def normalised(scores: Sample, every: Sample) -> np.ndarray:
    """Scores scaled so that the worst score in `every` becomes 0 and the best becomes 1.

    Args:
        scores: scores to scale.
        every: scores of all runs of the same task.
    """
    low, high = np.min(every), np.max(every)
    return (np.asarray(scores, float) - low) / (high - low if high > low else 1.0)


def steps_to(threshold: float, env_steps: np.ndarray, returns: np.ndarray) -> float:
    """Environment steps at which a learning curve first reaches a threshold.

    The curve is linear between its points. If it never reaches the threshold, the result is
    infinite.

    Args:
        threshold: return to reach.
        env_steps: (N,) increasing steps.
        returns: (N,) returns; NaN where there is none.
    """
    known = np.isfinite(returns)
    steps, returns = env_steps[known], returns[known]
    reached = np.flatnonzero(returns >= threshold)
    if not len(reached):
        return float("inf")
    at = reached[0]
    if at == 0:
        return float(steps[0])
    share = (threshold - returns[at - 1]) / (returns[at] - returns[at - 1])
    return float(steps[at - 1] + share * (steps[at] - steps[at - 1]))


def _bootstrapped(samples: Sequence, statistic: Callable[..., np.ndarray]) -> Statistic:
    """A statistic with its percentile bootstrap interval, resampling within each sample."""
    arrays = [np.asarray(sample, float) for sample in samples]
    value = float(statistic(*arrays))
    if min(len(array) for array in arrays) < 2:
        return Statistic(value, float("nan"), float("nan"))
    interval = stats.bootstrap(
        arrays, statistic, n_resamples=RESAMPLES, method="percentile", vectorized=True, rng=0
    ).confidence_interval
    return Statistic(value, float(interval.low), float(interval.high))
