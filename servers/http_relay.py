"""What the three HTTP servers share: publishing, where a subscriber starts, who may ask. They differ in what GET does.

POST /topic     204 No Content        the body is appended to the topic's feed, and sent to those who wait
HEAD /topic     ETag: "cursor"        where the feed ends now: a subscriber starts here
GET  /topic                           the messages: see polling.py, long_polling.py and sse.py
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from urllib.parse import unquote

import aiohttp
from aiohttp import web

from rtbench.errors import UsageError
from rtbench.transports import BACKLOG, Batch, Feeds, ServerContext, feed, refuse_wildcards, server_url
from rtbench.transports.access import Access, AllowHost, AllowOrigin, Password, Username, Wanted
from rtbench.transports.permissions import AccessList, Users, permissions_of
from rtbench.wire import http

from .http_heads import Connections, TimedHeads

MAX_ANSWER_BYTES = 64 * 2**20  # of the payloads in one answer; the client gets the rest with its next request

Answer = Callable[[web.Request, Feeds, str], Awaitable[web.StreamResponse]]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Check = Callable[[bytes], object]
Serve = Callable[..., AbstractAsyncContextManager[str]]


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


def relaying(get: Answer, check: Check = len) -> Serve:
    """Return the `serve` of a server.

    Args:
        get: answers `GET /topic`.
        check: raises ValueError for a payload that `get` cannot carry; its publisher is answered with 422.
    """

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
        """Relay over HTTP until left; yield the URL. With `tls`, the server speaks HTTPS."""
        permissions = permissions_of(username, password, users, access_list)
        access = Access(listener, permissions=permissions, allow_origin=allow_origin, allow_host=allow_host)
        feeds = Feeds(capacity, feed.Room(max_feed_bytes, max_topics))
        connections: Connections = {}
        runner = web.AppRunner(
            _application(feeds, get, check, access, connections),
            access_log=None,
            handler_cancellation=True,
            shutdown_timeout=0.1,
        )
        await runner.setup()
        try:
            server = await asyncio.get_running_loop().create_server(
                lambda: _connection(runner, connections), sock=listener, ssl=tls, backlog=BACKLOG
            )
            try:
                yield server_url("http", listener, tls)
            finally:
                server.close()
        finally:
            await runner.cleanup()

    return serve


def _connection(runner: web.AppRunner, connections: Connections) -> TimedHeads:
    assert runner.server is not None
    return TimedHeads(runner.server(), connections)


def _application(feeds: Feeds, get: Answer, check: Check, access: Access, connections: Connections) -> web.Application:
    async def post_topic(request: web.Request) -> web.Response:
        topic, payload = _topic(request), await request.read()
        try:
            check(payload)
        except ValueError as error:
            return web.Response(status=422, text=f"{error}\n")
        feeds[topic].append(payload)
        await asyncio.sleep(0)  # those who wait are served first, then the publisher is answered
        return web.Response(status=204)

    async def head_topic(request: web.Request) -> web.Response:
        return batch_response(request, feeds, feeds.get(_topic(request)).after(0))  # aiohttp does not send the body

    async def get_topic(request: web.Request) -> web.StreamResponse:
        return await get(request, feeds, _topic(request))

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        connection = connections[request.protocol]
        connection.begin_answer()
        try:
            refusal = access.refusal(request.headers, _wanted(request), preflight=request.method == "OPTIONS")
            if refusal is not None:
                return web.Response(status=refusal.status, text=refusal.text, headers=refusal.headers)
            return await handler(request)
        except feed.Full as error:
            return web.Response(status=503, text=f"{error}\n")
        finally:
            connection.end_answer()

    async def allow_origin(request: web.Request, response: web.StreamResponse) -> None:
        """Let the pages that may use this server see the answer; only browsers send Origin (Fetch, section 3.2)."""
        origin = request.headers.get("Origin")
        if origin is not None and access.is_allowed(origin, request.headers.get("Host", "")):
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Expose-Headers"] = f"ETag, {http.GAP_HEADER}"
            response.headers["Vary"] = "Origin"

    app = web.Application(client_max_size=feed.MAX_PAYLOAD_BYTES, middlewares=[guard])
    app.on_response_prepare.append(allow_origin)
    app.router.add_post("/{topic:.+}", post_topic)  # aiohttp tries them in this order
    app.router.add_head("/{topic:.+}", head_topic)
    app.router.add_get("/{topic:.+}", get_topic, allow_head=False)
    app.router.add_get("/", _front_page, allow_head=False)
    app.router.add_options("/{topic:.*}", _preflight)
    return app


def _wanted(request: web.Request) -> Wanted | None:
    """Return what a request is for, None for one of the front page."""
    topic = _topic(request)
    return Wanted(topic, to_publish=request.method == "POST") if topic else None


def _topic(request: web.Request) -> str:
    # the path as it was sent, not normalised: `..` in a topic is a name like any other
    topic = unquote(request.raw_path.partition("?")[0].removeprefix("/"))
    try:
        refuse_wildcards("HTTP", topic)
    except UsageError as error:
        raise web.HTTPBadRequest(text=f"{error}\n") from None
    return topic


async def _preflight(_: web.Request) -> web.Response:
    headers = "Authorization, Content-Type, If-None-Match, Last-Event-ID, Prefer"
    allowed = {"Methods": "GET, HEAD, POST", "Headers": headers}
    return web.Response(status=204, headers={f"Access-Control-Allow-{name}": text for name, text in allowed.items()})


async def _front_page(_: web.Request) -> web.Response:
    return web.Response(text=__doc__ or "")
