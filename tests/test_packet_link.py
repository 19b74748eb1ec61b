"""The packet link, by what two processes see that talk over it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from rtbench.errors import TrialError
from rtbench.links import packet_link as module
from rtbench.links.delay_queue import NEVER_NS, DelayQueue
from rtbench.links.link import Link, Namespaces, Place
from rtbench.links.namespaces import enter
from rtbench.links.packet_link import packet_link, packet_link_missing
from rtbench.links.packet_relay import Direction
from rtbench.links.packets import ACK, SYN, reset, way_back
from rtbench.plan.faults import parse_fault
from rtbench.plan.network import Network, network_of
from tests.test_packets import tcp

needs_link = pytest.mark.skipif(packet_link_missing() is not None, reason=str(packet_link_missing()))
pytestmark = pytest.mark.process

LEAST_RTO_S = 0.2  # of Linux: TCP itself notices nothing before
PAYLOAD_SHARE = 1448 / 1500  # of a full packet, without the headers of IP and of TCP with time stamps


def network(text: str) -> Network:
    found = network_of(text)
    assert found is not None
    return found


class Peer:
    """A process at one end of the link."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def said(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(await asyncio.wait_for(self._process.stdout.readline(), 30))

    async def end(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()


@asynccontextmanager
async def peer(place: Place, *arguments: object) -> AsyncIterator[Peer]:
    assert place.namespaces is not None
    words = [place.namespaces.user, place.namespaces.network, *map(str, arguments)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.packet_peers", *words, stdout=asyncio.subprocess.PIPE
    )
    running = Peer(process)
    try:
        yield running
    finally:
        await running.end()


@asynccontextmanager
async def talking(
    link: Link, server: str, client: str, *numbers: object, amount: Any = ()
) -> AsyncIterator[list[Peer]]:
    """Start a server, and a client once it listens."""
    async with peer(link.server, server, link.server.host, *amount) as serving:
        assert await serving.said() == "ready"
        async with peer(link.clients, client, link.server.host, *numbers) as asking:
            yield [serving, asking]


async def break_after(link: Link, text: str) -> int:
    """Plan a fault, whose time counts from now; return its time."""
    fault = parse_fault(text)
    at_ns = time.monotonic_ns() + round(1e9 * fault.at_s)
    await link.plan({at_ns: fault})
    return at_ns


async def pings(text: str, amount: int, gap_ms: float, fault: str = "") -> tuple[Any, Any, Any]:
    """Send pings; return number, time of sending and time of receipt for each that came back, counts, what was done."""
    async with packet_link(network(text), "seed") as link, peer(link.server, "echo", link.server.host) as echo:
        assert await echo.said() == "ready"
        async with peer(link.clients, "ping", link.server.host, amount, gap_ms, 200) as ping:
            assert await ping.said() == "begun"
            if fault:
                await break_after(link, fault)
            seen = await ping.said()
        return seen, await link.counts(), await link.done()


def rtts_ms(seen: list[list[int]]) -> list[float]:
    return [(received_ns - sent_ns) / 1e6 for _, sent_ns, received_ns in seen]


@pytest.mark.program("unshare")
def test_a_system_that_has_network_namespaces_and_tunnels_has_a_packet_link() -> None:
    tried = subprocess.run(["unshare", "-Urn", "test", "-w", "/dev/net/tun"], capture_output=True, check=False)
    if tried.returncode == 0:
        assert packet_link_missing() is None


@needs_link
def test_the_round_trip_time_is_the_one_asked_for_and_never_less() -> None:
    seen, counts, _ = asyncio.run(pings("rtt=40ms", 40, 5))
    assert len(seen) == 40
    assert min(rtts_ms(seen)) >= 40
    assert statistics.median(rtts_ms(seen)) <= 1.5 * 40
    for way in ("up", "down"):
        assert counts[way]["packets"] == 40
        assert counts[way]["lost"] == counts[way]["overflowed"] == 0


@needs_link
def test_jitter_stays_within_its_bounds_and_the_order_is_kept() -> None:
    seen, _, _ = asyncio.run(pings("rtt=60ms,jitter=40ms", 100, 2))
    assert [number for number, _, _ in seen] == list(range(100))
    times = rtts_ms(seen)
    assert min(times) >= 60 - 40
    assert statistics.median(times) <= 60 + 40
    assert max(times) - min(times) >= 40 / 2


@needs_link
def test_packets_are_lost_at_the_rate_asked_for_independently_on_each_way() -> None:
    seen, counts, _ = asyncio.run(pings("rtt=0ms,loss=10%", 600, 0.3))
    up, down = counts["up"], counts["down"]
    assert up["packets"] == 600
    assert down["packets"] == 600 - up["lost"]
    assert len(seen) == down["packets"] - down["lost"]
    for way in (up, down):
        deviation = (way["packets"] * 0.1 * 0.9) ** 0.5
        assert abs(way["lost"] - 0.1 * way["packets"]) < 5 * deviation


@needs_link
@pytest.mark.alone
def test_a_connection_has_the_rate_of_the_line() -> None:
    async def transferred() -> Any:
        async with (
            packet_link(network("rtt=10ms,up=10mbit"), "seed") as link,
            talking(link, "sink", "send", 700_000) as (sink, _),
        ):
            return await sink.said()

    (first_bytes, first_ns), (all_bytes, last_ns) = asyncio.run(transferred())
    assert all_bytes == 700_000
    rate_bps = 8e9 * (all_bytes - first_bytes) / (last_ns - first_ns)
    assert rate_bps / PAYLOAD_SHARE == pytest.approx(10e6, rel=0.05)


@needs_link
def test_a_link_without_loss_loses_nothing_however_fast_one_sends() -> None:
    async def sent_again() -> Any:
        async with (
            packet_link(network("rtt=20ms"), "seed") as link,
            talking(link, "sink", "send", 20_000_000) as (_, send),
        ):
            assert await send.said() == "connected"
            return await send.said()

    assert asyncio.run(sent_again()) == 0


@needs_link
@pytest.mark.parametrize("lossy", ["rtt=20ms", "rtt=20ms,loss=3%,up=50mbit,down=50mbit"])
def test_a_cut_resets_every_connection_at_both_ends_idle_or_busy(lossy: str) -> None:
    async def cut() -> Any:
        async with (
            packet_link(network(lossy), "seed") as link,
            talking(link, "accept", "connect", 9, amount=(9,)) as both,
        ):
            assert [await each.said() for each in both] == ["connected"] * 2
            at_ns = await break_after(link, "cut@200ms")
            return at_ns, [await each.said() for each in both], await link.done()

    at_ns, times, (done,) = asyncio.run(cut())
    assert done.counts["reset"] == 9
    assert done.counts["dropped"] > 0
    assert 0 <= done.began_ns - at_ns < 1e9 * LEAST_RTO_S
    for resets in times:
        assert len(resets) == 9
        assert min(resets) >= at_ns
        assert max(resets) - at_ns < 1e9 * LEAST_RTO_S


def test_what_comes_late_on_a_cut_connection_is_answered_until_its_ports_are_used_again() -> None:
    flow = bytes((10, 77, 0, 1, 10, 77, 0, 2)) + struct.pack("!HH", 40000, 80)
    (inside, interface), (other, _) = (socket.socketpair(type=socket.SOCK_DGRAM) for _ in range(2))
    inside.setblocking(False)
    direction = Direction(inside.fileno(), other.fileno(), DelayQueue(Network(), None, "seed"))
    direction.seen.cut.add(flow)
    late, opening = tcp(flow, 7, 300, ACK), tcp(flow, 90, 0, SYN)
    for packet in (late, opening, late):
        interface.send(packet)
    direction.read()
    assert interface.recv(2048) == reset(way_back(flow), 300, 7)
    assert direction.queue.take(NEVER_NS) == [opening, late]
    assert direction.seen.sent[flow] == late


@needs_link
def test_a_stall_holds_everything_and_loses_nothing() -> None:
    seen, _, (done,) = asyncio.run(pings("rtt=20ms", 200, 2, "stall@100ms for 150ms"))
    assert [number for number, _, _ in seen] == list(range(200))
    middle_ns = (done.began_ns + done.ended_ns) / 2
    assert done.ended_ns - done.began_ns == pytest.approx(150e6, rel=0.1)
    assert [at for *_, at in seen if middle_ns < at < done.ended_ns] == []
    assert done.counts["held"] > 0
    assert max(rtts_ms(seen)) >= 150


@needs_link
def test_a_blackhole_drops_what_is_due_and_nothing_else() -> None:
    seen, _, (done,) = asyncio.run(pings("rtt=20ms", 200, 2, "blackhole@100ms for 150ms"))
    assert done.counts["dropped"] > 0
    assert len(seen) == 200 - done.counts["dropped"]
    middle_ns = (done.began_ns + done.ended_ns) / 2
    assert [at for *_, at in seen if middle_ns < at < done.ended_ns] == []


@needs_link
def test_tcp_sends_again_what_a_blackhole_dropped() -> None:
    async def transferred() -> Any:
        async with (
            packet_link(network("rtt=10ms,up=10mbit"), "seed") as link,
            talking(link, "sink", "send", 500_000) as (sink, send),
        ):
            assert await send.said() == "connected"
            await break_after(link, "blackhole@100ms for 50ms")
            return await sink.said(), await link.done()

    (_, (all_bytes, _)), (done,) = asyncio.run(transferred())
    assert all_bytes == 500_000
    assert done.counts["dropped"] > 0


@needs_link
def test_a_fault_of_another_link_is_refused_and_a_dead_relay_is_said() -> None:
    async def asked() -> None:
        async with packet_link(Network(), "seed") as link:
            with pytest.raises(TrialError, match=r"the packet link has the faults cut, .*: got 'discard@1s for 1s'"):
                await break_after(link, "discard@1s for 1s")
            os.kill(pid_of(link), signal.SIGKILL)
            with pytest.raises(TrialError, match="ended without a word"):
                await link.counts()

    asyncio.run(asked())


def pid_of(link: Link) -> int:
    assert link.server.namespaces is not None
    return int(link.server.namespaces.network.split("/")[2])


OWNER = """
import asyncio, json
from dataclasses import asdict
from rtbench.links.packet_link import packet_link
from rtbench.plan.network import Network

async def own():
    async with packet_link(Network(), "seed") as link:
        print(json.dumps([asdict(place.namespaces) for place in (link.server, link.clients)]), flush=True)
        await asyncio.sleep(60)

asyncio.run(own())
"""


@needs_link
def test_nothing_stays_when_the_owner_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        files = [path for side in json.loads(owner.stdout.readline()) for path in side.values()]
        made = {Path(path).stat().st_ino for path in files}
        relay = psutil.Process(int(files[0].split("/")[2]))
        assert made & namespaces_in_use()
        owner.kill()
    relay.wait(10)
    assert not made & namespaces_in_use()


def namespaces_in_use() -> set[int]:
    """Return the user and network namespaces in which there is a process."""
    found = set()
    for pid in psutil.pids():
        for kind in ("user", "net"):
            with suppress(OSError):  # the process has ended, or is another user's
                found.add(Path(f"/proc/{pid}/ns/{kind}").stat().st_ino)
    return found


def test_entering_namespaces_that_are_gone_is_said_in_one_sentence() -> None:
    with pytest.raises(
        TrialError, match=r"^cannot enter the user namespace /proc/0/ns/user of the packet link \(No such"
    ):
        enter(Namespaces("/proc/0/ns/user", "/proc/0/ns/net"))


def test_why_there_is_no_packet_link(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> str | None:
        packet_link_missing.cache_clear()
        try:
            return packet_link_missing()
        finally:
            packet_link_missing.cache_clear()

    refusing = 'print(\'{"error": "no tunnels here"}\')'
    monkeypatch.setattr(module, "RELAY", (sys.executable, "-c", refusing))
    assert missing() == "no tunnels here"
    monkeypatch.setattr(module, "RELAY", ("/nowhere/python",))
    assert "No such file" in str(missing())
    monkeypatch.setattr(sys, "platform", "darwin")
    assert missing() == "the packet link needs Linux"
