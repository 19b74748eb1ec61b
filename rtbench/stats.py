"""Statistics over trials. Pure.

The trial is the unit: messages of one trial share its processes, its connections and its luck, and are not
independent. So an interval comes from resampling whole trials (percentile bootstrap; Efron & Tibshirani 1993,
section 13.3), and a percentile is taken over all deliveries of the trials pooled, never as a mean of percentiles.
"""

from __future__ import annotations

from collections.abc import Sequence
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


def percentile(trials: Sequence[NDArray[np.float64]], percent: float, seed: int = 0) -> Estimate | None:
    """Return a percentile (0 to 100) of all values pooled, the smallest value with that share at or below it.

    None where there are too few values to support it.
    """
    trials = [np.sort(t) for t in trials if len(t)]
    if not supported(sum(map(len, trials)), percent):
        return None
    value = _weighted_percentiles(trials, np.ones((1, len(trials))), percent)[0]
    weights = _resamples(len(trials), seed)
    if weights is None:
        return Estimate(float(value))
    return _estimate(float(value), _weighted_percentiles(trials, weights, percent))


def mean(trials: Sequence[NDArray[np.float64]], seed: int = 0) -> Estimate | None:
    """Return the mean of all values pooled."""
    trials = [t for t in trials if len(t)]
    if not trials:
        return None
    totals, counts = np.array([t.sum() for t in trials]), np.array([len(t) for t in trials])
    weights = _resamples(len(trials), seed)
    value = float(totals.sum() / counts.sum())
    if weights is None:
        return Estimate(value)
    return _estimate(value, weights @ totals / (weights @ counts))


def _resamples(trials: int, seed: int) -> NDArray[np.float64] | None:
    """Return how often each trial was drawn in each resample, shape (RESAMPLES, trials)."""
    if trials < 2:
        return None
    random = np.random.default_rng(seed)
    return random.multinomial(trials, np.full(trials, 1 / trials), size=RESAMPLES).astype(float)


def _estimate(value: float, resampled: NDArray[np.float64]) -> Estimate:
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
