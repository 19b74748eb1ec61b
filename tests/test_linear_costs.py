from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize

from rtbench.analysis import linear_costs
from rtbench.analysis.least_squares import nonnegative
from rtbench.analysis.linear_costs import TERMS, Point
from rtbench.errors import UsageError

CLIENTS = (1, 10, 100, 1000)


def points(truth: dict[str, float], messages: tuple[float, ...] = (1, 5, 20), noise: float = 0.0) -> list[Point]:
    random = np.random.default_rng(1)
    return [
        Point(n, q, float(sum(c * TERMS[name](n, q) for name, c in truth.items()) * np.exp(random.normal(0, noise))))
        for n in CLIENTS
        for q in messages
    ]


@pytest.mark.parametrize("seed", range(10))
def test_nonnegative_least_squares_are_those_of_scipy(seed: int) -> None:
    random = np.random.default_rng(seed)
    matrix, values = random.normal(size=(6, 3)), random.normal(size=6)
    assert nonnegative(matrix, values) == pytest.approx(optimize.nnls(matrix, values)[0])


def test_the_coefficients_of_exact_costs_are_found() -> None:
    truth = {"base": 0.01, "per_client": 1e-5, "per_message": 1e-4, "per_delivery": 2e-5}
    found = linear_costs.fit(points(truth))
    assert {name: e.value for name, e in found.coefficients.items()} == pytest.approx(truth, rel=1e-6)
    forecast = found.predict(1_000_000, 10)
    assert forecast.value == pytest.approx(0.01 + 10 + 0.001 + 200, rel=1e-6)


def test_a_coefficient_is_never_negative() -> None:
    falling = [Point(n, 10, 1.0 / n) for n in CLIENTS]
    found = linear_costs.fit(falling, ["base", "per_client"])
    assert all(e.value >= 0 and (e.low or 0) >= 0 for e in found.coefficients.values())


def test_the_intervals_contain_the_truth() -> None:
    truth = {"base": 0.01, "per_client": 1e-3}
    random = np.random.default_rng(1)
    inside = np.zeros(3)
    for _ in range(200):
        noise = np.exp(random.normal(0, 0.05, 5))
        rows = [Point(n, 10, 0.01 * f + 1e-3 * n * f) for n, f in zip(CLIENTS, noise[:4], strict=True)]
        found = linear_costs.fit(rows, list(truth))
        later = found.predict(1e6, 10)
        pairs = [*zip(found.coefficients.values(), truth.values(), strict=True), (later, 1000.01 * noise[4])]
        inside += [(e.low or 0) <= true <= (e.high or 0) for e, true in pairs]
    assert (inside >= 180).all(), inside
    assert inside[2] < 200  # nor are they so wide that they say nothing


def test_terms_that_cannot_be_told_apart_are_refused() -> None:
    with pytest.raises(UsageError, match="cannot be told apart"):
        linear_costs.fit(points({"per_client": 1.0}, messages=(10,)), ["base", "per_client", "per_delivery"])


def test_too_few_levels_are_refused() -> None:
    with pytest.raises(UsageError, match="needs at least 3 levels; here are 2"):
        linear_costs.fit(points({"base": 1.0}, messages=(10,))[:2], ["base", "per_client"])


def test_a_cost_of_zero_is_refused() -> None:
    with pytest.raises(UsageError, match="above 0"):
        linear_costs.fit(points({"base": 0.0}), ["base"])
