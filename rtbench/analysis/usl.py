"""The Universal Scalability Law: how throughput grows with the load, and where it is highest. Pure.

    X(N) = g N / (1 + a (N - 1) + b N (N - 1))

g is the throughput of one, a the contention (the share of the work that waits for other work) and b the coherence (the
work that each causes for each other one). With b = 0 it is Amdahl's law, whose throughput never exceeds g/a; with
a = b = 0 throughput is linear. With b > 0 it is highest at N = sqrt((1 - a)/b), and falls beyond.

From: N. J. Gunther, A General Theory of Computational Scalability Based on Rational Functions, 2008 (arXiv:0808.1431).
The R package `usl` fits g, a and b, none of them negative, by least squares of the throughput; so does `fit` with
`relative=False`. By default it fits the relative errors, because throughput varies by a factor from trial to trial:
then a level of one counts as much as a level of a thousand.

The intervals are Student's, from the linearised law. In simulations with seven levels and errors of 2 to 10 % they
contain the truth in 92 to 99 % of cases; a peak is given and outside of its interval in at most 6 %
(benchmarks/models.py).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from rtbench.analysis.least_squares import covariance, nonnegative
from rtbench.analysis.statistics import CONFIDENCE, Estimate, student_t
from rtbench.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEAST_LEVELS = 6
FARTHEST = 2.0  # a peak is given if its interval ends before this multiple of the largest level
WORST_ERROR = 0.2  # relative; levels that are farther from the law on average are not described by it
_MOST_STEPS = 100
_LEAST_GAIN = 1e-13  # of the squared error, in one step


@dataclass(frozen=True)
class Scalability:
    """The law fitted to throughputs at some levels.

    `error` is the standard error of a throughput, relative to it. `straight` says that a straight line, a = b = 0, fits
    as well as the law. `spread` is the covariance of g, a and b, and `reach` the t of their intervals.
    """

    of_one: Estimate
    contention: Estimate
    coherence: Estimate
    largest: float
    error: float
    straight: bool
    spread: NDArray[np.float64]
    reach: float

    def at(self, levels: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the throughput of the law at some levels."""
        return law(levels, self.of_one.value, self.contention.value, self.coherence.value)

    def interval_at(self, levels: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the ends of the 95 % interval of the law at some levels."""
        slopes = _slopes(levels, self.of_one.value, self.contention.value, self.coherence.value)
        width = self.reach * np.sqrt(np.einsum("ij,jk,ik->i", slopes, self.spread, slopes))
        return np.maximum(self.at(levels) - width, 0.0), self.at(levels) + width

    @property
    def fits(self) -> bool:
        """Whether the law describes the levels well enough to conclude anything from it."""
        return self.error <= WORST_ERROR

    @cached_property
    def peak(self) -> Estimate | None:
        """The level with the highest throughput; None: not shown by these levels."""
        if not self.fits or not self.coherence.low or self.contention.value >= 1:
            return None
        follows = (
            self.spread[1, 2] / self.spread[2, 2] if self.spread[2, 2] else 0.0
        )  # how a changes where b is another
        low, level, high = (
            math.sqrt(max(1 - self.contention.value - follows * (b - self.coherence.value), 0.0) / b)
            for b in (self.coherence.high or 0.0, self.coherence.value, self.coherence.low)
        )
        return Estimate(level, low, high) if high <= FARTHEST * self.largest else None

    @property
    def limit(self) -> float | None:
        """What throughput does not exceed without coherence (Amdahl); None: coherence or no contention is shown."""
        shown = self.fits and not self.coherence.low and self.contention.low
        return self.of_one.value / self.contention.value if shown else None

    @property
    def sentence(self) -> str:
        """What the law says of the throughput."""
        if not self.fits:
            return f"the law does not describe these levels, which are {100 * self.error:.0f} % away from it"
        if self.peak:
            low, high = f"{self.peak.low:.3g}", f"{self.peak.high:.3g}"
            return f"throughput is highest at {self.peak.value:.3g} ({low} to {high}) and falls beyond"
        if self.limit:
            return f"these levels show no peak; by Amdahl's law throughput stays below {self.limit:.3g}"
        if self.straight:
            return f"throughput grows linearly up to {self.largest:g}, as far as these levels show"
        if self.contention.value >= 1:
            return "throughput falls from the first level on"
        return f"throughput grows less than linearly; these levels, up to {self.largest:g}, do not show where it peaks"


def fit(levels: Sequence[float], throughput: Sequence[float], relative: bool = True) -> Scalability:
    """Fit the law to the throughput of some levels, in any order, by least squares of the (relative) errors.

    Raises:
        UsageError: there are fewer than six different levels, or a value is not positive.
    """
    n, x = np.array(levels, dtype=float), np.array(throughput, dtype=float)
    _check(n, x)
    weights = 1 / x if relative else np.full_like(x, 1 / x.mean())
    coefficients = _least_squares(n, x, weights)
    errors = weights * (x - law(n, *coefficients))
    freedom = len(n) - 3
    spread, reach = covariance(weights[:, None] * _slopes(n, *coefficients), errors), student_t(CONFIDENCE, freedom)
    of_one, contention, coherence = (
        Estimate(value, max(value - reach * error, 0.0), value + reach * error)
        for value, error in zip(coefficients, np.sqrt(np.diag(spread)).tolist(), strict=True)
    )
    squared = float(errors @ errors)
    straight = _is_straight(n * weights, x * weights, squared, freedom)
    error = math.sqrt(squared / freedom)
    return Scalability(of_one, contention, coherence, float(n.max()), error, straight, spread, reach)


def _is_straight(n: NDArray[np.float64], x: NDArray[np.float64], squared: float, freedom: int) -> bool:
    """Return whether x = g n fits not significantly worse than the law does (an F test with 2 degrees of freedom)."""
    without = float(np.sum((x - n * (n @ x) / (n @ n)) ** 2))
    if without - squared <= 1e-12 * len(n):  # rounding
        return True
    return bool((squared / without) ** (freedom / 2) > 1 - CONFIDENCE)


def law(levels: NDArray[np.float64], of_one: float, contention: float, coherence: float) -> NDArray[np.float64]:
    """Return X(N) for some levels N."""
    return np.asarray(of_one * levels / (1 + contention * (levels - 1) + coherence * levels * (levels - 1)))


def _check(n: NDArray[np.float64], x: NDArray[np.float64]) -> None:
    if len(set(n.tolist())) < LEAST_LEVELS:
        raise UsageError(
            f"the scalability law needs at least {LEAST_LEVELS} levels, the smallest as small as possible; "
            f"here {'is' if len(set(n.tolist())) == 1 else 'are'} {len(set(n.tolist()))}"
        )
    if not (np.isfinite(n).all() and np.isfinite(x).all() and (n >= 1).all() and (x > 0).all()):
        raise UsageError("the scalability law needs levels of 1 or more, and throughputs above 0")


def _least_squares(
    n: NDArray[np.float64], x: NDArray[np.float64], weights: NDArray[np.float64]
) -> tuple[float, float, float]:
    """Return g, a and b by steps of Gauss and Newton.

    N/X is linear in (1/g, a/g, b/g), so these are fitted; the first values are those of the linear fit.
    """
    basis = np.column_stack([np.ones_like(n), n - 1, n * (n - 1)])

    def error(c: NDArray[np.float64]) -> float:
        return float(np.sum((weights * (n / (basis @ c) - x)) ** 2))

    found = nonnegative(basis * (x / n)[:, None], np.ones_like(n))
    found[0] = max(found[0], 1e-3 * float(np.min(n / x)))  # g is finite
    for _ in range(_MOST_STEPS):
        modelled = n / (basis @ found)
        slopes = -(weights * modelled / (basis @ found))[:, None] * basis
        scale = np.linalg.norm(slopes, axis=0)
        step = nonnegative(slopes / scale, weights * (x - 2 * modelled)) / scale - found
        before, share = error(found), 1.0
        while share > _LEAST_GAIN and not (found[0] + share * step[0] > 0 and error(found + share * step) < before):
            share /= 2
        if share <= _LEAST_GAIN:
            break
        found = found + share * step
        if before - error(found) < _LEAST_GAIN * before:
            break
    return float(1 / found[0]), float(found[1] / found[0]), float(found[2] / found[0])


def _slopes(n: NDArray[np.float64], of_one: float, contention: float, coherence: float) -> NDArray[np.float64]:
    """Return the derivatives of the law by its three coefficients, shape (levels, 3)."""
    x = law(n, of_one, contention, coherence)
    return np.column_stack([x / of_one, -(x**2) * (n - 1) / (of_one * n), -(x**2) * (n - 1) / of_one])
