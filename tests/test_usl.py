from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize

from rtbench.analysis import usl
from rtbench.errors import UsageError

# the example of the R package usl (CRAN), with the figures of its tests
LEVELS = [1, 18, 36, 72, 108, 144, 216]
THROUGHPUT = [64.9, 995.9, 1652.4, 1853.2, 1828.9, 1775.0, 1702.2]
N = np.array(LEVELS, dtype=float)


def test_the_fit_is_that_of_the_reference() -> None:
    found = usl.fit(LEVELS, THROUGHPUT, relative=False)
    assert found.contention.value == pytest.approx(0.02773, rel=1e-3)
    assert found.coherence.value == pytest.approx(1.0437e-4, rel=1e-4)
    assert found.peak is not None
    assert found.peak.value == pytest.approx(96.52, abs=0.01)
    assert (found.peak.low or 0) < 96.52 < (found.peak.high or 0)
    assert "highest at 96.5" in found.sentence


@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_the_fit_is_that_of_scipy(seed: int, relative: bool) -> None:
    random = np.random.default_rng(seed)
    a, b = random.uniform(0, 0.1), random.choice([0.0, random.uniform(0, 1e-3)])
    x = usl.law(N, 50.0, a, b) * (1 + random.normal(0, 0.05, len(N)))
    weights = 1 / x if relative else np.full_like(x, 1 / x.mean())
    found = usl.fit(LEVELS, list(x), relative)
    by_scipy = optimize.least_squares(
        lambda p: (usl.law(N, p[0], p[1], p[2]) - x) * weights,
        [50, 0.01, 1e-4],
        bounds=([0, 0, 0], np.inf),
        x_scale=[50, 0.01, 1e-4],
        xtol=1e-15,
        ftol=1e-15,
        gtol=1e-15,
    )
    error = float(np.sum(((found.at(N) - x) * weights) ** 2)) / 2
    assert error <= by_scipy.cost * (1 + 1e-6)
    assert min(found.of_one.value, found.contention.value, found.coherence.value) >= 0


def test_without_noise_the_coefficients_are_exact() -> None:
    found = usl.fit(LEVELS[::-1], list(usl.law(N, 10.0, 0.2, 1e-5)[::-1]))
    got = [found.of_one.value, found.contention.value, found.coherence.value]
    assert got == pytest.approx([10.0, 0.2, 1e-5], rel=1e-6)


def test_a_linear_throughput_has_neither_peak_nor_limit() -> None:
    found = usl.fit(LEVELS, [7 * n for n in LEVELS])
    assert (found.peak, found.limit) == (None, None)
    assert "linearly" in found.sentence


def test_amdahl_has_a_limit_and_no_peak() -> None:
    noise = np.array([1.01, 0.99, 1.0, 1.01, 0.99, 1.0, 1.01])
    found = usl.fit(LEVELS, list(usl.law(N, 10.0, 0.2, 0.0) * noise))
    assert found.peak is None
    assert found.limit == pytest.approx(50, rel=0.05)
    assert "Amdahl" in found.sentence


def test_a_peak_far_beyond_the_largest_level_is_not_given() -> None:
    found = usl.fit(LEVELS, list(usl.law(N, 10.0, 0.01, 1e-6)))  # the peak is at 995
    assert found.peak is None
    assert "up to 216, do not show where it peaks" in found.sentence


def test_levels_that_the_law_does_not_describe_are_said() -> None:
    found = usl.fit(LEVELS, [1, 18, 36, 72, 108, 30, 8])  # collapses
    assert (found.peak, found.limit) == (None, None)
    assert "does not describe these levels" in found.sentence


def test_levels_that_bend_somehow_are_not_called_linear() -> None:
    noise = np.array([1.03, 0.97, 1.02, 0.98, 1.03, 0.97, 1.01])
    found = usl.fit(LEVELS, list(usl.law(N, 10.0, 0.001, 1e-5) * noise))
    assert (found.contention.low, found.coherence.low) == (0, 0)
    assert "less than linearly" in found.sentence


def test_a_throughput_that_falls_from_the_start() -> None:
    found = usl.fit([1, 2, 3, 4, 5, 6], list(usl.law(np.arange(1.0, 7.0), 10.0, 2.0, 0.5)))
    assert found.peak is None
    assert "falls" in found.sentence


@pytest.mark.parametrize(
    ("levels", "throughput", "words"),
    [
        ([1, 2, 3, 4, 5], [1, 2, 3, 4, 5], "at least 6 levels"),
        ([1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1], "here is 1"),
        ([1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 0, 6], "above 0"),
        ([0, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6], "1 or more"),
    ],
)
def test_levels_that_cannot_be_fitted_are_refused(levels: list[float], throughput: list[float], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        usl.fit(levels, throughput)


@pytest.mark.parametrize("relative", [True, False])
def test_the_intervals_contain_the_truth(relative: bool) -> None:
    random = np.random.default_rng(1)
    truth = usl.law(N, 60.0, 0.03, 1e-4)
    inside = np.zeros(4)
    for _ in range(100):
        noise = random.normal(0, 0.02, len(N)) * (truth if relative else truth.mean())
        found = usl.fit(LEVELS, list(truth + noise), relative)
        pairs = zip(
            (found.of_one, found.contention, found.coherence, found.peak),
            (60.0, 0.03, 1e-4, 98.5),
            strict=True,
        )
        inside += [e is None or (e.low or 0) <= true <= (e.high or np.inf) for e, true in pairs]
    assert (inside >= 90).all(), inside
