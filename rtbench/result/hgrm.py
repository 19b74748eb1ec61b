"""The percentile output format of HdrHistogram (`.hgrm`), which its plotter and other tools read. Pure.

    Value, Percentile, TotalCount, 1/(1-Percentile)

A line means: the share `Percentile` (0 to 1) of all values is at or below `Value`; these are `TotalCount` values. The
percentiles start at 0. After every five percentiles (`TICKS`) the remaining distance to 1 is halved. The lines end when
every value is counted; the last line has percentile 1 and no fourth column. HdrHistogram computes these lines from
buckets. Here the values are sorted and counted, so each line is exact.

Source: HdrHistogram's AbstractHistogram.outputPercentileDistribution and PercentileIterator.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

TICKS = 5  # percentiles for each halving of the distance to 1


def lines(values: NDArray[np.float64]) -> Iterator[str]:
    """Yield the lines for `values` (at least one, shape (n,)), in the unit of the values.

    Six decimals: for milliseconds, the resolution is a nanosecond. Lines start with a space, as hdr-plot requires.
    """
    ordered = np.sort(values)
    yield f"{'Value':>13} {'Percentile':>14} {'TotalCount':>10} {'1/(1-Percentile)':>14}\n"
    yield "\n"
    for level, value, count in _levels(ordered):
        rest = f" {float(1 / (1 - level)):14.2f}" if level < 1 else ""
        yield f" {value:12.6f} {float(level):14.12f} {count:10d}{rest}\n"
    yield f"#[Mean    = {ordered.mean():12.6f}, StdDeviation   = {ordered.std():12.6f}]\n"
    yield f"#[Max     = {ordered[-1]:12.6f}, Total count    = {len(ordered):12d}]\n"


def _levels(ordered: NDArray[np.float64]) -> Iterator[tuple[Fraction, float, int]]:
    """Yield each percentile, the smallest value with that share at or below it, and the number of these values."""
    total, count = len(ordered), 0
    for level in percentiles():
        if count == total:
            break
        place = max(-(-level.numerator * total // level.denominator), 1)  # the share of the total, rounded up
        value = ordered[place - 1]
        count = int(np.searchsorted(ordered, value, side="right"))
        yield level, float(value), count
    yield Fraction(1), float(ordered[-1]), total


def percentiles() -> Iterator[Fraction]:
    """Yield the percentiles 0, 0.1 ... 0.4, 0.5, 0.55 ... 0.7, 0.75 ...; the iterator is infinite."""
    level, step = Fraction(0), Fraction(1, 2 * TICKS)
    while True:
        for _ in range(TICKS):
            yield level
            level += step
        step /= 2
