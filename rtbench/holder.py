"""Holder: the client process of `rtbench idle`, which opens connections and holds them while nothing is sent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

from rtbench import malloc, transport
from rtbench.errors import TrialError
from rtbench.gate import Gate, through
from rtbench.meter import Meter, Wire
from rtbench.tls import trusting
from rtbench.transport import Message

ROLE = "hold"
_TOPIC = "idle"
_AT_ONCE = 50
_SETTLE_S = 0.15  # three times the longest delay of an acknowledgement on Linux (TCP_DELACK_MIN, 40 ms)


@dataclass(frozen=True)
class Part:
    """What the client process does: `batches` are the numbers of connections to open one batch after another."""

    gate: tuple[str, int]
    token: str
    transport: str
    client: str
    options: dict[str, Any]
    batches: tuple[int, ...]


@dataclass
class Held:
    """What the client process saw. A `wire` is None without TCP_INFO; both are sums over the connections.

    `waiting` is how many requests had been made after the opening and before the time observed; `active` how many
    connections sent or received anything in that time.
    """

    opening: Wire | None = None
    wire: Wire | None = None
    observed_s: float = 0.0
    requests: int = 0
    waiting: int = 0
    active: int | None = None
    cpu_s: float = 0.0
    errors: list[str] = field(default_factory=list)


def hold(part: Part) -> Held:
    """Be the client process."""
    return asyncio.run(_hold(part))


async def _hold(part: Part) -> Held:
    held = Held()
    meters: list[Meter] = []
    readers: list[asyncio.Task[None]] = []
    async with through(part.gate, part.token, ROLE) as gate, AsyncExitStack() as stack:
        stack.push_async_callback(_end, readers)
        malloc.keep_freed()
        server = await gate.step("url")
        url, tls = server["url"], trusting(server["ca"])
        await _open(part, url, [Meter(tls)], readers, stack)
        gate.say(done="url")
        opening: list[Wire | None] = []
        for i, number in enumerate(part.batches):
            await gate.step("open")
            batch = [Meter(tls) for _ in range(number)]
            opening += await _open(part, url, batch, readers, stack)
            meters += batch
            gate.say(done=f"open {i}")
        held.opening = _total(opening)
        await gate.step("go")
        await _observe(gate, meters, held)
        held.errors = [_said(reader) for reader in readers if reader.done()][:1]
    return held


async def _open(
    part: Part, url: str, meters: list[Meter], readers: list[asyncio.Task[None]], stack: AsyncExitStack
) -> list[Wire | None]:
    """Open a connection with a subscription for each meter; return what each put on the wire until it was subscribed.

    The subscriptions are read from only after that, so that no poll is counted as part of the opening.
    """
    client = transport.client(part.transport, part.client)
    limit = asyncio.Semaphore(_AT_ONCE)
    opened = [await stack.enter_async_context(client.connect(url, meter, **part.options)) for meter in meters]

    async def subscribe(connection: transport.Connection) -> AsyncIterator[Message]:
        async with limit:
            return await connection.subscribe(_TOPIC)

    streams = await asyncio.gather(*map(subscribe, opened))
    await asyncio.sleep(_SETTLE_S)
    wires = [meter.totals() for meter in meters]
    for meter in meters:
        meter.requests = 0
    readers += [asyncio.create_task(_read(stream)) for stream in streams]
    await asyncio.sleep(_SETTLE_S)
    return wires


async def _read(stream: AsyncIterator[Message]) -> None:
    async for _, content, _, _ in stream:
        raise TrialError(f"a message of {len(content)} bytes came, though nobody published")
    raise ConnectionError("a subscription was ended by the server")


async def _observe(gate: Gate, meters: list[Meter], held: Held) -> None:
    """Note what the connections do until the word to stop."""
    wires, cpu_s, began = [meter.totals() for meter in meters], time.process_time(), time.monotonic()
    held.waiting = sum(meter.requests for meter in meters)
    await gate.step("stop")
    held.observed_s, held.cpu_s = time.monotonic() - began, time.process_time() - cpu_s
    held.requests = sum(meter.requests for meter in meters) - held.waiting
    each = [
        after - before if after and before else None
        for after, before in zip((meter.totals() for meter in meters), wires, strict=True)
    ]
    held.wire = _total(each)
    held.active = None if held.wire is None else sum(wire is not None and wire.segments > 0 for wire in each)


def _total(wires: list[Wire | None]) -> Wire | None:
    known = [wire for wire in wires if wire is not None]
    return sum(known, Wire()) if len(known) == len(wires) else None


def _said(reader: asyncio.Task[None]) -> str:
    error = reader.exception()
    return str(error) or type(error).__name__


async def _end(readers: list[asyncio.Task[None]]) -> None:
    for reader in readers:
        reader.cancel()
    await asyncio.gather(*readers, return_exceptions=True)
