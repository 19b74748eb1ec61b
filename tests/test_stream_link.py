"""The stream link: what it does to connections, as programs at its two sides see it."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import socket
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from random import Random

import psutil
import pytest

from rtbench.errors import TrialError
from rtbench.links.stream_line import SEGMENT_BYTES, Line, wire_bytes
from rtbench.links.stream_link import StreamLink, stream_link
from rtbench.plan.faults import parse_fault
from rtbench.plan.network import Network, network_of
from rtbench.system.process import alive, server_ends

MS = 1_000_000
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(2**16):
            writer.write(data)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def linked(text: str, handler: Handler = echo) -> AsyncIterator[tuple[StreamLink, int]]:
    """Yield a link, and the port on which it leads to a server."""
    network = network_of(text)
    assert network is not None
    server = await asyncio.start_server(handler, "127.0.0.1", 0)
    try:
        async with stream_link(network, "seed") as link:
            url = await link.reach(f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}")
            yield link, int(url.rpartition(":")[2])
    finally:
        server.close()


async def connected(port: int) -> Stream:
    return await asyncio.open_connection("127.0.0.1", port)


async def round_trip_ms(stream: Stream) -> float:
    began = time.monotonic_ns()
    stream[1].write(b"x")
    await stream[0].readexactly(1)
    return (time.monotonic_ns() - began) / MS


def line(jitter_s: float = 0.0, rate_bps: float | None = None, seed: str = "1") -> Line:
    return Line(0.05, jitter_s, rate_bps, seed)


def test_on_a_line_each_piece_waits_for_those_before_it_and_then_travels() -> None:
    slow = line(rate_bps=12_000.0)  # a full segment takes a second
    assert [slow.arrival_ns(0, SEGMENT_BYTES) for _ in range(3)] == [1_050 * MS, 2_050 * MS, 3_050 * MS]
    assert slow.arrival_ns(10_000 * MS, SEGMENT_BYTES) == 11_050 * MS, "a line that was free is not waited for"


def test_the_jitter_of_a_line_is_even_and_has_its_bounds() -> None:
    delays_ms = [delay / MS for delay in drawn(line(jitter_s=0.02), 4000)]
    assert 40 <= min(delays_ms) < 40.1
    assert 59.9 < max(delays_ms) <= 60
    assert statistics.quantiles(delays_ms, n=4) == pytest.approx([45, 50, 55], abs=1)


def drawn(jittery: Line, count: int) -> list[int]:
    return [jittery.travel_ns() for _ in range(count)]


def test_the_delays_of_a_line_come_from_its_seed() -> None:
    assert drawn(line(jitter_s=0.02), 5) == drawn(line(jitter_s=0.02), 5)
    assert drawn(line(jitter_s=0.02), 5) != drawn(line(jitter_s=0.02, seed="2"), 5)


@pytest.mark.parametrize(("rate_bps", "segments"), [(8e3, 1), (1.6e6, 1), (30e6, 2), (1e9, 83), (None, None)])
def test_a_piece_is_a_segment_or_a_millisecond_of_the_line(rate_bps: float | None, segments: int | None) -> None:
    assert line(rate_bps=rate_bps).piece_bytes == (segments and segments * SEGMENT_BYTES)


@pytest.mark.process
def test_a_round_trip_takes_what_is_asked_and_the_first_one_of_a_connection_twice_that() -> None:
    async def new_ms(port: int) -> float:
        began = time.monotonic_ns()
        await round_trip_ms(await connected(port))
        return (time.monotonic_ns() - began) / MS

    async def main() -> None:
        async with linked("rtt=30ms") as (_, port):
            firsts = [await new_ms(port) for _ in range(3)]
            stream = await connected(port)
            await round_trip_ms(stream)
            others = [await round_trip_ms(stream) for _ in range(7)]
            assert 60 <= min(firsts)
            assert 1 <= min(others) / 30 < 1.2
            assert min(firsts) / min(others) < 2.5

    asyncio.run(main())


@pytest.mark.process
def test_what_the_server_says_first_comes_after_two_round_trips() -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        writer.close()

    async def main() -> None:
        async with linked("rtt=30ms", greet) as (_, port):
            began = time.monotonic_ns()
            reader, _writer = await connected(port)
            assert await reader.read() == b"hello"
            assert time.monotonic_ns() - began >= 60 * MS

    asyncio.run(main())


@pytest.mark.long
def test_round_trips_vary_by_the_jitter_and_not_more() -> None:
    async def main() -> None:
        async with linked("rtt=10ms,jitter=8ms") as (_, port):
            stream = await connected(port)
            taken = [await round_trip_ms(stream) for _ in range(30)]
            assert min(taken) >= 2
            assert 4 < statistics.quantiles(taken, n=10)[-1] - statistics.quantiles(taken, n=10)[0] < 16

    asyncio.run(main())


@pytest.mark.parametrize(
    ("connections", "tolerance"),
    [pytest.param(3, 0.15, marks=pytest.mark.process), pytest.param(1, 0.05, marks=pytest.mark.alone)],
)
def test_all_connections_of_a_direction_share_its_rate(connections: int, tolerance: float) -> None:
    async def main() -> None:
        came: list[tuple[int, int]] = []

        async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while data := await reader.read(2**16):
                came.append((time.monotonic_ns(), len(data)))
            writer.close()

        async with linked("rtt=1ms,up=8mbit,down=1mbit", hear) as (_, port):
            streams = [await connected(port) for _ in range(connections)]
            for _, writer in streams:
                writer.write(bytes(240_000 // connections))
                writer.write_eof()
            await asyncio.gather(*(reader.read() for reader, _ in streams))
        elapsed_s = (max(came)[0] - min(came)[0]) / 1e9
        bits = 8 * wire_bytes(sum(size for _, size in sorted(came)[1:]))
        assert bits / elapsed_s == pytest.approx(8e6, rel=tolerance)

    asyncio.run(main())


@pytest.mark.process
def test_ten_megabytes_of_any_chunks_come_whole_and_in_order_both_ways_and_each_way_ends_alone() -> None:
    random = Random(1)
    content = random.randbytes(10_000_000)
    digest = hashlib.sha256(content).digest()

    async def send(writer: asyncio.StreamWriter) -> None:
        sent = 0
        while sent < len(content):
            size = random.choice([1, 100, 5_000, 200_000])
            writer.write(content[sent : sent + size])
            sent += size
            await writer.drain()
        writer.write_eof()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.read()  # ends, and the way back is open still
        writer.write(hashlib.sha256(asked).digest())
        await send(writer)

    async def main() -> None:
        async with linked("rtt=2ms,jitter=1ms,up=900mbit", answer) as (link, port):
            reader, writer = await connected(port)
            await send(writer)
            assert await reader.readexactly(32) == digest
            assert hashlib.sha256(await reader.read()).digest() == digest
            counts = await link.counts()
            assert (counts["up"]["bytes"], counts["down"]["bytes"]) == (len(content), len(content) + 32)
            assert counts["connections"] == 1

    asyncio.run(main())


@pytest.mark.process
def test_a_client_that_does_not_read_stops_the_server() -> None:
    sent, most = 0, 100 * 2**20

    async def pour(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        with suppress(ConnectionError):
            while True:
                writer.write(bytes(2**16))
                await writer.drain()
                sent += 2**16

    async def main() -> None:
        async with linked("rtt=1ms", pour) as (_, port):
            with socket.create_connection(("127.0.0.1", port)) as silent:
                silent.setblocking(False)
                before = -1
                while sent != before and sent < most:
                    before = sent
                    await asyncio.sleep(0.1)
            assert 0 < sent < most

    asyncio.run(main())


@pytest.mark.process
def test_what_waits_for_a_slow_line_stops_the_client() -> None:
    async def main() -> None:
        async with linked("rtt=1ms,up=80kbit") as (link, port):
            _, writer = await connected(port)
            writer.write(bytes(10_000_000))
            before, now = -1, 0
            while now != before or not now:
                before, now = now, (await link.counts())["up"]["bytes"]
                await asyncio.sleep(0.02)
            assert now < 500_000, "64 KiB, and one read"
            writer.transport.abort()

    asyncio.run(main())


@pytest.mark.process
def test_every_connection_of_the_relay_sends_at_once() -> None:
    async def main() -> None:
        async with linked("rtt=0ms") as (link, port):
            stream = await connected(port)
            await round_trip_ms(stream)
            ends = server_ends([psutil.Process(link.relay.process.pid)], port)
            if ends is None:
                pytest.skip("the sockets of another process cannot be read here")
            assert ends.nagle == 0

    asyncio.run(main())


@pytest.mark.process
def test_a_server_that_is_down_shows_as_a_reset_after_a_round_trip() -> None:
    async def main() -> None:
        async with linked("rtt=30ms") as (link, _):
            with socket.create_server(("127.0.0.1", 0)) as unused:
                url = f"ws://somebody@127.0.0.1:{unused.getsockname()[1]}/topic?publish"
            reached = await link.reach(url)
            assert reached.startswith("ws://somebody@127.0.0.1:")
            assert reached.endswith("/topic?publish")
            taken_ns = []
            for _ in range(3):
                began = time.monotonic_ns()
                reader, _writer = await connected(int(reached.split(":")[-1].split("/")[0]))
                with pytest.raises(ConnectionResetError):
                    await reader.read()
                taken_ns.append(time.monotonic_ns() - began)
            assert 30 * MS <= min(taken_ns) < 60 * MS

    asyncio.run(main())


@pytest.mark.process
def test_a_reset_on_one_side_resets_the_other_after_what_was_sent_before() -> None:
    ended: asyncio.Future[tuple[bytes, BaseException]]

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard = await reader.readexactly(5)
        try:
            await reader.readexactly(1)
        except (ConnectionError, EOFError) as error:
            ended.set_result((heard, error))
        writer.close()

    async def main() -> None:
        nonlocal ended
        ended = asyncio.get_running_loop().create_future()
        async with linked("rtt=10ms", hear) as (link, port):
            _, writer = await connected(port)
            writer.write(b"hello")
            while (await link.counts())["up"]["bytes"] < 5:  # a reset drops what the relay has not read
                pass
            reset(writer)
            heard, error = await ended
            assert heard == b"hello"
            assert isinstance(error, ConnectionResetError)

    asyncio.run(main())


def reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@asynccontextmanager
async def numbered(text: str) -> AsyncIterator[tuple[StreamLink, int, list[bytes], list[type]]]:
    """Yield a link, its port, what its server heard, and how the connections of the server ended."""
    heard: list[bytes] = []
    ends: list[type] = []

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                heard.append(await reader.readexactly(4))
        except (ConnectionError, EOFError) as error:
            ends.append(type(error))
        writer.close()

    async with linked(text, hear) as (link, port):
        yield link, port, heard, ends


async def send_numbers(writer: asyncio.StreamWriter, until_ns: int) -> list[bytes]:
    """Send a number every two milliseconds until a time, or until the connection is reset."""
    numbers: list[bytes] = []
    while time.monotonic_ns() < until_ns and not writer.is_closing():
        numbers.append(b"%04d" % len(numbers))
        writer.write(numbers[-1])
        await asyncio.sleep(0.002)
    return numbers


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.001)


@pytest.mark.process
def test_a_cut_resets_both_ends_and_drops_what_is_under_way_and_new_connections_are_taken_at_once() -> None:
    async def main() -> None:
        async with numbered("rtt=60ms") as (link, port, heard, ends):
            reader, writer = await connected(port)
            sending = asyncio.create_task(send_numbers(writer, 2**63))
            await until(lambda: heard)
            at_ns = time.monotonic_ns() + 30 * MS
            await link.plan({at_ns: parse_fault("cut@1s")})
            with pytest.raises(ConnectionResetError):
                await reader.read()
            seen_ns = time.monotonic_ns()
            numbers = await sending
            await until(lambda: ends)
            assert ends == [ConnectionResetError]
            (done,) = await link.done()
            assert at_ns <= done.began_ns <= min(done.ended_ns, seen_ns)
            assert done.fault == "cut@1s"
            assert done.counts["connections_reset"] == 1
            assert done.counts["bytes_discarded"] > 0
            assert len(heard) < len(numbers)
            assert heard == numbers[: len(heard)]
            _, again = await connected(port)
            again.write(b"more")
            await until(lambda: heard[-1] == b"more")

    asyncio.run(main())


@pytest.mark.process
def test_a_stall_holds_everything_and_loses_nothing() -> None:
    async def main() -> None:
        async with numbered("rtt=10ms") as (link, port, heard, ends):
            _, writer = await connected(port)
            sending = asyncio.create_task(send_numbers(writer, time.monotonic_ns() + 250 * MS))
            await until(lambda: heard)
            at_ns = time.monotonic_ns() + 10 * MS
            await link.plan({at_ns: parse_fault("stall@1s for 100ms")})
            await until(lambda: time.monotonic_ns() > at_ns + 20 * MS)
            await link.counts()  # by then this process has read what came before
            before = list(heard)
            _, other = await connected(port)  # its SYN is held, too
            other.write(b"more")
            await until(lambda: time.monotonic_ns() > at_ns + 90 * MS)
            assert heard == before
            numbers = await sending
            await until(lambda: len(heard) == len(numbers) + 1)
            assert [number for number in heard if number != b"more"] == numbers
            (done,) = await link.done()
            assert done.ended_ns >= at_ns + 100 * MS
            assert done.counts["bytes_held"] > 0
            assert ends == []

    asyncio.run(main())


@pytest.mark.process
def test_discarding_loses_what_is_sent_meanwhile_and_resets_at_its_end() -> None:
    async def main() -> None:
        async with numbered("rtt=10ms") as (link, port, heard, ends):
            reader, writer = await connected(port)
            writer.write(b"kept")
            await until(lambda: heard)
            at_ns = time.monotonic_ns() + 10 * MS
            await link.plan({at_ns: parse_fault("discard@1s for 100ms")})
            await until(lambda: time.monotonic_ns() > at_ns + 10 * MS)
            writer.write(b"lost")
            new_reader, new_writer = await connected(port)
            new_writer.write(b"lost")
            for each in (reader, new_reader):
                with pytest.raises(ConnectionResetError):
                    await each.read()
            assert time.monotonic_ns() >= at_ns + 100 * MS
            await until(lambda: ends)
            assert heard == [b"kept"]
            (done,) = await link.done()
            assert done.counts == {"connections_reset": 2, "bytes_discarded": 8}
            assert (await link.counts())["up"]["discarded"] == 8

    asyncio.run(main())


@pytest.mark.process
@pytest.mark.parametrize("text", ["blackhole@1s for 1s", "kill-server@1s for 1s"])
def test_a_fault_that_a_stream_link_cannot_do_is_refused(text: str) -> None:
    async def main() -> None:
        async with linked("rtt=1ms") as (link, _):
            with pytest.raises(TrialError, match="cannot do"):
                await link.plan({time.monotonic_ns(): parse_fault(text)})

    asyncio.run(main())


def test_a_network_that_loses_packets_is_refused() -> None:
    async def main() -> None:
        async with stream_link(Network(loss=0.01), "seed"):
            pass

    with pytest.raises(TrialError, match="cannot lose packets"):
        asyncio.run(main())


OWNER = """
import asyncio
from rtbench.links.stream_link import stream_link
from rtbench.plan.network import Network

async def main():
    async with stream_link(Network(), "seed") as link:
        print(link.relay.process.pid, flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.mark.process
def test_a_relay_ends_with_its_owner_however_that_ends() -> None:
    with subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        relay = psutil.Process(int(owner.stdout.readline()))
        assert alive(relay)
        os.kill(owner.pid, signal.SIGKILL)
        ends = time.monotonic() + 20
        while alive(relay) and time.monotonic() < ends:
            time.sleep(0.005)
        assert not alive(relay)
