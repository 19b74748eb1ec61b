"""Polling: the client asks again and again, and most answers say that nothing is new.

With `If-None-Match` a client says what it has. The answer has the messages since then and a new `ETag`, or it is
`304 Not Modified` (RFC 9110 sections 13.1.2 and 15.4.5). Between two requests the server remembers nothing of a client.
"""

from __future__ import annotations

import socket
from contextlib import AbstractAsyncContextManager

from aiohttp import web

from rtbench.transports import Feed, Feeds, ServerContext
from rtbench.transports.feed import DEFAULT_CAPACITY, Capacity

from .http_relay import batch_response, relay, software

__all__ = ["by_hand", "serve", "software"]


async def poll(request: web.Request, feeds: Feeds, feed: Feed[bytes]) -> web.Response:
    """Answer at once: with the messages since the client's cursor, or with 304."""
    cursor = feeds.cursor(request.headers.get("If-None-Match"), default=0)
    return batch_response(request, feeds, feed.after(cursor))


def by_hand(url: str) -> list[str]:
    """Return lines for a terminal: publish, and ask what there is."""
    return [f"curl --data hello {url}/room", f"curl --include {url}/room"]


def serve(
    listener: socket.socket,
    *,
    capacity: Capacity = DEFAULT_CAPACITY,
    tls: ServerContext | None = None,
) -> AbstractAsyncContextManager[str]:
    """Relay over HTTP polling until left; yield the URL."""
    return relay(listener, poll, capacity=capacity, tls=tls)
