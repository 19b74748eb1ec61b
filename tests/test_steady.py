"""Bytes and age at any update rate: what formats and laws say, and what is measured."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from rtbench.analysis import steady
from rtbench.plan.workload import Workload
from rtbench.transports import registry

WORKLOAD = Workload(subscribers=10)
INTERVAL_S = 0.5
URL = "http://127.0.0.1:40000"


def law(
    transport: str, *rates_hz: float, workload: Workload = WORKLOAD, tls: bool = False, **options: Any
) -> steady.Law:
    client = registry.client(transport, "library")
    assert client.predict is not None
    return steady.law(workload, rates_hz, client.predict, client.steady, options, URL, tls)


def polling(*rates_hz: float, **others: Any) -> steady.Law:
    return law("polling", *rates_hz, interval_s=INTERVAL_S, **others)


def bytes_at(found: steady.Law, rate_hz: float) -> float:
    value = found.at(rate_hz)["expected_data_bytes_per_delivery"]
    assert value is not None
    return value


def test_a_poll_that_fetches_nothing_is_paid_by_the_next_delivery() -> None:
    found = polling(0.25, 0.5, 1.0, 2.0)
    slow, slower, slowest = (bytes_at(found, rate) for rate in (1.0, 0.5, 0.25))
    an_empty_poll = (slowest - slower) / 4  # 8 polls a message instead of 4
    assert slower - slow == pytest.approx(2 * an_empty_poll, rel=0.01)
    assert 300 < an_empty_poll < 600  # a request and its answer, each one segment


def test_a_push_takes_the_same_bytes_at_every_rate() -> None:
    for found in (law("websocket"), law("mqtt", qos=2), law("tcp")):
        assert len(set(found.data_bytes_per_delivery)) == 1


def test_polling_takes_the_fewest_bytes_at_a_high_rate_and_the_most_at_a_low_one() -> None:
    polls, longs = polling(0.5, 50), law("long-polling", 0.5, 50)
    assert bytes_at(polls, 50) < bytes_at(longs, 50) / 2
    assert bytes_at(polls, 0.5) > bytes_at(longs, 0.5) * 2


def test_the_headers_of_a_segment_and_a_record_are_counted() -> None:
    plain, encrypted = (bytes_at(law("tcp", 1.0, tls=tls), 1.0) for tls in (False, True))
    segments = 1.1  # the publish hop of a message is shared by ten subscribers
    assert encrypted - plain == pytest.approx(22 * segments)
    assert plain - 100 * segments > 52 * segments


@pytest.mark.parametrize(("arrivals", "gaps"), [("constant", 0.5), ("poisson", 1.0)])
def test_the_age_is_half_a_gap_or_a_whole_one_and_half_a_polling_interval(arrivals: str, gaps: float) -> None:
    workload = Workload(arrivals=arrivals)
    for rate_hz in (0.5, 4.0):
        pushed, polled = law("sse", rate_hz, workload=workload), polling(rate_hz, workload=workload)
        assert pushed.at(rate_hz)["expected_age_mean_ms"] == pytest.approx(1000 * gaps / rate_hz)
        assert polled.at(rate_hz)["expected_age_mean_ms"] == pytest.approx(1000 * gaps / rate_hz + 250)


def test_a_rate_that_nobody_asked_for_has_no_expectation() -> None:
    assert set(law("sse", 3.3).at(7.7).values()) == {None}


@pytest.mark.process
def test_what_is_measured_is_what_the_format_says(comparison: Path) -> None:
    with (comparison / "rates.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["part"] for row in rows} == {"busy", "sparse"}
    assert {row["variant"] for row in rows if row["part"] == "sparse"} == {row["variant"] for row in rows}
    for row in rows:
        measured, expected = (float(row[f"{of}data_bytes_per_delivery"]) for of in ("", "expected_"))
        # polls go on a little longer than messages, and long-polls may find two messages
        near = 0.02 if row["transport"] not in ("polling", "long-polling") else 0.35
        assert measured == pytest.approx(expected, rel=near), row["variant"]
