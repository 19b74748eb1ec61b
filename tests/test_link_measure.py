"""Measuring a link, and watching it: what is not as asked is refused, and a fault is seen when it happens."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any
from urllib.parse import urlsplit

import pytest
from scipy.stats import binom

from rtbench.analysis.link_check import LinkMeasured, check, probability
from rtbench.links.link import PACKET, Done, Place
from rtbench.links.measure import burst_bytes, measure, pings, rate_bps, round_trips
from rtbench.links.stream_link import StreamLink, stream_link
from rtbench.links.witness import Gap, Witness, witness
from rtbench.plan.faults import Fault, parse_fault
from rtbench.plan.network import NETWORKS, Network

MS = 1_000_000
NETWORK = Network(rtt_s=0.1, loss=0.02, down_bps=1.6e6, up_bps=0.75e6)
AS_ASKED = LinkMeasured([100.2 + 0.1 * i for i in range(20)], lost=12, sent=300, down_bps=1.58e6, up_bps=0.76e6)
JITTERY = replace(NETWORK, jitter_s=0.02)


def rtts(*around_ms: float) -> LinkMeasured:
    return replace(AS_ASKED, rtt_ms=around_ms)


@pytest.mark.parametrize(
    ("measured", "network"),
    [
        (AS_ASKED, NETWORK),
        (replace(AS_ASKED, lost=None, sent=None), NETWORK),
        (LinkMeasured([0.2] * 20), Network()),
        (replace(AS_ASKED, lost=0), replace(NETWORK, loss=0)),
        (rtts(*range(82, 119, 2)), JITTERY),
        (replace(AS_ASKED, down_bps=1.2e6), JITTERY),
    ],
)
def test_a_link_that_is_as_asked_is_taken(measured: LinkMeasured, network: Network) -> None:
    assert check(measured, network) is None


@pytest.mark.parametrize(
    ("measured", "network", "why"),
    [
        (rtts(), NETWORK, "no ping came back"),
        (rtts(*[99.9] * 20), NETWORK, "round-trip time of 99.90 ms"),
        (rtts(*[110.0] * 20), NETWORK, "round-trip time of 110.00 ms"),
        (rtts(*[127.0] * 20), JITTERY, "round-trip time of 127.00 ms"),
        (rtts(99.9, *[100.5] * 19), NETWORK, "took 99.90 ms"),
        (rtts(*[100.5] * 14, *[120.0] * 6), NETWORK, "differ by 19.50 ms"),
        (replace(AS_ASKED, lost=0), replace(NETWORK, loss=0.03), "lost 0 of 300"),
        (replace(AS_ASKED, lost=40), NETWORK, "lost 40 of 300"),
        (replace(AS_ASKED, lost=1), replace(NETWORK, loss=0), "lost 1 of 300"),
        (replace(AS_ASKED, down_bps=1.4e6), NETWORK, "1.4 Mbit/s down, asked were 1.6"),
        (replace(AS_ASKED, up_bps=0.9e6), NETWORK, "0.9 Mbit/s up, asked were 0.75"),
        (replace(AS_ASKED, up_bps=None), NETWORK, "up could not be measured"),
    ],
)
def test_a_link_that_is_not_as_asked_is_refused(measured: LinkMeasured, network: Network, why: str) -> None:
    assert why in str(check(measured, network))


def test_a_ping_may_take_the_time_that_its_bytes_occupy_a_slow_line() -> None:
    slow = Network(rtt_s=0.02, up_bps=8e3)
    assert check(LinkMeasured([74.0] * 20, up_bps=8e3), slow) is None
    assert check(LinkMeasured([80.0] * 20, up_bps=8e3), slow) is not None


@pytest.mark.parametrize(("hits", "share"), [(0, 0.0), (1, 0.0), (0, 0.04), (12, 0.04), (60, 0.04), (300, 0.75)])
def test_the_probability_of_losses_is_that_of_the_binomial_distribution(hits: int, share: float) -> None:
    expected = min(binom.cdf(hits, 300, share), binom.sf(hits - 1, 300, share))
    assert probability(hits, 300, share) == pytest.approx(expected, rel=1e-9, abs=1e-300)


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
@pytest.mark.parametrize("datagrams", [True, False])
def test_pings_are_few_enough_for_the_time_and_the_line(network: Network, datagrams: bool) -> None:
    count, interval_s = pings(network, datagrams)
    assert 20 <= count <= 300
    assert count * interval_s <= 2 * network.rtt_s + 0.3 + 1e-9
    for bps in (network.down_bps, network.up_bps):
        assert bps is None or 8 * 53 / bps <= interval_s / 2


@pytest.mark.parametrize(
    ("bps", "size"), [(8e3, 5_792), (1e5, 12_500), (1.6e6, 30_000), (9e6, 112_500), (1e9, 12_500_000)]
)
def test_a_burst_takes_the_line_long_enough_to_be_timed(bps: float, size: int) -> None:
    assert burst_bytes(bps) == size


def test_round_trips_are_those_of_the_pings_that_came_back() -> None:
    sent_ns = [0, 10 * MS, 20 * MS]
    assert round_trips(sent_ns, [(30 * MS, 2), (50 * MS, 1)], datagrams=False) == [30, 20, 30]
    assert round_trips(sent_ns, [(35 * MS, 0), (50 * MS, 2)], datagrams=True) == [35, 30]


def test_a_rate_is_that_of_what_came_after_the_first_part() -> None:
    assert rate_bps([], datagrams=False) is rate_bps([(5, 1448)], datagrams=False) is None
    assert rate_bps([(0, 1448), (10 * MS, 1448), (20 * MS, 1448)], datagrams=False) == 8 * 1500 / 0.01


@pytest.mark.parametrize("numbers", [[0, 1, 2, 3], [0, 1, 3, 4], [2, 3]])
def test_a_lost_datagram_changes_no_rate_whether_or_not_it_occupied_the_line(numbers: list[int]) -> None:
    occupied = [(10 * MS * number, number) for number in numbers]
    dropped_before = [(10 * MS * place, number) for place, number in enumerate(numbers)]
    for heard in (occupied, dropped_before):
        assert rate_bps(heard, datagrams=True) == pytest.approx(8 * 1500 / 0.01)


ASKED = Network(rtt_s=0.06, down_bps=20e6, up_bps=8e6)


@pytest.mark.parametrize(
    ("built", "why"),
    [
        pytest.param(replace(ASKED, rtt_s=0.055), "round.trip", marks=pytest.mark.process),
        pytest.param(ASKED, "None", marks=pytest.mark.alone),
        pytest.param(replace(ASKED, rtt_s=0.07), "round.trip", marks=pytest.mark.alone),
        pytest.param(replace(ASKED, jitter_s=0.03), "round.trip", marks=pytest.mark.alone),
        pytest.param(replace(ASKED, down_bps=15e6), "Mbit/s down", marks=pytest.mark.alone),
        pytest.param(replace(ASKED, up_bps=None), "Mbit/s up", marks=pytest.mark.alone),
    ],
    ids=["faster", "as asked", "slower", "jitter", "down", "up"],
)
def test_a_stream_link_is_measured_as_it_is(built: Network, why: str) -> None:
    async def main() -> LinkMeasured:
        async with stream_link(built, "seed") as link:
            return await measure(link, ASKED)

    measured = asyncio.run(main())
    assert min(measured.rtt_ms) >= 1e3 * (built.rtt_s - built.jitter_s)
    assert (measured.lost, measured.sent) == (None, None)
    assert re.search(why, str(check(measured, ASKED)))


@dataclass
class Lossy:
    """A packet link that only loses: a relay of the datagrams of one client, for as long as it is not closed."""

    loss: float
    kind: str = PACKET
    pid: int = 0
    server: Place = field(default_factory=Place)
    clients: Place = field(default_factory=Place)

    async def reach(self, url: str) -> str:
        loop = asyncio.get_running_loop()
        self._random = Random(1)
        self._near, _ = await loop.create_datagram_endpoint(lambda: Taken(self._up), ("127.0.0.1", 0))
        server = "127.0.0.1", urlsplit(url).port or 0
        self._far, _ = await loop.create_datagram_endpoint(lambda: Taken(self._down), remote_addr=server)
        return f"udp://127.0.0.1:{self._near.get_extra_info('sockname')[1]}"

    def _up(self, data: bytes, client: tuple[str, int]) -> None:
        self._client = client
        if self._random.random() >= self.loss:
            self._far.sendto(data)

    def _down(self, data: bytes, _: tuple[str, int]) -> None:
        if self._random.random() >= self.loss:
            self._near.sendto(data, self._client)

    def close(self) -> None:
        self._near.close()
        self._far.close()

    async def plan(self, faults: Mapping[int, Fault]) -> None:
        raise NotImplementedError

    async def done(self) -> list[Done]:
        raise NotImplementedError

    async def counts(self) -> Mapping[str, Any]:
        raise NotImplementedError


class Taken(asyncio.DatagramProtocol):
    def __init__(self, take: Callable[[bytes, tuple[str, int]], None]) -> None:
        self.datagram_received = take  # type: ignore[assignment]


@pytest.mark.process
@pytest.mark.parametrize(
    ("loss", "asked", "why"),
    [
        (0.05, Network(loss=0.05), None),
        (0.05, Network(), "pings"),
        pytest.param(0.0, Network(down_bps=20e6), "Mbit/s down", marks=pytest.mark.alone),
        pytest.param(0.0, Network(up_bps=20e6), "Mbit/s up", marks=pytest.mark.alone),
        pytest.param(0.0, Network(loss=0.2), "lost 0 of 300 pings", marks=pytest.mark.long),
    ],
)
def test_a_packet_link_is_measured_by_datagrams(loss: float, asked: Network, why: str | None) -> None:
    async def main() -> LinkMeasured:
        link = Lossy(loss)
        try:
            return await measure(link, asked)
        finally:
            link.close()

    measured = asyncio.run(main())
    assert (measured.sent, measured.lost) == (300, 300 - len(measured.rtt_ms))
    found = check(replace(measured, rtt_ms=[0.1]), asked)
    assert found is None if why is None else why in str(found)


@asynccontextmanager
async def watched(network: Network) -> AsyncIterator[tuple[StreamLink, Witness]]:
    async with stream_link(network, "seed") as link, witness(link, network) as seen:
        yield link, seen


STALL_MS, CUT_AFTER_MS = 400, 550
CUT_MS = 20  # a new connection takes two round trips


async def stalled_and_cut() -> tuple[list[Gap], int, int]:
    """Let a witness see a stall and a cut; return its gaps, and when the two were planned."""
    async with watched(Network(rtt_s=0.01)) as (link, seen):
        stall_ns = time.monotonic_ns() + 60 * MS
        cut_ns = stall_ns + CUT_AFTER_MS * MS
        await link.plan({stall_ns: parse_fault(f"stall@1s for {STALL_MS}ms"), cut_ns: parse_fault("cut@2s")})
        gaps: list[Gap] = []
        while not any(gap.reset and gap.after_ns for gap in gaps):  # until the cut is over
            assert time.monotonic_ns() < cut_ns + 20_000 * MS
            gaps = await seen.report()
        return gaps, stall_ns, cut_ns


@pytest.mark.process
def test_the_witness_sees_a_stall_and_a_cut() -> None:
    gaps, stall_ns, cut_ns = asyncio.run(stalled_and_cut())
    over_ns = stall_ns + STALL_MS * MS
    stalled = [gap for gap in gaps if gap.before_ns < over_ns <= (gap.after_ns or 0)]  # a busy machine makes others
    assert [gap.reset for gap in stalled] == [False]
    (was_cut,) = [gap for gap in gaps if gap.reset]
    assert (was_cut.after_ns or 0) >= cut_ns + CUT_MS * MS


@pytest.mark.alone
def test_the_witness_is_right_to_20_ms() -> None:
    gaps, stall_ns, cut_ns = asyncio.run(stalled_and_cut())
    assert [gap.reset for gap in gaps] == [False, True]
    for (before_ns, after_ns, _), from_ns, lasts_ms in zip(gaps, (stall_ns, cut_ns), (STALL_MS, CUT_MS), strict=True):
        assert abs(before_ns - from_ns) < 20 * MS
        assert abs((after_ns or 0) - (from_ns + lasts_ms * MS)) < 20 * MS


@pytest.mark.process
def test_the_witness_tells_of_a_gap_that_is_not_over() -> None:
    async def main() -> None:
        async with watched(Network(rtt_s=0.01)) as (link, seen):
            at_ns = time.monotonic_ns() + 20 * MS
            await link.plan({at_ns: parse_fault("stall@1s for 30s")})
            while not (gaps := await seen.report()):
                assert time.monotonic_ns() < at_ns + 20_000 * MS
            ((_, after_ns, reset),) = gaps
            assert (after_ns, reset) == (None, False)

    asyncio.run(main())


@pytest.mark.alone  # a busy machine makes gaps of its own
def test_without_a_fault_the_witness_sees_nothing() -> None:
    network = Network(rtt_s=0.04, jitter_s=0.02, up_bps=1e6)

    async def main() -> None:
        async with watched(network) as (link, seen):
            while (await link.counts())["down"]["bytes"] < 60:
                await asyncio.sleep(0.02)
            assert await seen.report() == []

    asyncio.run(main())
