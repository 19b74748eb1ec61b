"""One TCP or TLS connection, read by a function call for each piece that arrives.

Here belongs what the lean clients share. Each of them is a `Connection` that knows one format; it gets the bytes that
arrive in `received`, sends with `send`, and is told the end with `lost`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, Protocol
from urllib.parse import SplitResult

from rtbench.transports import Message, Meter, MeteredSocket, TlsPipe, Watcher, receive

READ_BYTES = 2**16
CONNECT_WITHIN_S = 10.0


class Pipe(Protocol):
    """What stands between a format and the socket: TLS, or frames that carry the format."""

    def encrypt(self, data: bytes) -> bytes:
        """Return what to send for some data."""

    def decrypt(self, data: bytes) -> bytes:
        """Return what is whole of the data that arrived.

        Raises:
            OSError: the connection must end.
            ValueError: it is not of the format.
        """


class Connection:
    """A connection of a client. What a format makes of the bytes stands in its own class."""

    __slots__ = ("_pipe", "_unsent", "error", "sock", "watcher")

    def __init__(self, sock: MeteredSocket, watcher: Watcher, pipe: Pipe | None) -> None:
        self.sock = sock
        self.watcher = watcher
        self._pipe = pipe
        self._unsent = b""
        self.error: Exception | None = None  # why it has ended

    def received(self, data: bytes, arrived_ns: int) -> None:
        """Take what has arrived, and when, as in `Message`.

        Raises:
            ValueError: it is not of the format; this ends the connection.
        """
        raise NotImplementedError

    def lost(self) -> None:
        """Note that the connection has ended; `error` says why."""
        raise NotImplementedError

    def begin(self) -> None:
        """Read from now on."""
        self.watcher.watch(self.sock.fileno(), self.ready)
        if self._pipe is not None and (data := self._pipe.decrypt(b"")):  # it came with the end of the handshake
            self.received(data, 0)

    def ready(self) -> None:
        """Read what has arrived, and send what waits."""
        try:
            if self._unsent:
                self._send_on()
            if self._pipe is None:
                data, arrived_ns = receive(self.sock, READ_BYTES)
            else:
                data, arrived_ns = self.sock.recv(READ_BYTES), self.sock.arrived_ns
            if not data:
                raise ConnectionError("the server closed the connection")
            if self._pipe is None or (data := self._pipe.decrypt(data)):
                self.received(data, arrived_ns)
        except BlockingIOError:
            pass
        except (OSError, ValueError) as error:
            self.end(error)

    def send(self, data: bytes) -> None:
        """Send, now or as soon as the kernel takes it.

        Raises:
            OSError: the connection has ended.
        """
        if self.error is not None:
            raise ConnectionError(str(self.error)) from self.error
        if self._pipe is not None:
            data = self._pipe.encrypt(data)
        if self._unsent:
            self._unsent += data
            return
        try:
            count = self.sock.send(data)
        except BlockingIOError:
            count = 0
        if count < len(data):
            self._unsent = data[count:]
            self.watcher.watch_writing(self.sock.fileno(), True)

    def _send_on(self) -> None:
        self._unsent = self._unsent[self.sock.send(self._unsent) :]
        if not self._unsent:
            self.watcher.watch_writing(self.sock.fileno(), False)

    def end(self, error: Exception) -> None:
        """Close the connection after an error, unless it has ended before, and tell `lost`."""
        if self.error is None:
            self.error = error
            self.close()
            self.lost()

    def close(self, last: bytes = b"") -> None:
        """Close the connection, after sending `last` if possible."""
        if self.sock.fileno() < 0:
            return
        self.watcher.forget(self.sock.fileno())
        if last and self.error is None:
            with suppress(OSError):  # it has ended meanwhile
                self.sock.send(self._unsent + (self._pipe.encrypt(last) if self._pipe else last))
        self.error = self.error or ConnectionError("the connection is closed")
        self.sock.close()


async def opened(
    meter: Meter, url: SplitResult, usual_port: int, encrypted: bool
) -> tuple[MeteredSocket, TlsPipe | None]:
    """Return a connected socket, and what encrypts on it; the handshake of TLS is done.

    Raises:
        OSError: there is no connection, or the certificate is not trusted.
    """
    host = url.hostname or ""
    async with asyncio.timeout(CONNECT_WITHIN_S):
        sock = await meter.connect(host, url.port or usual_port)
        if not encrypted:
            return sock, None
        try:
            return sock, await TlsPipe.over(sock, meter.tls, host)
        except BaseException:
            sock.close()
            raise


class Inbox:
    """The deliveries of one subscription, for somebody who iterates over them."""

    def __init__(self) -> None:
        self._messages: deque[Message] = deque()
        self._error: Exception | None = None
        self._waiting: asyncio.Future[None] | None = None

    def deliver(self, *message: Any) -> None:
        """Take a delivery: the fields of a `Message`."""
        self._messages.append(message)
        self._wake()

    def ended(self, error: Exception | None) -> None:
        """Raise an error after the last delivery; None: the subscription goes on."""
        self._error = error
        self._wake()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def read(self) -> AsyncIterator[Message]:
        """Yield the deliveries in order; a reader that is cancelled loses none of them for the next one."""
        while True:
            while self._messages:
                yield self._messages.popleft()
            if self._error is not None:
                raise self._error
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
