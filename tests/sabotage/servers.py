"""Servers with one thing wrong: each is an embedded one behind a listener that hands out spoiled connections."""

from __future__ import annotations

import os
import socket
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from rtbench.transports import BACKLOG

MESSAGE_BYTES = 100
DISK_S = 0.08  # for one message; at 20 messages a second it would have to be below 0.05
DEAF_S = 0.5
HOP_S = 0.02  # for one message; at 20 messages a second it must be below 0.05


class Nagle(socket.socket):
    """Keeps Nagle's algorithm, and sends what it is given in two segments: head and body."""

    def setsockopt(self, *arguments: Any) -> None:
        """Set anything but TCP_NODELAY."""
        if arguments[:2] != (socket.IPPROTO_TCP, socket.TCP_NODELAY):
            super().setsockopt(*arguments)

    def send(self, data: bytes, *flags: int) -> int:  # type: ignore[override]
        """Send two bytes, which leave at once, and the rest, which waits until they are acknowledged."""
        head = super().send(bytes(data[:2]), *flags)
        return head + super().send(bytes(data[2:]), *flags)


class Disk(socket.socket):
    """Writes every message that is received to a disk, and waits until it is there."""

    def recv(self, *arguments: int) -> bytes:
        """Receive, and store."""
        data = super().recv(*arguments)
        for _ in range(len(data) // MESSAGE_BYTES):  # what opens a connection is shorter
            with tempfile.TemporaryFile(dir=os.environ["SABOTAGE_DISK"]) as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            time.sleep(DISK_S)
        return data


class Inbound(socket.socket):
    """Has each message late: it waits before it hands it to the server."""

    def recv(self, *arguments: int) -> bytes:
        """Receive, and hold back what has a message in it."""
        data = super().recv(*arguments)
        time.sleep(HOP_S * (len(data) >= MESSAGE_BYTES))
        return data


class Outbound(socket.socket):
    """Sends each message late: the server has handed it over, and it waits."""

    def send(self, data: bytes, *flags: int) -> int:  # type: ignore[override]
        """Send, but hold back what has a message in it."""
        time.sleep(HOP_S * (len(data) >= MESSAGE_BYTES))
        return super().send(data, *flags)


class Deaf(socket.socket):
    """Has room for two connections that wait to be accepted, and accepts none for a while; then it is as it should."""

    until_s: float | None = None

    def listen(self, backlog: int = 0) -> None:
        """Listen, with no backlog to speak of."""
        super().listen(1)

    def accept(self) -> tuple[socket.socket, object]:
        """Accept nobody, from when the first comes until it has been deaf for long enough."""
        self.until_s = self.until_s or time.monotonic() + DEAF_S
        if time.monotonic() < self.until_s:
            time.sleep(0.01)
            raise BlockingIOError
        super().listen(BACKLOG)
        return super().accept()


class Listener(socket.socket):
    """Hands out connections of another class."""

    kind: type[socket.socket] = socket.socket

    def accept(self) -> tuple[socket.socket, object]:
        """Accept, and exchange the class."""
        connection, address = super().accept()
        spoiled = self.kind(fileno=connection.detach())
        spoiled.setblocking(False)
        return spoiled, address


class Sabotaged:
    """An embedded server, and what is wrong with it."""

    def __init__(self, name: str) -> None:
        """Know its name: TRANSPORT_SABOTAGE."""
        transport, _, self._wrong = name.rpartition("_")
        (point,) = entry_points(group="rtbench.servers", name=transport.replace("_", "-"))
        self._embedded = point.load()

    def software(self) -> str:
        """Say that it is not what it looks like."""
        return f"{self._embedded.software()}, sabotaged"

    @asynccontextmanager
    async def serve(self, listener: socket.socket) -> AsyncIterator[str]:
        """Serve as the embedded one does, with one thing wrong."""
        if self._wrong == "starved":
            os.sched_setaffinity(0, {int(os.environ["SABOTAGE_CORE"])})
            os.nice(19)
            with suppress(
                OSError
            ):  # among sessions it is not the process's niceness that counts (sched(7), autogroups)
                Path("/proc/self/autogroup").write_text("19")
            spoiled = listener
        elif self._wrong == "deaf":
            spoiled = Deaf(fileno=listener.detach())
        else:
            spoiled = Listener(fileno=listener.detach())
            spoiled.kind = {"nagle": Nagle, "disk": Disk, "inbound": Inbound, "outbound": Outbound}[self._wrong]
        with spoiled:
            async with self._embedded.serve(spoiled) as url:
                yield url


def __getattr__(name: str) -> Sabotaged:
    if name.startswith("__"):
        raise AttributeError(name)
    return Sabotaged(name)
