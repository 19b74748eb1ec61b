from __future__ import annotations

import tracemalloc
from fractions import Fraction
from math import ceil
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats as scipy_stats

from rtbench import stats

Trials = list[NDArray[np.float64]]
PERCENTS = (50, 90, 95, 99)


def trials_of(seed: int, count: int = 5, size: int = 2000, spread: float = 0.3) -> Trials:
    """Return skewed latencies, every trial with a luck of its own."""
    random = np.random.default_rng(seed)
    return [
        random.lognormal(random.normal(0, spread), 0.8, size=int(random.integers(size // 2, size)))
        for _ in range(count)
    ]


def nearest_rank(values: NDArray[np.float64], percent: float) -> float:
    """Return the smallest value with that share at or below it, in exact arithmetic."""
    rank = ceil(Fraction(str(percent)) / 100 * len(values))
    return float(np.sort(values)[max(rank, 1) - 1])


@pytest.mark.parametrize("percent", PERCENTS)
@pytest.mark.parametrize(
    "trials",
    [
        pytest.param(trials_of(1), id="trials of different size"),
        pytest.param(trials_of(2, count=1), id="one trial"),
        pytest.param([np.arange(1000.0)], id="whole numbers"),
        pytest.param([np.round(t, 1) for t in trials_of(3)], id="many ties"),
        pytest.param([np.full(1000, 7.0)] * 3, id="one value only"),
        pytest.param([*trials_of(4), np.empty(0)], id="a trial without a delivery"),
        pytest.param([-t for t in trials_of(5)], id="values below zero are not dropped"),
    ],
)
def test_a_percentile_is_that_of_the_pooled_values(trials: Trials, percent: float) -> None:
    estimate = stats.percentile(trials, percent)
    assert estimate is not None
    assert estimate.value == np.percentile(np.concatenate(trials), percent, method="inverted_cdf")


@given(
    st.lists(st.lists(st.integers(-50, 50), max_size=60), min_size=1, max_size=4),
    st.sampled_from([10, 25, 50, 75, 90]),
)
def test_a_percentile_is_the_nearest_rank_in_exact_arithmetic(rows: list[list[int]], percent: int) -> None:
    trials = [np.array(row, dtype=float) for row in rows]
    estimate = stats.percentile(trials, percent)
    pooled = np.concatenate(trials)
    if stats.supported(len(pooled), percent):
        assert estimate is not None
        assert estimate.value == nearest_rank(pooled, percent)
    else:
        assert estimate is None


@pytest.mark.parametrize(("percent", "count"), [(99.9, 41_000), (99.9, 82_000), (99.9, 10_000), (99.99, 100_000)])
def test_a_percentile_on_the_border_of_a_rank_is_not_moved_by_rounding(percent: float, count: int) -> None:
    values = np.arange(float(count))  # 41000 * 99.9 / 100 is a little more than 40959 to a computer
    estimate = stats.percentile([values], percent)
    assert estimate is not None
    assert estimate.value == nearest_rank(values, percent)


@pytest.mark.parametrize("percent", [0, 0.1, 10, 50, 90, 99, 100])
def test_weighted_percentiles_are_those_of_the_trials_pooled_that_often(percent: float) -> None:
    trials = [np.sort(np.round(t, 2)) for t in trials_of(6, count=6, size=80)]
    weights = np.random.default_rng(0).multinomial(6, np.full(6, 1 / 6), size=300).astype(float)
    pooled = [np.concatenate([np.repeat(t, int(w)) for t, w in zip(trials, row, strict=True)]) for row in weights]
    fast = stats._weighted_percentiles(trials, weights, percent)
    assert fast.tolist() == [nearest_rank(values, percent) for values in pooled]


def test_the_mean_is_that_of_the_pooled_values_not_of_the_means() -> None:
    trials = [np.full(10, 1.0), np.full(90, 2.0), np.empty(0)]
    estimate = stats.mean(trials)
    assert estimate is not None
    assert estimate.value == pytest.approx(1.9, rel=1e-12)
    assert stats.mean([]) is None
    assert stats.mean([np.empty(0)]) is None


def bootstrap(trials: Trials, statistic: Any) -> tuple[float, float]:
    """Return the percentile bootstrap interval over whole trials, by scipy."""

    def of_the_chosen(chosen: NDArray[np.int64]) -> float:
        return float(statistic(np.concatenate([trials[i] for i in chosen])))

    result = scipy_stats.bootstrap(
        (np.arange(len(trials)),),
        of_the_chosen,
        vectorized=False,
        n_resamples=3000,
        method="percentile",
        random_state=np.random.default_rng(1),
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


@pytest.mark.parametrize("count", [5, 12], ids=lambda n: f"{n} trials")
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        pytest.param(stats.mean, np.mean, id="the mean"),
        pytest.param(lambda t: stats.percentile(t, 50), np.median, id="the median"),
        pytest.param(lambda t: stats.percentile(t, 95), lambda v: np.percentile(v, 95), id="the 95th percentile"),
    ],
)
def test_an_interval_is_that_of_another_bootstrap(ours: Any, theirs: Any, count: int) -> None:
    trials = trials_of(8, count=count, size=400)
    estimate = ours(trials)
    low, high = bootstrap(trials, theirs)
    width = high - low
    assert estimate.low == pytest.approx(low, abs=0.1 * width)
    assert estimate.high == pytest.approx(high, abs=0.1 * width)
    assert estimate.low <= estimate.value <= estimate.high


def test_the_trial_is_the_unit_so_a_million_messages_of_two_trials_are_no_certainty() -> None:
    apart = [np.full(5000, 1.0), np.full(5000, 3.0)]
    for estimate in (stats.mean(apart), stats.percentile(apart, 99)):
        assert estimate is not None
        assert (estimate.low, estimate.high) == (1.0, 3.0)


def test_one_trial_gives_no_interval() -> None:
    for estimate in (stats.mean(trials_of(1, 1)), stats.percentile(trials_of(1, 1), 50)):
        assert estimate is not None
        assert (estimate.low, estimate.high) == (None, None)


def test_a_trial_without_a_delivery_is_no_second_trial() -> None:
    estimate = stats.percentile([*trials_of(1, 1), np.empty(0)], 50)
    assert estimate is not None
    assert (estimate.low, estimate.high) == (None, None)


def test_trials_that_agree_give_an_interval_without_width() -> None:
    estimate = stats.percentile([np.arange(1000.0)] * 5, 90)
    assert estimate == stats.Estimate(899.0, 899.0, 899.0)


def test_the_same_seed_gives_the_same_interval_and_another_seed_another() -> None:
    trials = trials_of(9, count=7)
    assert stats.percentile(trials, 50, seed=1) == stats.percentile(trials, 50, seed=1)
    assert stats.mean(trials, seed=1) == stats.mean(trials, seed=1)
    assert stats.mean(trials, seed=1) != stats.mean(trials, seed=2)


@given(st.permutations(range(4)))
def test_messages_may_come_in_any_order(order: list[int]) -> None:
    trials = trials_of(10, count=4, size=200)
    turned = [np.random.default_rng(i).permutation(trials[i]) for i in order]
    mine, theirs = stats.percentile(trials, 90), stats.percentile(turned, 90)
    assert mine is not None
    assert theirs is not None
    assert mine.value == theirs.value


@pytest.mark.parametrize(
    ("percent", "least"),
    [
        pytest.param(50, 20, id="p50 needs 20"),
        pytest.param(90, 100, id="p90 needs 100"),
        pytest.param(95, 200, id="p95 needs 200"),
        pytest.param(99, 1000, id="p99 needs 1,000"),
        pytest.param(99.9, 10_000, id="p99.9 needs 10,000"),
        pytest.param(99.99, 100_000, id="p99.99 needs 100,000"),
    ],
)
def test_a_percentile_is_shown_only_where_ten_deliveries_lie_beyond_it(percent: float, least: int) -> None:
    assert stats.supported(least, percent)
    assert not stats.supported(least - 1, percent)
    assert stats.percentile([np.arange(float(least))], percent) is not None
    assert stats.percentile([np.arange(float(least - 1))], percent) is None


def test_the_deliveries_of_all_trials_support_a_percentile_together() -> None:
    assert stats.percentile([np.arange(250.0)] * 4, 99) is not None
    assert stats.percentile([], 50) is None


def test_values_are_left_as_they_were() -> None:
    trials = trials_of(11)
    before = [t.copy() for t in trials]
    stats.percentile(trials, 50)
    stats.mean(trials)
    assert all((t == b).all() for t, b in zip(trials, before, strict=True))


def test_a_million_values_take_memory_in_proportion() -> None:
    trials = [np.random.default_rng(i).random(200_000) for i in range(5)]
    size = sum(t.nbytes for t in trials)
    tracemalloc.start()
    try:
        stats.percentile(trials, 99)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 5 * size, "pooling anew for each of the resamples would take a thousand times as much"
