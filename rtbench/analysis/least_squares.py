"""Least squares with coefficients that cannot be negative, and the errors of the coefficients. Pure."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def nonnegative(matrix: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the x >= 0 with the least |matrix x - values|², shape (columns,).

    It tries every set of columns, which is exact and quick for the two or three columns of a model here.
    """
    columns = matrix.shape[1]
    best, least = np.zeros(columns), float(values @ values)
    for chosen in (list(c) for size in range(1, columns + 1) for c in combinations(range(columns), size)):
        found = np.linalg.lstsq(matrix[:, chosen], values, rcond=None)[0]
        error = float(np.sum((matrix[:, chosen] @ found - values) ** 2))
        if (found >= 0).all() and error < least:
            best, least = np.zeros(columns), error
            best[chosen] = found
    return best


def covariance(matrix: NDArray[np.float64], residuals: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the covariance of the coefficients if all rows are equally exact, shape (columns, columns)."""
    rows, columns = matrix.shape
    scale = np.linalg.norm(matrix, axis=0)  # columns may differ by many powers of ten
    inverse = np.linalg.pinv(matrix / scale) / scale[:, None]
    return np.asarray(inverse @ inverse.T * (residuals @ residuals) / (rows - columns))
