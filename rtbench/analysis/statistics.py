"""Statistics over trials. Pure.

The trial is the unit: messages of one trial share its processes, its connections and its random conditions, so they
are not independent. A percentile is taken over the pooled deliveries of all trials, never as a mean of percentiles.

An interval is Student's t interval on a logarithmic scale: log(value) ± t * standard error, with trials - 1 degrees of
freedom. The standard error comes from a bootstrap over whole trials, because there is no formula for a pooled
percentile (Efron & Tibshirani 1993, chapter 6). A percentile bootstrap would be too narrow for few trials: with 3, 5
and 10 trials it covers the true median in about 76, 83 and 90 % of cases, this interval in about 95 %
(benchmarks/coverage.py; tests/test_statistics.py).

Two groups of trials are compared by the ratio of a statistic in the same way, with the degrees of freedom of Welch
(1947). An effect is reported as a ratio with its interval, not as a test, following Kalibera & Jones 2013.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

RESAMPLES = 1000
CONFIDENCE = 0.95
BEYOND = 10  # messages that must lie beyond a percentile for it to be shown


@dataclass(frozen=True)
class Estimate:
    """A value with its interval; `low` and `high` are None if there is none, as for a single trial."""

    value: float
    low: float | None = None
    high: float | None = None


def supported(messages: int, percent: float) -> bool:
    """Return whether so many messages are enough for a percentile: p50 needs 20, p90 100, p99 1,000 and p99.9 10,000.

    The deliveries of one message share its fate, so messages count. If each message has as many deliveries as the
    others, the deliveries beyond the percentile belong to at least `BEYOND` different messages.
    """
    return messages * (100.0 - percent) / 100.0 >= BEYOND - 1e-9


@dataclass(frozen=True)
class Pooled:
    """A statistic of the pooled values of several trials.

    `of` takes weights of shape (rows, trials): how often each trial is in the pool. It returns the statistic for each
    row of weights, shape (rows,).
    """

    trials: int
    of: Callable[[NDArray[np.float64]], NDArray[np.float64]]

    @property
    def value(self) -> float:
        """The statistic with each trial in the pool once."""
        return float(self.of(np.ones((1, self.trials)))[0])


def percentile(
    trials: Sequence[NDArray[np.float64]], percent: float, messages: int | None = None, seed: int = 0
) -> Estimate | None:
    """Return a percentile (0 to 100) of the pooled values: the smallest value with at least that share at or below it.

    `messages` is how many messages the values are from; None: each value is from a message of its own. None is
    returned if there are too few messages (see `supported`).
    """
    return estimate(pooled_percentile(trials, percent, messages), seed)


def mean(trials: Sequence[NDArray[np.float64]], seed: int = 0) -> Estimate | None:
    """Return the mean of the pooled values; None if there are none."""
    return estimate(pooled_mean(trials), seed)


def pooled_percentile(
    trials: Sequence[NDArray[np.float64]], percent: float, messages: int | None = None
) -> Pooled | None:
    """Return the statistic of `percentile`; None if there are too few messages."""
    kept = [np.sort(t) for t in trials if len(t)]
    values = sum(map(len, kept))
    if not values or not supported(values if messages is None else messages, percent):
        return None
    return Pooled(len(kept), lambda weights: weighted_percentiles(kept, weights, percent))


def pooled_mean(trials: Sequence[NDArray[np.float64]]) -> Pooled | None:
    """Return the mean of all values as a statistic; None if there are none."""
    kept = [t for t in trials if len(t)]
    return pooled_cost([float(t.sum()) for t in kept], [len(t) for t in kept])


def pooled_cost(totals: Sequence[float | None], deliveries: Sequence[int]) -> Pooled | None:
    """Return the cost per delivery: the sum of the totals of all trials divided by the sum of their deliveries.

    None if the total of a trial is not known, or nothing was delivered.
    """
    known = [total for total in totals if total is not None]
    if len(known) < len(totals) or not sum(deliveries):
        return None
    total, delivered = np.array(known, dtype=float), np.array(deliveries, dtype=float)

    def of(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        with np.errstate(divide="ignore", invalid="ignore"):  # a pool may have only trials without deliveries
            return np.asarray((weights @ total) / (weights @ delivered))

    return Pooled(len(known), of)


def ratio(
    statistic: Pooled | None, baseline: Pooled | None, confidence: float = CONFIDENCE, seed: int = 0
) -> Estimate | None:
    """Return a statistic divided by the same statistic of other trials, `baseline`, with its interval.

    The interval is log(ratio) ± t * sqrt(a + b), where a and b are the squared standard errors of the logarithms. There
    is no interval if a side has a single trial, or if a resample can be zero or undefined. None if a side is missing,
    or if the ratio is not defined.
    """
    if statistic is None or baseline is None or baseline.value <= 0 or statistic.value < 0:
        return None
    value = statistic.value / baseline.value
    a, b = _log_variance(statistic, seed), _log_variance(baseline, seed)
    if a is None or b is None:
        return Estimate(value)
    if a + b == 0:
        return Estimate(value, value, value)
    width = student_t(confidence, _freedom(a, statistic.trials, b, baseline.trials)) * math.sqrt(a + b)
    return _within_factor(value, width)


def _within_factor(value: float, width: float) -> Estimate:
    """Return a value with an interval of ± `width` on the logarithmic scale."""
    factor = math.exp(min(width, 500.0))  # keeps the ends finite if two trials differ by a huge factor
    return Estimate(value, value / factor, value * factor)


def bonferroni(intervals: int) -> float:
    """Return the confidence for each of several intervals, so that all of them hold together with 95 % (Bonferroni)."""
    return 1 - (1 - CONFIDENCE) / max(intervals, 1)


def _log_variance(statistic: Pooled, seed: int) -> float | None:
    """Return the squared standard error of the logarithm of a statistic; None if it is not defined.

    The variance of resamples of n trials is too small by the factor (n - 1) / n (Efron & Tibshirani 1993, section 5.3).
    """
    if statistic.trials < 2 or not statistic.value > 0:
        return None
    resampled = statistic.of(_resamples(statistic.trials, seed))
    if not (np.isfinite(resampled).all() and (resampled > 0).all()):
        return None
    if np.ptp(resampled) <= 1e-12 * statistic.value:  # only rounding varies
        return 0.0
    return float(np.log(resampled).var()) * statistic.trials / (statistic.trials - 1)


def _freedom(a: float, trials: int, b: float, others: int) -> int:
    """Return Welch's degrees of freedom, rounded down, for two squared standard errors.

    They are at most those of two groups that are both as small as the smaller one. By chance the spread of the smaller
    group may be small, and then the formula of Welch alone would give too many degrees of freedom (with 10 trials
    against 2, a difference between equal groups would be shown in a tenth of the cases).
    """
    welch = (a + b) ** 2 / (a**2 / (trials - 1) + b**2 / (others - 1))
    return max(min(math.floor(welch + 1e-9), 2 * (min(trials, others) - 1)), 1)


def student_t(confidence: float, freedom: int) -> float:
    """Return t with P(|T| < t) = `confidence` for Student's distribution, by bisection."""
    low, high = 0.0, 1.0
    while _within(high, freedom) < confidence:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, freedom) < confidence else (low, middle)
    return high


def _within(t: float, freedom: int) -> float:
    """Return P(|T| < t): Abramowitz and Stegun 1964, 26.7.3 and 26.7.4."""
    angle = math.atan(t / math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    term = total = cosine if odd else 1.0
    for k in range(2 + odd, freedom - 1, 2):
        term *= cosine**2 * (k - 1) / k
        total += term
    if odd:
        return 2 / math.pi * (angle + (sine * total if freedom > 1 else 0.0))
    return sine * total


def differs(ratio: Estimate | None) -> bool:
    """Return whether a ratio shows a difference: its interval does not contain 1, beyond rounding errors."""
    if ratio is None or ratio.low is None or ratio.high is None:
        return False
    return ratio.low > 1 + 1e-9 or ratio.high < 1 - 1e-9


def _resamples(trials: int, seed: int) -> NDArray[np.float64]:
    """Return how often each trial was drawn in each resample, shape (RESAMPLES, trials)."""
    random = np.random.default_rng(seed)
    return random.multinomial(trials, np.full(trials, 1 / trials), size=RESAMPLES).astype(float)


def estimate(statistic: Pooled | None, seed: int = 0) -> Estimate | None:
    """Return the value of a statistic with its 95 % interval over trials; None if there is no statistic.

    There is no interval for a single trial, or if a resample is not positive.
    """
    if statistic is None:
        return None
    variance = _log_variance(statistic, seed)
    if variance is None:
        return Estimate(statistic.value)
    return _within_factor(statistic.value, student_t(CONFIDENCE, statistic.trials - 1) * math.sqrt(variance))


def weighted_percentiles(
    trials: Sequence[NDArray[np.float64]], weights: NDArray[np.float64], percent: float
) -> NDArray[np.float64]:
    """Return the percentile of the pooled values for each row of weights, shape (rows,).

    It bisects over the sorted values, so a resample need not be pooled and sorted. Each of `trials` must be sorted.
    """
    values = np.sort(np.concatenate(trials))
    target = np.maximum(weights @ np.array([len(t) for t in trials]) * percent / 100, 1.0)
    low, high = np.zeros(len(weights), dtype=np.int64), np.full(len(weights), len(values) - 1)
    while np.any(low < high):
        middle = (low + high) // 2
        at_or_below = np.stack([np.searchsorted(t, values[middle], side="right") for t in trials], axis=1)
        reached = (weights * at_or_below).sum(axis=1) >= target - 1e-9
        high = np.where(reached, middle, high)
        low = np.where(reached, low, np.minimum(middle + 1, high))
    return values[low]
