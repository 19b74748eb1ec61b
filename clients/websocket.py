"""WebSocket: one upgrade, then frames in both directions on the open connection.

A delivery costs a frame header of two to ten bytes and nothing else above TCP (RFC 6455 section 5.2).

Servers of rtbench take the subprotocol `rtbench`: a text says what was missed, and `?after=` continues a subscription.
A URL that ends in `#plain` names a server that does not: every frame is a message then, and a subscription begins anew
after a lost connection. (The URL of a WebSocket has no fragment of its own: RFC 6455 section 3.)
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any
from urllib.parse import quote, urlsplit

import websockets
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as connect_websocket
from websockets.typing import Subprotocol

from rtbench.errors import Refused
from rtbench.transports import Message, Meter, MeteredSocket, Session, refuse_wildcards

from . import attempts, sizes

SLOT = 3
SCHEMES = ("ws", "wss")
predict = sizes.websocket
attempt = attempts.over_websocket

PLAIN = "plain"  # fragment of the URL of a server without the subprotocol
PUBLISHED = ("published",)  # in what a session keeps: the topics; beside it the position of each subscription


def software() -> str:
    """Return the name and version of the library."""
    return f"websockets {version('websockets')}"


@dataclass
class Position:
    """Where a subscription is: the number of its next message, in one run of the server."""

    epoch: str
    number: int

    def __str__(self) -> str:
        return f"{self.epoch}-{self.number}"


class WebSocket:
    """One WebSocket for each topic published on, opened with the first publish, and one for each subscription."""

    in_flight_limit = None

    def __init__(self, url: str, meter: Meter, stack: AsyncExitStack, session: Session | None) -> None:
        self._session = session
        base, _, fragment = url.partition("#")
        self._url, self._is_plain = base.rstrip("/"), fragment == PLAIN
        self._meter = meter
        self._stack = stack
        self._publishers: dict[str, ClientConnection] = {}
        self._opening = asyncio.Lock()

    async def publish(self, topic: str, payload: bytes) -> bool:
        """Publish; WebSocket has no acknowledgement."""
        connection = await self._publisher(topic)
        try:
            await connection.send(payload)
        except websockets.ConnectionClosed as error:
            raise ConnectionError(str(error)) from error
        return False

    async def open_again(self) -> None:
        """Open the connections on which the client published before."""
        for topic in [] if self._session is None else self._session.kept.get(PUBLISHED, ()):
            await self._publisher(topic)

    async def _publisher(self, topic: str) -> ClientConnection:
        async with self._opening:  # also for an open one: publishes that wait for the opening keep their order
            if topic not in self._publishers:
                self._publishers[topic], _ = await self._open(topic, "?publish")
                self._keep(topic)
            return self._publishers[topic]

    def _keep(self, topic: str) -> None:
        """Let the session know what to open again, and when the connection ends: nobody reads from it."""
        if self._session is None:
            return
        self._session.kept.setdefault(PUBLISHED, {})[topic] = None
        ended, tell = asyncio.ensure_future(self._publishers[topic].wait_closed()), self._session.lost
        ended.add_done_callback(lambda _: tell())

    async def subscribe(self, topic: str) -> AsyncIterator[Message]:
        """Subscribe to one topic: the server's answer to the upgrade says that every later message will come."""
        refuse_wildcards("websocket", topic)
        if self._session is not None and self._is_plain:
            self._session.resumed = False
        if self._session is None or not self._session.resume or self._is_plain:
            return self._read(topic, *await self._open(topic))
        kept = self._session.kept.get(topic, "")
        connection, sock = await self._open(topic, f"?after={kept}")
        position = await self._greeting(connection)
        self._session.resumed = str(position) == str(kept)
        self._session.kept[topic] = position
        return self._read(topic, connection, sock, position)

    @staticmethod
    async def _greeting(connection: ClientConnection) -> Position:
        try:
            epoch, _, number = json.loads(await connection.recv())["after"].rpartition("-")
        except websockets.ConnectionClosed as error:
            raise ConnectionError(str(error)) from error
        return Position(epoch, int(number))

    async def _open(self, topic: str, query: str = "") -> tuple[ClientConnection, MeteredSocket]:
        parts = urlsplit(self._url)
        keep_alive_s = self._session.keep_alive_s if self._session is not None else None
        usual_port = 443 if parts.scheme == "wss" else 80
        sock = await self._meter.connect(parts.hostname or "", parts.port or usual_port)
        try:
            connection = await self._stack.enter_async_context(
                connect_websocket(
                    f"{self._url}/{quote(topic)}{query}",
                    sock=sock,
                    ssl=(self._meter.tls or True) if parts.scheme == "wss" else None,
                    subprotocols=None if self._is_plain else [Subprotocol("rtbench")],
                    additional_headers=self._meter.login.fields,
                    compression=None,
                    ping_interval=keep_alive_s,
                    ping_timeout=keep_alive_s,
                    proxy=None,
                    max_size=None,
                    max_queue=None,  # with a limit, a subscriber that stops reading would miss the closing handshake
                    close_timeout=1,
                )
            )
            return connection, sock
        except websockets.InvalidMessage as error:  # the connection ended in the middle of the handshake
            raise ConnectionError(str(error)) from error
        except websockets.InvalidHandshake as error:
            raise Refused(f"upgrade of {topic}: {error}") from error
        except TimeoutError:
            raise ConnectionError(f"{self._url} does not answer the opening handshake") from None

    async def _read(
        self, topic: str, connection: ClientConnection, sock: MeteredSocket, position: Position | None = None
    ) -> AsyncIterator[Message]:
        missed = 0
        try:
            async for frame in connection:
                if isinstance(frame, bytes) or self._is_plain:
                    frame = frame.encode() if isinstance(frame, str) else frame
                    if position is not None:
                        position.number += 1 + missed
                    yield topic, frame, missed, sock.arrived_ns
                    missed = 0
                else:
                    missed += int(json.loads(frame)["missed"])
        except websockets.ConnectionClosedError as error:
            raise ConnectionError(str(error)) from error


@asynccontextmanager
async def connect(url: str, meter: Meter, *, session: Session | None = None) -> AsyncIterator[WebSocket]:
    """Open WebSockets as they are needed."""
    async with AsyncExitStack() as stack:
        websocket = WebSocket(url, meter, stack, session)
        await websocket.open_again()
        yield websocket


def observation(seen: Mapping[str, Any]) -> str:
    """Say that a frame needs no request."""
    return f"pushes a frame on an open connection: {seen['median']}, no request a delivery"
