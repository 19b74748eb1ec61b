"""The percentile output format of HdrHistogram (`.hgrm`), which its plotter and others read. Pure.

    Value, Percentile, TotalCount, 1/(1-Percentile)

A line says: that share of all values (`Percentile`, 0 to 1) is at or below `Value`, and `TotalCount` values are. The
percentiles start at 0, and every five of them (`TICKS`) halve what is left to 1; the lines end where every value is
counted, with one for percentile 1, which has no fourth column. HdrHistogram writes this from buckets; here the values
are sorted and counted, so that each line is exact.

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
    """Yield the distribution of at least one value, line by line, in the unit of the values.

    Six decimals: a millisecond to the nanosecond. Every line starts with a blank, since hdr-plot reads no other.
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
    """Yield each percentile, the smallest value with that share at or below it, and how many values are."""
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
    """Yield 0, 0.1 ... 0.4, 0.5, 0.55 ... 0.7, 0.75 ..., without end."""
    level, step = Fraction(0), Fraction(1, 2 * TICKS)
    while True:
        for _ in range(TICKS):
            yield level
            level += step
        step /= 2
