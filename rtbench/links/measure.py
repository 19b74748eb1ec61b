"""Measures a link from outside, before a trial: with a probe at each side, which knows nothing of how it works.

Over a packet link by datagrams, which are lost and queued as packets are. Over a stream link by one TCP connection.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from itertools import pairwise
from urllib.parse import urlsplit

from rtbench.analysis.link_check import BURST_S, MOST_DATAGRAMS, PING_WIRE_BYTES, LinkMeasured
from rtbench.links.link import PACKET, Link, Place
from rtbench.links.probe import DATAGRAM_BYTES
from rtbench.links.stream_line import SEGMENT_BYTES, wire_bytes
from rtbench.plan.network import Network
from rtbench.system.helper import Helper, helper

_UDP_HEADER_BYTES = 28  # with that of IPv4
_STREAM_PINGS, _STREAM_INTERVAL_S = 20, 10e-3
_DATAGRAM_PINGS, _DATAGRAM_INTERVAL_S = 300, 1e-3
_PINGING_S = 0.3  # and two round trips: pings take no longer, even if they are few then
_LEAST_BURST_BYTES, _SHORTEST_BURST_BYTES = 30_000, 4 * SEGMENT_BYTES
_LONG_BURST_S = 1.0  # a burst of the least bytes may take so long
_SLACK_S = 0.2
_FASTER = 1.5  # than asked are datagrams sent, so that they wait for the line

Heard = Sequence[tuple[int, int]]  # when (ns) something came, and how many bytes of a stream or which datagram


@asynccontextmanager
async def probe_at(place: Place) -> AsyncIterator[Helper]:
    """Start a probe at a place; end it on leaving."""
    async with helper("the probe of the link", "rtbench.links.probe") as probe:
        if place.namespaces is not None:
            await probe.ask({"do": "enter", **asdict(place.namespaces)})
        yield probe


@asynccontextmanager
async def probes(link: Link) -> AsyncIterator[tuple[Helper, Helper, dict[str, str | int]]]:
    """Start a probe at each side of a link; return that of the server, that of the clients, and how the one is reached.

    Raises:
        TrialError: one did not start, or the link does not lead to it.
    """
    async with probe_at(link.server) as server, probe_at(link.clients) as client:
        port = (await server.ask({"do": "listen", "host": link.server.host}))["port"]
        url = urlsplit(await link.reach(f"tcp://{link.server.host}:{port}"))
        yield server, client, {"host": url.hostname or "", "port": url.port or 0}


async def measure(link: Link, network: Network) -> LinkMeasured:
    """Measure a link that should be `network`; rates only where that limits them, loss only by datagrams.

    It takes about four round-trip times, and half a second.

    Raises:
        TrialError: it cannot be measured.
    """
    datagrams = link.kind == PACKET
    async with probes(link) as (server, client, address):
        within_s = 60 + 10 * (network.rtt_s + network.jitter_s)
        await client.ask({"do": "connect", **address, "datagrams": datagrams}, within_s)
        count, interval_s = pings(network, datagrams)
        wait_s = network.rtt_s + network.jitter_s + _SLACK_S
        question = {"do": "ping", "count": count, "interval_s": interval_s, "wait_s": wait_s}
        pinged = await client.ask(question, within_s)
        rtt_ms = round_trips(pinged["sent_ns"], pinged["heard"], datagrams)
        up = await _rate(client, server, network.up_bps, network, datagrams)
        down = await _rate(server, client, network.down_bps, network, datagrams)
    if datagrams:
        return LinkMeasured(rtt_ms, count - len(rtt_ms), count, down, up)
    return LinkMeasured(rtt_ms, down_bps=down, up_bps=up)


def pings(network: Network, datagrams: bool) -> tuple[int, float]:
    """Return how many pings are sent, and how many seconds apart: one has left the line long before the next comes."""
    slowest = min((bps for bps in (network.down_bps, network.up_bps) if bps), default=None)
    line_s = 3 * 8 * PING_WIRE_BYTES / slowest if slowest else 0.0
    if not datagrams:
        return _STREAM_PINGS, max(_STREAM_INTERVAL_S, line_s)
    interval_s = max(_DATAGRAM_INTERVAL_S, line_s)
    fitting = int((2 * network.rtt_s + _PINGING_S) / interval_s)
    return min(max(fitting, _STREAM_PINGS), _DATAGRAM_PINGS), interval_s


def burst_bytes(bps: float) -> int:
    """Return how long a burst is: 100 ms of the line, at least 30 kB unless that takes a second, and some segments."""
    least = min(_LEAST_BURST_BYTES, bps / 8 * _LONG_BURST_S)
    return round(max(bps / 8 * BURST_S, least, _SHORTEST_BURST_BYTES))


def round_trips(sent_ns: Sequence[int], heard: Heard, datagrams: bool) -> list[float]:
    """Return the round-trip times in ms of the pings that came back; on a stream they come back in order."""
    if datagrams:
        return [(at_ns - sent_ns[number]) / 1e6 for at_ns, number in heard]
    came_ns = [at_ns for at_ns, size in heard for _ in range(size)]
    return [(came - sent) / 1e6 for sent, came in zip(sent_ns, came_ns, strict=False)]


def rate_bps(heard: Heard, datagrams: bool) -> float | None:
    """Return the rate, headers included, at which a burst came; None if too little did.

    On a stream that is what came after its first part. Of datagrams only neighbours tell: one that was lost between
    may or may not have occupied the line.
    """
    if datagrams:
        gaps_ns = [after - before for (before, i), (after, j) in pairwise(heard) if j == i + 1]
        wire = (DATAGRAM_BYTES + _UDP_HEADER_BYTES) * len(gaps_ns)
        elapsed_ns = sum(gaps_ns)
    else:
        wire = wire_bytes(sum(size for _, size in heard[1:]))
        elapsed_ns = heard[-1][0] - heard[0][0] if heard else 0
    return 8e9 * wire / elapsed_ns if elapsed_ns > 0 else None


async def _rate(sender: Helper, receiver: Helper, bps: float | None, network: Network, datagrams: bool) -> float | None:
    if bps is None:
        return None
    size = burst_bytes(bps)
    count = min(size // SEGMENT_BYTES, MOST_DATAGRAMS) if datagrams else size
    takes_s = 8 * wire_bytes(size) / bps
    wait_s = network.rtt_s + network.jitter_s + 1.5 * takes_s + _SLACK_S
    interval_s = 8 * (DATAGRAM_BYTES + _UDP_HEADER_BYTES) / bps / _FASTER
    within_s = 60 + 2 * wait_s
    await sender.ask({"do": "burst", "count": count, "interval_s": interval_s}, within_s)
    heard = (await receiver.ask({"do": "heard", "count": count, "wait_s": wait_s}, within_s))["heard"]
    return rate_bps(heard, datagrams)
