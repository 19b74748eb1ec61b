"""The subscriber process of a trial: holds the subscriptions, and records every delivery."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack

from rtbench.plan import payload
from rtbench.transports import registry
from rtbench.transports.contract import Connection, Message
from rtbench.transports.records import DELIVERY, TIMES_BYTES, SubscriberPlan, SubscriberRecord
from rtbench.trial.connections import (
    Tally,
    accounting,
    end,
    gather_some,
    open_connections,
    unless_called_off,
    until_told_to_stop,
)
from rtbench.trial.control import ControlChannel, joined
from rtbench.trial.reconnecting import leaving
from rtbench.trial.uncaught import note

_TICK_S = 0.05  # between two looks at whether everything has come
_TICKS_A_REPORT = 5


def subscribe(plan: SubscriberPlan) -> SubscriberRecord:
    """Run a subscriber process."""
    client = registry.client(plan.transport, plan.client)
    if client.subscribe is not None:
        return client.subscribe(plan, **plan.options)
    return asyncio.run(_subscribe(plan))


async def _subscribe(plan: SubscriberPlan) -> SubscriberRecord:
    record = SubscriberRecord()
    async with (
        joined(plan) as channel,
        open_connections(plan, channel, record) as (meter, connections),
        AsyncExitStack() as stack,
    ):
        subscribing = (_opened(c, t, record) for c, t in zip(connections, plan.topics, strict=True))
        streams = await unless_called_off(channel, gather_some(subscribing, Tally(channel, "connect").one))
        ready = Readiness(plan.probes, Tally(channel, "probe").one)
        readers = [
            asyncio.create_task(record_deliveries(i, stream, plan, record, ready)) for i, stream in enumerate(streams)
        ]
        stack.push_async_callback(end, readers)
        channel.say(done="connect")
        await unless_called_off(channel, ready.reached(readers))
        channel.say(done="probe")
        start_ns = int((await channel.step("start"))["at_ns"])
        for timer in leaving(plan.offline, connections, start_ns):
            stack.callback(timer.cancel)
        async with accounting(meter, record.usage, start_ns + plan.schedule_ns):
            await until_told_to_stop(channel, _report(plan, channel, record, len(record)))
            settled_ns = record.last_received_ns + round(plan.settle_s * 1e9)
        await asyncio.sleep(max(settled_ns - time.monotonic_ns(), 0) / 1e9)
        for reader in readers:
            if reader.done() and (error := reader.exception()):
                note(record.usage.errors, error)
    return record


async def _opened(connection: Connection, topic: str, record: SubscriberRecord) -> AsyncIterator[Message]:
    """Subscribe, and note how long it took: a client opens its connection when it needs it."""
    began_ns = time.monotonic_ns()
    stream = await connection.subscribe(topic)
    record.usage.opening_ns.append(time.monotonic_ns() - began_ns)
    return stream


class Readiness:
    """Whether every subscription has received its readiness probes: then all paths let messages through."""

    def __init__(self, probes: list[int], told: Callable[[], None] = lambda: None) -> None:
        """Expect `probes[i]` at subscription `i`; call `told` after each."""
        self._missing = list(probes)
        self._told = told
        self._reached = asyncio.Event()
        if not any(self._missing):
            self._reached.set()

    def waits(self, i: int) -> bool:
        """Whether subscription `i` has still to receive a probe."""
        return self._missing[i] > 0

    def probe(self, i: int) -> None:
        """Count a probe that subscription `i` received."""
        self._missing[i] -= 1
        self._told()
        if not any(self._missing):
            self._reached.set()

    async def reached(self, readers: Iterable[asyncio.Task[None]]) -> None:
        """Wait until all probes are there; raise what ends one of the readers before."""
        reached = asyncio.ensure_future(self._reached.wait())
        try:
            await asyncio.wait({reached, *readers}, return_when=asyncio.FIRST_COMPLETED)
            for reader in readers:
                if reader.done():
                    reader.result()
        finally:
            reached.cancel()


async def record_deliveries(
    i: int, stream: AsyncIterator[Message], plan: SubscriberPlan, record: SubscriberRecord, ready: Readiness
) -> None:
    """Record every delivery of subscription `i`; benchmarks/recording.py measures what this costs a delivery."""
    size, padding = plan.payload_bytes, payload.padding(plan.payload_bytes)
    number, rows, row, clock = plan.subscribers[i], record.rows, DELIVERY.pack, time.monotonic_ns
    waits = ready.waits(i)
    async for _, content, missed, arrived_ns in stream:
        rows += row(clock(), arrived_ns, number, content)
        if len(content) != size or not content.endswith(padding):
            record.corrupt.append(len(record) - 1)
        if missed:
            record.missed += missed
        if waits and payload.is_probe(content):
            ready.probe(i)
            waits = ready.waits(i)
    raise ConnectionError(f"subscription {number} was ended by the server")


async def _report(plan: SubscriberPlan, channel: ControlChannel, record: SubscriberRecord, probes: int) -> None:
    """Tell how many deliveries there are, until all that can be expected are; a duplicate replaces no other."""
    duplicates = 0
    for tick in itertools.count():
        count = len(record) - probes
        if count - duplicates >= plan.expected:
            duplicates = len(record) - _distinct(record)
        if tick % _TICKS_A_REPORT == 0:
            channel.say(count=count)
        if count - duplicates >= plan.expected:
            break
        await asyncio.sleep(_TICK_S)
    channel.say(count=count, done="start")


def _distinct(record: SubscriberRecord) -> int:
    """Count the pairs of message and subscriber; a corrupt delivery counts as what its header says."""
    size, rows = DELIVERY.size, bytes(record.rows)
    return len({rows[at + TIMES_BYTES : at + size] for at in range(0, len(rows), size)})
