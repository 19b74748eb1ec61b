"""The gate: how the processes of one trial start together, report, and stop together.

Each client process opens one TCP connection to the process that conducts the trial and exchanges JSON lines over it:

    client says                        conductor says
    {"here": "subscribe"}              {"step": "url", "url": ..., "ca": ...}
    {"done": "url"}                    {"step": "canary"}          (publishers)
    {"done": "canary"}                 {"step": "go", "at_ns": T}
    {"count": 1234}, {"done": "go"}    {"step": "stop"}

When the connection ends, the conductor is gone and so is the reason for the client's work: `GateClosed`. It works alike
for processes on this machine and on others.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from rtbench.errors import TrialError


class GateClosed(TrialError):
    """The other end of the gate is gone."""


@dataclass
class Gate:
    """One end of a gate connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def say(self, **fields: Any) -> None:
        """Send one line."""
        self.writer.write(json.dumps(fields).encode() + b"\n")

    async def hear(self) -> dict[str, Any]:
        """Return the next line.

        Raises:
            GateClosed: there will be none.
        """
        try:
            line = await self.reader.readline()
        except ConnectionError:
            line = b""
        if not line.endswith(b"\n"):
            raise GateClosed("the other end of the gate is gone")
        message: dict[str, Any] = json.loads(line)
        return message

    async def step(self, name: str) -> dict[str, Any]:
        """Wait for the step `name`; any other step means that the trial was called off.

        Raises:
            GateClosed: the conductor went away or called the trial off.
        """
        message = await self.hear()
        if message.get("step") != name:
            raise GateClosed("the trial was called off")
        return message


@asynccontextmanager
async def through(address: tuple[str, int], token: str, role: str) -> AsyncIterator[Gate]:
    """Open a client's end of the gate."""
    reader, writer = await asyncio.open_connection(*address)
    gate = Gate(reader, writer)
    gate.say(here=role, token=token)
    try:
        yield gate
    finally:
        writer.close()
