"""Statistics over trials. Pure.

The trial is the unit: messages of one trial share its processes, its connections and its luck, and are not
independent. So an interval comes from resampling whole trials (percentile bootstrap; Efron & Tibshirani 1993,
section 13.3), and a percentile is taken over all deliveries of the trials pooled, never as a mean of percentiles.

Two groups of trials are compared by the ratio of their figures, in an interval that comes from resampling either group
by itself (the two-sample problem of Efron & Tibshirani 1993, section 8.3); that an effect is given as a ratio with its
interval, not as a test, follows Kalibera & Jones 2013. A bootstrap of few trials is too narrow; the tails of a ratio's
interval are widened for that (the expanded percentile interval of Hesterberg 2015, The American Statistician 69:371),
since it decides whether a difference is shown. What the intervals cover is measured in tests/test_difference.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

RESAMPLES = 1000
CONFIDENCE = 0.95
# Student's t at 97.5 %, for 1 to 10 degrees of freedom
T_975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
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
    return _estimate(pooled_percentile(trials, percent), seed)


def mean(trials: Sequence[NDArray[np.float64]], seed: int = 0) -> Estimate | None:
    """Return the mean of all values pooled."""
    return _estimate(pooled_mean(trials), seed)


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


def ratio(figure: Pooled | None, baseline: Pooled | None, seed: int = 0) -> Estimate | None:
    """Return how many times the figure of other trials, `baseline`, a figure is.

    Either group is resampled by itself, so a single trial on either side gives no interval. None where a side is
    missing or no ratio can be formed.
    """
    if figure is None or baseline is None or baseline.value <= 0 or figure.value < 0:
        return None
    value = figure.value / baseline.value
    ours, theirs = np.random.SeedSequence(seed).spawn(2)  # the same draws on both sides would pair the trials
    top, bottom = _resamples(figure.trials, ours), _resamples(baseline.trials, theirs)
    if top is None or bottom is None:
        return Estimate(value)
    tops, bottoms = figure.of(top), baseline.of(bottom)
    if not (np.isfinite(tops).all() and np.isfinite(bottoms).all() and (bottoms > 0).all()):
        return Estimate(value)
    return _interval(value, tops / bottoms, widened(figure.trials, baseline.trials))


def widened(trials: int, others: int) -> float:
    """Return the nominal confidence that makes a ratio's bootstrap interval about as wide as one by Student's t.

    Resampled means spread by a factor sqrt((n - 1) / n) too little, and the normal tails know nothing of a spread that
    was itself estimated. Below 4 trials a side no interval within the range can hold 95 %.
    """
    least, freedom = min(trials, others), trials + others - 2
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    if freedom <= len(T_975):
        t = T_975[freedom - 1]
    else:  # Abramowitz & Stegun 26.7.5
        t = z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
    return 1 - 2 * NormalDist().cdf(-t * sqrt(least / (least - 1)))


def differs(ratio: Estimate | None) -> bool:
    """Whether a ratio shows a difference: its interval leaves out 1, by more than rounding."""
    if ratio is None or ratio.low is None or ratio.high is None:
        return False
    return ratio.low > 1 + 1e-9 or ratio.high < 1 - 1e-9


def _resamples(trials: int, seed: int | np.random.SeedSequence) -> NDArray[np.float64] | None:
    """Return how often each trial was drawn in each resample, shape (RESAMPLES, trials)."""
    if trials < 2:
        return None
    random = np.random.default_rng(seed)
    return random.multinomial(trials, np.full(trials, 1 / trials), size=RESAMPLES).astype(float)


def _estimate(figure: Pooled | None, seed: int) -> Estimate | None:
    if figure is None:
        return None
    weights = _resamples(figure.trials, seed)
    return Estimate(figure.value) if weights is None else _interval(figure.value, figure.of(weights))


def _interval(value: float, resampled: NDArray[np.float64], confidence: float = CONFIDENCE) -> Estimate:
    tail = 100 * (1 - confidence) / 2
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
