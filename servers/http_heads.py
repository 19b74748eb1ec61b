"""A limit on the time that the head of an HTTP request may take: aiohttp waits an hour for it.

A client that sends a head byte by byte, or none at all, would keep a connection for as long as it likes.
"""

from __future__ import annotations

import asyncio
from typing import cast

from aiohttp import web

HEAD_WITHIN_S = 10.0  # seconds from its first byte; for the first head, from the connection


Connections = dict[object, "TimedHeads"]  # by aiohttp's handler of each


class TimedHeads(asyncio.Protocol):
    """What asyncio tells a connection, passed on to aiohttp's handler, with an eye on the time."""

    __slots__ = ("_connections", "_handler", "_heads", "_is_answering", "_timer", "transport")

    def __init__(self, handler: web.RequestHandler, connections: Connections) -> None:
        """Add this connection to `connections`; it leaves them when it ends."""
        self._handler = handler
        self._connections = connections
        connections[handler] = self
        self._timer: asyncio.TimerHandle | None = None
        self._heads = 0  # that were complete
        self._is_answering = False

    def begin_answer(self) -> None:
        """Note that a head is complete, and that what comes now belongs to this request."""
        self._heads += 1
        self._is_answering = True

    def end_answer(self) -> None:
        """Note that the request is answered."""
        self._is_answering = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the first head."""
        self.transport: asyncio.Transport = cast(asyncio.Transport, transport)
        self._handler.connection_made(transport)
        self._wait_for_head()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Wait for nothing more."""
        self._stop_waiting()
        self._handler.connection_lost(exc)
        del self._connections[self._handler]

    def data_received(self, data: bytes) -> None:
        """Pass bytes on; where they are only a part of a head, the rest must come in time."""
        self._handler.data_received(data)
        if b"\r\n\r\n" in data:
            self._stop_waiting()
        elif self._timer is None and not self._is_answering:
            self._wait_for_head()

    def eof_received(self) -> None:
        """Pass the end on."""
        self._handler.eof_received()

    def pause_writing(self) -> None:
        """Pass it on."""
        self._handler.pause_writing()

    def resume_writing(self) -> None:
        """Pass it on."""
        self._handler.resume_writing()

    def _wait_for_head(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(HEAD_WITHIN_S, self._check, self._heads)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check(self, heads_before: int) -> None:
        self._timer = None
        if self._heads == heads_before and not self._is_answering:
            self.transport.abort()
