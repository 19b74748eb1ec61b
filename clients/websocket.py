"""WebSocket: one upgrade, then frames in both directions on the open connection.

A delivery costs a frame header of two to ten bytes and nothing else above TCP (RFC 6455 section 5.2).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import version
from typing import Any
from urllib.parse import quote, urlsplit

import websockets
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as connect_websocket
from websockets.typing import Subprotocol

from rtbench.errors import Refused
from rtbench.transports import Message, Meter, MeteredSocket, refuse_wildcards

from . import sizes

SLOT = 3
predict = sizes.websocket


def software() -> str:
    """Return the name and version of the library."""
    return f"websockets {version('websockets')}"


class WebSocket:
    """One WebSocket for each topic published on, opened with the first publish, and one for each subscription."""

    in_flight_limit = None

    def __init__(self, url: str, meter: Meter, stack: AsyncExitStack) -> None:
        self._url = url
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

    async def _publisher(self, topic: str) -> ClientConnection:
        async with self._opening:  # also for an open one: publishes that wait for the opening keep their order
            if topic not in self._publishers:
                self._publishers[topic], _ = await self._open(topic, "?publish")
            return self._publishers[topic]

    async def subscribe(self, topic: str) -> AsyncIterator[Message]:
        """Subscribe to one topic: the server's answer to the upgrade says that every later message will come."""
        refuse_wildcards("websocket", topic)
        return self._read(topic, *await self._open(topic))

    async def _open(self, topic: str, query: str = "") -> tuple[ClientConnection, MeteredSocket]:
        parts = urlsplit(self._url)
        usual_port = 443 if parts.scheme == "wss" else 80
        sock = await self._meter.connect(parts.hostname or "", parts.port or usual_port)
        try:
            connection = await self._stack.enter_async_context(
                connect_websocket(
                    f"{self._url}/{quote(topic)}{query}",
                    sock=sock,
                    ssl=(self._meter.tls or True) if parts.scheme == "wss" else None,
                    subprotocols=[Subprotocol("rtbench")],
                    compression=None,
                    ping_interval=None,
                    proxy=None,
                    max_size=None,
                    max_queue=None,  # with a limit, a subscriber that stops reading would miss the closing handshake
                    close_timeout=1,
                )
            )
            return connection, sock
        except websockets.InvalidHandshake as error:
            raise Refused(f"upgrade of {topic}: {error}") from error
        except TimeoutError:
            raise ConnectionError(f"{self._url} does not answer the opening handshake") from None

    async def _read(self, topic: str, connection: ClientConnection, sock: MeteredSocket) -> AsyncIterator[Message]:
        missed = 0
        async for frame in connection:
            if isinstance(frame, bytes):
                yield topic, frame, missed, sock.arrived_ns
                missed = 0
            else:
                missed += int(json.loads(frame)["missed"])


@asynccontextmanager
async def connect(url: str, meter: Meter) -> AsyncIterator[WebSocket]:
    """Open WebSockets as they are needed."""
    async with AsyncExitStack() as stack:
        yield WebSocket(url, meter, stack)


def observation(seen: Mapping[str, Any]) -> str:
    """Say that a frame needs no request."""
    return f"pushes a frame on an open connection: {seen['median']}, no request a delivery"
