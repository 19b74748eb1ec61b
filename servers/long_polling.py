"""Long-polling: the client asks, and the server answers when there is a message.

It is polling with one addition: `Prefer: wait=N` (RFC 7240 section 4.3) lets the server keep the request open for up to
N seconds. One answer brings all messages since the client's cursor, and the client asks again at once (RFC 6202
section 2).
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from aiohttp import web

from rtbench.transports import Feeds
from rtbench.wire import http

from .http_relay import MAX_ANSWER_BYTES, batch_response, relaying, software

__all__ = ["by_hand", "serve", "software"]


async def long_poll(request: web.Request, feeds: Feeds, topic: str) -> web.Response:
    """Wait for a message after the client's cursor, no longer than it prefers; then answer as polling does."""
    feed = feeds[topic]
    cursor = feeds.cursor(request.headers.get("If-None-Match"), default=0)
    with suppress(TimeoutError):
        async with asyncio.timeout(http.wait_s(", ".join(request.headers.getall("Prefer", [])))):
            await feed.beyond(cursor)
    return batch_response(request, feeds, feed.after(cursor, MAX_ANSWER_BYTES))


def by_hand(url: str) -> list[str]:
    """Return lines for two terminals: wait for what comes after now, and publish."""
    now = f"$(curl --silent --head {url}/room | tr -d '\\r' | sed -n 's/^ETag: //p')"
    return [
        f"curl --include --header 'Prefer: wait=20' --header \"If-None-Match: {now}\" {url}/room",
        f"curl --data hello {url}/room",
    ]


serve = relaying(long_poll)
