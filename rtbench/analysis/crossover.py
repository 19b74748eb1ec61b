"""Crossover: where the curves of two variants over a parameter meet, with its doubt. Pure.

Between two levels a curve is a straight line on logarithmic axes: a cost that grows as a power of the parameter is one.
The interval is that of a bootstrap over trials (percentiles of `RESAMPLES` resamples, each level by itself). With few
trials such an interval is too narrow (docs/methodology.md), so it is never said to cover 95 %: it is the range that the
trials span. Where too few resamples cross between the levels, or a level has one trial, there is no crossover.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

RESAMPLES = 1000
LEAST_SHARE = 0.9  # of the resamples that must cross
Curve: TypeAlias = Mapping[float, Sequence[float]]
"""The figure of each trial, by the value of the parameter."""


@dataclass(frozen=True)
class Crossover:
    """Below `at` the variant `below` costs less, above it `above`; `low` and `high` are the range of the resamples."""

    figure: str
    below: str
    above: str
    at: float
    low: float
    high: float


def crossing(x: NDArray[np.float64], a: NDArray[np.float64], b: NDArray[np.float64]) -> float | None:
    """Return where the curves a and b meet; None if they do not, or more than once. All positive, shape (levels,)."""
    apart = np.flatnonzero(a != b)  # where they are equal, they may meet, or only touch
    difference, x = (np.log(a) - np.log(b))[apart], np.log(x[apart])
    places = np.flatnonzero(difference[:-1] * difference[1:] < 0)
    if len(places) != 1:
        return None
    i = int(places[0])
    share = difference[i] / (difference[i] - difference[i + 1])
    return float(np.exp(x[i] + share * (x[i + 1] - x[i])))


def crossover(figure: str, names: tuple[str, str], one: Curve, other: Curve, seed: int = 0) -> Crossover | None:
    """Return where two variants cost the same; None where they do not cross, or not surely."""
    levels = [x for x in sorted(one) if x > 0 and _usable(one[x]) and _usable(other.get(x, ()))]
    if len(levels) < 2:
        return None
    x = np.array(levels)
    at = crossing(x, _medians(one, levels), _medians(other, levels))
    if at is None:
        return None
    random = np.random.default_rng(seed)
    found = [crossing(x, _medians(one, levels, random), _medians(other, levels, random)) for _ in range(RESAMPLES)]
    places = [place for place in found if place is not None]
    if len(places) < LEAST_SHARE * RESAMPLES:
        return None
    low, high = np.percentile(places, (2.5, 97.5))
    first_is_less = _medians(one, levels[:1])[0] < _medians(other, levels[:1])[0]
    below, above = names if first_is_less else names[::-1]
    return Crossover(figure, below, above, at, float(low), float(high))


def _usable(trials: Sequence[float]) -> bool:
    return len(trials) > 1 and min(trials) > 0


def _medians(curve: Curve, levels: Sequence[float], random: np.random.Generator | None = None) -> NDArray[np.float64]:
    """Return the median of the trials at each level, or of a resample of them."""
    trials = [np.asarray(curve[x], dtype=float) for x in levels]
    if random is not None:
        trials = [random.choice(each, len(each)) for each in trials]
    return np.array([np.median(each) for each in trials])
