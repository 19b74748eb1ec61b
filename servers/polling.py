"""Polling: the client asks again and again, and mostly hears that there is nothing new.

A client says with `If-None-Match` what it has; the answer is what came since, with a new `ETag`, or `304 Not Modified`
(RFC 9110 sections 13.1.2 and 15.4.5). The server holds nothing for a client between two requests.
"""

from __future__ import annotations

import socket
from contextlib import AbstractAsyncContextManager

from aiohttp import web

from rtbench.feed import DEFAULT_CAPACITY, Feed, Feeds

from .http_relay import batch_response, relay, software

__all__ = ["serve", "software"]


async def poll(request: web.Request, feeds: Feeds, feed: Feed[bytes]) -> web.Response:
    """Answer at once: with what is new since the client's cursor, or with 304."""
    cursor = feeds.cursor(request.headers.get("If-None-Match"), default=0)
    return batch_response(request, feeds, feed.after(cursor))


def serve(
    listener: socket.socket,
    *,
    capacity: int = DEFAULT_CAPACITY,
    tls_cert: str | None = None,
    tls_key: str | None = None,
) -> AbstractAsyncContextManager[str]:
    """Relay over HTTP polling until left; yield the URL."""
    return relay(listener, poll, capacity=capacity, tls_cert=tls_cert, tls_key=tls_key)
