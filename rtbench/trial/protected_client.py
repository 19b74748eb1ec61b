"""The client of a protected server: a process that opens connections one after the other, and hears messages on them.

A warm-up connection comes first, and stays: it publishes, and its TLS session is the one that others resume.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from functools import partial

from rtbench.errors import TrialError
from rtbench.plan import payload
from rtbench.plan.login import Login
from rtbench.system import memory
from rtbench.system.meter import Meter
from rtbench.system.tls import ResumingContext, context_for
from rtbench.transports import registry
from rtbench.transports.contract import Connection, Message
from rtbench.transports.records import ProtectedPlan, ProtectedRecord
from rtbench.trial.connections import SETTLE_S, Tally, end, run_on_its_loop, uncaught_in
from rtbench.trial.control import joined
from rtbench.wire.tcp import Wire, total

_WARM_UP = b"warm-up"


def connect_and_hear(plan: ProtectedPlan) -> ProtectedRecord:
    """Run the process."""
    client = registry.client(plan.transport, plan.client)
    return run_on_its_loop(client, _connect_and_hear(plan))


async def _connect_and_hear(plan: ProtectedPlan) -> ProtectedRecord:
    record, readers = ProtectedRecord(), list[asyncio.Task[None]]()
    connect = registry.client(plan.transport, plan.client).connect
    assert connect is not None
    async with joined(plan) as channel, AsyncExitStack() as stack:
        stack.push_async_callback(end, readers)
        with uncaught_in(record.errors):
            memory.prepare()
            server = await channel.step("connect")
            url, login = server["url"], Login(**server["login"])
            tls = context_for(url, server["ca"], login, resuming=plan.resuming)
            opening = partial(connect, url, **plan.options)
            first = await stack.enter_async_context(opening(Meter(tls, login)))
            await _warm_up(first, plan, readers)
            channel.say(done="connect")

            await channel.step("open")
            meters, streams, tally = [], [], Tally(channel, "open")
            earlier = tls.handshakes if isinstance(tls, ResumingContext) else 0
            for _ in range(plan.connections):
                meters.append(Meter(tls, login))
                began_ns = time.perf_counter_ns()
                connection = await stack.enter_async_context(opening(meters[-1]))
                streams.append(await connection.subscribe(plan.topic))
                record.opening_ns.append(time.perf_counter_ns() - began_ns)
                tally.one()
            await asyncio.sleep(SETTLE_S)
            record.opening = total([meter.totals() for meter in meters])
            if isinstance(tls, ResumingContext):
                record.handshakes, record.resumed = tls.handshakes - earlier, tls.resumed(earlier)
            channel.say(done="open")

            await channel.step("hear")
            before = [meter.totals() for meter in meters]
            await _hear(first, plan, streams, readers, record)
            await asyncio.sleep(SETTLE_S)
            record.wire = total([_grown(meter.totals(), b) for meter, b in zip(meters, before, strict=True)])
            channel.say(done="hear")
            await channel.step("stop")
    return record


def _grown(after: Wire | None, before: Wire | None) -> Wire | None:
    return after - before if after is not None and before is not None else None


async def _warm_up(connection: Connection, plan: ProtectedPlan, readers: list[asyncio.Task[None]]) -> None:
    """Publish a message and receive it: the connection works, and its TLS session has a ticket."""
    stream = await connection.subscribe(plan.topic)
    heard = asyncio.Event()
    readers.append(asyncio.create_task(_each(stream, heard.set)))
    await connection.publish(plan.topic, _WARM_UP)
    async with asyncio.timeout(plan.drain_timeout_s):
        await heard.wait()


async def _each(stream: AsyncIterator[Message], take: Callable[[], None]) -> None:
    async for _ in stream:
        take()
    raise ConnectionError("a subscription was ended by the server")


async def _hear(
    publisher: Connection,
    plan: ProtectedPlan,
    streams: list[AsyncIterator[Message]],
    readers: list[asyncio.Task[None]],
    record: ProtectedRecord,
) -> None:
    """Publish the messages and wait for their deliveries."""
    expected, complete = plan.messages * plan.connections, asyncio.Event()

    def one() -> None:
        record.deliveries += 1
        if record.deliveries == expected:
            complete.set()

    readers += [asyncio.create_task(_each(stream, one)) for stream in streams]
    began_s, every_s = time.monotonic(), plan.duration_s / plan.messages
    for number in range(plan.messages):
        await asyncio.sleep(began_s + number * every_s - time.monotonic())
        await publisher.publish(plan.topic, payload.build(0, number, 0, plan.payload_bytes))
    try:
        async with asyncio.timeout(plan.drain_timeout_s):
            await complete.wait()
    except TimeoutError:
        ended = [reader.exception() for reader in readers if reader.done()]
        why = f": {ended[0]}" if ended else ""
        raise TrialError(f"{record.deliveries} of {expected} deliveries came{why}") from None
