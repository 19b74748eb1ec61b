"""What a client's connections put on the wire, read from the kernel (TCP_INFO), not modelled.

A client opens its connections through its `Meter` (`connect`, `socket`), or hands over the sockets that its library
opened (`adopt`). Offsets into `struct tcp_info` are those of Linux; elsewhere there are no figures, and nothing is
guessed.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_TCP_INFO = getattr(socket, "TCP_INFO", None) if sys.platform == "linux" else None
_TCPI_OPT_TIMESTAMPS = 1
_SO_TIMESTAMPNS = 35
_TIMESPEC = struct.Struct("=qq")
_ANCILLARY_BYTES = 64
_PEER_HAS_CLOSED = frozenset({6, 8, 9, 11})  # TIME_WAIT, CLOSE_WAIT, LAST_ACK, CLOSING: FIN counts as a byte received


class AnySocket(Protocol):
    """What the meter needs of a socket; asyncio's TransportSocket has it too."""

    def fileno(self) -> int:
        """Return its descriptor, -1 once closed."""

    @property
    def getsockopt(self) -> Callable[..., Any]:
        """Read a socket option."""


@dataclass(frozen=True)
class Wire:
    """Bytes and segments of some TCP connections, both directions, as their client's kernel counted them.

    `header_bytes` are those of TCP and IP on all segments; `ack_segments` carried nothing but an acknowledgement (or
    opened a connection).
    """

    connections: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0
    segments: int = 0
    ack_segments: int = 0
    header_bytes: int = 0
    ack_header_bytes: int = 0
    retransmitted_bytes: int = 0

    @property
    def application_bytes(self) -> int:
        """Bytes that TCP carried: payload, framing, headers of the protocol above, TLS."""
        return self.sent_bytes + self.received_bytes

    @property
    def ip_bytes(self) -> int:
        """Bytes at the IP layer, as a packet capture counts them."""
        return self.application_bytes + self.header_bytes

    def __add__(self, other: Wire) -> Wire:
        """Add up, field by field."""
        return Wire(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(Wire)))

    def __sub__(self, other: Wire) -> Wire:
        """Return what was added since `other`."""
        return Wire(*(getattr(self, f.name) - getattr(other, f.name) for f in fields(Wire)))


def read_wire(sock: AnySocket) -> Wire | None:
    """Return the counts of one connection since its SYN; None where the kernel does not give them."""
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
    acks = segments_out + segments_in - data_in - data_out
    options_of_syn = 16  # SYN and SYN-ACK carry 20 bytes of options where later segments carry 12
    return Wire(
        connections=1,
        sent_bytes=sent,
        received_bytes=received - (info[0] in _PEER_HAS_CLOSED),
        segments=segments_out + segments_in,
        ack_segments=acks,
        header_bytes=header * (segments_out + segments_in) + options_of_syn,
        ack_header_bytes=header * acks + options_of_syn,
        retransmitted_bytes=retransmitted,
    )


class MeteredSocket(socket.socket):
    """A TCP socket that leaves its counts with the meter when it is closed, and notes when what it reads had arrived.

    `arrived_ns` is the kernel's receive time, CLOCK_REALTIME, of the last segment in the last read; 0 without
    SO_TIMESTAMPNS (Linux, Documentation/networking/timestamping.rst section 1.1.2).
    """

    meter: Meter | None = None
    arrived_ns = 0

    def stamp(self) -> None:
        """Ask the kernel to stamp what arrives, where it can."""
        if sys.platform == "linux":
            self.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        """Read as usual, and keep the stamp."""
        data, ancillary, _, _ = self.recvmsg(size, _ANCILLARY_BYTES, flags)
        if ancillary:
            self._keep(ancillary)
        return data

    def recv_into(self, buffer: WriteableBuffer, size: int = 0, flags: int = 0, /) -> int:
        """Read as usual, and keep the stamp."""
        into = memoryview(buffer)[: size or None]
        count, ancillary, _, _ = self.recvmsg_into([into], _ANCILLARY_BYTES, flags)
        if ancillary:
            self._keep(ancillary)
        return count

    def _keep(self, ancillary: list[tuple[int, int, bytes]]) -> None:
        for level, kind, data in ancillary:
            if kind == _SO_TIMESTAMPNS and level == socket.SOL_SOCKET and len(data) == 16:
                seconds, nanoseconds = _TIMESPEC.unpack(data)
                self.arrived_ns = seconds * 1_000_000_000 + nanoseconds

    def close(self) -> None:
        """Close, after a last look at the counts."""
        if self.meter is not None and self.fileno() >= 0:
            self.meter.forget(self)
        super().close()


class Meter:
    """Opens the connections of one client process and counts what goes over them."""

    def __init__(self) -> None:
        """Start with no connection."""
        self.requests = 0  # requests made to ask for messages: a client counts them here
        self.empty_requests = 0  # those of them whose answer brought none
        self.batches: Counter[int] = Counter()  # answers, or chunks of a stream, by how many messages they brought
        self.keep_alives = 0  # pings that the client's library sent, each answered
        self.keep_alive_bytes = 0  # of both
        self._open: dict[AnySocket, Wire] = {}
        self._closed = Wire()

    def socket(self, family: int, kind: int, protocol: int) -> MeteredSocket:
        """Return a new non-blocking socket with TCP_NODELAY, for a library that connects it itself."""
        sock = MeteredSocket(family, kind, protocol)
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.stamp()
        sock.meter = self
        self._open[sock] = Wire()
        return sock

    async def connect(self, host: str, port: int) -> MeteredSocket:
        """Return a connected socket.

        Raises:
            OSError: nobody answers there.
        """
        loop = asyncio.get_running_loop()
        address = (await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM))[0]
        sock = self.socket(*address[:3])
        try:
            await loop.sock_connect(sock, address[4])
        except BaseException:
            sock.close()
            raise
        return sock

    def adopt(self, sock: AnySocket) -> None:
        """Count a connected socket that a library opened by itself."""
        self._open[sock] = read_wire(sock) or Wire()

    def forget(self, sock: AnySocket) -> None:
        """Keep the last counts of a socket that is about to close."""
        last = self._open.pop(sock, Wire())
        self._closed += read_wire(sock) or last

    def totals(self) -> Wire | None:
        """Return the counts of all connections so far, closed ones too; None where the kernel gives none."""
        if _TCP_INFO is None:
            return None
        total = self._closed
        for sock, last in self._open.items():
            self._open[sock] = read_wire(sock) or last
            total += self._open[sock]
        return total

    def nagle(self) -> int:
        """Return how many open connections lack TCP_NODELAY."""
        count = 0
        for sock in self._open:
            try:
                count += not sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            except OSError:
                continue
        return count
