"""Polling: the client asks again and again, and most answers say that nothing is new.

With `If-None-Match` a client says what it has. The answer has the messages since then and a new `ETag`, or it is
`304 Not Modified` (RFC 9110 sections 13.1.2 and 15.4.5). Between two requests the server remembers nothing of a client.
"""

from __future__ import annotations

from aiohttp import web

from rtbench.transports import Feeds

from .http_relay import MAX_ANSWER_BYTES, batch_response, relaying, software

__all__ = ["by_hand", "serve", "software"]


async def poll(request: web.Request, feeds: Feeds, topic: str) -> web.Response:
    """Answer at once: with the messages since the client's cursor, or with 304."""
    cursor = feeds.cursor(request.headers.get("If-None-Match"), default=0)
    return batch_response(request, feeds, feeds.get(topic).after(cursor, MAX_ANSWER_BYTES))


def by_hand(url: str) -> list[str]:
    """Return lines for a terminal: publish, and ask what there is."""
    return [f"curl --data hello {url}/room", f"curl --include {url}/room"]


serve = relaying(poll)
