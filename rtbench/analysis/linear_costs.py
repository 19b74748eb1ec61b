"""A cost of a server as a linear function of its load, fitted to the levels of a sweep. Pure.

    cost = base + per client * N + per message * Q + per delivery * N Q

N is the number of clients that receive every message, and Q the number of messages published per second. A model may
leave out terms: at levels with one Q, `base` and `per_client` include what the messages cost.

No coefficient is negative. The fit is least squares of the relative errors, because costs vary by a factor from
trial to trial: then a level of one client counts as much as one of a thousand.

Intervals are Student's. In simulations of seven levels with errors of 2 to 10 % they contain the true coefficient in 90
to 100 % of cases, and those of a prediction the cost that is measured then in 93 to 99 % (benchmarks/models.py).
They assume that the cost is linear. Whether it is, shows a prediction for a level that the model was not fitted to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rtbench.analysis.least_squares import covariance, nonnegative
from rtbench.analysis.statistics import CONFIDENCE, Estimate, student_t
from rtbench.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SEPARATE = 1e-6  # terms that are closer to multiples of each other cannot be told apart


TERMS: dict[str, Callable[[float, float], float]] = {  # by clients and messages per second
    "base": lambda _clients, _messages: 1.0,
    "per_client": lambda clients, _messages: clients,
    "per_message": lambda _clients, messages: messages,
    "per_delivery": lambda clients, messages: clients * messages,
}


@dataclass(frozen=True)
class Point:
    """A level: the clients, the messages published per second, and a cost that was measured there."""

    clients: float
    messages_per_s: float
    cost: float


@dataclass(frozen=True)
class LinearCost:
    """The fitted model: `coefficients` by the name of the term, in the order of the terms."""

    coefficients: dict[str, Estimate]
    _unbounded: NDArray[np.float64]
    _covariance: NDArray[np.float64]
    _variance: float  # of the relative errors
    _width: float

    def predict(self, clients: float, messages_per_s: float) -> Estimate:
        """Return the cost of another load, with the interval that contains what is measured there with 95 %."""
        at = np.array([TERMS[name](clients, messages_per_s) for name in self.coefficients])
        value = float(at @ [estimate.value for estimate in self.coefficients.values()])
        centre = float(at @ self._unbounded)
        width = self._width * float(np.sqrt(at @ self._covariance @ at + self._variance * value**2))
        return Estimate(value, max(min(centre - width, value), 0.0), max(centre + width, value))


def fit(points: Sequence[Point], terms: Sequence[str] = tuple(TERMS)) -> LinearCost:
    """Fit the coefficients of some terms, a part of `TERMS`, to levels.

    Raises:
        UsageError: there are too few levels for so many terms, terms cannot be told apart, or a cost is not positive.
    """
    costs = np.array([point.cost for point in points])
    if len(points) <= len(terms):
        raise UsageError(
            f"a linear cost of {len(terms)} terms needs at least {len(terms) + 1} levels; here are {len(points)}"
        )
    if not (np.isfinite(costs).all() and (costs > 0).all()):
        raise UsageError("a linear cost needs costs above 0")
    if not separable(points, terms):
        raise UsageError("the levels differ in one direction only, so the terms of the cost cannot be told apart")
    matrix = _matrix(points, terms) / costs[:, None]
    ones = np.ones_like(costs)
    scale = np.linalg.norm(matrix, axis=0)
    bounded = nonnegative(matrix / scale, ones) / scale
    unbounded = np.linalg.lstsq(matrix / scale, ones, rcond=None)[0] / scale
    residuals = ones - matrix @ unbounded
    spread, freedom = covariance(matrix, residuals), len(points) - len(terms)
    width = student_t(CONFIDENCE, freedom)
    reach = width * np.sqrt(np.diag(spread))
    coefficients = {
        name: Estimate(float(value), max(float(min(centre - error, value)), 0.0), float(max(centre + error, value)))
        for name, value, centre, error in zip(terms, bounded, unbounded, reach, strict=True)
    }
    return LinearCost(coefficients, unbounded, spread, float(residuals @ residuals) / freedom, width)


def separable(points: Sequence[Point], terms: Sequence[str]) -> bool:
    """Return whether the levels differ enough in every term, so that each has a coefficient of its own."""
    matrix = _matrix(points, terms)
    scaled = matrix / np.maximum(np.linalg.norm(matrix, axis=0), 1e-300)
    return bool(np.linalg.svd(scaled, compute_uv=False)[-1] > _SEPARATE) and len(points) >= len(terms)


def _matrix(points: Sequence[Point], terms: Sequence[str]) -> NDArray[np.float64]:
    return np.array([[TERMS[name](p.clients, p.messages_per_s) for name in terms] for p in points], dtype=float)
