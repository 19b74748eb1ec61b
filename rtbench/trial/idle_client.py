"""The idle client: a client process that opens connections and keeps them open while nothing is sent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

from rtbench.errors import TrialError, UsageError
from rtbench.plan.login import Login
from rtbench.system import memory
from rtbench.system.meter import Meter
from rtbench.system.tls import context_for
from rtbench.transports import registry
from rtbench.transports.contract import Client, Message
from rtbench.transports.records import IdlePlan, IdleRecord
from rtbench.trial.connections import SETTLE_S, Tally, end, gather_some, run_on_its_loop, uncaught_in
from rtbench.trial.control import ControlChannel, joined
from rtbench.trial.uncaught import note
from rtbench.wire.tcp import Wire, total


def check_can_hold(client: Client) -> None:
    """Refuse a client that cannot hold idle connections.

    Raises:
        UsageError: it cannot.
    """
    if client.hold is None and client.connect is None:
        raise UsageError(
            f"the client {client.name} of {client.transport} cannot hold idle connections (it has no `hold`)"
        )


def hold(plan: IdlePlan) -> IdleRecord:
    """Run an idle client process."""
    client = registry.client(plan.transport, plan.client)
    if client.hold is not None:
        return client.hold(plan, **plan.options)
    return run_on_its_loop(client, _hold(plan))


async def _hold(plan: IdlePlan) -> IdleRecord:
    record = IdleRecord()
    meters: list[Meter] = []
    readers: list[asyncio.Task[None]] = []
    async with joined(plan) as channel, AsyncExitStack() as stack:
        stack.push_async_callback(end, readers)
        with uncaught_in(record.errors):
            memory.prepare()
            server = await channel.step("connect")
            url, login = server["url"], Login(**server["login"])
            tls = context_for(url, server["ca"], login)
            await _open(plan, url, [Meter(tls, login)], readers, stack)
            channel.say(done="connect")
            opening: list[Wire | None] = []
            tally = Tally(channel, "open")
            for i, number in enumerate(plan.batches):
                await channel.step("open")
                batch = [Meter(tls, login) for _ in range(number)]
                opening += await _open(plan, url, batch, readers, stack, tally.one)
                meters += batch
                channel.say(done=f"open {i}")
            record.opening = total(opening)
            await channel.step("start")
            await _observe(channel, meters, record)
            for reader in readers:
                if reader.done() and (error := reader.exception()):
                    note(record.errors, error)
    return record


async def _open(
    plan: IdlePlan,
    url: str,
    meters: list[Meter],
    readers: list[asyncio.Task[None]],
    stack: AsyncExitStack,
    done: Callable[[], None] = lambda: None,
) -> list[Wire | None]:
    """Open a connection with a subscription for each meter; return what each put on the wire until it was subscribed.

    The subscriptions are read only after that, so that no poll counts as part of the opening.
    """
    connect = registry.client(plan.transport, plan.client).connect
    assert connect is not None
    opened = [await stack.enter_async_context(connect(url, meter, **plan.options)) for meter in meters]
    streams = await gather_some((connection.subscribe(plan.topic) for connection in opened), done)
    await asyncio.sleep(SETTLE_S)
    wires = [meter.totals() for meter in meters]
    for meter in meters:
        meter.requests = 0
    readers += [asyncio.create_task(_read(stream)) for stream in streams]
    await asyncio.sleep(SETTLE_S)
    return wires


async def _read(stream: AsyncIterator[Message]) -> None:
    async for _, content, _, _ in stream:
        raise TrialError(f"a message of {len(content)} bytes came, though nobody published")
    raise ConnectionError("a subscription was ended by the server")


async def _observe(channel: ControlChannel, meters: list[Meter], record: IdleRecord) -> None:
    """Note what the connections do until the step `stop`."""
    wires, cpu_s, began = [meter.totals() for meter in meters], time.process_time(), time.monotonic()
    record.waiting = sum(meter.requests for meter in meters)
    await channel.step("stop")
    record.observed_s, record.cpu_s = time.monotonic() - began, time.process_time() - cpu_s
    record.requests = sum(meter.requests for meter in meters) - record.waiting
    each = [
        after - before if after and before else None
        for after, before in zip((meter.totals() for meter in meters), wires, strict=True)
    ]
    record.wire = total(each)
    record.active = None if record.wire is None else sum(wire is not None and wire.segments > 0 for wire in each)
