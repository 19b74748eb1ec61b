"""Age of information against its law, and against a walk along the clock."""

from __future__ import annotations

import numpy as np
import pytest

from rtbench.analysis.age import mean_age_ms

MS = 1_000_000


def test_steady_messages_are_as_old_as_they_take_and_half_a_gap_more() -> None:
    due = np.arange(1000) * 20 * MS
    assert mean_age_ms(np.zeros(1000, dtype=int), due, due + 3 * MS) == pytest.approx(3 + 10)


def test_streams_do_not_touch_each_other() -> None:
    due = np.tile(np.arange(500) * 20 * MS, 2)
    stream = np.repeat([7, 3], 500)
    took = np.repeat([1 * MS, 5 * MS], 500)
    assert mean_age_ms(stream, due, due + took) == pytest.approx((1 + 5) / 2 + 10)


def test_what_was_overtaken_is_no_news() -> None:
    due = np.array([0, 10, 20]) * MS
    received = np.array([1, 40, 22]) * MS  # the second comes after the third
    # from 1 to 22 the first is the newest, from 22 to 40 the third
    assert mean_age_ms(np.zeros(3, dtype=int), due, received) == pytest.approx(
        ((1 + 22) / 2 * 21 + (2 + 20) / 2 * 18) / 39
    )


def test_it_agrees_with_a_walk_along_the_clock() -> None:
    random = np.random.default_rng(5)
    due = np.sort(random.integers(0, 3000, 100)) * MS // 10
    received = due + random.integers(1, 500, 100) * MS // 10
    order = np.argsort(received)
    ages = [t - max(due[received <= t]) for t in range(int(received.min()), int(received.max()), MS // 100)]
    got = mean_age_ms(np.zeros(100, dtype=int), due[order], received[order])
    assert got == pytest.approx(np.mean(ages) / MS, rel=1e-3)


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_deliveries_have_no_age(count: int) -> None:
    nothing = np.zeros(count, dtype=int)
    assert mean_age_ms(nothing, nothing, nothing) is None
