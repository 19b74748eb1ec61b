"""WebSocket, lean: what `clients/websocket.py` does, without a library."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote, urlsplit

from rtbench.errors import Refused
from rtbench.transports import Deliver, Done, Ended, Message, Meter, Session, refuse_wildcards, watcher
from rtbench.wire import http
from rtbench.wire import websocket as wire

from ..websocket import PLAIN, PUBLISHED, SLOT, Position, observation, predict
from .connection import Connection, Inbox, opened
from .http import FIELDS
from .software import software

__all__ = ["DIRECT", "SLOT", "connect", "observation", "predict", "software"]

DIRECT = True
_CONNECT_WITHIN_S = 10.0


class Client(Connection):
    """One WebSocket: the upgrade, then frames in both directions."""

    __slots__ = (
        *("_answer", "_head", "_is_plain", "_missed", "_pinged", "_reader", "_timer"),
        *("began", "deliver", "on_end", "position", "topic"),
    )

    def __init__(self, *connection: Any, topic: str) -> None:
        super().__init__(*connection)
        self.topic = topic
        self.deliver: Deliver | None = None
        self.on_end: Ended | None = None
        self.began = ""  # the position of the first message, as the server has told it
        self.position: Position | None = None  # of the next message, where the server has told it
        self._answer: asyncio.Future[Any] | None = None  # the head of the answer to the upgrade, then the greeting
        self._head: bytes | None = b""  # as far as it has come; None once it is whole
        self._reader = wire.Reader()
        self._missed = 0
        self._timer: asyncio.TimerHandle | None = None
        self._pinged = False
        self._is_plain = False

    async def upgrade(self, target: str, host: str, login: Mapping[str, str], greets: bool, plain: bool) -> None:
        """Do the opening handshake; with `greets`, wait until the server has told the position.

        With `plain`, do not ask for the subprotocol: every frame is a message.

        Raises:
            Refused: the server answers with something else.
            OSError: the connection ended before the answer.
        """
        key = wire.new_key()
        fields = {
            "Host": host,
            **wire.upgrade_fields(key, "" if plain else "rtbench"),
            "User-Agent": FIELDS["User-Agent"],
            **login,
        }
        self._is_plain = plain
        self._answer = asyncio.get_running_loop().create_future()
        self.send(http.request("GET", target, fields))
        async with asyncio.timeout(_CONNECT_WITHIN_S):
            head: http.Head = await self._answer
            if head.status != 101 or head.fields.get("sec-websocket-accept") != wire.accept_key(key):
                raise Refused(f"upgrade of {self.topic}: the server answers {head.status} {head.reason}")
            if greets and self.position is None:
                self._answer = asyncio.get_running_loop().create_future()
                await self._answer
        self._answer = None

    def received(self, data: bytes, arrived_ns: int) -> None:
        """Take frames; nearly always it is one whole binary frame."""
        if self._head is not None:
            data = self._take_head(data)
        elif self._reader.is_empty and not self._missed:
            content = wire.only_binary(data)
            if content is not None and self.deliver is not None:
                if self.position is not None:
                    self.position.number += 1
                self.deliver(self.topic, content, 0, arrived_ns)
                return
        for opcode, payload in self._reader.feed(data):
            self._take(opcode, payload, arrived_ns)

    def _take_head(self, data: bytes) -> bytes:
        """Take the head of the answer; return what follows it."""
        head, end, rest = ((self._head or b"") + data).partition(b"\r\n\r\n")
        self._head = None if end else head
        if end:
            self._settle(http.parse_head(head))
        return rest

    def _take(self, opcode: int, payload: bytes, arrived_ns: int) -> None:
        if opcode == wire.BINARY or (opcode == wire.TEXT and self._is_plain):
            if self.position is not None:
                self.position.number += 1 + self._missed
            if self.deliver is not None:
                self.deliver(self.topic, payload, self._missed, arrived_ns)
            self._missed = 0
        elif opcode == wire.TEXT:
            self._take_word(json.loads(payload))
        elif opcode == wire.PING:
            self.send(wire.masked_frame(wire.PONG, payload, os.urandom(4)))
        elif opcode == wire.PONG:
            self._pinged = False
        elif opcode == wire.CLOSE:
            self.send(wire.masked_frame(wire.CLOSE, payload[:2], os.urandom(4)))
            raise ConnectionError("the server closed the WebSocket")

    def _take_word(self, word: dict[str, Any]) -> None:
        """Take what the server says of the feed: where it is, or how many messages it has skipped."""
        if "after" not in word:
            self._missed += int(word["missed"])
            return
        epoch, _, number = word["after"].rpartition("-")
        self.position, self.began = Position(epoch, int(number)), word["after"]
        self._settle(None)

    def _settle(self, answer: http.Head | Exception | None) -> None:
        if self._answer is None or self._answer.done():
            return
        if isinstance(answer, Exception):
            self._answer.set_exception(answer)
        else:
            self._answer.set_result(answer)

    def lost(self) -> None:
        """Tell whoever waits."""
        error = self.error if isinstance(self.error, OSError) else ConnectionError(str(self.error))
        if self._timer is not None:
            self._timer.cancel()
        self._settle(error)
        if self.on_end is not None:
            self.on_end(error)

    def publish(self, payload: bytes) -> None:
        """Send a message.

        Raises:
            OSError: the connection has ended.
        """
        self.send(wire.masked_frame(wire.BINARY, payload, os.urandom(4)))

    def keep_alive(self, every_s: float) -> None:
        """Send a ping after this time; without an answer until the next one, the connection is lost."""
        self._timer = asyncio.get_running_loop().call_later(every_s, self._ping, every_s)

    def _ping(self, every_s: float) -> None:
        try:
            if self._pinged:
                raise ConnectionError("the server does not answer a ping")
            self.send(wire.masked_frame(wire.PING, b"", os.urandom(4)))
        except OSError as error:
            self.end(error)
            return
        self._pinged = True
        self.keep_alive(every_s)

    def leave(self) -> None:
        """Send a close frame, and close."""
        if self._timer is not None:
            self._timer.cancel()
        self.close(wire.masked_frame(wire.CLOSE, wire.NORMAL, os.urandom(4)))


class WebSocket:
    """One WebSocket for each topic published on, opened with the first publish, and one for each subscription."""

    in_flight_limit = None

    def __init__(self, url: str, meter: Meter, session: Session | None) -> None:
        self._url = urlsplit(url)
        self._is_plain = self._url.fragment == PLAIN
        self._meter = meter
        self._session = session
        self._publishers: dict[str, Client] = {}
        self._opened: list[Client] = []
        self._opening = asyncio.Lock()

    async def publish(self, topic: str, payload: bytes) -> bool:
        """Publish; WebSocket has no acknowledgement."""
        async with self._opening:  # also for an open one: publishes that wait for the opening keep their order
            (await self._publisher(topic)).publish(payload)
        return False

    def send(self, topic: str, payload: bytes, done: Done) -> None:
        """Publish; see `DirectConnection`."""
        try:
            self._publishers[topic].publish(payload)
        except OSError as error:
            done(error)
        else:
            done(False)

    async def open_again(self) -> None:
        """Open the connections on which the client published before."""
        for topic in [] if self._session is None else self._session.kept.get(PUBLISHED, ()):
            await self._publisher(topic)

    async def _publisher(self, topic: str) -> Client:
        if topic not in self._publishers:
            client = await self._open(topic, "?publish")
            if self._session is not None:
                lost = self._session.lost
                client.on_end = lambda _: lost()
                self._session.kept.setdefault(PUBLISHED, {})[topic] = None
            self._publishers[topic] = client
        return self._publishers[topic]

    async def subscribe(self, topic: str) -> AsyncIterator[Message]:
        """Subscribe to one topic: the server's answer to the upgrade says that every later message will come."""
        inbox = Inbox()
        await self.receive(topic, inbox.deliver, inbox.ended)
        return inbox.read()

    async def receive(self, topic: str, deliver: Deliver, ended: Ended) -> None:
        """Subscribe; see `DirectConnection`."""
        refuse_wildcards("websocket", topic)
        if self._session is not None and self._is_plain:
            self._session.resumed = False
        if self._session is None or not self._session.resume or self._is_plain:
            await self._open(topic, "", deliver, ended)
            return
        kept = str(self._session.kept.get(topic, ""))
        client = await self._open(topic, f"?after={kept}", deliver, ended)
        self._session.resumed = client.began == kept
        self._session.kept[topic] = client.position

    async def _open(self, topic: str, query: str, deliver: Deliver | None = None, ended: Ended | None = None) -> Client:
        encrypted = self._url.scheme == "wss"
        sock, pipe = await opened(self._meter, self._url, 443 if encrypted else 80, encrypted)
        client = Client(sock, watcher(), pipe, topic=topic)
        client.deliver, client.on_end = deliver, ended
        self._opened.append(client)
        client.begin()
        target = f"{self._url.path.rstrip('/')}/{quote(topic)}{query}"
        try:
            login = self._meter.login.fields
            await client.upgrade(target, self._url.netloc, login, query.startswith("?after"), self._is_plain)
        except BaseException:
            client.on_end = None
            client.close()
            raise
        if self._session is not None and self._session.keep_alive_s is not None:
            client.keep_alive(self._session.keep_alive_s)
        return client

    def close(self) -> None:
        """Close all connections."""
        for client in self._opened:
            client.leave()


@asynccontextmanager
async def connect(url: str, meter: Meter, *, session: Session | None = None) -> AsyncIterator[WebSocket]:
    """Open WebSockets as they are needed."""
    websocket = WebSocket(url, meter, session)
    try:
        await websocket.open_again()
        yield websocket
    finally:
        websocket.close()
