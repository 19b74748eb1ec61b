"""The control channel: how the processes of a trial start together, report, and stop together.

Each client process opens one TCP connection to the coordinator and exchanges JSON lines with it:

    client says                                    coordinator says
    {"name": "subscriber-0", "token", "clock"}     {"ping": 1}, answered at once by {"pong": 1, "clock_ns": T}
                                                   {"step": "connect", "url": ..., "ca": ...}
    {"done": "connect"}                            {"step": "probe"}          (publishers)
    {"done": "probe"}                              {"step": "start", "at_ns": T}
    {"count": 1234}, {"done": "start"}             {"step": "stop"}

`{"count": 1234}` is the number of deliveries so far; `{"count": 12, "of": "connect"}` says how much of another step is
done. It is for the progress that is shown, and may be left out.

The two ends may have different clocks: pings measure the offset, and `at_ns` is a time of the client's own clock. When
the connection ends, the coordinator is gone and with it the reason for the client's work: `ControlClosed`.

`ControlChannel` is for asyncio; `BlockingControlChannel` for a client process with a loop of its own.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import socket
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from rtbench.errors import TrialError
from rtbench.links.link import Namespaces
from rtbench.system.placement import stay_on
from rtbench.transports.records import ProcessPlan


class ControlClosed(TrialError):
    """The other end of the control channel is gone, or has called the trial off."""


def clock_name() -> str:
    """Return a name of CLOCK_MONOTONIC: the same in two processes only if they read the same clock.

    On Linux this is the boot and the time namespace (time_namespaces(7)); elsewhere the host.
    """
    if sys.platform == "linux":
        try:
            with open("/proc/sys/kernel/random/boot_id") as file:  # noqa: PTH123  pathlib would cost each process 5 ms
                return f"{file.read().strip()} {os.readlink('/proc/self/ns/time')}"  # noqa: PTH115
        except OSError:
            pass
    return f"{platform.node()} {sys.platform}"


def _line(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields).encode() + b"\n"


def _message(line: bytes) -> dict[str, Any]:
    if not line.endswith(b"\n"):
        raise ControlClosed("the other end of the control channel is gone")
    message: dict[str, Any] = json.loads(line)
    return message


def _pong(message: dict[str, Any]) -> dict[str, Any]:
    return {"pong": message["ping"], "clock_ns": time.monotonic_ns()}


def _hello(plan: ProcessPlan) -> dict[str, Any]:
    return {"name": plan.name, "token": plan.token, "clock": clock_name()}


def _enter(plan: ProcessPlan) -> None:
    """Enter the namespaces of the plan: sockets that are opened from now on are there, the control channel is not.

    Stay on its cores, too.
    """
    stay_on(plan.cores)
    if plan.namespaces is not None:
        from rtbench.links.namespaces import enter  # here, since few trials have them

        enter(Namespaces(*plan.namespaces))


def _expect(message: dict[str, Any], step: str) -> dict[str, Any]:
    if message.get("step") != step:
        raise ControlClosed("the trial was called off")
    return message


@dataclass
class ControlChannel:
    """One end of a control connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def say(self, **fields: Any) -> None:
        """Send one line."""
        self.writer.write(_line(fields))

    async def hear(self) -> dict[str, Any]:
        """Return the next message; answer pings on the way.

        Raises:
            ControlClosed: there will be none.
        """
        while True:
            try:
                message = _message(await self.reader.readline())
            except ConnectionError:
                raise ControlClosed("the other end of the control channel is gone") from None
            if "ping" not in message:
                return message
            self.say(**_pong(message))

    async def step(self, name: str) -> dict[str, Any]:
        """Wait for the step `name`; any other step means that the trial was called off.

        Raises:
            ControlClosed: the coordinator is gone, or called the trial off.
        """
        return _expect(await self.hear(), name)


@asynccontextmanager
async def joined(plan: ProcessPlan) -> AsyncIterator[ControlChannel]:
    """Open the client's end of the control channel."""
    reader, writer = await asyncio.open_connection(*plan.control)
    channel = ControlChannel(reader, writer)
    channel.say(**_hello(plan))
    _enter(plan)
    try:
        yield channel
    finally:
        writer.close()


@dataclass
class BlockingControlChannel:
    """The client's end without asyncio: `hear` blocks, `poll` does not, and `fileno` lets a selector wait for it."""

    sock: socket.socket
    _received: bytearray = field(default_factory=bytearray)

    def fileno(self) -> int:
        """Return the descriptor: it is readable when `poll` may have a message."""
        return self.sock.fileno()

    def say(self, **fields: Any) -> None:
        """Send one line."""
        self.sock.sendall(_line(fields))

    def hear(self) -> dict[str, Any]:
        """Wait for the next message; answer pings on the way.

        Raises:
            ControlClosed: there will be none.
        """
        while (message := self.poll(wait=True)) is None:
            pass
        return message

    def poll(self, wait: bool = False) -> dict[str, Any] | None:
        """Return the next message if there is one; answer a ping.

        Raises:
            ControlClosed: there will be none.
        """
        # one line at a time, so that the descriptor stays readable while the next message is there
        self.sock.setblocking(wait)  # Windows has no MSG_DONTWAIT
        try:
            data = self.sock.recv(4096, socket.MSG_PEEK)
            data = self.sock.recv(data.find(b"\n") + 1 or len(data))
        except BlockingIOError:
            return None
        except ConnectionError:
            data = b""
        finally:
            self.sock.setblocking(True)
        if not data:
            raise ControlClosed("the other end of the control channel is gone")
        self._received += data
        if not data.endswith(b"\n"):
            return None
        message, self._received = _message(bytes(self._received)), bytearray()
        if "ping" not in message:
            return message
        self.say(**_pong(message))
        return None

    def step(self, name: str) -> dict[str, Any]:
        """Wait for the step `name`; any other step means that the trial was called off.

        Raises:
            ControlClosed: the coordinator is gone, or called the trial off.
        """
        return _expect(self.hear(), name)


@contextmanager
def joined_blocking(plan: ProcessPlan) -> Iterator[BlockingControlChannel]:
    """Open the client's end of the control channel without asyncio."""
    with socket.create_connection(plan.control) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        channel = BlockingControlChannel(sock)
        channel.say(**_hello(plan))
        _enter(plan)
        yield channel
