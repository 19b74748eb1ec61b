"""Bare TCP: almost no protocol, as the floor under all other transports on this machine.

A connection says once what it is for: `P topic` (it publishes) or `S topic` (it subscribes), and a newline. A
subscriber is answered with a newline. After that every message is its length (two bytes, network byte order; four for
32,768 bytes and more: `rtbench/wire/lengths.py`) and the payload. The same feed and the same event loop serve it as
every other transport, so what another transport needs beyond it is the cost of that transport's protocol.

To a first line that is neither, and to one for which there is no room, the server says why, and closes.
"""

from __future__ import annotations

import asyncio
import socket
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import cast
from urllib.parse import urlsplit

from rtbench.transports import BACKLOG, Feed, Feeds, ServerContext, feed, server_url
from rtbench.wire import lengths

MAX_LINE_BYTES = 1024
LINE_WITHIN_S = 10.0  # seconds from the connection to the end of the first line
SLOW_BYTES = 2**20  # unsent bytes of a connection above which it gets nothing, and later catches up from the feed


def by_hand(url: str) -> list[str]:
    """Return lines for bash: a subscriber, a publisher, and what comes."""
    place = urlsplit(url)
    return [
        f"exec 3<>/dev/tcp/{place.hostname}/{place.port}; printf 'S room\\n' >&3",
        f"exec 4<>/dev/tcp/{place.hostname}/{place.port}; printf 'P room\\n\\0\\5hello' >&4",
        "timeout 1 cat <&3 | od -c",
    ]


def software() -> str:
    """Return the name of the library."""
    return "asyncio streams of bytes"


def frame(payload: bytes) -> bytes:
    """Return a message as bytes on the wire."""
    return lengths.encode(len(payload)) + payload


class Connection(asyncio.Protocol):
    """The server's end of a connection: a publisher, or a subscriber with its place in the feed."""

    def __init__(self, feeds: Feeds, subscribers: dict[str, set[Connection]], everyone: set[Connection]) -> None:
        self._feeds = feeds
        self._subscribers = subscribers  # by topic
        self._everyone = everyone
        self._buffer = bytearray()
        self._topic: str | None = None  # until the first line is there
        self._cursor: int | None = None  # of a subscriber that reads too slowly: what it gets next
        self._line_in_time: asyncio.TimerHandle
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Switch Nagle's algorithm off: asyncio does so only where the listening socket names IPPROTO_TCP."""
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(SLOW_BYTES)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._everyone.add(self)
        self._line_in_time = asyncio.get_running_loop().call_later(LINE_WITHIN_S, self.transport.abort)

    def connection_lost(self, _exc: Exception | None) -> None:
        """Forget this connection."""
        self._line_in_time.cancel()
        self._everyone.discard(self)
        if self._topic is not None:
            self._subscribers[self._topic].discard(self)

    def data_received(self, data: bytes) -> None:
        """Take the first line, then messages."""
        self._buffer += data
        if self._topic is None and not self._introduce():
            return
        while head := lengths.decode(self._buffer):
            length, start = head
            if length > feed.MAX_PAYLOAD_BYTES:
                self.transport.abort()
                return
            if len(self._buffer) < start + length:
                return
            self.publish(bytes(self._buffer[start : start + length]))
            del self._buffer[: start + length]

    def _introduce(self) -> bool:
        line, newline, rest = self._buffer.partition(b"\n")
        if not newline and len(line) < MAX_LINE_BYTES:
            return False
        self._line_in_time.cancel()
        role, _, topic = line.decode(errors="replace").partition(" ")
        if not newline or len(line) > MAX_LINE_BYTES or role not in ("P", "S"):
            self._refuse(f"the first line is `P topic` or `S topic`, of at most {MAX_LINE_BYTES} bytes")
            return False
        try:
            self._feeds[topic]
        except feed.Full as error:
            self._refuse(str(error))
            return False
        self._topic, self._buffer = topic, bytearray(rest)
        if role == "S":
            self._subscribers[topic].add(self)
            self.transport.write(b"\n")
        return True

    def _refuse(self, why: str) -> None:
        self.transport.write(f"{why}\n".encode())
        self.transport.close()

    def publish(self, payload: bytes) -> None:
        """Store a message and send it to the subscribers of the topic."""
        topic = cast(str, self._topic)
        self._feeds[topic].append(payload)
        message = frame(payload)
        for subscriber in self._subscribers[topic]:
            subscriber.send(message)

    def send(self, message: bytes) -> None:
        """Send what was just published; a subscriber that reads too slowly gets it later, from the feed."""
        if self._cursor is None:
            self.transport.write(message)

    def _feed(self) -> Feed[bytes]:
        return self._feeds[cast(str, self._topic)]

    def pause_writing(self) -> None:
        """Note where a subscriber that reads too slowly must continue."""
        if self._topic is not None:
            self._cursor = self._feed().end

    def resume_writing(self) -> None:
        """Send what the feed has since then, and how many messages it no longer holds."""
        if self._cursor is None:
            return
        batch, self._cursor = self._feed().after(self._cursor), None
        if batch.missed:
            self.transport.write(lengths.encode(lengths.GAP) + batch.missed.to_bytes(4, "big"))
        for number, message in enumerate(batch.messages, start=batch.cursor - len(batch.messages)):
            if self._cursor is not None:  # paused again
                self._cursor = number
                return
            self.transport.write(frame(message))


@asynccontextmanager
async def serve(
    listener: socket.socket,
    *,
    capacity: feed.Capacity = feed.DEFAULT_CAPACITY,
    max_feed_bytes: feed.MaxFeedBytes = feed.DEFAULT_MAX_BYTES,
    max_topics: feed.MaxTopics = feed.DEFAULT_MAX_TOPICS,
    tls: ServerContext | None = None,
) -> AsyncIterator[str]:
    """Relay over bare TCP until left; yield the URL."""
    everyone: set[Connection] = set()
    subscribers: dict[str, set[Connection]] = defaultdict(set)
    make = partial(Connection, Feeds(capacity, feed.Room(max_feed_bytes, max_topics)), subscribers, everyone)
    server = await asyncio.get_running_loop().create_server(make, sock=listener, backlog=BACKLOG, ssl=tls)
    try:
        yield server_url("tcp", listener, tls)
    finally:
        server.close()
        while everyone:
            for connection in everyone:
                connection.transport.abort()
            await asyncio.sleep(0)  # the event loop calls connection_lost
