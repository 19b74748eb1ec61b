"""How a cost grows with the number of clients: linear, logarithmic, or another power. Pure.

    cost = base + c (N^e - 1) / e

e = 1 is linear, and e = 0 is the limit: logarithmic (Box & Cox 1964). The base is free, since a server costs something
without clients; the slope of a straight line through the logarithms would be too small because of it. The interval of e
holds every exponent whose relative squared error is not significantly larger than the least one (an F test). In
simulations of seven levels with errors of 2 to 10 % it contains the truth in 94 to 100 % of cases
(benchmarks/models.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rtbench.analysis.statistics import CONFIDENCE, Estimate, student_t

if TYPE_CHECKING:
    from numpy.typing import NDArray

_EXPONENTS = np.linspace(-1, 3, 201)
_PARAMETERS = 3


@dataclass(frozen=True)
class Growth:
    """The exponent; an end of its interval is None where it lies beyond -1 or 3."""

    exponent: Estimate

    @property
    def reading(self) -> str:
        """What the interval says."""
        low = -np.inf if self.exponent.low is None else self.exponent.low
        high = np.inf if self.exponent.high is None else self.exponent.high
        if low <= 0 and high >= 1:
            return "cannot tell"
        if low <= 1 <= high:
            return "linear"
        if low <= 0 <= high:
            return "logarithmic"
        if low > 1:
            return "faster than linear"
        return "between logarithmic and linear" if low > 0 else "slower than logarithmic"


def growth(clients: Sequence[float], costs: Sequence[float]) -> Growth | None:
    """Fit the exponent to the costs at some numbers of clients; None if there are fewer than five of them."""
    n, cost = np.array(clients, dtype=float), np.array(costs, dtype=float)
    if len(set(clients)) <= _PARAMETERS + 1:
        return None
    errors = np.array([_error(n, cost, exponent) for exponent in _EXPONENTS])
    freedom = len(n) - _PARAMETERS
    allowed = errors.min() * (1 + student_t(CONFIDENCE, freedom) ** 2 / freedom) + 1e-12
    inside = np.flatnonzero(errors <= allowed)
    low, high = (None if at in (0, len(errors) - 1) else float(_EXPONENTS[at]) for at in (inside[0], inside[-1]))
    return Growth(Estimate(float(_EXPONENTS[errors.argmin()]), low, high))


def _error(n: NDArray[np.float64], cost: NDArray[np.float64], exponent: float) -> float:
    """Return the least squared relative error with this exponent."""
    grown = np.log(n) if abs(exponent) < 1e-9 else (n**exponent - 1) / exponent
    matrix = np.column_stack([np.ones_like(n), grown / np.abs(grown).max()]) / cost[:, None]
    coefficients = np.linalg.lstsq(matrix, np.ones_like(n), rcond=None)[0]
    return float(np.sum((matrix @ coefficients - 1) ** 2))
