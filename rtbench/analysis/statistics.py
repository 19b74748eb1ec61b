"""Statistics over trials. Pure.

The trial is the unit: messages of one trial share its processes, its connections and its random conditions, so they
are not independent. A percentile is taken over the pooled deliveries of all trials, never as a mean of percentiles.

All intervals are Student's t intervals on a logarithmic scale, which suits times and costs: they are positive, and what
changes them multiplies them. The standard error of the logarithm comes from a bootstrap over whole trials, because
there is no formula for a pooled percentile (Efron & Tibshirani 1993, chapter 6). The interval of one group of n trials
has n - 1 degrees of freedom, that of a ratio of two groups those of Welch (1947). An effect is reported as a ratio with
its interval, not as a test, following Kalibera & Jones 2013.

An interval that is called 95 % must cover the truth about that often, or it is not given. A percentile bootstrap covers
too little with few trials (Hesterberg 2015), so it is not used. benchmarks/coverage.py simulates the coverage.
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
ALIKE = 1.25  # the interval of a ratio within 1/ALIKE to ALIKE is narrow enough to say that no difference is shown
HIGHEST = (
    90  # percentile with an interval; those of p99 contain the truth in 76 to 93 % of cases (benchmarks/coverage.py)
)
BEYOND = 10  # messages that must lie beyond a percentile for it to be shown


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval; `low` and `high` are None if there is no interval."""

    value: float
    low: float | None = None
    high: float | None = None


def supported(messages: int, percent: float) -> bool:
    """Return whether `messages` messages are enough for a percentile: whether ten of them lie beyond it.

    p50 needs 20 messages, p90 100, p99 1,000 and p99.9 10,000. Messages are counted and not deliveries, because the
    deliveries of a message share its fate: if one subscriber gets it late, probably all do.

    Let m messages have d deliveries each. By the definition of the percentile, at most m*d*(100 - percent)/100
    deliveries lie strictly beyond it, and as many, rounded down, are at or beyond it in sorted order without its own
    rank. At least n*d deliveries come from at least n different messages, because a message has only d of them. So with
    m*(100 - percent)/100 >= n, at least n different messages have a delivery at or beyond the percentile.
    """
    return messages * (100.0 - percent) / 100.0 >= BEYOND - 1e-9


@dataclass(frozen=True)
class Pooled:
    """A statistic of the pooled values of several trials.

    `of` takes weights of shape (rows, trials): how often each trial is in the pool. It returns the statistic for each
    row of weights, shape (rows,). `covers` is False if its intervals would not contain the truth often enough.
    """

    trials: int
    of: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    covers: bool = True

    @property
    def value(self) -> float:
        """The statistic with each trial in the pool once."""
        return float(self.of(np.ones((1, self.trials)))[0])


def percentile(trials: Sequence[NDArray[np.float64]], percent: float, messages: int, seed: int = 0) -> Estimate | None:
    """Return the estimate of `pooled_percentile`; None if there are too few messages."""
    return estimate(pooled_percentile(trials, percent, messages), seed)


def mean(trials: Sequence[NDArray[np.float64]], seed: int = 0) -> Estimate | None:
    """Return the mean of the pooled values; None if there are none."""
    return estimate(pooled_mean(trials), seed)


def pooled_percentile(trials: Sequence[NDArray[np.float64]], percent: float, messages: int) -> Pooled | None:
    """Return a percentile (0 to 100) of the pooled values: the smallest value with that share at or below it.

    Args:
        trials: the values of each trial, in any order, shape (deliveries,).
        percent: which percentile.
        messages: how many different messages the values of all trials come from.

    None if there are too few messages (see `supported`).
    """
    kept = [np.sort(t) for t in trials if len(t)]
    if not kept or not supported(messages, percent):
        return None
    return Pooled(len(kept), lambda weights: weighted_percentiles(kept, weights, percent), percent <= HIGHEST)


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
    is no interval if a side has a single trial or is a percentile above `HIGHEST`, or if a resample can be zero or
    undefined. None if a side is missing, or if the ratio is not defined.
    """
    if statistic is None or baseline is None or baseline.value <= 0 or statistic.value < 0:
        return None
    value = statistic.value / baseline.value
    a, b = _log_variance(statistic, seed), _log_variance(baseline, seed)
    if a is None or b is None:
        return Estimate(value)
    freedom = _freedom(a, statistic.trials, b, baseline.trials) if a + b else 1
    return _interval(value, a + b, freedom, confidence)


def estimate(statistic: Pooled | None, seed: int = 0) -> Estimate | None:
    """Return the value of a statistic with its interval over trials; None if there is no statistic.

    The interval is log(value) ± t * s, where s is the standard error of the logarithm, with n - 1 degrees of freedom. A
    statistic that does not vary from trial to trial has an interval without width. There is no interval for
    a single trial or a percentile above `HIGHEST`, or if the value or a resample is not positive.
    """
    if statistic is None:
        return None
    variance = _log_variance(statistic, seed)
    if variance is None:
        return Estimate(statistic.value)
    return _interval(statistic.value, variance, statistic.trials - 1, CONFIDENCE)


def _interval(value: float, variance: float, freedom: int, confidence: float) -> Estimate:
    """Return a value with its interval; `variance` is that of its logarithm."""
    width = student_t(confidence, freedom) * math.sqrt(variance) if variance else 0.0
    factor = math.exp(min(width, 500.0))  # keeps the ends finite if two trials differ by a huge factor
    return Estimate(value, value / factor, value * factor)


def bonferroni(intervals: int) -> float:
    """Return the confidence for each of several intervals, so that all of them hold together with 95 % (Bonferroni)."""
    return 1 - (1 - CONFIDENCE) / max(intervals, 1)


def _log_variance(statistic: Pooled, seed: int) -> float | None:
    """Return the squared standard error of the logarithm of a statistic; None if it is not defined.

    The variance of resamples of n trials is too small by the factor (n - 1) / n (Efron & Tibshirani 1993, section 5.3).
    """
    if statistic.trials < 2 or not statistic.covers:
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


def alike(ratio: Estimate | None) -> bool:
    """Return whether a ratio excludes a difference of more than 25 %: its interval lies within 0.8 to 1.25."""
    if ratio is None or ratio.low is None or ratio.high is None:
        return False
    return ratio.low >= 1 / ALIKE and ratio.high <= ALIKE


def _resamples(trials: int, seed: int) -> NDArray[np.float64]:
    """Return how often each trial was drawn in each resample, shape (RESAMPLES, trials)."""
    random = np.random.default_rng(seed)
    return random.multinomial(trials, np.full(trials, 1 / trials), size=RESAMPLES).astype(float)


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
