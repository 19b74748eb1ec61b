from __future__ import annotations

import itertools
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

from benchmarks.coverage import coverage
from rtbench.analysis import statistics
from rtbench.analysis.statistics import Estimate

Trials = list[NDArray[np.float64]]
PERCENTS = (50, 90, 95, 99)


def trials_of(seed: int, count: int = 5, size: int = 2000, spread: float = 0.3) -> Trials:
    """Return skewed latencies, every trial with a luck of its own."""
    random = np.random.default_rng(seed)
    return [
        random.lognormal(random.normal(0, spread), 0.8, size=int(random.integers(size // 2, size)))
        for _ in range(count)
    ]


def percentile(trials: Trials, percent: float, seed: int = 0) -> Estimate | None:
    """Return a percentile where every value is that of another message."""
    return statistics.percentile(trials, percent, sum(map(len, trials)), seed)


def pooled_percentile(trials: Trials, percent: float) -> statistics.Pooled | None:
    return statistics.pooled_percentile(trials, percent, sum(map(len, trials)))


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
    estimate = percentile(trials, percent)
    assert estimate is not None
    assert estimate.value == np.percentile(np.concatenate(trials), percent, method="inverted_cdf")


def test_the_example_of_the_percentile_rule_is_right() -> None:
    trials = [np.array([4.0, 2.0, 1.0, 3.0]), np.array([20.0, 10.0])]
    for percent, value in ((50, 3.0), (90, 20.0)):
        found = statistics.pooled_percentile(trials, percent, messages=100)
        assert found is not None
        assert found.value == value == np.percentile(np.concatenate(trials), percent, method="inverted_cdf")


@given(
    st.lists(st.lists(st.integers(-50, 50), max_size=60), min_size=1, max_size=4),
    st.sampled_from([10, 25, 50, 75, 90]),
)
def test_a_percentile_is_the_nearest_rank_in_exact_arithmetic(rows: list[list[int]], percent: int) -> None:
    trials = [np.array(row, dtype=float) for row in rows]
    estimate = percentile(trials, percent)
    pooled = np.concatenate(trials)
    if statistics.supported(len(pooled), percent):
        assert estimate is not None
        assert estimate.value == nearest_rank(pooled, percent)
    else:
        assert estimate is None


@pytest.mark.parametrize(("percent", "count"), [(99.9, 41_000), (99.9, 82_000), (99.9, 10_000), (99.99, 100_000)])
def test_a_percentile_on_the_border_of_a_rank_is_not_moved_by_rounding(percent: float, count: int) -> None:
    values = np.arange(float(count))  # 41000 * 99.9 / 100 is a little more than 40959 to a computer
    estimate = percentile([values], percent)
    assert estimate is not None
    assert estimate.value == nearest_rank(values, percent)


@pytest.mark.parametrize("percent", [0, 0.1, 10, 50, 90, 99, 100])
def test_weighted_percentiles_are_those_of_the_trials_pooled_that_often(percent: float) -> None:
    trials = [np.sort(np.round(t, 2)) for t in trials_of(6, count=6, size=80)]
    weights = np.random.default_rng(0).multinomial(6, np.full(6, 1 / 6), size=300).astype(float)
    pooled = [np.concatenate([np.repeat(t, int(w)) for t, w in zip(trials, row, strict=True)]) for row in weights]
    fast = statistics.weighted_percentiles(trials, weights, percent)
    assert fast.tolist() == [nearest_rank(values, percent) for values in pooled]


def test_the_mean_is_that_of_the_pooled_values_not_of_the_means() -> None:
    trials = [np.full(10, 1.0), np.full(90, 2.0), np.empty(0)]
    estimate = statistics.mean(trials)
    assert estimate is not None
    assert estimate.value == pytest.approx(1.9, rel=1e-12)
    assert statistics.mean([]) is None
    assert statistics.mean([np.empty(0)]) is None


@pytest.mark.parametrize("count", [3, 5, 12], ids=lambda n: f"{n} trials")
def test_the_interval_of_a_mean_of_alike_trials_is_that_of_student(count: int) -> None:
    """Where trials are of one size and differ by little, the mean of the logarithms is nearly that of the pool."""
    x = np.exp(np.random.default_rng(count).normal(0, 0.05, count))
    found = statistics.mean([np.full(9, value) for value in x])
    oracle = scipy_stats.ttest_1samp(np.log(x), 0).confidence_interval(0.95)
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    half = (oracle.high - oracle.low) / 2
    assert np.log([found.low, found.high]) == pytest.approx([oracle.low, oracle.high], abs=0.1 * half)
    assert found.low * found.high == pytest.approx(found.value**2)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        pytest.param(statistics.pooled_mean, np.mean, id="the mean"),
        pytest.param(lambda t: pooled_percentile(t, 50), np.median, id="the median"),
    ],
)
def test_the_standard_error_is_that_of_another_bootstrap(ours: Any, theirs: Any) -> None:
    trials, count = trials_of(8, count=6, size=400), 6

    def of_the_chosen(chosen: NDArray[np.int64]) -> float:
        return float(np.log(theirs(np.concatenate([trials[i] for i in chosen]))))

    oracle = (
        scipy_stats.bootstrap(
            (np.arange(count),),
            of_the_chosen,
            vectorized=False,
            n_resamples=3000,
            method="percentile",
            random_state=np.random.default_rng(1),
        ).standard_error
        * (count / (count - 1)) ** 0.5
    )
    found = statistics.estimate(ours(trials))
    assert found is not None
    assert found.high is not None
    assert np.log(found.high / found.value) / scipy_stats.t.ppf(0.975, count - 1) == pytest.approx(oracle, rel=0.1)


def test_the_trial_is_the_unit_so_a_million_messages_of_two_trials_are_no_certainty() -> None:
    apart = statistics.mean([np.full(5000, 1.0), np.full(5000, 3.0)])
    assert apart is not None
    assert apart.low is not None
    assert apart.high is not None
    assert apart.low < 1
    assert apart.high > 3


def test_what_is_not_positive_has_no_interval() -> None:
    for trials in ([np.full(30, 0.0)] * 3, [np.full(30, 0.0), np.full(30, 1.0)], [np.full(30, -1.0)] * 3):
        found = statistics.mean(trials)
        assert found is not None
        assert (found.low, found.high) == (None, None)


def test_one_trial_gives_no_interval() -> None:
    for estimate in (statistics.mean(trials_of(1, 1)), percentile(trials_of(1, 1), 50)):
        assert estimate is not None
        assert (estimate.low, estimate.high) == (None, None)


def test_a_trial_without_a_delivery_is_no_second_trial() -> None:
    estimate = percentile([*trials_of(1, 1), np.empty(0)], 50)
    assert estimate is not None
    assert (estimate.low, estimate.high) == (None, None)


def test_trials_that_agree_give_an_interval_without_width() -> None:
    estimate = percentile([np.arange(1000.0)] * 5, 90)
    assert estimate == statistics.Estimate(899.0, 899.0, 899.0)


def test_the_same_seed_gives_the_same_interval_and_another_seed_another() -> None:
    trials = trials_of(9, count=7)
    assert percentile(trials, 50, seed=1) == percentile(trials, 50, seed=1)
    assert statistics.mean(trials, seed=1) == statistics.mean(trials, seed=1)
    assert statistics.mean(trials, seed=1) != statistics.mean(trials, seed=2)


@given(st.permutations(range(4)))
def test_messages_may_come_in_any_order(order: list[int]) -> None:
    trials = trials_of(10, count=4, size=200)
    turned = [np.random.default_rng(i).permutation(trials[i]) for i in order]
    mine, theirs = percentile(trials, 90), percentile(turned, 90)
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
def test_a_percentile_is_shown_only_where_ten_messages_lie_beyond_it(percent: float, least: int) -> None:
    assert statistics.supported(least, percent)
    assert not statistics.supported(least - 1, percent)
    assert percentile([np.arange(float(least))], percent) is not None
    assert percentile([np.arange(float(least - 1))], percent) is None


@given(
    st.integers(20, 60),
    st.integers(1, 5),
    st.sampled_from([50, 60, 75]),
    st.integers(0, 2**32 - 1),
)
def test_ten_different_messages_lie_beyond_a_percentile_that_is_shown(
    messages: int, deliveries: int, percent: int, seed: int
) -> None:
    """The proof in `supported`: deliveries of a message may lie anywhere, all of them beyond the percentile or none."""
    values = np.random.default_rng(seed).permutation(np.arange(float(messages * deliveries)))
    of = np.random.default_rng(seed + 1).permutation(np.repeat(np.arange(messages), deliveries))
    found = statistics.percentile([values], percent, messages)
    if found is None:
        assert messages * (100 - percent) < 1000
    else:
        assert len(set(of[values >= found.value])) >= 10


def test_many_deliveries_of_few_messages_do_not_support_a_percentile() -> None:
    assert statistics.percentile([np.arange(10_000.0)], 99, messages=100) is None
    assert statistics.percentile([np.arange(10_000.0)], 90, messages=100) is not None


def test_the_messages_of_all_trials_support_a_percentile_together() -> None:
    assert percentile([np.arange(250.0)] * 4, 99) is not None
    assert percentile([], 50) is None


def test_values_are_left_as_they_were() -> None:
    trials = trials_of(11)
    before = [t.copy() for t in trials]
    percentile(trials, 50)
    statistics.mean(trials)
    assert all((t == b).all() for t, b in zip(trials, before, strict=True))


def test_a_million_values_take_memory_in_proportion() -> None:
    trials = [np.random.default_rng(i).random(200_000) for i in range(5)]
    size = sum(t.nbytes for t in trials)
    tracemalloc.start()
    try:
        percentile(trials, 99)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 5 * size, "pooling anew for each of the resamples would take a thousand times as much"


# two groups of trials


def cost_of(group: list[tuple[float, int]]) -> statistics.Pooled | None:
    return statistics.pooled_cost([total for total, _ in group], [count for _, count in group])


def variance_of_all_draws(group: list[tuple[float, int]]) -> float:
    """Return the squared standard error of log(cost) from every way to draw the group with replacement."""
    draws = list(itertools.product(group, repeat=len(group)))
    logs = [np.log(sum(total for total, _ in draw) / sum(count for _, count in draw)) for draw in draws]
    return float(np.var(logs)) * len(group) / (len(group) - 1)


@pytest.mark.parametrize(("ours", "theirs"), [(2, 2), (3, 3), (4, 4), (5, 5), (3, 2), (5, 4)])
def test_a_ratio_has_students_interval_with_the_error_of_all_draws(ours: int, theirs: int) -> None:
    random = np.random.default_rng(ours)
    a, b = ([(float(random.uniform(50, 90)), int(random.integers(8, 12))) for _ in range(n)] for n in (ours, theirs))
    found = statistics.ratio(cost_of(a), cost_of(b), 0.9)
    v, w = variance_of_all_draws(a), variance_of_all_draws(b)
    welch = (v + w) ** 2 / (v**2 / (ours - 1) + w**2 / (theirs - 1))
    half = scipy_stats.t.ppf(0.95, int(welch)) * np.sqrt(v + w)
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    assert np.log(found.high / found.value) == pytest.approx(half, rel=0.06)
    assert np.log(found.value / found.low) == pytest.approx(half, rel=0.06)


@pytest.mark.parametrize(("ours", "theirs"), [(3, 3), (5, 5), (12, 12), (12, 9)])
def test_a_ratio_of_means_of_alike_trials_has_the_interval_of_welch(ours: int, theirs: int) -> None:
    """Where trials are of one size and differ by little, the mean of the logarithms is nearly that of the pool."""
    random = np.random.default_rng(ours)
    x, y = np.exp(random.normal(0, 0.05, ours)), np.exp(random.normal(0, 0.05, theirs))
    found = statistics.ratio(
        statistics.pooled_mean([np.full(9, v) for v in x]), statistics.pooled_mean([np.full(9, v) for v in y])
    )
    oracle = scipy_stats.ttest_ind(np.log(x), np.log(y), equal_var=False).confidence_interval(0.95)
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    assert np.log([found.low, found.high]) == pytest.approx([oracle.low, oracle.high], abs=0.15 * oracle.high)


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 8, 30, 101])
@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.9929, 0.999])
def test_student_agrees_with_scipy(confidence: float, freedom: int) -> None:
    assert statistics.student_t(confidence, freedom) == pytest.approx(scipy_stats.t.ppf((1 + confidence) / 2, freedom))


def test_a_few_trials_that_happen_to_agree_are_not_taken_for_certain() -> None:
    two = statistics.pooled_mean([np.full(9, value) for value in (1.0, 1.001)])
    ten = statistics.pooled_mean([np.full(9, 1.2 + 0.05 * (i - 4.5)) for i in range(10)])
    found = statistics.ratio(ten, two)
    assert found is not None
    assert found.low is not None
    error = np.log(found.value / found.low) / scipy_stats.t.ppf(0.975, 2)
    assert 0.03 < error < 0.05, "Welch alone would take nine degrees of freedom, and find the two groups apart"


def test_what_never_varies_has_a_ratio_without_doubt() -> None:
    def same(bytes_each: float) -> statistics.Pooled | None:
        return statistics.pooled_cost([bytes_each * count for count in (7, 11, 13)], [7, 11, 13])

    assert statistics.ratio(same(0.1), same(0.1)) == Estimate(1.0, 1.0, 1.0)
    found = statistics.ratio(same(0.3), same(0.1))
    assert found is not None
    assert (found.low, found.high) == (found.value, found.value)
    assert statistics.differs(found)


def test_a_ratio_of_two_trials_far_apart_is_wide_and_finite() -> None:
    far = statistics.pooled_cost([1e-9, 1e9], [1, 1])
    found = statistics.ratio(far, far, 0.99999)
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    assert 0 < found.low < 1e-100
    assert 1e100 < found.high < np.inf


def test_more_confidence_is_a_wider_interval() -> None:
    a, b = statistics.pooled_mean(trials_of(1)), statistics.pooled_mean(trials_of(2))
    usual, family = statistics.ratio(a, b), statistics.ratio(a, b, statistics.bonferroni(48))
    assert usual is not None
    assert family is not None
    assert usual.low is not None
    assert family.low is not None
    assert family.low < usual.low < usual.value == family.value
    assert statistics.bonferroni(1) == statistics.CONFIDENCE
    assert statistics.bonferroni(10) == pytest.approx(0.995)


@pytest.mark.parametrize("percent", PERCENTS)
def test_a_ratio_of_percentiles_is_that_of_the_pooled_values(percent: float) -> None:
    a, b = trials_of(23), trials_of(24)
    found = statistics.ratio(pooled_percentile(a, percent), pooled_percentile(b, percent))
    assert found is not None
    assert found.value == nearest_rank(np.concatenate(a), percent) / nearest_rank(np.concatenate(b), percent)


def test_a_single_trial_on_either_side_gives_no_interval() -> None:
    one, many = statistics.pooled_mean(trials_of(1, 1)), statistics.pooled_mean(trials_of(1, 5))
    for found in (statistics.ratio(one, many), statistics.ratio(many, one)):
        assert found is not None
        assert (found.low, found.high) == (None, None)
        assert not statistics.differs(found)


def test_no_ratio_is_formed_with_zero_or_without_a_figure() -> None:
    some, zero = statistics.pooled_cost([1.0, 2.0], [1, 1]), statistics.pooled_cost([0.0, 0.0], [1, 1])
    assert statistics.ratio(some, zero) is None
    assert statistics.ratio(some, None) is None
    assert statistics.ratio(None, some) is None
    assert statistics.ratio(zero, some) == Estimate(0.0)
    assert statistics.pooled_cost([1.0, None], [1, 1]) is None
    assert statistics.pooled_cost([1.0], [0]) is None


def test_a_trial_that_delivered_nothing_leaves_the_interval_open() -> None:
    idle, some = statistics.pooled_cost([1.0, 2.0], [0, 1]), statistics.pooled_cost([1.0, 2.0], [1, 1])
    for found in (statistics.ratio(idle, some), statistics.ratio(some, idle)):
        assert found is not None
        assert (found.low, found.high) == (None, None)


# coverage


def bootstrap_percentiles(statistic: statistics.Pooled, seed: int) -> Estimate:
    """Return the percentile bootstrap interval, which rtbench does not use."""
    weights = np.random.default_rng(seed).multinomial(statistic.trials, [1 / statistic.trials] * statistic.trials, 1000)
    low, high = np.percentile(statistic.of(weights.astype(float)), [2.5, 97.5])
    return Estimate(statistic.value, low, high)


@pytest.mark.statistics
@pytest.mark.parametrize("trials", [3, 5, 10])
@pytest.mark.parametrize(("name", "messages"), [("mean", 25), ("p50", 25), ("p90", 75)])
def test_an_interval_contains_the_truth_as_often_as_it_says(name: str, messages: int, trials: int) -> None:
    """Within two standard deviations of what 400 draws of a share of 95 % vary, and the percentile bootstrap is not."""
    share = coverage("log-normal", name, trials, messages, 400)
    assert share is not None
    assert share >= 0.95 - 2 * (0.95 * 0.05 / 400) ** 0.5 - 0.01
    old = coverage("log-normal", name, trials, messages, 400, bootstrap_percentiles)
    assert old is not None
    assert old < 0.95 - 2 * (0.95 * 0.05 / 400) ** 0.5 - 0.01


@pytest.mark.parametrize(("percent", "has"), [(50, True), (90, True), (99, False), (99.9, False)])
def test_a_percentile_whose_interval_would_not_cover_has_none(percent: float, has: bool) -> None:
    found = percentile([np.random.default_rng(i).lognormal(size=2000) for i in range(10)], percent)
    assert found is not None
    assert (found.low is not None) == (found.high is not None) == has
