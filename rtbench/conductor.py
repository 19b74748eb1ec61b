"""Conductor: the other end of the gate, for the two client processes of one trial."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from typing import Any

import psutil

from rtbench import process
from rtbench.errors import Error
from rtbench.gate import Gate
from rtbench.serving import ServerProcess

Report = Callable[[int], None]


class Conductor:
    """Meets the clients, tells them what is next, and knows how far they are."""

    server: ServerProcess
    processes: list[psutil.Process]

    def __init__(self, patience_s: float, report: Report) -> None:
        """Wait `patience_s` for deliveries that do not come; `report` is told their number as it grows."""
        self.patience_s = patience_s
        self.report = report
        self.gates: dict[str, Gate] = {}
        self.count = 0
        self.token = secrets.token_hex(8)
        self._changed = asyncio.Condition()
        self._is_up = asyncio.Event()
        self._done: set[tuple[str, str]] = set()
        self._gone: set[str] = set()
        self._meetings: list[asyncio.Task[None]] = []

    def lead_to(self, server: ServerProcess) -> None:
        """Tell the clients where the server is, those that wait for it and those that will come."""
        self.server = server
        self.processes = process.serving_processes(server.pid)
        self._is_up.set()

    def meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take in a client that came to the gate."""
        self._meetings.append(asyncio.create_task(self._converse(reader, writer)))

    async def close(self) -> None:
        """End all conversations."""
        for meeting in self._meetings:
            meeting.cancel()
        await asyncio.gather(*self._meetings, return_exceptions=True)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        gate = Gate(reader, writer)
        try:
            hello = await gate.hear()
            role = str(hello.get("here"))
            if hello.get("token") != self.token:
                return
            await self._is_up.wait()
            self.gates[role] = gate
            gate.say(step="url", url=self.server.url, ca=self.server.ca)
            try:
                while True:
                    await self._heard(role, await gate.hear())
            except Error:
                async with self._changed:
                    self._gone.add(role)
                    self._changed.notify_all()
        finally:
            writer.close()

    async def _heard(self, role: str, message: dict[str, Any]) -> None:
        async with self._changed:
            if "done" in message:
                self._done.add((role, message["done"]))
            if "count" in message:
                self.count = message["count"]
                self.report(self.count)
            self._changed.notify_all()

    async def done(self, role: str, step: str, within_s: float) -> bool:
        """Wait until a client has done a step; False when it went away or time ran out."""
        try:
            async with asyncio.timeout(within_s), self._changed:
                await self._changed.wait_for(lambda: (role, step) in self._done or role in self._gone)
        except TimeoutError:
            return False
        return (role, step) in self._done

    async def drained(self) -> None:
        """Wait until the subscribers have all they can expect, or nothing new while patience lasts."""
        count = -1
        while count != self.count:
            count = self.count
            since = time.monotonic()
            while time.monotonic() - since < self.patience_s and count == self.count:
                if await self.done("subscribe", "go", within_s=0.05) or "subscribe" in self._gone:
                    return

    def tell(self, step: str, *roles: str, **fields: Any) -> None:
        """Send a step to the clients of these roles, all without any."""
        for role in roles or tuple(self.gates):
            if role in self.gates:
                self.gates[role].say(step=step, **fields)
