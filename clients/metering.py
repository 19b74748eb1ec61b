"""What is counted at the HTTP clients: their sockets, when data arrived, and how often they asked.

Here belongs what only the bench needs of polling, long-polling and SSE. A reader who learns the approach can skip it.
The counts are those from which `http_sizes.py` predicts the bytes, and `requests_per_delivery` is computed.
"""

from __future__ import annotations

from typing import Any

from rtbench.transports import Meter, MeteredSocket


class HttpMetering:
    """The metered connections of one HTTP session, and the counts of its requests."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._sockets: list[MeteredSocket] = []

    def socket(self, address: tuple[Any, ...]) -> MeteredSocket:
        """Return a metered socket for a new connection: aiohttp's `socket_factory`, called with a getaddrinfo entry."""
        self._sockets.append(self._meter.socket(*address[:3]))
        return self._sockets[-1]

    @property
    def arrived_ns(self) -> int:
        """When the kernel received what was read last: see `Message`."""
        return max((sock.arrived_ns for sock in self._sockets), default=0)

    def asked(self) -> None:
        """Count a request for messages."""
        self._meter.requests += 1

    def answered(self, messages: int) -> None:
        """Count the answer to such a request, by how many messages it brought."""
        if not messages:
            self._meter.empty_requests += 1
        self._meter.batches[messages] += 1

    def chunk_count(self) -> ChunkCount:
        """Return a count for one response in chunks."""
        return ChunkCount(self._meter)


class ChunkCount:
    """Counts the chunks of one response (RFC 9112 section 7.1), by how many events ended in each."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._events = 0

    def add(self, events: int, ends_chunk: bool) -> None:
        """Count the events of a part of a chunk; `ends_chunk` says whether it was the last part."""
        self._events += events
        if ends_chunk:
            self._meter.batches[self._events] += 1
            self._events = 0
