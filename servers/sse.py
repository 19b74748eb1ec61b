"""Server-Sent Events: the client asks once, and the response does not end.

Each message is an event with an id. A client that lost its connection sends the last id that it received as
`Last-Event-ID`, and gets every later message that the feed still holds (WHATWG HTML section 9.2). Without that header
it gets the messages from now on. With `Prefer: wait=N` (RFC 7240 section 4.3) the server sends a comment after N
seconds without an event, so that the client can tell a quiet topic from a connection that is gone.

An event is made once, and written to every client that has all events before it. A client that reads more slowly than
events come gets them from the feed, at its own pace, until it has all of them again.
"""

from __future__ import annotations

import asyncio
from functools import lru_cache

from aiohttp import HttpVersion11, web

from rtbench.transports import Batch, Feed, Feeds
from rtbench.wire import http, sse

from .http_relay import relaying, software

__all__ = ["by_hand", "serve", "software"]

WRITE_BYTES = 2**20  # of the payloads that are written at once, to a client that reads slowly


async def stream(request: web.Request, feeds: Feeds, topic: str) -> web.StreamResponse:
    """Write events until the client closes."""
    feed = feeds[topic]
    cursor = feeds.cursor(request.headers.get("Last-Event-ID"), default=feed.end)
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
    most_silence_s = http.wait_s(request.headers.get("Prefer")) or None
    await response.prepare(request)
    while True:
        batch = feed.after(cursor, WRITE_BYTES)
        cursor = batch.cursor
        if batch.messages or batch.missed:
            await response.write(events(feeds, batch))
        else:
            cursor = await Follower(request, feeds, feed).follow(most_silence_s)
            await request.writer.drain()


class Follower:
    """A client that has all events of a feed: it gets each new one at once, as long as it reads them fast enough.

    It writes to the transport itself: for each client a task that wakes, and aiohttp's way to write, cost more than all
    the rest.
    """

    __slots__ = ("_feed", "_feeds", "_is_chunked", "_slow", "_transport", "_written_s")

    def __init__(self, request: web.Request, feeds: Feeds, feed: Feed[bytes]) -> None:
        """Raise ConnectionResetError if the client has gone."""
        if request.transport is None:
            raise ConnectionResetError("the client has gone")
        self._transport = request.transport
        self._is_chunked = request.version >= HttpVersion11
        self._feeds = feeds
        self._feed = feed
        self._slow: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._written_s = 0.0

    async def follow(self, most_silence_s: int | None) -> int:
        """Return when the client reads too slowly: the cursor of the events that it was given."""
        loop = asyncio.get_running_loop()
        self._written_s = loop.time()
        self._feed.followers[self._take] = None
        try:
            if most_silence_s is None:
                return await self._slow
            while not self._slow.done():
                left_s = self._written_s + most_silence_s - loop.time()
                if left_s <= 0:
                    self._write(_framed(sse.COMMENT, self._is_chunked))
                else:
                    await asyncio.wait([self._slow], timeout=left_s)
            return self._slow.result()
        finally:
            self._feed.followers.pop(self._take, None)

    def _take(self, message: bytes) -> None:
        """Write a message that was stored just now."""
        if self._slow.done():
            return
        self._write(_new_event(message, self._feeds.cursor_text(self._feed.end), self._is_chunked))
        if self._transport.get_write_buffer_size() > self._transport.get_write_buffer_limits()[1]:
            self._slow.set_result(self._feed.end)

    def _write(self, data: bytes) -> None:
        self._written_s = asyncio.get_running_loop().time()
        if not self._transport.is_closing():
            self._transport.write(data)


@lru_cache(maxsize=1)
def _new_event(message: bytes, id: str, is_chunked: bool) -> bytes:
    """Return the bytes of one event on the connection: those of the last call, for each further client."""
    return _framed(sse.encode(message, id), is_chunked)


def _framed(data: bytes, is_chunked: bool) -> bytes:
    return http.chunk(data) if is_chunked else data


def events(feeds: Feeds, batch: Batch[bytes]) -> bytes:
    """Return a batch as events; the id of an event is the cursor of a client that has received it."""
    first = batch.cursor - len(batch.messages)
    gap = [sse.encode(str(batch.missed).encode(), feeds.cursor_text(first), "missed")] if batch.missed else []
    return b"".join(
        gap + [sse.encode(m, feeds.cursor_text(number)) for number, m in enumerate(batch.messages, start=first + 1)]
    )


def by_hand(url: str) -> list[str]:
    """Return lines for two terminals, and one for the console of a browser."""
    return [
        f"curl --no-buffer {url}/room",
        f"curl --data hello {url}/room",
        f'new EventSource("/room").onmessage = e => console.log(e.data)   // in the console of a browser, at {url}/',
    ]


serve = relaying(stream, check=sse.check_payload)
