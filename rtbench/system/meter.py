"""Bytes and segments of the connections of a client, read from the kernel (TCP_INFO), not computed from a model.

A client opens its connections with its `Meter` (`connect`, `socket`), or registers the sockets that its library opened
(`adopt`). Offsets into `struct tcp_info` are those of Linux. On other systems the counts are None; nothing is guessed.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol
from weakref import finalize

from rtbench.plan.login import Login
from rtbench.system.source import bind_source, next_source
from rtbench.wire.tcp import Direction, Wire
from rtbench.wire.tls import Records, RecordStream

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

_TCP_INFO = getattr(socket, "TCP_INFO", None) if sys.platform == "linux" else None
_TCPI_OPT_TIMESTAMPS = 1
_SO_TIMESTAMPNS = 35
_timespec = struct.Struct("=qq").unpack
_ANCILLARY_BYTES = 32  # CMSG_SPACE of a timespec
_recvmsg = socket.socket.recvmsg  # an unbound method, which is faster to call
_PEER_HAS_CLOSED = frozenset({6, 8, 9, 11})  # TIME_WAIT, CLOSE_WAIT, LAST_ACK, CLOSING
_CLOSED = 7


class AnySocket(Protocol):
    """The methods of a socket that the meter uses; TransportSocket of asyncio has them too."""

    def fileno(self) -> int:
        """Return the descriptor, -1 after closing."""

    @property
    def getsockopt(self) -> Callable[..., Any]:
        """Read a socket option."""


def read_wire(sock: AnySocket) -> Wire | None:
    """Return the counts of one connection since its SYN; None if the kernel does not provide them."""
    if _TCP_INFO is None:
        return None
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, 256)
        family = sock.getsockopt(socket.SOL_SOCKET, socket.SO_DOMAIN)
    except OSError:
        return None
    if len(info) < 216:  # kernels before 4.19 do not count bytes sent
        return None
    received, segments_out, segments_in = struct.unpack_from("=QII", info, 128)
    data_in, data_out = struct.unpack_from("=II", info, 152)
    sent, retransmitted = struct.unpack_from("=QQ", info, 200)
    header = (40 if family == socket.AF_INET else 60) + (12 if info[5] & _TCPI_OPT_TIMESTAMPS else 0)
    received -= received > 0 and _fin_received(sock, info[0])
    records = sock.records if isinstance(sock, MeteredTlsSocket) else Records()
    return Wire(
        connections=1,
        up=_direction(sent, segments_out, segments_out - data_out, header, records.up),
        down=_direction(received, segments_in, segments_in - data_in, header, records.down),
        retransmitted_bytes=retransmitted,
    )


def _fin_received(sock: AnySocket, state: int) -> bool:
    """Return whether the peer has sent FIN, which the kernel counts as one received byte.

    In state CLOSED both ends have sent FIN, unless one of them reset the connection.
    """
    if state == _CLOSED:
        return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0)
    return state in _PEER_HAS_CLOSED


def _direction(carried: int, segments: int, acks: int, header: int, tls: RecordStream) -> Direction:
    options_of_syn = 8  # SYN and SYN-ACK carry 20 bytes of options where later segments carry 12
    return Direction(
        carried_bytes=carried,
        segments=segments,
        ack_segments=acks,
        header_bytes=header * segments + options_of_syn,
        ack_header_bytes=header * acks + options_of_syn,
        tls_bytes=tls.overhead_bytes,
        tls_handshake_bytes=tls.handshake_bytes,
    )


_noted: ContextVar[list[MeteredSocket] | None] = ContextVar("noted", default=None)


@contextmanager
def noting_sockets() -> Iterator[list[MeteredSocket]]:
    """Note the sockets that this task opens meanwhile, and those of tasks that it starts."""
    noted: list[MeteredSocket] = []
    token = _noted.set(noted)
    try:
        yield noted
    finally:
        _noted.reset(token)


def bytes_so_far(sockets: Iterable[MeteredSocket]) -> int | None:
    """Return what went over sockets at the IP layer, also if they are closed; None if the kernel does not tell."""
    wires = [read_wire(sock) or sock.last for sock in sockets]
    return None if _TCP_INFO is None else sum(wire.ip_bytes for wire in wires)


class MeteredSocket(socket.socket):
    """A TCP socket that gives its counts to the meter when it is closed, and records when the last read data arrived.

    `arrived_ns` is the receive time of the kernel (CLOCK_REALTIME) of the last segment in the last read; 0 without
    SO_TIMESTAMPNS (Linux, Documentation/networking/timestamping.rst section 1.1.2).
    """

    meter: Meter | None = None
    arrived_ns = 0
    last = Wire()  # its counts when it was closed

    def stamp(self) -> None:
        """Ask the kernel for the receive time of each read (Linux only)."""
        if sys.platform == "linux":
            self.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        """Read as usual, and keep the stamp."""
        data, ancillary, _, _ = _recvmsg(self, size, _ANCILLARY_BYTES, flags)
        if ancillary:  # no other ancillary data was requested
            seconds, nanoseconds = _timespec(ancillary[0][2])
            self.arrived_ns = seconds * 1_000_000_000 + nanoseconds
        return data

    def recv_into(self, buffer: WriteableBuffer, size: int = 0, flags: int = 0, /) -> int:
        """Read as usual, and keep the stamp."""
        into = memoryview(buffer)[: size or None]
        count, ancillary, _, _ = self.recvmsg_into([into], _ANCILLARY_BYTES, flags)
        if ancillary:
            seconds, nanoseconds = _timespec(ancillary[0][2])
            self.arrived_ns = seconds * 1_000_000_000 + nanoseconds
        return count

    def close(self) -> None:
        """Close the socket; the meter counts until both ends are closed."""
        if self.meter is not None and self.fileno() >= 0:
            self.meter.forget(self)
        super().close()


def receive(sock: MeteredSocket, size: int) -> tuple[bytes, int]:
    """Read from a socket without TLS; return the data, and when the last of it arrived (0: not known)."""
    data, ancillary, _, _ = _recvmsg(sock, size, _ANCILLARY_BYTES)
    if not ancillary:
        return data, 0
    seconds, nanoseconds = _timespec(ancillary[0][2])
    return data, seconds * 1_000_000_000 + nanoseconds


class MeteredTlsSocket(MeteredSocket):
    """A metered socket that carries TLS, and counts the TLS records in what it sends and reads."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.records = Records()

    def send(self, data: ReadableBuffer, flags: int = 0, /) -> int:
        """Send as usual, and count."""
        count = super().send(data, flags)
        self.records.sent(memoryview(data)[:count])
        return count

    def sendmsg(self, buffers: Iterable[ReadableBuffer], *more: Any) -> int:
        """Send as usual, and count."""
        buffers = list(buffers)
        left = count = super().sendmsg(buffers, *more)
        for data in buffers:
            self.records.sent(memoryview(data)[:left])
            left = max(left - len(memoryview(data)), 0)
        return count

    def sendall(self, data: ReadableBuffer, flags: int = 0, /) -> None:
        """Send as usual, and count."""
        super().sendall(data, flags)
        self.records.sent(data)

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        """Read as usual, and count."""
        data = super().recv(size, flags)
        self.records.received(data)
        return data

    def recv_into(self, buffer: WriteableBuffer, size: int = 0, flags: int = 0, /) -> int:
        """Read as usual, and count."""
        count = super().recv_into(buffer, size, flags)
        self.records.received(memoryview(buffer)[:count])
        return count


def _another_descriptor(sock: AnySocket) -> socket.socket:
    number = os.dup(sock.fileno())
    if not isinstance(sock, MeteredTlsSocket):
        return socket.socket(fileno=number)
    other = MeteredTlsSocket(fileno=number)
    other.records = sock.records
    return other


def _is_closed(sock: socket.socket) -> bool:
    return _TCP_INFO is None or sock.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, 1)[0] == _CLOSED


def _close_all(sockets: list[socket.socket]) -> None:
    while sockets:
        sockets.pop().close()


async def _address(host: str, port: int) -> tuple[Any, ...]:
    """Return the first address of a host. Only a name is looked up, in a thread."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return found[0]


class Meter:
    """Opens the connections of one client process and counts what goes over them.

    `tls` is the context with which a client verifies a server (URL of https, wss, mqtts or tcps); None without TLS.
    `login` has the name and the password that a client gives.
    """

    def __init__(self, tls: ssl.SSLContext | None = None, login: Login | None = None) -> None:
        self.tls = tls
        self.login = login or Login()
        self.requests = 0  # requests for messages; the client counts them here
        self.empty_requests = 0  # those whose answer contained no message
        self.batches: Counter[int] = Counter()  # answers, or chunks of a stream, by their number of messages
        self.keep_alives = 0  # pings that the library of the client sent; each has an answer
        self.keep_alive_bytes = 0  # of pings and answers
        self._open: dict[AnySocket, Wire] = {}
        self._closed = Wire()
        self._closing: list[socket.socket] = []  # closed by the client; read through a duplicated descriptor
        finalize(self, _close_all, self._closing)

    def socket(self, family: int, kind: int, protocol: int) -> MeteredSocket:
        """Return a new non-blocking socket with TCP_NODELAY, for a library that connects it."""
        sock = (MeteredTlsSocket if self.tls else MeteredSocket)(family, kind, protocol)
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.stamp()
        sock.meter = self
        self._open[sock] = Wire()
        if (noted := _noted.get()) is not None:
            noted.append(sock)
        return sock

    async def connect(self, host: str, port: int) -> MeteredSocket:
        """Return a connected socket.

        Raises:
            OSError: the connection failed.
        """
        loop = asyncio.get_running_loop()
        address = await _address(host, port)
        while True:
            sock = self.socket(*address[:3])
            try:
                bind_source(sock, address[4])
                await loop.sock_connect(sock, address[4])
                return sock
            except BaseException as error:
                sock.close()
                if not (isinstance(error, OSError) and next_source(address[4], error)):
                    raise

    def adopt(self, sock: AnySocket) -> None:
        """Count a connected socket that a library opened by itself; its descriptor stays open until `forget`."""
        self._open[sock] = read_wire(sock) or Wire()

    def forget(self, sock: AnySocket) -> None:
        """End sending on a connection that is about to be closed; count it until both ends are closed."""
        last = read_wire(sock) or self._open.get(sock, Wire())
        self._open.pop(sock, None)
        if isinstance(sock, MeteredSocket):
            sock.last = last
        try:
            seen = _another_descriptor(sock)
        except OSError:
            self._closed += last
            return
        with suppress(OSError):  # it is not connected
            seen.shutdown(socket.SHUT_WR)  # the kernel still acknowledges and counts what arrives
        self._closing.append(seen)

    def totals(self) -> Wire | None:
        """Return the counts of all connections so far, closed ones included; None if the kernel provides none."""
        if _TCP_INFO is None:
            return None
        for sock, last in self._open.items():
            self._open[sock] = read_wire(sock) or last
        closing = (read_wire(sock) or Wire() for sock in self._closing)
        return sum((*self._open.values(), *closing), start=self._closed)

    async def closing(self, within_s: float = 1.0) -> None:
        """Wait until all connections are closed at both ends, at most `within_s`, and keep their final counts."""
        end = time.monotonic() + within_s
        while (any(s.fileno() >= 0 for s in self._open) or not all(map(_is_closed, self._closing))) and (
            time.monotonic() < end
        ):
            await asyncio.sleep(0.001)
        self._closed = self.totals() or Wire()
        self._open.clear()
        _close_all(self._closing)

    def nagle(self) -> int:
        """Return how many open connections lack TCP_NODELAY."""
        count = 0
        for sock in self._open:
            try:
                count += not sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            except OSError:
                continue
        return count
