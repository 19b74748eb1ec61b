"""How often do the intervals of models contain the truth? Simulated sweeps whose truth is known; nothing is measured.

    python benchmarks/models.py

Prints shares for docs/models.md: of the coefficients and the peak of the scalability law, of the coefficients and a
prediction of linear costs, and of the exponent of the growth. Takes half a minute.
"""

from __future__ import annotations

import numpy as np

from rtbench.analysis import linear_costs, usl
from rtbench.analysis.growth import growth
from rtbench.analysis.linear_costs import Point
from rtbench.analysis.statistics import Estimate

SWEEPS = 200
LEVELS = np.array([1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0])
ERRORS = (0.02, 0.05, 0.1)


def contains(estimate: Estimate, truth: float) -> bool:
    """Return whether the interval contains the truth; an end that is None is open."""
    low, high = estimate.low, estimate.high
    return (low is None or low <= truth) and (high is None or truth <= high)


def of_the_law(random: np.random.Generator, error: float, coherence: float) -> str:
    """Return the shares of g, a and b, and how many peaks are given and how many of all sweeps have a wrong one."""
    inside, given, wrong = np.zeros(3), 0, 0
    for _ in range(SWEEPS):
        x = usl.law(LEVELS, 60.0, 0.03, coherence) * np.exp(random.normal(0, error, len(LEVELS)))
        found = usl.fit(list(LEVELS), list(x))
        of_each = zip((found.of_one, found.contention, found.coherence), (60.0, 0.03, coherence), strict=True)
        inside += [contains(estimate, truth) for estimate, truth in of_each]
        if found.peak is not None:
            given += 1
            wrong += not (coherence and contains(found.peak, float(np.sqrt(0.97 / coherence))))
    return f"g, a, b {inside / SWEEPS}, peaks given {given / SWEEPS:.3f}, wrong {wrong / SWEEPS:.3f}"


def of_costs(random: np.random.Generator, error: float, base: float) -> str:
    """Return the shares of base, cost per client and a prediction, and that of the exponent of the growth."""
    inside = np.zeros(4)
    for _ in range(SWEEPS):
        costs = (base + 1e-3 * LEVELS) * np.exp(random.normal(0, error, len(LEVELS)))
        points = [Point(n, 10, cost) for n, cost in zip(LEVELS.tolist(), costs.tolist(), strict=True)]
        model = linear_costs.fit(points, ["base", "per_client"])
        later = (base + 1e3) * float(np.exp(random.normal(0, error)))
        grown = growth(LEVELS.tolist(), costs.tolist())
        assert grown is not None
        pairs = zip([*model.coefficients.values(), model.predict(1e6, 10)], (base, 1e-3, later), strict=True)
        inside += [*(contains(e, truth) for e, truth in pairs), contains(grown.exponent, 1.0)]
    return f"base, per client, prediction, exponent {inside / SWEEPS}"


if __name__ == "__main__":
    generator = np.random.default_rng(1)
    for size in ERRORS:
        for b in (0.0, 1e-6, 1e-5):
            print(f"law, error {size:.0%}, b {b:g}: {of_the_law(generator, size, b)}")
        for c in (0.0, 0.01, 0.1):
            print(f"costs, error {size:.0%}, base {c:g}: {of_costs(generator, size, c)}")
