"""Statistics over trials. Pure.

The trial is the unit: messages of one trial share its processes, its connections and its luck, and are not
independent. So an interval comes from resampling whole trials (percentile bootstrap; Efron & Tibshirani 1993,
section 13.3), and a percentile is taken over all deliveries of the trials pooled, never as a mean of percentiles.

Two groups of trials are compared by the ratio of their figures, on a logarithmic scale: Student's t interval with the
degrees of freedom of Welch (1947), and the standard error of either side from a bootstrap over its trials, since a
pooled percentile has no other (Efron & Tibshirani 1993, chapter 6). That an effect is given as a ratio with its
interval, not as a test, follows Kalibera & Jones 2013. A percentile bootstrap of the ratio would show a difference
between two groups that are alike in a third of the cases with two trials a side; how often this one does is measured
in tests/test_difference.py.
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
BEYOND = 10  # deliveries that must lie beyond a percentile for it to be shown


@dataclass(frozen=True)
class Estimate:
    """A figure with its interval; `low` and `high` are None from a single trial."""

    value: float
    low: float | None = None
    high: float | None = None


def supported(count: int, percent: float) -> bool:
    """Whether `count` deliveries are enough for a percentile: p99 needs 1,000 and p99.9 10,000."""
    return count * (100.0 - percent) / 100.0 >= BEYOND - 1e-9


@dataclass(frozen=True)
class Pooled:
    """A figure of some trials pooled.

    `of` takes weights of shape (rows, trials), how often each trial is in the pool, and returns the figure of each row.
    """

    trials: int
    of: Callable[[NDArray[np.float64]], NDArray[np.float64]]

    @property
    def value(self) -> float:
        """The figure with each trial in the pool once."""
        return float(self.of(np.ones((1, self.trials)))[0])


def percentile(trials: Sequence[NDArray[np.float64]], percent: float, seed: int = 0) -> Estimate | None:
    """Return a percentile (0 to 100) of all values pooled, the smallest value with that share at or below it.

    None where there are too few values to support it.
    """
    return estimate(pooled_percentile(trials, percent), seed)


def mean(trials: Sequence[NDArray[np.float64]], seed: int = 0) -> Estimate | None:
    """Return the mean of all values pooled."""
    return estimate(pooled_mean(trials), seed)


def pooled_percentile(trials: Sequence[NDArray[np.float64]], percent: float) -> Pooled | None:
    """Return a percentile as `percentile` takes it; None where there are too few values to support it."""
    kept = [np.sort(t) for t in trials if len(t)]
    if not supported(sum(map(len, kept)), percent):
        return None
    return Pooled(len(kept), lambda weights: _weighted_percentiles(kept, weights, percent))


def pooled_mean(trials: Sequence[NDArray[np.float64]]) -> Pooled | None:
    """Return the mean of all values; None where there is none."""
    kept = [t for t in trials if len(t)]
    return pooled_cost([float(t.sum()) for t in kept], [len(t) for t in kept])


def pooled_cost(totals: Sequence[float | None], deliveries: Sequence[int]) -> Pooled | None:
    """Return what a delivery costs: the sum of each trial's total over the sum of its deliveries.

    None where a trial lacks its total, or nothing was delivered.
    """
    tops = [total for total in totals if total is not None]
    if len(tops) < len(totals) or not sum(deliveries):
        return None
    top, bottom = np.array(tops, dtype=float), np.array(deliveries, dtype=float)

    def of(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        with np.errstate(divide="ignore", invalid="ignore"):  # a pool of trials that delivered nothing
            return np.asarray((weights @ top) / (weights @ bottom))

    return Pooled(len(tops), of)


def ratio(
    figure: Pooled | None, baseline: Pooled | None, confidence: float = CONFIDENCE, seed: int = 0
) -> Estimate | None:
    """Return how many times the figure of other trials, `baseline`, a figure is.

    log(ratio) ± t * sqrt(a + b), with a and b the squared standard errors of the logarithms. Without an interval where
    a side has a single trial, or where a pool of its trials can come to nothing. None where a side is missing or no
    ratio can be formed.
    """
    if figure is None or baseline is None or baseline.value <= 0 or figure.value < 0:
        return None
    value = figure.value / baseline.value
    a, b = _log_variance(figure, seed), _log_variance(baseline, seed)
    if a is None or b is None:
        return Estimate(value)
    if a + b == 0:
        return Estimate(value, value, value)
    width = student_t(confidence, _freedom(a, figure.trials, b, baseline.trials)) * math.sqrt(a + b)
    factor = math.exp(min(width, 500.0))  # two trials that are far apart leave everything open, within floats
    return Estimate(value, value / factor, value * factor)


def bonferroni(intervals: int) -> float:
    """Return the confidence of each of some intervals with which all of them together err in one case of twenty."""
    return 1 - (1 - CONFIDENCE) / max(intervals, 1)


def _log_variance(figure: Pooled, seed: int) -> float | None:
    """Return the squared standard error of the logarithm of a figure; None where there is none.

    Resamples of n trials vary by a factor (n - 1) / n too little (Efron & Tibshirani 1993, section 5.3).
    """
    weights = _resamples(figure.trials, seed)
    if weights is None:
        return None
    resampled = figure.of(weights)
    if not (np.isfinite(resampled).all() and (resampled > 0).all()):
        return None
    if np.ptp(resampled) <= 1e-12 * figure.value:  # nothing varies but the rounding
        return 0.0
    return float(np.log(resampled).var()) * figure.trials / (figure.trials - 1)


def _freedom(a: float, trials: int, b: float, others: int) -> int:
    """Return Welch's degrees of freedom, rounded down, for two squared standard errors.

    Never more than if both groups were as small as the smaller one: by chance its spread may look small, and would
    then be taken for well known (with 10 trials against 2, in a tenth of the cases it would show a difference).
    """
    welch = (a + b) ** 2 / (a**2 / (trials - 1) + b**2 / (others - 1))
    return max(min(math.floor(welch + 1e-9), 2 * (min(trials, others) - 1)), 1)


def student_t(confidence: float, freedom: int) -> float:
    """Return the t that Student's distribution keeps within, either way, with this probability; by bisection."""
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
    """Whether a ratio shows a difference: its interval leaves out 1, by more than rounding."""
    if ratio is None or ratio.low is None or ratio.high is None:
        return False
    return ratio.low > 1 + 1e-9 or ratio.high < 1 - 1e-9


def _resamples(trials: int, seed: int) -> NDArray[np.float64] | None:
    """Return how often each trial was drawn in each resample, shape (RESAMPLES, trials)."""
    if trials < 2:
        return None
    random = np.random.default_rng(seed)
    return random.multinomial(trials, np.full(trials, 1 / trials), size=RESAMPLES).astype(float)


def estimate(figure: Pooled | None, seed: int = 0) -> Estimate | None:
    if figure is None:
        return None
    weights = _resamples(figure.trials, seed)
    return Estimate(figure.value) if weights is None else _interval(figure.value, figure.of(weights))


def _interval(value: float, resampled: NDArray[np.float64]) -> Estimate:
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(resampled, [tail, 100 - tail])
    return Estimate(value, float(low), float(high))


def _weighted_percentiles(
    trials: Sequence[NDArray[np.float64]], weights: NDArray[np.float64], percent: float
) -> NDArray[np.float64]:
    """Return, for each row of weights, the percentile of the trials pooled that often.

    Bisects over the sorted values instead of pooling them anew for every resample. `trials` are sorted.
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
