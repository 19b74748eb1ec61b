"""Scale: ticks of a logarithmic axis as plain numbers (0.1, 1, 10), even if the axis spans less than a decade."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_STEPS: tuple[tuple[float, ...], ...] = (
    (1,),
    (1, 3),
    (1, 2, 5),
    (1, 2, 3, 5, 7),
    (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8),
)
_LEAST, _MOST = 3, 8


def plain(value: float) -> str:
    """Return a number as text without a power of ten."""
    return f"{value:,.10g}" if 1e-4 <= abs(value) < 1e10 else f"{value:g}"


def ticks(low: float, high: float) -> list[float]:
    """Return three to eight round numbers between two positive numbers, from the coarsest sufficient series."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in _STEPS:
        inside = [s * 10.0**d for d in decades for s in steps if low <= s * 10.0**d <= high]
        if len(inside) >= _LEAST:
            every = math.ceil(len(inside) / _MOST)
            return inside[::every]
    return _even(low, high)


def minor_ticks(low: float, high: float, places: Sequence[float]) -> list[float]:
    """Return one to nine of each decade between two limits, without the ticks that have a number."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found = [s * 10.0**d for d in decades for s in range(1, 10) if low <= s * 10.0**d <= high]
    return [tick for tick in found if not any(math.isclose(tick, place) for place in places)]


def _even(low: float, high: float) -> list[float]:
    unit = 10.0 ** math.floor(math.log10((high - low) / 3))
    step = max(unit * s for s in (1, 2, 5) if unit * s <= (high - low) / 3 + 1e-12 * unit)
    return [n * step for n in range(math.ceil(low / step), math.floor(high / step) + 1)]


def span(values: Iterable[float], spare: float = 0.06) -> tuple[float, float]:
    """Return limits around positive values, extended by the share `spare` at each end; at least a factor of 2 apart."""
    logs = [math.log(value) for value in values]
    low, high = min(logs), max(logs)
    spare = max(spare * (high - low), (math.log(2) - (high - low)) / 2, 0.0)
    return math.exp(low - spare), math.exp(high + spare)


def plain_log(axes: Axes, which: Literal["x", "y"], low: float, high: float) -> None:
    """Make an axis logarithmic between two limits, with plain numbers as ticks."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    places = ticks(low, high)
    if which == "x":
        axes.set_xscale("log", nonpositive="clip")
        axes.set_xlim(low, high)
    else:
        axes.set_yscale("log", nonpositive="clip")
        axes.set_ylim(low, high)
    small = minor_ticks(low, high, places)
    axis.set_ticks(small, [""] * len(small), minor=True)
    axis.set_ticks(places, [plain(place) for place in places])
