"""The cases of the contract: what connections count, and what is left when one ends."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import AsyncExitStack

import psutil

from rtbench.conformance.case import Broken, case, expect, expect_messages, hear, numbered, until
from rtbench.conformance.subject import Relay, Subject, relaying, relaying_elsewhere
from rtbench.system.process import server_ends, serving_processes

LEAVE_WITHIN_S = 5.0


@case()
async def a_subscriber_that_leaves_disturbs_nobody(subject: Subject) -> None:
    async with relaying(subject) as relay:
        publisher, stays = await relay.connect(), await relay.connect()
        stream = await stays.subscribe("topic")
        async with relay.connection() as leaves:
            left = await leaves.subscribe("topic")
            await publisher.publish("topic", b"both")
            expect_messages([(await anext(left))[1]], [b"both"])
            waiting = asyncio.ensure_future(anext(left))
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        for payload in [*numbered(10), b"end"]:
            await publisher.publish("topic", payload)
        expect_messages(await hear(stream), [b"both", *numbered(10)])


def _ends(port: int) -> int:
    """Return how many connections to `port` this process holds the client's end of, by the kernel's own tables."""
    connections = psutil.Process().net_connections(kind="tcp")
    return sum(c.status == psutil.CONN_ESTABLISHED and bool(c.raddr) and c.raddr.port == port for c in connections)


@case(over_tls=True)
async def the_meter_has_every_connection_and_none_waits_for_nagle(subject: Subject) -> None:
    async with relaying(subject) as relay:
        publisher, listener = await relay.connect(), await relay.connect()
        streams = [await listener.subscribe(topic) for topic in ("left", "right")]
        for topic, stream in zip(("left", "right"), streams, strict=True):
            await publisher.publish(topic, b"x" * 1000)
            await anext(stream)
        without = relay.meter.nagle()
        expect(without == 0, f"{without} connections of the client have no TCP_NODELAY")
        if sys.platform == "linux":
            _count(relay)


def _count(relay: Relay) -> None:
    totals, open_ends = relay.meter.totals(), _ends(relay.port)
    assert totals is not None
    expect(open_ends > 0, "the client has no TCP connection to the port in the URL")
    known = totals.connections  # closed ones stay in it
    expect(known >= open_ends, f"the meter has {known} of {open_ends} connections (meter.connect, socket or adopt)")
    for way, carried in (("to", totals.up.carried_bytes), ("from", totals.down.carried_bytes)):
        expect(carried > 2000, f"the meter has {carried} bytes {way} the server, for two messages of 1000 bytes")
    # what the server sent again is not asked: a probe may overtake an acknowledgement on a busy machine
    seen = server_ends(serving_processes(os.getpid()), relay.port)
    expect(seen is not None and seen.nagle == 0, "a connection of the server has no TCP_NODELAY")


@case(over_tls=True)
async def a_client_leaves_at_once_whatever_it_has_not_read(subject: Subject) -> None:
    async with relaying(subject) as relay:
        publisher, witness = await relay.connect(), await relay.connect()
        seen = await witness.subscribe("topic")
        try:
            async with asyncio.timeout(None) as leaving, relay.connection() as unread:
                await unread.subscribe("topic")
                for payload in [*numbered(100), b"end"]:
                    await publisher.publish("topic", payload)
                expect_messages(await hear(seen), numbered(100))
                leaving.reschedule(asyncio.get_running_loop().time() + LEAVE_WITHIN_S)
        except TimeoutError:
            raise Broken(f"the client had not left {LEAVE_WITHIN_S:g} s later") from None


async def _use(relay: Relay) -> None:
    both = await relay.connect()
    streams = [await both.subscribe(topic) for topic in ("left", "right")]
    await both.publish("left", b"x")
    expect_messages([(await anext(streams[0]))[1]], [b"x"])


@case(over_tls=True)
async def a_client_that_is_left_leaves_no_task_and_no_connection(subject: Subject) -> None:
    async with relaying_elsewhere(subject) as relay:
        before = asyncio.all_tasks()
        async with relay.stack:
            await _use(relay)
            expect(_ends(relay.port) > 0, "the client has no TCP connection to the port in the URL")
        await until(lambda: asyncio.all_tasks() <= before)
        await until(lambda: _ends(relay.port) == 0)


@case(over_tls=True)
async def a_server_that_ends_before_its_clients_leaves_no_task_and_no_listener(subject: Subject) -> None:
    before = asyncio.all_tasks()
    async with AsyncExitStack() as connections:
        async with relaying(subject) as relay:
            relay.stack = connections
            await _use(relay)
        try:
            await asyncio.open_connection("127.0.0.1", relay.port)
        except OSError:
            pass
        else:
            expect(False, "the server still listens")
    await until(lambda: asyncio.all_tasks() <= before)
