"""The policies on a simulated clock, the settings that name them, and what is computed from outages."""

from __future__ import annotations

from array import array
from itertools import islice
from random import Random

import numpy as np
import pytest

from rtbench.analysis.outages import Recovery, most_back_within, recoveries
from rtbench.errors import UsageError
from rtbench.plan.reconnect import BASE_S, CAP_S, NAIVE, NONE, POLICIES, ROBUST, Reconnect
from rtbench.plan.records import PUBLISHER, SUBSCRIBER, Outage
from rtbench.plan.settings import SETTINGS, Given, policies_of, reconnect_of, resolve
from rtbench.transports.records import PublisherRecord, SubscriberRecord
from rtbench.trial.coordinator import ClockOffset
from rtbench.trial.merging import merged
from tests.builders import deliveries


def delays(policy: str, count: int, seed: int = 1) -> list[float]:
    return list(islice(Reconnect(policy).delays_s(Random(seed)), count))


def test_without_a_policy_nothing_is_tried_and_naively_every_second() -> None:
    assert delays(NONE, 3) == []
    assert delays(NAIVE, 3) == [1.0, 1.0, 1.0]


def test_the_delays_of_many_clients_are_uniform_up_to_a_limit_that_doubles() -> None:
    clients = [delays(ROBUST, 9, seed) for seed in range(2000)]
    for attempt, of_attempt in enumerate(zip(*clients, strict=True)):
        longest = min(CAP_S, BASE_S * 2**attempt)
        assert 0 <= min(of_attempt) < 0.01 * longest
        assert 0.99 * longest < max(of_attempt) <= longest
        assert abs(sum(of_attempt) / len(clients) - longest / 2) < 0.03 * longest


def test_a_server_that_stays_away_for_days_is_tried_every_few_seconds() -> None:
    clock_s, attempts = 0.0, 0
    for delay_s in Reconnect(ROBUST).delays_s(Random(1)):
        clock_s, attempts = clock_s + delay_s, attempts + 1
        if clock_s > 24 * 3600:
            break
    assert attempts == pytest.approx(24 * 3600 / (CAP_S / 2), rel=0.02)


def test_a_seed_gives_the_same_delays_again() -> None:
    assert delays(ROBUST, 5, seed=3) == delays(ROBUST, 5, seed=3) != delays(ROBUST, 5, seed=4)


def given(values: dict[str, object]) -> dict[str, Given]:
    return resolve({name: (value, "flag") for name, value in values.items()}, SETTINGS)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"reconnect": "sometimes"}, "--reconnect must be one of none, naive, robust: got 'sometimes'"),
        ({"reconnect": "naive", "offline": "x"}, "--offline must be one of queue, drop: got 'x'"),
        ({"offline": "drop"}, "--offline is for clients that connect again: give --reconnect"),
        ({"keep_alive": 1.0}, "--keep-alive is for clients that connect again: give --reconnect"),
    ],
)
def test_a_wrong_setting_is_refused_with_what_would_be_right(values: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError) as raised:
        policies_of(given(values))
    assert str(raised.value) == said


def test_settings_name_a_policy_or_none() -> None:
    assert policies_of(given({})) == [""]
    assert policies_of(given({"fault": "cut@1s"})) == [ROBUST]
    assert policies_of(given({"reconnect": list(POLICIES)})) == list(POLICIES)
    assert reconnect_of("", given({})) is None
    assert reconnect_of(NAIVE, given({"keep_alive": 2.0})) == Reconnect(NAIVE, "queue", 2.0)


def test_recovery_ends_with_the_first_message_of_the_new_connection() -> None:
    outages = [
        Outage(SUBSCRIBER, 0, lost_ns=150, back_ns=300, attempts=2, resumed=True),
        Outage(SUBSCRIBER, 1, lost_ns=120, back_ns=0, attempts=9),
        Outage(SUBSCRIBER, 0, lost_ns=900, back_ns=950, attempts=1),  # of the next fault
        Outage(SUBSCRIBER, 2, lost_ns=130, back_ns=140, attempts=1, planned=True),
        Outage(PUBLISHER, 0, lost_ns=130, back_ns=140, attempts=1),
    ]
    # at 110 a message was still under way; the one at 305 went to another subscriber
    received = deliveries([0, 0, 0, 0], received_ns=[110, 305, 310, 320], subscriber=[0, 1, 0, 0])
    assert recoveries(outages, received, begin_ns=100, next_ns=900) == [
        Recovery(0, detect_ns=50, recover_ns=210, attempts=2, resumed=True),
        Recovery(1, detect_ns=20, recover_ns=None, attempts=9, resumed=False),
    ]


def test_the_largest_number_of_connections_that_came_back_at_once() -> None:
    outages = [Outage(SUBSCRIBER, i, 1, back_ns) for i, back_ns in enumerate([500, 0, 100, 250, 200, 310, 0])]
    assert most_back_within(outages, 100) == 2  # 200 and 250, or 250 and 310
    assert most_back_within(outages, 150) == 3
    assert most_back_within(outages[1:2], 100) == 0


def test_outages_are_put_on_the_clock_of_the_trial() -> None:
    """The publisher's clock is 1,000 ahead, the subscriber's 5,000; the trial starts at 100 of the coordinator's."""
    times, zeros = array("q", [1100]), array("i", [0])
    published = PublisherRecord(zeros, zeros, times, times, times, times, array("b", [2]))
    published.outages = [Outage(PUBLISHER, 0, lost_ns=1150, back_ns=1160)]
    received = SubscriberRecord(outages=[Outage(SUBSCRIBER, 0, lost_ns=5120, back_ns=0)])
    schedule = [np.array([0])]
    found = merged([(published, ClockOffset(1000, 0))], [(received, ClockOffset(5000, 0))], schedule)
    assert found is not None
    assert found[2] == [Outage(SUBSCRIBER, 0, 20, 0), Outage(PUBLISHER, 0, 50, 60)]
