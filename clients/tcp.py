"""Bare TCP: the floor of this machine, with as little between the socket and the application as asyncio allows.

It is the control of every comparison: what another transport needs beyond it is the cost of that transport's protocol
and library.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from rtbench.transports import Message, Meter, MeteredSocket, refuse_wildcards
from rtbench.wire import lengths

from . import sizes

SLOT = 9
CONTROL = True
predict = sizes.tcp

_READ_BYTES = 2**18


def software() -> str:
    """Return the name of the library."""
    return "asyncio streams of bytes"


class Tcp:
    """One connection for each topic published on, opened with the first publish, and one for each subscription."""

    in_flight_limit = None

    def __init__(self, url: str, meter: Meter) -> None:
        self._url = urlsplit(url)
        self._meter = meter
        self._publishers: dict[str, asyncio.StreamWriter] = {}
        self._opened: list[asyncio.StreamWriter] = []
        self._in_order = asyncio.Lock()

    async def publish(self, topic: str, payload: bytes) -> bool:
        """Publish; there is no acknowledgement."""
        async with self._in_order:
            if topic not in self._publishers:
                _, self._publishers[topic], _ = await self._open("P", topic)
            writer = self._publishers[topic]
            writer.write(lengths.encode(len(payload)) + payload)
            await writer.drain()
        return False

    async def subscribe(self, topic: str) -> AsyncIterator[Message]:
        """Subscribe to one topic; the server's newline says that the subscription has begun."""
        refuse_wildcards("tcp", topic)
        reader, _, sock = await self._open("S", topic)
        if not await reader.read(1):
            raise ConnectionError("the server closed the connection")
        return self._read(topic, reader, sock)

    async def _open(self, role: str, topic: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, MeteredSocket]:
        host, encrypted = self._url.hostname or "", self._url.scheme == "tcps"
        sock = await self._meter.connect(host, self._url.port or 0)
        reader, writer = await asyncio.open_connection(
            sock=sock,
            limit=_READ_BYTES,
            ssl=(self._meter.tls or True) if encrypted else None,
            server_hostname=host if encrypted else None,
        )
        writer.write(f"{role} {topic}\n".encode())
        self._opened.append(writer)
        return reader, writer, sock

    @staticmethod
    async def _read(topic: str, reader: asyncio.StreamReader, sock: MeteredSocket) -> AsyncIterator[Message]:
        buffer, missed = b"", 0
        while chunk := await reader.read(_READ_BYTES):
            buffer, start = buffer + chunk, 0
            while head := lengths.decode(buffer, start):
                length, content = head
                end = content + (4 if length == lengths.GAP else length)
                if end > len(buffer):
                    break
                if length == lengths.GAP:
                    missed += int.from_bytes(buffer[content:end], "big")
                else:
                    yield topic, buffer[content:end], missed, sock.arrived_ns
                    missed = 0
                start = end
            buffer = buffer[start:]

    async def close(self) -> None:
        """Send what is still in the buffers, and close."""
        for writer in self._opened:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for writer in self._opened), return_exceptions=True)


@asynccontextmanager
async def connect(url: str, meter: Meter) -> AsyncIterator[Tcp]:
    """Open TCP connections as they are needed."""
    client = Tcp(url, meter)
    try:
        yield client
    finally:
        await client.close()


def observation(seen: Mapping[str, Any]) -> str:
    """Say what it is measured for."""
    return f"is bare TCP, the floor of this machine: {seen['median']}"
