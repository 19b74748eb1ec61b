"""Server-Sent Events: the client asks once, and the response does not end.

Each message is an event with an id. A client that lost its connection sends the last id that it received as
`Last-Event-ID`, and gets every later message that the feed still holds (WHATWG HTML section 9.2). Without that header
it gets the messages from now on. With `Prefer: wait=N` (RFC 7240 section 4.3) the server sends a comment after N
seconds without an event, so that the client can tell a quiet topic from a connection that is gone.
"""

from __future__ import annotations

import asyncio

from aiohttp import web

from rtbench.transports import Batch, Feeds
from rtbench.wire import http, sse

from .http_relay import relaying, software

__all__ = ["by_hand", "serve", "software"]

WRITE_BYTES = 2**20  # of the payloads that are written at once, to a client that reads slowly


async def stream(request: web.Request, feeds: Feeds, topic: str) -> web.StreamResponse:
    """Write events until the client closes; to a client that reads slowly, write slowly."""
    feed = feeds[topic]
    cursor = feeds.cursor(request.headers.get("Last-Event-ID"), default=feed.end)
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
    most_silence_s = http.wait_s(request.headers.get("Prefer")) or None
    await response.prepare(request)
    while True:
        batch = feed.after(cursor, WRITE_BYTES)
        if batch.messages:
            await response.write(events(feeds, batch))
        cursor = batch.cursor
        try:
            async with asyncio.timeout(most_silence_s):
                await feed.beyond(cursor)
        except TimeoutError:
            await response.write(sse.COMMENT)


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
