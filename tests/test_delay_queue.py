"""The delay queue on a simulated clock."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtbench.links.delay_queue import NEVER_NS, DelayQueue, line_bytes
from rtbench.plan.network import Network

MS = 1_000_000


NOTHING = Network()


def queue_of(network: Network = NOTHING, bps: float | None = None, seed: str = "seed") -> DelayQueue[int]:
    return DelayQueue(network, bps, seed)


def test_a_packet_is_due_after_half_of_the_round_trip_time() -> None:
    queue = queue_of(Network(rtt_s=0.1))
    assert queue.due_ns == NEVER_NS
    queue.put(7 * MS, 1, 100)
    assert queue.due_ns == 57 * MS
    assert queue.take(57 * MS - 1) == []
    assert queue.take(57 * MS) == [1]
    assert queue.due_ns == NEVER_NS


def test_packets_occupy_the_line_one_after_the_other() -> None:
    queue = queue_of(Network(rtt_s=0.01), bps=1e6)  # 1 ms for 125 bytes
    for packet in range(3):
        queue.put(0, packet, 125)
    queue.put(10 * MS, 3, 250)  # the line is free again
    assert queue.take(6 * MS - 1) == []
    assert queue.take(6 * MS) == [0]
    assert queue.take(8 * MS) == [1, 2]
    assert queue.due_ns == 17 * MS


def test_a_full_line_drops_what_does_not_fit_and_counts_it() -> None:
    queue = queue_of(Network(rtt_s=0.001), bps=1e6)
    for packet in range(70):
        queue.put(0, packet, 1024)
    assert queue.counts() == {"packets": 70, "bytes": 70 * 1024, "lost": 0, "overflowed": 6}
    assert queue.take(10**12) == list(range(64))


@pytest.mark.parametrize(("rtt_s", "bps", "most"), [(0.3, 1.6e6, 120_000), (0.3, 1e5, 65_536), (0, 1e9, 65_536)])
def test_the_line_takes_two_bandwidth_delay_products_and_at_least_64_kib(rtt_s: float, bps: float, most: int) -> None:
    assert line_bytes(rtt_s, bps) == pytest.approx(most)


@given(st.lists(st.integers(0, 3 * MS), min_size=1), st.integers(0, 1000))
def test_jitter_stays_in_its_bounds_and_keeps_the_order(gaps: list[int], seed: int) -> None:
    queue = queue_of(Network(rtt_s=0.02, jitter_s=0.01), seed=str(seed))
    now_ns, arrived = 0, []
    for packet, gap in enumerate(gaps):
        now_ns += gap
        queue.put(now_ns, packet, 100)
        latest_ns = now_ns + 15 * MS
    while (due_ns := queue.due_ns) != NEVER_NS:
        arrived += queue.take(due_ns)
        assert due_ns >= 5 * MS
    assert arrived == list(range(len(gaps)))
    assert due_ns == NEVER_NS
    assert queue.take(latest_ns) == []


def test_a_lone_packet_has_any_delay_between_the_bounds() -> None:
    queue = queue_of(Network(rtt_s=0.02, jitter_s=0.01))
    delays = []
    for packet in range(1000):
        queue.put(packet * 100 * MS, packet, 100)
        delays.append(queue.due_ns - packet * 100 * MS)
        assert queue.take(queue.due_ns) == [packet]
    assert 5 * MS <= min(delays) < 5.1 * MS
    assert 14.9 * MS < max(delays) <= 15 * MS
    assert sum(delays) / 1000 == pytest.approx(10 * MS, rel=0.03)


def test_loss_has_its_share_and_is_the_same_for_the_same_seed() -> None:
    def kept(seed: str) -> list[int]:
        queue = queue_of(Network(loss=0.1), seed=seed)
        for packet in range(5000):
            queue.put(0, packet, 100)
        return queue.take(0)

    assert kept("one") == kept("one") != kept("two")
    assert abs(5000 - len(kept("one")) - 500) < 5 * (5000 * 0.1 * 0.9) ** 0.5


def test_a_lost_packet_does_not_occupy_the_line() -> None:
    queue = queue_of(Network(loss=0.5), bps=1e6)
    for packet in range(20):
        queue.put(0, packet, 125)
    kept = queue.take(10**12)
    again = queue_of(Network(loss=0.5), bps=1e6)
    for packet in range(20):
        again.put(0, packet, 125)
    assert 0 < len(kept) < 20
    assert again.take(len(kept) * MS) == kept


def test_what_is_on_its_way_can_be_taken_in_parts_and_removed() -> None:
    queue = queue_of()
    for packet in range(5):
        queue.put(0, packet, 100)
    assert queue.take(0, at_most=2) == [0, 1]
    assert queue.clear() == 3
    assert queue.take(0) == []
