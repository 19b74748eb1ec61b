"""Bare TCP, lean: what `clients/tcp.py` does, without asyncio's streams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from rtbench.transports import Deliver, Done, Ended, Message, Meter, refuse_wildcards, watcher
from rtbench.wire import lengths

from ..tcp import CONTROL, SLOT, observation, predict
from .connection import Connection, Inbox, opened
from .software import software

__all__ = ["CONTROL", "DIRECT", "SLOT", "connect", "observation", "predict", "software"]

DIRECT = True


class Client(Connection):
    """One connection, which publishes on a topic or subscribes to it."""

    __slots__ = ("_began", "_missed", "_rest", "deliver", "on_end", "topic")

    def __init__(self, *connection: Any, topic: str) -> None:
        super().__init__(*connection)
        self.topic = topic
        self.deliver: Deliver | None = None
        self.on_end: Ended | None = None
        self._began: asyncio.Future[None] | None = None
        self._missed = 0
        self._rest = b""

    async def begin_as(self, role: str) -> None:
        """Say what the connection is for; a subscription has begun when this returns.

        Raises:
            OSError: the connection has ended.
        """
        self.send(f"{role} {self.topic}\n".encode())
        if role == "S":
            self._began = asyncio.get_running_loop().create_future()
            await self._began

    def received(self, data: bytes, arrived_ns: int) -> None:
        """Take messages, and before them the newline that says that the subscription has begun."""
        if self._began is not None:
            self._began.set_result(None)
            self._began, data = None, data[1:]
        data, at = self._rest + data, 0
        while head := lengths.decode(data, at):
            length, content = head
            end = content + (4 if length == lengths.GAP else length)
            if end > len(data):
                break
            if length == lengths.GAP:
                self._missed += int.from_bytes(data[content:end], "big")
            elif self.deliver is not None:
                self.deliver(self.topic, data[content:end], self._missed, arrived_ns)
                self._missed = 0
            at = end
        self._rest = data[at:]

    def lost(self) -> None:
        """Tell whoever waits."""
        error = self.error if isinstance(self.error, OSError) else ConnectionError(str(self.error))
        if self._began is not None:
            self._began.set_exception(error)
            self._began = None
        elif self.on_end is not None:
            self.on_end(error)


class Tcp:
    """One connection for each topic published on, opened with the first publish, and one for each subscription."""

    in_flight_limit = None

    def __init__(self, url: str, meter: Meter) -> None:
        self._url = urlsplit(url)
        self._meter = meter
        self._publishers: dict[str, Client] = {}
        self._opened: list[Client] = []
        self._in_order = asyncio.Lock()

    async def publish(self, topic: str, payload: bytes) -> bool:
        """Publish; there is no acknowledgement."""
        async with self._in_order:
            if topic not in self._publishers:
                self._publishers[topic] = await self._open("P", topic)
            self._publishers[topic].send(lengths.encode(len(payload)) + payload)
        return False

    def send(self, topic: str, payload: bytes, done: Done) -> None:
        """Publish; see `DirectConnection`."""
        try:
            self._publishers[topic].send(lengths.encode(len(payload)) + payload)
        except OSError as error:
            done(error)
        else:
            done(False)

    async def subscribe(self, topic: str) -> AsyncIterator[Message]:
        """Subscribe to one topic; the server's newline says that the subscription has begun."""
        inbox = Inbox()
        await self.receive(topic, inbox.deliver, inbox.ended)
        return inbox.read()

    async def receive(self, topic: str, deliver: Deliver, ended: Ended) -> None:
        """Subscribe; see `DirectConnection`."""
        refuse_wildcards("tcp", topic)
        await self._open("S", topic, deliver, ended)

    async def _open(self, role: str, topic: str, deliver: Deliver | None = None, ended: Ended | None = None) -> Client:
        sock, pipe = await opened(self._meter, self._url, 0, self._url.scheme == "tcps")
        client = Client(sock, watcher(), pipe, topic=topic)
        client.deliver, client.on_end = deliver, ended
        self._opened.append(client)
        client.begin()
        await client.begin_as(role)
        return client

    def close(self) -> None:
        """Close all connections."""
        for client in self._opened:
            client.close()


@asynccontextmanager
async def connect(url: str, meter: Meter) -> AsyncIterator[Tcp]:
    """Open TCP connections as they are needed."""
    client = Tcp(url, meter)
    try:
        yield client
    finally:
        client.close()
