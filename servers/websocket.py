"""WebSocket: one connection, both directions, a frame a message.

`ws://host/topic` hears what is published on the topic and publishes what it sends; `ws://host/topic?publish` publishes
only. Text stays text and binary stays binary, as a browser expects.

A subscriber that reads too slowly is left out of the broadcast and caught up from the feed when it reads again. If
the feed has meanwhile dropped messages, it is told: a client that speaks the subprotocol `rtbench` gets a text frame
`{"missed": N}` (and payloads in binary frames only), any other is closed with code 1013.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from importlib.metadata import version
from typing import Any
from urllib.parse import unquote
from weakref import WeakKeyDictionary, WeakSet

import websockets
from websockets.asyncio.server import ServerConnection, broadcast
from websockets.asyncio.server import serve as serve_websockets
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.typing import Subprotocol

from rtbench.errors import UsageError
from rtbench.transports import BACKLOG, Feed, ServerContext, refuse_wildcards, server_url
from rtbench.transports.feed import DEFAULT_CAPACITY, Capacity

SUBPROTOCOL = Subprotocol("rtbench")
MAX_PAYLOAD_BYTES = 64 * 2**20
SLOW_BYTES = 2**20  # unsent bytes of a connection beyond which it is left out of the broadcast


def software() -> str:
    """What runs."""
    return f"websockets {version('websockets')}"


class Topic:
    """The feed of one topic and the connections that hear it."""

    def __init__(self, capacity: int) -> None:
        """Start with nobody listening."""
        self.feed: Feed[str | bytes] = Feed(capacity)
        self._plain: set[ServerConnection] = set()
        self._binary: set[ServerConnection] = set()
        self._catching_up: set[asyncio.Task[None]] = set()

    def _group(self, connection: ServerConnection) -> set[ServerConnection]:
        return self._binary if connection.subprotocol == SUBPROTOCOL else self._plain

    def join(self, connection: ServerConnection, cursor: int) -> None:
        """Let a connection hear everything from `cursor` on."""
        if cursor < self.feed.end:
            task = asyncio.create_task(self._catch_up(connection, cursor))
            self._catching_up.add(task)
            task.add_done_callback(self._catching_up.discard)
        else:
            self._group(connection).add(connection)

    def leave(self, connection: ServerConnection) -> None:
        """Let it hear no more."""
        self._group(connection).discard(connection)

    def publish(self, message: str | bytes) -> None:
        """Store a message and send it to everyone who keeps up."""
        before = self.feed.end
        self.feed.append(message)
        for group in (self._plain, self._binary):
            for slow in [c for c in group if c.transport.get_write_buffer_size() > SLOW_BYTES]:
                group.discard(slow)
                self.join(slow, before)
        broadcast(self._plain, message)
        broadcast(self._binary, message.encode() if isinstance(message, str) else message)

    async def _catch_up(self, connection: ServerConnection, cursor: int) -> None:
        """Send a slow connection what it has not had, at its own pace, until it can join the others again."""
        binary = connection.subprotocol == SUBPROTOCOL
        try:
            while cursor < self.feed.end:
                batch = self.feed.after(cursor)
                if batch.missed and not binary:
                    await connection.close(1013, f"too slow: {batch.missed} messages missed")
                    return
                if batch.missed:
                    await connection.send(json.dumps({"missed": batch.missed}))
                for message in batch.messages[:64]:
                    await connection.send(message.encode() if binary and isinstance(message, str) else message)
                cursor = batch.cursor - len(batch.messages[64:])
        except websockets.ConnectionClosed:
            return
        if connection.state is State.OPEN:
            self.join(connection, cursor)


@asynccontextmanager
async def serve(
    listener: socket.socket,
    *,
    capacity: Capacity = DEFAULT_CAPACITY,
    tls: ServerContext | None = None,
) -> AsyncIterator[str]:
    """Relay over WebSocket until left; yield the URL."""
    topics: dict[str, Topic] = {}
    cursors: WeakKeyDictionary[ServerConnection, int] = WeakKeyDictionary()
    everyone: WeakSet[ServerConnection] = WeakSet()

    class Connection(ServerConnection):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            everyone.add(self)

    def address(request: Request) -> tuple[Topic, str]:
        path, _, query = request.path.partition("?")
        name = unquote(path.removeprefix("/"))
        refuse_wildcards("websocket", name)
        return topics.setdefault(name, Topic(capacity)), query

    def answer(connection: ServerConnection, request: Request, _: Response) -> Response | None:
        """Note, before the client can know that it is connected, from where on it is to hear the topic."""
        try:
            cursors[connection] = address(request)[0].feed.end
        except UsageError as error:
            return connection.respond(HTTPStatus.BAD_REQUEST, f"{error}\n")
        return None

    async def handle(connection: ServerConnection) -> None:
        assert connection.request is not None
        topic, query = address(connection.request)
        if query != "publish":
            topic.join(connection, cursors.pop(connection))
        try:
            async for message in connection:
                topic.publish(message)
        except websockets.ConnectionClosedError:
            pass
        finally:
            topic.leave(connection)

    async with serve_websockets(
        handle,
        sock=listener,
        ssl=tls,
        backlog=BACKLOG,
        create_connection=Connection,
        process_response=answer,
        subprotocols=[SUBPROTOCOL],
        select_subprotocol=lambda _, offered: SUBPROTOCOL if SUBPROTOCOL in offered else None,
        compression=None,  # the padding of a benchmark's payload would compress to nothing
        ping_interval=None,  # a ping that waits behind data would close a loaded connection
        close_timeout=0.5,
        max_size=MAX_PAYLOAD_BYTES,
    ) as server:
        yield server_url("ws", listener, tls)
        server.close(close_connections=True)
        for connection in everyone:
            if connection.state is State.CONNECTING:  # it would be waited for until its handshake has timed out
                connection.transport.abort()
