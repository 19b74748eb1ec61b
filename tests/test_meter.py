from __future__ import annotations

import asyncio
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from rtbench.system.meter import Meter, read_wire
from rtbench.transports.records import Usage
from rtbench.trial.connections import accounting
from rtbench.wire.tcp import Direction, Wire
from tests.capture import FIN, packets, start
from tests.programs import needs

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="TCP_INFO is read as Linux lays it out")
WITHIN_S = 20.0


class Peer:
    """The other end: for each connection it answers a request of `asked` bytes with `answered` bytes, `times` times."""

    def __init__(self, asked: int, answered: int, times: int, closes_first: bool = False) -> None:
        self.asked, self.answered, self.times, self.closes_first = asked, answered, times, closes_first
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self.listener.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            for _ in range(self.times):
                if not receive(connection, self.asked):
                    return
                connection.sendall(b"a" * self.answered)
            if not self.closes_first:
                connection.recv(1)

    async def talk(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(self.times):
            await loop.sock_sendall(sock, b"q" * self.asked)
            left = self.answered
            while left:
                left -= len(await loop.sock_recv(sock, left))
        if self.closes_first:
            assert await loop.sock_recv(sock, 1) == b""


def receive(connection: socket.socket, size: int) -> bool:
    while size:
        data = connection.recv(size)
        if not data:
            return False
        size -= len(data)
    return True


@contextmanager
def peer(asked: int, answered: int, times: int = 1, closes_first: bool = False) -> Iterator[Peer]:
    made = Peer(asked, answered, times, closes_first)
    with closing(made.listener):
        yield made


@contextmanager
def capturing(port: int, capture: Path) -> Iterator[None]:
    try:
        tcpdump = start(capture, f"tcp port {port}")
    except PermissionError as error:
        pytest.skip(str(error))
    try:
        yield
    finally:
        tcpdump.terminate()
        tcpdump.communicate()


def captured(capture: Path, client_port: int) -> int:
    """Return the bytes of a connection from SYN to the acknowledgement of the second FIN, which is waited for."""
    end = time.monotonic() + WITHIN_S
    while time.monotonic() < end:
        found = packets(capture)
        fins = [n for n, packet in enumerate(found) if packet.flags & FIN]
        if {found[n].source == client_port for n in fins} == {True, False} and len(found) > fins[-1] + 1:
            return sum(packet.ip_bytes for packet in found)
        time.sleep(0.01)
    raise AssertionError("the capture never showed both ends closing")


@on_linux
@needs("tcpdump")
@pytest.mark.parametrize(
    ("asked", "answered", "times", "closes_first"),
    [
        pytest.param(0, 0, 0, False, id="a connection that says nothing"),
        pytest.param(1, 1, 1, False, id="a byte each way"),
        pytest.param(100, 1000, 20, False, id="many small exchanges"),
        # larger ones would leave the kernel as one packet of several segments, which a capture of lo cannot tell
        pytest.param(10, 30_000, 10, False, id="large answers"),
        pytest.param(30_000, 10, 10, False, id="large requests"),
        pytest.param(100, 100, 5, True, id="the peer closes first"),
    ],
)
@pytest.mark.process
def test_ip_bytes_are_those_of_a_packet_capture(
    asked: int, answered: int, times: int, closes_first: bool, tmp_path: Path
) -> None:
    meter = Meter()
    capture = tmp_path / "lo.pcap"

    async def run(other: Peer) -> int:
        sock = await meter.connect("127.0.0.1", other.port)
        port = int(sock.getsockname()[1])
        await other.talk(sock)
        sock.close()
        await meter.closing()
        return port

    with peer(asked, answered, times, closes_first) as other, capturing(other.port, capture):
        client_port = asyncio.run(run(other))
        counted = captured(capture, client_port)
    totals = meter.totals()
    assert totals is not None
    assert totals.up.carried_bytes == asked * times
    assert totals.down.carried_bytes == answered * times
    if totals.retransmitted_bytes == 0:
        assert totals.ip_bytes == counted


@on_linux
@pytest.mark.process
def test_every_way_to_open_a_connection_switches_nagle_off() -> None:
    async def run(port: int) -> list[int]:
        meter = Meter()
        connected = await meter.connect("127.0.0.1", port)
        made = meter.socket(socket.AF_INET, socket.SOCK_STREAM, 0)
        options = [s.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) for s in (connected, made)]
        assert meter.nagle() == 0
        assert not connected.getblocking()
        assert not made.getblocking()
        connected.close()
        made.close()
        return options

    with peer(1, 1) as other:
        assert all(asyncio.run(run(other.port)))


@pytest.mark.process
def test_sockets_with_nagle_are_seen_while_they_are_open() -> None:
    meter = Meter()
    with peer(1, 1) as other:
        plain, good = (socket.create_connection(("127.0.0.1", other.port)) for _ in range(2))
        good.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        meter.adopt(good)
        assert meter.nagle() == 0
        meter.adopt(plain)
        assert meter.nagle() == 1
        plain.close()
        assert meter.nagle() == 0
        good.close()


@on_linux
@pytest.mark.process
def test_a_closed_socket_stays_in_the_totals_and_an_open_one_goes_on_counting() -> None:
    async def run(other: Peer) -> None:
        meter = Meter()
        first = await meter.connect("127.0.0.1", other.port)
        await other.talk(first)
        first.close()
        one = meter.totals()
        assert one is not None
        assert (one.connections, one.up.carried_bytes, one.down.carried_bytes) == (1, 30, 70)
        second = await meter.connect("127.0.0.1", other.port)
        await other.talk(second)
        two = meter.totals()
        assert two is not None
        assert (two.connections, two.up.carried_bytes, two.down.carried_bytes) == (2, 60, 140)
        second.close()
        second.close()
        three = meter.totals()
        assert three is not None
        assert (three.connections, three.up.carried_bytes, three.down.carried_bytes) == (2, 60, 140)
        assert meter.totals() == three
        assert (three - one).connections == 1

    with peer(10, 70 // 3 + 1, 1) as other:
        other.asked, other.answered, other.times = 30, 70, 1
        asyncio.run(run(other))


@on_linux
@pytest.mark.process
def test_an_adopted_socket_is_counted_from_its_syn_and_keeps_its_last_counts() -> None:
    async def run(other: Peer) -> None:
        meter = Meter()
        sock = socket.create_connection(("127.0.0.1", other.port))
        sock.setblocking(False)
        await other.talk(sock)
        meter.adopt(sock)
        open_totals = meter.totals()
        assert open_totals is not None
        assert (open_totals.connections, open_totals.up.carried_bytes) == (1, 50)
        sock.close()
        assert meter.totals() == open_totals

    with peer(50, 5) as other:
        asyncio.run(run(other))


@pytest.mark.process
def test_a_connection_that_nobody_answers_is_an_error_and_leaves_nothing_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = int(listener.getsockname()[1])
    meter = Meter()
    with pytest.raises(OSError, match=r"refused|Connect call failed"):
        asyncio.run(meter.connect("127.0.0.1", port))
    totals = meter.totals()
    assert totals is None or (totals.up.carried_bytes, totals.down.carried_bytes) == (0, 0)
    assert meter.nagle() == 0


def test_counts_add_up_and_subtract_field_by_field() -> None:
    one = Wire(1, Direction(2, 3, 4, 5, 6), Direction(7, 8, 9, 10, 11), 12)
    assert one + one == Wire(2, Direction(4, 6, 8, 10, 12), Direction(14, 16, 18, 20, 22), 24)
    assert one + one - one == one
    assert one + Wire() == one
    assert one.carried_bytes == 2 + 7
    assert one.segments == 3 + 8
    assert one.ip_bytes == (2 + 5) + (7 + 10)


def test_a_closed_socket_has_no_counts() -> None:
    sock = socket.socket()
    sock.close()
    assert read_wire(sock) is None


@pytest.mark.parametrize(("schedule_ms", "counted"), [(20, 3), (60_000, 5)], ids=["ends before", "ends later"])
def test_requests_count_until_the_schedule_ends(schedule_ms: int, counted: int) -> None:
    meter, usage = Meter(), Usage()

    async def trial() -> None:
        async with accounting(meter, usage, time.monotonic_ns() + schedule_ms * 1_000_000):
            meter.requests += 3
            while schedule_ms < 1000 and usage.requests == 0:
                await asyncio.sleep(0.005)
            meter.requests += 2

    asyncio.run(trial())
    assert (usage.requests, usage.requests_on_wire) == (counted, 5)
