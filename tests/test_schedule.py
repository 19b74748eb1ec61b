from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from rtbench.plan.schedule import due_times
from rtbench.plan.workload import ARRIVALS, Workload

BOTH = pytest.mark.parametrize("arrivals", ARRIVALS)
THREE = Workload(pattern="room", publishers=3, subscribers=3, rate_hz=200, duration_s=4, warmup_s=1)


def flat(workload: Workload, seed: int, block: int) -> list[list[int]]:
    return [times.tolist() for times in due_times(workload, seed, block)]


@BOTH
def test_the_same_seed_and_block_give_the_same_schedule(arrivals: str) -> None:
    workload = replace(THREE, arrivals=arrivals)
    assert flat(workload, 1, 0) == flat(workload, 1, 0)


@BOTH
@pytest.mark.parametrize(
    ("seed", "block"),
    [
        pytest.param(1, 1, id="another block"),
        pytest.param(2, 0, id="another seed"),
        pytest.param(0, 1, id="seed and block changed round"),
    ],
)
def test_another_seed_or_block_gives_another_schedule(arrivals: str, seed: int, block: int) -> None:
    workload = replace(THREE, arrivals=arrivals)
    assert not set(map(tuple, flat(workload, 1, 0))) & set(map(tuple, flat(workload, seed, block)))


@BOTH
def test_what_is_not_of_the_schedule_does_not_change_it(arrivals: str) -> None:
    workload = replace(THREE, arrivals=arrivals)
    larger = replace(workload, payload_bytes=1000, pattern="fan-out", subscribers=99)
    assert flat(workload, 1, 0) == flat(larger, 1, 0)


@given(
    st.builds(
        Workload,
        pattern=st.just("fan-out"),
        publishers=st.integers(1, 4),
        subscribers=st.just(4),
        rate_hz=st.floats(5, 2000),
        arrivals=st.sampled_from(ARRIVALS),
        duration_s=st.floats(0.3, 2),
        warmup_s=st.floats(0, 1),
    ),
    st.integers(0, 2**32),
)
def test_times_are_sorted_and_lie_between_start_and_end(workload: Workload, seed: int) -> None:
    schedule = due_times(workload, seed, 0)
    assert len(schedule) == workload.publishers
    for times in schedule:
        assert times.dtype == np.int64
        assert (np.diff(times) >= 0).all()
        assert (times >= 0).all()
        assert (times < round((workload.warmup_s + workload.duration_s) * 1e9)).all()


@BOTH
@pytest.mark.parametrize(
    ("rate_hz", "duration_s"),
    [
        pytest.param(50_000, 1, id="fast and short"),
        pytest.param(20, 3000, id="slow and long"),
        pytest.param(333.3, 200, id="a rate that divides nothing"),
    ],
)
def test_the_rate_is_the_one_asked_for(arrivals: str, rate_hz: float, duration_s: float) -> None:
    workload = Workload(rate_hz=rate_hz, duration_s=duration_s, warmup_s=0, arrivals=arrivals)
    expected = rate_hz * duration_s
    tolerance = 1 if arrivals == "constant" else 4 * expected**0.5
    (times,) = due_times(workload, 7, 0)
    assert abs(len(times) - expected) <= tolerance
    assert times[-1] > (duration_s - 20 / rate_hz) * 1e9, "the schedule goes on to the end"


def test_poisson_gaps_are_exponential_and_independent() -> None:
    workload = Workload(rate_hz=1000, duration_s=20, warmup_s=0, arrivals="poisson")
    (times,) = due_times(workload, 11, 0)
    gaps = np.diff(times) / 1e9
    assert stats.kstest(gaps, stats.expon(scale=1 / 1000).cdf).pvalue > 0.01
    assert stats.kstest(times, stats.uniform(scale=20e9).cdf).pvalue > 0.01
    assert abs(np.corrcoef(gaps[:-1], gaps[1:])[0, 1]) < 4 / len(gaps) ** 0.5


def test_constant_gaps_are_constant_and_the_phase_is_random() -> None:
    workload = replace(THREE, arrivals="constant", rate_hz=300, publishers=500, subscribers=500)
    schedule = due_times(workload, 3, 0)
    gap_ns = 1e9 / 300
    assert all(np.abs(np.diff(times) - gap_ns).max() <= 1 for times in schedule)
    phases = np.array([times[0] for times in schedule])
    assert stats.kstest(phases, stats.uniform(scale=gap_ns).cdf).pvalue > 0.01


def test_publishers_are_independent_of_each_other() -> None:
    workload = replace(THREE, arrivals="poisson", rate_hz=1000, duration_s=20, warmup_s=0)
    bins = np.linspace(0, 20e9, 2001)
    counts = [np.histogram(times, bins)[0] for times in due_times(workload, 5, 0)]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert abs(np.corrcoef(counts[one], counts[other])[0, 1]) < 4 / 2000**0.5


@BOTH
def test_a_publisher_keeps_its_times_when_others_join(arrivals: str) -> None:
    workload = replace(THREE, arrivals=arrivals)
    more = replace(workload, publishers=5, subscribers=5)
    assert flat(more, 1, 0)[:3] == flat(workload, 1, 0)


@BOTH
def test_the_slowest_schedule_there_is_may_be_empty_and_nothing_breaks(arrivals: str) -> None:
    workload = Workload(rate_hz=1, duration_s=1, warmup_s=0, arrivals=arrivals)
    counts = [len(due_times(workload, seed, 0)[0]) for seed in range(50)]
    assert max(counts) >= 1
    if arrivals == "constant":
        assert set(counts) == {1}
