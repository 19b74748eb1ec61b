"""The publisher process of a trial: sends every message when it is due, and records what became of it."""

from __future__ import annotations

import asyncio
import time
from array import array
from contextlib import suppress

from rtbench.plan import payload
from rtbench.plan.records import INDETERMINATE
from rtbench.transports import registry
from rtbench.transports.contract import Connection
from rtbench.transports.records import PublisherPlan, PublisherRecord
from rtbench.trial.connections import (
    accounting,
    gather_some,
    open_connections,
    run_on_its_loop,
    unless_called_off,
    until_told_to_stop,
)
from rtbench.trial.control import ControlChannel, joined
from rtbench.trial.outlets import outlet
from rtbench.trial.pacer import pace


def publish(plan: PublisherPlan) -> PublisherRecord:
    """Run a publisher process."""
    client = registry.client(plan.transport, plan.client)
    if client.publish is not None:
        return client.publish(plan, **plan.options)
    return run_on_its_loop(client, _publish(plan))


async def _publish(plan: PublisherPlan) -> PublisherRecord:
    record = PublisherRecord()
    async with (
        joined(plan) as channel,
        open_connections(plan, channel, record) as (meter, connections),
    ):
        channel.say(done="connect")
        await channel.step("probe")
        probing = gather_some(
            connection.publish(topic, payload.build(number, payload.PROBE, 0, plan.payload_bytes))
            for number, connection, topic in zip(plan.publishers, connections, plan.topics, strict=True)
        )
        await unless_called_off(channel, probing)
        channel.say(done="probe")
        start_ns = int((await channel.step("start"))["at_ns"])
        async with accounting(meter, record.usage, start_ns):
            await until_told_to_stop(channel, _follow_schedule(plan, channel, connections, start_ns, record))
    return record


async def _follow_schedule(
    plan: PublisherPlan, channel: ControlChannel, connections: list[Connection], start_ns: int, record: PublisherRecord
) -> None:
    due = sorted((start_ns + t, i, n) for i, times in enumerate(plan.due_ns) for n, t in enumerate(times))
    record.due_ns = array("q", (t for t, _, _ in due))
    record.publisher = array("i", (plan.publishers[i] for _, i, _ in due))
    record.sequence = array("i", (n for _, _, n in due))
    record.ready_ns = array("q", bytes(8 * len(due)))
    record.sent_ns = array("q", bytes(8 * len(due)))
    record.done_ns = array("q", bytes(8 * len(due)))
    record.status = array("b", bytes([INDETERMINATE]) * len(due))
    outlets = [outlet(c, topic, record) for c, topic in zip(connections, plan.topics, strict=True)]
    contents = (payload.build(plan.publishers[i], n, at_ns, plan.payload_bytes) for at_ns, i, n in due)
    content = next(contents, b"")

    def send(position: int) -> None:
        nonlocal content
        record.ready_ns[position] = time.monotonic_ns()
        outlets[due[position][1]].hand_over(position, content)
        content = next(contents, b"")  # the next one is built before it is due

    await pace(record.due_ns, send)
    with suppress(TimeoutError):
        async with asyncio.timeout(plan.drain_timeout_s):
            for each in outlets:
                await each.finished()
    channel.say(done="start", unfinished=sum(each.unfinished for each in outlets))
