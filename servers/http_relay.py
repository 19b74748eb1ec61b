"""What the three HTTP servers share: publishing, and where a subscriber starts. They differ in what GET does.

POST /topic     204 No Content        the body is appended to the topic's feed
HEAD /topic     ETag: "cursor"        where the feed ends now: a subscriber starts here
GET  /topic                           the messages: see polling.py, long_polling.py and sse.py
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from urllib.parse import unquote

import aiohttp
from aiohttp import web

from rtbench.errors import UsageError
from rtbench.transports import BACKLOG, Batch, Feed, Feeds, ServerContext, refuse_wildcards, server_url
from rtbench.wire import http

MAX_PAYLOAD_BYTES = 64 * 2**20

Handler = Callable[[web.Request, Feeds, Feed[bytes]], Awaitable[web.StreamResponse]]
Check = Callable[[bytes], object]


def software() -> str:
    """Return the name and version of the library."""
    return f"aiohttp {aiohttp.__version__}"


def batch_response(request: web.Request, feeds: Feeds, batch: Batch[bytes]) -> web.Response:
    """Answer with all messages of a batch. Without one: 304 to a client that said what it has, 204 to any other."""
    headers = {"ETag": f'"{feeds.cursor_text(batch.cursor)}"'}
    if batch.missed:
        headers[http.GAP_HEADER] = str(batch.missed)
    if not batch.messages:
        return web.Response(status=304 if "If-None-Match" in request.headers else 204, headers=headers)
    content_type, body = http.join(batch.messages)
    headers["Content-Type"] = content_type
    return web.Response(body=body, headers=headers)


@asynccontextmanager
async def relay(
    listener: socket.socket,
    get: Handler,
    *,
    capacity: int,
    tls: ServerContext | None,
    check: Check = len,
) -> AsyncIterator[str]:
    """Serve the feeds over HTTP until left; yield the URL.

    Args:
        listener: the listening socket.
        get: answers `GET /topic`.
        capacity: messages that the feed of each topic holds.
        tls: with it, the server speaks HTTPS.
        check: raises ValueError for a payload that `get` cannot carry; its publisher is answered with 422.
    """
    feeds = Feeds(capacity)

    def feed_of(request: web.Request) -> Feed[bytes]:
        # the path as it was sent, not normalised: `..` in a topic is a name like any other
        topic = unquote(request.raw_path.partition("?")[0].removeprefix("/"))
        try:
            refuse_wildcards("HTTP", topic)
        except UsageError as error:
            raise web.HTTPBadRequest(text=f"{error}\n") from None
        return feeds[topic]

    async def post_topic(request: web.Request) -> web.Response:
        payload = await request.read()
        try:
            check(payload)
        except ValueError as error:
            return web.Response(status=422, text=f"{error}\n")
        feed_of(request).append(payload)
        return web.Response(status=204)

    async def head_topic(request: web.Request) -> web.Response:
        return batch_response(request, feeds, feed_of(request).after(0))  # aiohttp does not send the body

    async def get_topic(request: web.Request) -> web.StreamResponse:
        return await get(request, feeds, feed_of(request))

    app = web.Application(client_max_size=MAX_PAYLOAD_BYTES)
    app.on_response_prepare.append(_allow_other_origins)
    app.router.add_options("/{topic:.*}", _preflight)
    app.router.add_get("/", _front_page, allow_head=False)
    app.router.add_post("/{topic:.+}", post_topic)
    app.router.add_head("/{topic:.+}", head_topic)
    app.router.add_get("/{topic:.+}", get_topic, allow_head=False)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.SockSite(runner, listener, ssl_context=tls, backlog=BACKLOG).start()
        yield server_url("http", listener, tls)
    finally:
        await runner.cleanup()


async def _allow_other_origins(request: web.Request, response: web.StreamResponse) -> None:
    """Let web pages of any origin use this server; only browsers send Origin (Fetch standard, section 3.2)."""
    if "Origin" in request.headers:
        response.headers["Access-Control-Allow-Origin"] = "*"
        response.headers["Access-Control-Expose-Headers"] = f"ETag, {http.GAP_HEADER}"


async def _preflight(_: web.Request) -> web.Response:
    allowed = {"Methods": "GET, HEAD, POST", "Headers": "Content-Type, If-None-Match, Last-Event-ID, Prefer"}
    return web.Response(status=204, headers={f"Access-Control-Allow-{name}": text for name, text in allowed.items()})


async def _front_page(_: web.Request) -> web.Response:
    return web.Response(text=__doc__ or "")
