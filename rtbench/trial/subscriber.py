"""The subscriber process of a trial: holds the subscriptions, and records every delivery."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

from rtbench.plan import payload
from rtbench.transports import registry
from rtbench.transports.contract import Connection, Deliver, DirectConnection, Message
from rtbench.transports.records import DELIVERY, TIMES_BYTES, SubscriberPlan, SubscriberRecord
from rtbench.trial.connections import (
    Tally,
    accounting,
    end,
    gather_some,
    open_connections,
    run_on_its_loop,
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
    return run_on_its_loop(client, _subscribe(plan))


async def _subscribe(plan: SubscriberPlan) -> SubscriberRecord:
    record = SubscriberRecord()
    async with (
        joined(plan) as channel,
        open_connections(plan, channel, record) as (meter, connections),
        AsyncExitStack() as stack,
    ):
        ready = Readiness(plan.probes, Tally(channel, "probe").one)
        subscribing = (_subscribed(i, c, plan, record, ready) for i, c in enumerate(connections))
        readings = await unless_called_off(channel, gather_some(subscribing, Tally(channel, "connect").one))
        readers = [asyncio.create_task(reading) for reading in readings if reading is not None]
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
        for error in ready.ended:
            note(record.usage.errors, error)
    return record


async def _subscribed(
    i: int, connection: Connection, plan: SubscriberPlan, record: SubscriberRecord, ready: Readiness
) -> Coroutine[Any, Any, None] | None:
    """Subscribe, and note how long it took: a client opens its connection when it needs it.

    Return what records the deliveries; None where the connection itself hands them over to be recorded.
    """
    began_ns = time.monotonic_ns()
    reading = None
    if isinstance(connection, DirectConnection):
        await connection.receive(plan.topics[i], recorder(i, plan, record, ready), partial(ready.end, i))
    else:
        reading = record_deliveries(i, await connection.subscribe(plan.topics[i]), plan, record, ready)
    record.usage.opening_ns.append(time.monotonic_ns() - began_ns)
    return reading


class Readiness:
    """Whether every subscription has received its readiness probes: then all paths let messages through."""

    def __init__(self, probes: list[int], told: Callable[[], None] = lambda: None) -> None:
        """Expect `probes[i]` at subscription `i`; call `told` after each."""
        self._missing = list(probes)
        self._told = told
        self._reached = asyncio.Event()
        self.ended: list[Exception] = []  # of subscriptions without a reader
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

    def end(self, i: int, error: Exception) -> None:
        """Note that a subscription without a reader has ended."""
        self.ended.append(error)
        self._reached.set()

    async def reached(self, readers: Iterable[asyncio.Task[None]]) -> None:
        """Wait until all probes are there; raise what ends one of the readers before."""
        reached = asyncio.ensure_future(self._reached.wait())
        try:
            await asyncio.wait({reached, *readers}, return_when=asyncio.FIRST_COMPLETED)
            for reader in readers:
                if reader.done():
                    reader.result()
            for error in self.ended:
                raise error
        finally:
            reached.cancel()


def recorder(i: int, plan: SubscriberPlan, record: SubscriberRecord, ready: Readiness) -> Deliver:
    """Return what records a delivery of subscription `i`; benchmarks/recording.py measures what this costs."""
    size, padding = plan.payload_bytes, payload.padding(plan.payload_bytes)
    number, rows, row, clock = plan.subscribers[i], record.rows, DELIVERY.pack, time.monotonic_ns
    waits = ready.waits(i)

    def deliver(_: str, content: bytes, missed: int, arrived_ns: int) -> None:
        nonlocal rows, waits
        rows += row(clock(), arrived_ns, number, content)
        if len(content) != size or not content.endswith(padding):
            record.corrupt.append(len(record) - 1)
        if missed:
            record.missed += missed
        if waits and payload.is_probe(content):
            ready.probe(i)
            waits = ready.waits(i)

    return deliver


async def record_deliveries(
    i: int, stream: AsyncIterator[Message], plan: SubscriberPlan, record: SubscriberRecord, ready: Readiness
) -> None:
    """Record every delivery of subscription `i`."""
    deliver = recorder(i, plan, record, ready)
    async for topic, content, missed, arrived_ns in stream:
        deliver(topic, content, missed, arrived_ns)
    raise ConnectionError(f"subscription {plan.subscribers[i]} was ended by the server")


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
    began_ns, size, rows = time.process_time_ns(), DELIVERY.size, bytes(record.rows)
    count = len({rows[at + TIMES_BYTES : at + size] for at in range(0, len(rows), size)})
    record.usage.checking_cpu_ns += time.process_time_ns() - began_ns
    return count
