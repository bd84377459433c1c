"""Statistics over seeds: means with intervals, robust means, comparisons of methods, sample efficiency.

The aggregates are those that Agarwal et al. (2021, arXiv 2108.13264) recommend for few seeds. Their package,
rliable, needs pandas, seaborn and arch; `scipy.stats.bootstrap`, which resamples each of several samples
apart, is the same stratified bootstrap, so scipy is what is used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

RESAMPLES = 2000
"""Of the bootstrap; its generator is seeded, so a report repeats."""


Sample = Sequence[float] | np.ndarray
"""Scores of n seeds."""


class Estimate(NamedTuple):
    """A statistic with its 95 % interval; the bounds are NaN where there is only one value."""

    value: float
    low: float
    high: float


def mean(values: Sample) -> Estimate:
    """Mean of n values with Student's t interval, n - 1 degrees of freedom."""
    array = np.asarray(values, float)
    half = float(half_interval(array))
    return Estimate(float(array.mean()), float(array.mean()) - half, float(array.mean()) + half)


def half_interval(values: np.ndarray) -> np.ndarray:
    """Half of the 95 % interval of the mean over axis 0 (Student's t); NaN for a single value."""
    seeds = len(values)
    if seeds < 2:
        return np.full(values.shape[1:], np.nan)
    return np.asarray(stats.t.ppf(0.975, seeds - 1) * values.std(axis=0, ddof=1) / np.sqrt(seeds))


def interquartile_mean(*samples: Sample) -> Estimate:
    """Mean of the middle half of all values together, bootstrapped within each sample.

    Args:
        samples: the seeds' scores, one sample a task; of several tasks they must be normalised.
    """

    def middle(*resampled: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.asarray(stats.trim_mean(np.concatenate(resampled, axis=axis), 0.25, axis=axis))

    return _bootstrapped(samples, middle)


def improvement(ours: Sequence[Sample], theirs: Sequence[Sample]) -> Estimate:
    """Probability that a seed of ours scores above one of theirs: the share of all pairs, ties half.

    Of one task, it is the Mann-Whitney statistic over the number of pairs; of several, the mean over the
    tasks. Every sample is bootstrapped apart.

    Args:
        ours, theirs: the seeds' scores, one sample a task.
    """

    def share(*samples: np.ndarray, axis: int = -1) -> np.ndarray:
        sides = [np.moveaxis(sample, axis, -1) for sample in samples]
        pairs = zip(sides[: len(ours)], sides[len(ours) :], strict=True)
        wins = [np.sign(a[..., :, None] - b[..., None, :]).mean(axis=(-2, -1)) for a, b in pairs]
        return np.asarray(0.5 + 0.5 * np.mean(wins, axis=0))

    return _bootstrapped((*ours, *theirs), share)


class Profile(NamedTuple):
    """A performance profile: the share of scores above each of N thresholds, with its 95 % band."""

    share: np.ndarray
    low: np.ndarray
    high: np.ndarray


def profile(samples: Sequence[Sample], thresholds: np.ndarray) -> Profile:
    """Share of scores above each threshold (N,), the mean over the tasks; bootstrapped within each task.

    Args:
        samples: the seeds' normalised scores, one sample a task.
        thresholds: (N,).
    """
    above = [np.asarray(sample, float)[:, None] > thresholds for sample in samples]
    generator = np.random.default_rng(0)
    drawn = [
        task[generator.integers(len(task), size=(RESAMPLES, len(task)))].mean(axis=1)
        for task in above
    ]
    low, high = np.quantile(np.mean(drawn, axis=0), [0.025, 0.975], axis=0)
    return Profile(np.mean([task.mean(axis=0) for task in above], axis=0), low, high)


def middle_seed(values: Sample) -> Estimate:
    """Where half of the seeds are: the value that ceil(n / 2) of n do not exceed. Values may be infinite.

    The interval is the percentile bootstrap's, in closed form: with k of n values up to x, a resample has at
    least m of its n up to x with the probability that a binomial variable of n trials at k / n is m or more.
    """
    ordered, n = np.sort(np.asarray(values, float)), len(values)
    m = -(-n // 2)
    if n < 2:
        return Estimate(float(ordered[0]), float("nan"), float("nan"))
    reached = stats.binom.sf(m - 1, n, np.arange(1, n + 1) / n)
    low, high = (ordered[np.argmax(reached >= level)] for level in (0.025, 0.975))
    return Estimate(float(ordered[m - 1]), float(low), float(high))


def normalised(scores: Sample, every: Sample) -> np.ndarray:
    """Scores of a task on the scale on which the worst of `every` run of it is 0 and the best 1."""
    low, high = np.min(every), np.max(every)
    return (np.asarray(scores, float) - low) / (high - low if high > low else 1.0)


def steps_to(threshold: float, env_steps: np.ndarray, returns: np.ndarray) -> float:
    """Environment steps at which a learning curve first reaches a threshold; infinite if it never does.

    Args:
        threshold: of the return.
        env_steps: (N,) increasing.
        returns: (N,) of the curve, NaN where there is none; linear in between.
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


def _bootstrapped(samples: Sequence, statistic: Callable[..., np.ndarray]) -> Estimate:
    """Percentile interval; every sample is resampled apart."""
    arrays = [np.asarray(sample, float) for sample in samples]
    value = float(statistic(*arrays))
    if min(len(array) for array in arrays) < 2:
        return Estimate(value, float("nan"), float("nan"))
    interval = stats.bootstrap(
        arrays, statistic, n_resamples=RESAMPLES, method="percentile", vectorized=True, rng=0
    ).confidence_interval
    return Estimate(value, float(interval.low), float(interval.high))
