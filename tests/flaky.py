"""A way to a server that breaks when a test says so: every connection is reset, and new ones too while it is down."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER with no time: closing resets


class FlakyWay:
    """Passes bytes between its own port and a server's; `url` is the server's with that port."""

    def __init__(self, url: str) -> None:
        self.listener: asyncio.Server
        self._url = urlsplit(url)
        self._ends: set[asyncio.StreamWriter] = set()
        self.is_down = False
        self.is_silent = False
        self.accepted = 0

    @property
    def url(self) -> str:
        port = self.listener.sockets[0].getsockname()[1]
        return f"{self._url.scheme}://127.0.0.1:{port}"

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self._ends.add(writer)
        if self.is_down:
            self.reset()
            return
        there, back = await asyncio.open_connection("127.0.0.1", self._url.port)
        self._ends.add(back)
        with suppress(asyncio.CancelledError):  # asyncio would log it at the end of a test
            await asyncio.gather(self._pass(reader, back), self._pass(there, writer))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(2**16):
                if not self.is_silent:
                    writer.write(data)
        writer.close()
        self._ends.discard(writer)

    def reset(self) -> None:
        """Reset every connection at both ends."""
        while self._ends:
            transport = self._ends.pop().transport
            if not transport.is_closing():
                transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                transport.abort()

    def down(self) -> None:
        """Reset every connection, and each new one."""
        self.is_down = True
        self.reset()

    def up(self) -> None:
        """Let new connections through."""
        self.is_down = False


@asynccontextmanager
async def flaky_way(url: str, port: int = 0) -> AsyncIterator[FlakyWay]:
    """Open a way to the server at a URL, at a port of its own."""
    way = FlakyWay(url)
    way.listener = await asyncio.start_server(way.accept, "127.0.0.1", port)
    try:
        yield way
    finally:
        way.listener.close()
        way.reset()
