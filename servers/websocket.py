"""WebSocket: one connection, both directions, one frame for each message.

A connection to `ws://host/topic` receives what is published on the topic, and publishes what it sends; one to
`ws://host/topic?publish` only publishes. Text stays text and binary stays binary, as a browser expects.

A subscriber that reads too slowly is taken out of the broadcast, and gets the messages from the feed at its own pace
until it has caught up. If the feed has dropped some of them, the server says so: to a client with the subprotocol
`rtbench` in a text frame `{"missed": N}` (its payloads come in binary frames only), to any other by closing with code
1013.

A client with that subprotocol can continue where its last connection ended. WebSocket itself has nothing for this; an
application adds it. `ws://host/topic?after=` asks for the messages from now on, and for their numbers: the first
frame is `{"after": "EPOCH-N"}`, and each payload, and each message that is missed, adds one to N. `?after=EPOCH-N` on
the next connection continues there, as far as the feed still holds the messages.

Somebody who opens the URL in a browser gets this text, and can use the console there: the page has the right origin.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from importlib.metadata import version
from urllib.parse import parse_qs, unquote
from weakref import WeakKeyDictionary, WeakSet

import websockets
from websockets.asyncio.server import ServerConnection, broadcast
from websockets.asyncio.server import serve as serve_websockets
from websockets.frames import CloseCode
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.typing import Subprotocol

from rtbench.errors import UsageError
from rtbench.transports import BACKLOG, Feed, ServerContext, feed, refuse_wildcards, server_url
from rtbench.transports.access import Access, AllowHost, AllowOrigin, Password, Username, Wanted
from rtbench.transports.permissions import AccessList, Users, permissions_of

SUBPROTOCOL = Subprotocol("rtbench")
ONLY_PUBLISHES = "publish"  # the query of a connection that receives nothing
SLOW_BYTES = 2**20  # unsent bytes of a connection above which it is taken out of the broadcast


def by_hand(url: str) -> list[str]:
    """Return a line for a terminal, and one for the console of a browser."""
    return [
        f"python -m websockets {url}/room   # sends each line that you type",
        f's = new WebSocket("{url}/room"); s.onmessage = e => console.log(e.data); s.onopen = () => s.send("hello")'
        f"   // in the console of a browser, at {url.replace('ws', 'http', 1)}/",
    ]


def software() -> str:
    """Return the name and version of the library."""
    return f"websockets {version('websockets')}"


class Topic:
    """The feed of one topic, and the connections that receive it."""

    def __init__(self, capacity: int, room: feed.Room) -> None:
        room.add_topic()
        self.feed: Feed[str | bytes] = Feed(capacity, room)
        self._plain: set[ServerConnection] = set()  # subscribers that keep up, without the subprotocol
        self._binary: set[ServerConnection] = set()  # and with it
        self._catching_up: set[asyncio.Task[None]] = set()

    def _group(self, connection: ServerConnection) -> set[ServerConnection]:
        return self._binary if connection.subprotocol == SUBPROTOCOL else self._plain

    def join(self, connection: ServerConnection, cursor: int) -> None:
        """Give a connection everything from `cursor` on."""
        if cursor < self.feed.end:
            task = asyncio.create_task(self._catch_up(connection, cursor))
            self._catching_up.add(task)
            task.add_done_callback(self._catching_up.discard)
        else:
            self._group(connection).add(connection)

    def leave(self, connection: ServerConnection) -> None:
        """Give it nothing more."""
        self._group(connection).discard(connection)

    def publish(self, message: str | bytes) -> None:
        """Store a message, and send it to every subscriber that keeps up."""
        before = self.feed.end
        self.feed.append(message)
        for group in (self._plain, self._binary):
            for slow in [c for c in group if c.transport.get_write_buffer_size() > SLOW_BYTES]:
                group.discard(slow)
                self.join(slow, before)
        broadcast(self._plain, message)
        broadcast(self._binary, message.encode() if isinstance(message, str) else message)

    async def _catch_up(self, connection: ServerConnection, cursor: int) -> None:
        """Send a slow connection what it has not received, at its own pace, until it can join the others again."""
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


def named(request: Request) -> tuple[str, str]:
    """Return the topic and the query of a request."""
    path, _, query = request.path.partition("?")
    return unquote(path.removeprefix("/")), query


def asked_after(query: str) -> str | None:
    """Return the cursor that a client names in `?after=`, "" where it names none; None where it does not ask."""
    asked = parse_qs(query, keep_blank_values=True).get("after")
    return asked[-1] if asked else None


@asynccontextmanager
async def serve(
    listener: socket.socket,
    *,
    capacity: feed.Capacity = feed.DEFAULT_CAPACITY,
    max_feed_bytes: feed.MaxFeedBytes = feed.DEFAULT_MAX_BYTES,
    max_topics: feed.MaxTopics = feed.DEFAULT_MAX_TOPICS,
    username: Username = None,
    password: Password = None,
    users: Users = None,
    access_list: AccessList = None,
    allow_origin: AllowOrigin = None,
    allow_host: AllowHost = None,
    tls: ServerContext | None = None,
) -> AsyncIterator[str]:
    """Relay over WebSocket until left; yield the URL."""
    permissions = permissions_of(username, password, users, access_list)
    access = Access(listener, permissions=permissions, allow_origin=allow_origin, allow_host=allow_host)
    room = feed.Room(max_feed_bytes, max_topics)
    topics: dict[str, Topic] = {}
    texts = feed.Cursors()
    cursors: WeakKeyDictionary[ServerConnection, int] = WeakKeyDictionary()
    everyone: WeakSet[ServerConnection] = WeakSet()

    class Connection(ServerConnection):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            everyone.add(self)

    def address(request: Request) -> tuple[Topic, str]:
        name, query = named(request)
        refuse_wildcards("websocket", name)
        if name not in topics:
            topics[name] = Topic(capacity, room)
        return topics[name], query

    def refuse(connection: ServerConnection, request: Request) -> Response | None:
        """Answer a request that is not allowed, and one that asks for no WebSocket."""
        name, query = named(request)
        wanted = Wanted(name, to_publish=query == ONLY_PUBLISHES) if "Upgrade" in request.headers else None
        refusal = access.refusal(request.headers, wanted)
        if refusal is None:
            return None if "Upgrade" in request.headers else connection.respond(HTTPStatus.OK, __doc__ or "")
        response = connection.respond(refusal.status, refusal.text)
        response.headers.update(refusal.headers)
        return response

    def answer(connection: ServerConnection, request: Request, response: Response) -> Response | None:
        """Note where the subscription starts, before the client learns that it is connected."""
        try:
            topic, query = address(request)
            after = asked_after(query)
            if after is not None and "Sec-WebSocket-Protocol" not in response.headers:
                return connection.respond(HTTPStatus.BAD_REQUEST, f"?after= needs the subprotocol {SUBPROTOCOL}\n")
            end = topic.feed.end
            cursors[connection] = min(texts.cursor(after or None, default=end), end)
        except UsageError as error:
            return connection.respond(HTTPStatus.BAD_REQUEST, f"{error}\n")
        except feed.Full as error:
            return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, f"{error}\n")
        return None

    async def handle(connection: ServerConnection) -> None:
        assert connection.request is not None
        topic, query = address(connection.request)
        try:
            if asked_after(query) is not None:
                await connection.send(json.dumps({"after": texts.cursor_text(cursors[connection])}))
            if query != ONLY_PUBLISHES:
                topic.join(connection, cursors.pop(connection))
            may_publish = access.may_publish(connection.request.headers, named(connection.request)[0])
            async for message in connection:
                if not may_publish:
                    await connection.close(CloseCode.POLICY_VIOLATION, "this user may not publish here")
                    return
                topic.publish(message)
        except websockets.ConnectionClosed:
            pass
        finally:
            topic.leave(connection)

    async with serve_websockets(
        handle,
        sock=listener,
        ssl=tls,
        backlog=BACKLOG,
        create_connection=Connection,
        process_request=refuse,
        process_response=answer,
        subprotocols=[SUBPROTOCOL],
        select_subprotocol=lambda _, offered: SUBPROTOCOL if SUBPROTOCOL in offered else None,
        compression=None,  # the padding of the payloads would compress to almost nothing
        ping_interval=None,  # a ping that waits behind much data would time out and close the connection
        close_timeout=0.5,
        max_size=feed.MAX_PAYLOAD_BYTES,
    ) as server:
        yield server_url("ws", listener, tls)
        server.close(close_connections=True)
        for connection in everyone:
            if connection.state is State.CONNECTING:  # or leaving would wait until its handshake times out
                connection.transport.abort()
