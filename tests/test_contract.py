"""The contract of every installed transport: each server of it with each client, in every variant of the client.

Nothing here knows a transport by name, but for the table of what is known to acknowledge: a package that adds a
transport by its entry points is held to the same contract.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from rtbench.errors import Refused, UsageError
from rtbench.system.meter import Meter
from rtbench.system.process import server_ends, serving_processes
from rtbench.system.tls import certificate_files, client_context, server_context
from rtbench.transports import Connection, Message, registry
from rtbench.transports.contract import Client, in_flight
from rtbench.transports.serving import serve
from rtbench.trial.server_process import server_process
from tests.connecting import has_ipv6
from tests.programs import PACKAGES, needs

WITHIN_S = 15.0  # until a test gives up on something that must come
FAST = {"interval_s": 0.01}  # options that only decide how long a message may take

ACKNOWLEDGES: dict[str, Callable[[Mapping[str, Any]], bool]] = {
    "polling": lambda options: True,
    "long-polling": lambda options: True,
    "sse": lambda options: True,
    "websocket": lambda options: False,
    "mqtt": lambda options: options["qos"] > 0,
}


@dataclass(frozen=True)
class Subject:
    """One server, one client and one set of options."""

    transport: str
    server: str
    client: str
    options: Mapping[str, Any] = field(default_factory=dict)
    tls: bool = False

    def __str__(self) -> str:
        options = "".join(f"-{name}{value}" for name, value in self.options.items())
        return f"{self.transport}{options} of {self.server} by {self.client}{' over TLS' * self.tls}"

    @property
    def spoken(self) -> Client:
        return registry.client(self.transport, self.client)

    @property
    def all_options(self) -> dict[str, Any]:
        fast = {name: value for name, value in FAST.items() if name in self.spoken.options}
        return {**fast, **self.options}


def subjects() -> list[Subject]:
    found = []
    for name, server in registry.server_names():
        for spoken, client in registry.client_names():
            if spoken == name:
                try:
                    if registry.client(name, client).connect is None:
                        continue  # it runs whole processes: tests/test_blocking_client.py
                    variants = registry.client(name, client).variants
                except UsageError:  # it cannot be loaded: its tests say so
                    variants = ({},)
                found += [Subject(name, server, client, options) for options in variants]
    return found


def over_tls(subject: Subject) -> list[Subject]:
    """Return the subject over TLS, where its server has that."""
    try:
        able = registry.server(subject.transport, subject.server).tls
    except UsageError:
        able = True  # it cannot be loaded: its tests say so
    return [replace(subject, tls=True)] if able else []


def cases(subjects: list[Subject]) -> list[Any]:
    """Return parameters, each with the program that its server is, where it is one."""
    return [
        pytest.param(subject, id=str(subject), marks=[needs(subject.server)] if subject.server in PACKAGES else [])
        for subject in subjects
    ]


@dataclass
class Relay:
    """A server that runs, and the way to its clients; all are metered together."""

    subject: Subject
    url: str
    stack: AsyncExitStack
    meter: Meter

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or 0

    async def connect(self) -> Connection:
        """Return a new connection, which lasts as long as the scenario."""
        return await self.stack.enter_async_context(self.connection())

    def connection(self) -> AbstractAsyncContextManager[Connection]:
        connect = self.subject.spoken.connect
        assert connect is not None
        return connect(self.url, self.meter, **self.subject.all_options)


def run_to_its_end(main: Coroutine[Any, Any, None]) -> None:
    """Run, and fail where something does not even end when it is cancelled."""
    loop = asyncio.new_event_loop()
    task = loop.create_task(main)
    loop.run_until_complete(asyncio.wait({task}, timeout=WITHIN_S + 5))
    if not task.done():
        pytest.fail(f"hangs: {task.get_stack()}")
    asyncio.Runner(loop_factory=lambda: loop).run(ended(task))


async def ended(task: asyncio.Task[None]) -> None:
    await task


@asynccontextmanager
async def serving(subject: Subject, host: str = "127.0.0.1") -> AsyncIterator[tuple[str, Meter]]:
    """Serve in this process; yield the URL, and a meter that trusts it."""
    tls = authority = None
    async with AsyncExitStack() as stack:
        if subject.tls:
            cert, key, authority = stack.enter_context(certificate_files())
            tls = server_context(cert, key)
        url = await stack.enter_async_context(serve(subject.transport, subject.server, host, tls=tls))
        yield url, Meter(client_context(authority))


def run(subject: Subject, scenario: Callable[[Relay], Awaitable[None]], host: str = "127.0.0.1") -> None:
    async def main() -> None:
        async with (
            asyncio.timeout(WITHIN_S),
            serving(subject, host) as (url, meter),
            AsyncExitStack() as stack,
        ):
            await scenario(Relay(subject, url, stack, meter))

    run_to_its_end(main())


async def hear(stream: AsyncIterator[Message], end: bytes = b"end") -> list[bytes]:
    """Return the payloads that come until `end`."""
    heard = []
    while (message := await anext(stream))[1] != end:
        _, content, missed, _ = message
        assert missed == 0
        heard.append(content)
    return heard


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.005)


def numbered(count: int, name: str = "") -> list[bytes]:
    return [f"{name}{n}".encode() for n in range(count)]


def in_turn(connection: Connection) -> Callable[[bytes], Awaitable[None]]:
    """Return what publishes on "topic", with no more under way at once than the connection allows."""
    limit = in_flight(connection)

    async def publish(payload: bytes) -> None:
        async with limit:
            await connection.publish("topic", payload)

    return publish


every_subject = pytest.mark.parametrize("subject", cases(subjects()))
also_over_tls = pytest.mark.parametrize(
    "subject", cases([s for plain in subjects() for s in (plain, *over_tls(plain))])
)


def test_every_server_has_a_client_and_every_client_a_server() -> None:
    assert {name for name, _ in registry.server_names()} == {name for name, _ in registry.client_names()}


@pytest.mark.parametrize(("name", "client"), registry.client_names())
def test_a_client_declares_the_options_of_its_variants(name: str, client: str) -> None:
    spoken = registry.client(name, client)
    assert spoken.variants
    assert all(variant.keys() <= spoken.options.keys() for variant in spoken.variants)
    assert spoken.software
    assert "\n" not in spoken.software


@also_over_tls
@pytest.mark.process
def test_a_message_reaches_every_subscriber_of_its_topic_in_order_and_nobody_else(subject: Subject) -> None:
    async def scenario(relay: Relay) -> None:
        publisher, *subscribers = [await relay.connect() for _ in range(4)]
        mine = [await subscriber.subscribe("mine") for subscriber in subscribers]
        other = await subscribers[0].subscribe("other")
        for payload in numbered(20):
            await publisher.publish("mine", payload)
            await publisher.publish("other", b"other " + payload)
        await publisher.publish("other", b"end")
        assert await hear(other) == numbered(20, "other ")
        await publisher.publish("mine", b"end")
        assert [await hear(stream) for stream in mine] == [numbered(20)] * 3

    run(subject, scenario)


@every_subject
@pytest.mark.process
def test_a_subscriber_hears_what_is_published_after_it_has_subscribed_and_nothing_before(subject: Subject) -> None:
    async def scenario(relay: Relay) -> None:
        publisher, witness, newcomer = [await relay.connect() for _ in range(3)]
        witnessed = await witness.subscribe("topic")
        await publisher.publish("topic", b"before")
        assert (await anext(witnessed))[1] == b"before"  # it is not under way any more
        stream = await newcomer.subscribe("topic")
        await publisher.publish("topic", b"after")
        await publisher.publish("topic", b"end")
        assert await hear(stream) == [b"after"]

    run(subject, scenario)


@also_over_tls
@pytest.mark.process
def test_a_server_on_an_ipv6_address_has_it_in_brackets_and_is_reached_there(subject: Subject) -> None:
    if not has_ipv6():
        pytest.skip("this machine has no ::1")

    async def scenario(relay: Relay) -> None:
        assert urlsplit(relay.url).netloc == f"[::1]:{relay.port}"
        publisher, listener = await relay.connect(), await relay.connect()
        stream = await listener.subscribe("topic")
        for payload in [*numbered(3), b"end"]:
            await publisher.publish("topic", payload)
        assert await hear(stream) == numbered(3)

    run(subject, scenario, host="::1")


@also_over_tls
@pytest.mark.process
def test_many_subscriptions_in_a_row_are_each_ready_when_they_say_so(subject: Subject) -> None:
    async def scenario(relay: Relay) -> None:
        publisher, listener = await relay.connect(), await relay.connect()
        for payload in numbered(10):
            stream = await listener.subscribe("topic")
            await publisher.publish("topic", payload)
            assert (await anext(stream))[1] == payload

    run(subject, scenario)


@every_subject
@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"", id="an empty payload"),
        pytest.param(b" ", id="a space"),
        pytest.param(b"\n", id="a line end"),
        pytest.param(b"\n\none\n\ntwo\n\n", id="empty lines"),
        pytest.param("größer als 1 € 🙂\u2028".encode(), id="text beyond ASCII"),
        pytest.param("\ufeffmark".encode(), id="a byte order mark"),
        pytest.param(b"data: x\nid: 7\nevent: missed\n\n", id="what looks like an event"),
        pytest.param(b"\n--m\n--m--\n", id="what looks like a boundary"),
        pytest.param(b'{"missed": 3}', id="what looks like a control message"),
        pytest.param(b"\0 tab\t and bell\a", id="control characters"),
        pytest.param(bytes(random.Random(1).choices(b"abc \n", k=100_000)), id="100 kB"),
    ],
)
@pytest.mark.process
def test_a_text_arrives_as_it_was_sent(subject: Subject, payload: bytes) -> None:
    async def scenario(relay: Relay) -> None:
        publisher, listener = await relay.connect(), await relay.connect()
        stream = await listener.subscribe("topic")
        for _ in range(3):  # one after the other: some transports put several into one body
            await publisher.publish("topic", payload)
        await publisher.publish("topic", b"end")
        assert await hear(stream) == [payload] * 3

    run(subject, scenario)


@every_subject
@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"one\r\ntwo\rthree", id="carriage returns"),
        pytest.param(bytes(range(256)), id="every byte there is"),
    ],
)
@pytest.mark.process
def test_bytes_arrive_as_they_were_sent_or_are_refused(subject: Subject, payload: bytes) -> None:
    async def scenario(relay: Relay) -> None:
        publisher, listener = await relay.connect(), await relay.connect()
        stream = await listener.subscribe("topic")
        expected = [b"before", payload, b"after"]
        await publisher.publish("topic", b"before")
        try:
            await publisher.publish("topic", payload)
        except Refused:
            expected.remove(payload)
        await publisher.publish("topic", b"after")
        await publisher.publish("topic", b"end")
        assert await hear(stream) == expected

    run(subject, scenario)


@every_subject
@pytest.mark.process
def test_two_topics_on_one_connection_stay_apart(subject: Subject) -> None:
    async def scenario(relay: Relay) -> None:
        both = await relay.connect()
        streams = {topic: await both.subscribe(topic) for topic in ("left", "right")}
        for payload in numbered(10):
            for topic in streams:
                await both.publish(topic, topic.encode() + payload)
        for topic, stream in streams.items():
            await both.publish(topic, b"end")
            assert await hear(stream) == numbered(10, topic)

    run(subject, scenario)


@every_subject
@pytest.mark.parametrize(
    ("topic", "other"),
    [
        pytest.param("a/b/c", "a/b", id="levels"),
        pytest.param("/a", "a", id="a slash in front"),
        pytest.param("a/", "a", id="a slash at the end"),
        pytest.param("a//b", "a/b", id="two slashes"),
        pytest.param("A", "a", id="capitals"),
        pytest.param("living room", "living", id="a space"),
        pytest.param("küche/größe", "kuche/grosse", id="letters beyond ASCII"),
        pytest.param("a?publish", "a", id="a question mark"),
        pytest.param("a%20b", "a b", id="a percent sign"),
        pytest.param("a=b&c;d,e:f@g", "a", id="punctuation"),
        pytest.param("a/../b", "b", id="dots"),
    ],
)
@pytest.mark.process
def test_topics_that_look_alike_are_two(subject: Subject, topic: str, other: str) -> None:
    async def scenario(relay: Relay) -> None:
        publisher, listener = await relay.connect(), await relay.connect()
        streams = {name: await listener.subscribe(name) for name in (topic, other)}
        for name in streams:
            await publisher.publish(name, f"for {name}".encode())
        for name, stream in streams.items():
            await publisher.publish(name, b"end")
            assert await hear(stream) == [f"for {name}".encode()]

    run(subject, scenario)


@also_over_tls
@pytest.mark.process
def test_overlapping_publishes_keep_their_order(subject: Subject) -> None:
    async def scenario(relay: Relay) -> None:
        publisher, listener = await relay.connect(), await relay.connect()
        stream = await listener.subscribe("topic")
        # a small one would overtake the large one before it, if anything let it
        payloads = [payload.ljust(3_000_000 if n % 40 == 0 else 10) for n, payload in enumerate(numbered(100))]
        await asyncio.gather(*map(in_turn(publisher), [*payloads, b"end"]))
        assert await hear(stream) == payloads

    run(subject, scenario)


@every_subject
@pytest.mark.process
def test_a_publish_does_not_overtake_those_that_still_wait_for_the_first_connection(subject: Subject) -> None:
    async def scenario(relay: Relay) -> None:
        publisher, listener = await relay.connect(), await relay.connect()
        stream = await listener.subscribe("topic")
        publish = in_turn(publisher)
        tasks = [asyncio.ensure_future(publish(payload)) for payload in numbered(20)]
        await tasks[0]
        await publish(b"last")
        await asyncio.gather(*tasks)
        await publisher.publish("topic", b"end")
        assert await hear(stream) == [*numbered(20), b"last"]

    run(subject, scenario)


@every_subject
@pytest.mark.process
def test_publish_returns_true_where_the_transport_acknowledges_and_only_there(subject: Subject) -> None:
    async def scenario(relay: Relay) -> None:
        publisher, listener = await relay.connect(), await relay.connect()
        stream = await listener.subscribe("topic")
        acknowledged = [await publisher.publish("topic", payload) for payload in [*numbered(5), b"end"]]
        assert await hear(stream) == numbered(5)
        known = ACKNOWLEDGES.get(subject.transport)
        assert acknowledged == [known(subject.all_options) if known else acknowledged[0]] * 6
        assert all(isinstance(answer, bool) for answer in acknowledged)

    run(subject, scenario)


@also_over_tls
@pytest.mark.process
def test_several_publishers_and_subscribers_all_hear_all_and_each_publisher_in_order(subject: Subject) -> None:
    async def scenario(relay: Relay) -> None:
        room = [await relay.connect() for _ in range(4)]
        streams = [await participant.subscribe("room") for participant in room]

        async def publish(participant: Connection, name: str) -> None:
            for payload in numbered(15, name):
                await participant.publish("room", payload)

        await asyncio.gather(*(publish(participant, name) for participant, name in zip(room, "abcd", strict=True)))
        for stream in streams:
            heard = [(await anext(stream))[1] for _ in range(4 * 15)]
            for name in "abcd":
                assert [p for p in heard if p.startswith(name.encode())] == numbered(15, name)

    run(subject, scenario)


@every_subject
@pytest.mark.process
def test_a_subscriber_that_leaves_disturbs_nobody(subject: Subject) -> None:
    async def scenario(relay: Relay) -> None:
        publisher, stays = await relay.connect(), await relay.connect()
        stream = await stays.subscribe("topic")
        async with relay.connection() as leaves:
            left = await leaves.subscribe("topic")
            await publisher.publish("topic", b"both")
            assert (await anext(left))[1] == b"both"
            waiting = asyncio.ensure_future(anext(left))
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        for payload in [*numbered(10), b"end"]:
            await publisher.publish("topic", payload)
        assert await hear(stream) == [b"both", *numbered(10)]

    run(subject, scenario)


@every_subject
@pytest.mark.process
def test_wildcards_work_where_the_client_says_so_and_are_refused_elsewhere(subject: Subject) -> None:
    async def scenario(relay: Relay) -> None:
        publisher, listener = await relay.connect(), await relay.connect()
        topics = ["room/1/heat", "room/2/heat", "room/1/light", "room/1/heat/up", "room", "hall/1/heat"]
        filters = {
            "room/+/heat": ["room/1/heat", "room/2/heat"],
            "room/#": ["room/1/heat", "room/2/heat", "room/1/light", "room/1/heat/up", "room"],
            "+/1/heat": ["room/1/heat", "hall/1/heat"],
        }
        if not subject.spoken.wildcards:
            for wildcard in filters:
                with pytest.raises(UsageError) as refusal:
                    await listener.subscribe(wildcard)
                assert wildcard in str(refusal.value)
                assert "\n" not in str(refusal.value)
            return
        streams = {wildcard: await listener.subscribe(wildcard) for wildcard in filters}
        for topic in topics:
            await publisher.publish(topic, topic.encode())
        for wildcard, stream in streams.items():
            heard = [await anext(stream) for _ in filters[wildcard]]
            assert [(topic, content.decode()) for topic, content, _, _ in heard] == [(t, t) for t in filters[wildcard]]

    run(subject, scenario)


@every_subject
@pytest.mark.process
def test_a_message_names_its_topic(subject: Subject) -> None:
    async def scenario(relay: Relay) -> None:
        both = await relay.connect()
        stream = await both.subscribe("a/b")
        await both.publish("a/b", b"x")
        message = await anext(stream)
        assert message[:3] == ("a/b", b"x", 0)

    run(subject, scenario)


def ends(port: int) -> int:
    """Return how many connections to `port` this process holds the client's end of, by the kernel's own tables."""
    connections = psutil.Process().net_connections(kind="tcp")
    return sum(c.status == psutil.CONN_ESTABLISHED and bool(c.raddr) and c.raddr.port == port for c in connections)


@also_over_tls
@pytest.mark.process
def test_the_meter_has_every_connection_and_none_waits_for_nagle(subject: Subject) -> None:
    async def scenario(relay: Relay) -> None:
        publisher, listener = await relay.connect(), await relay.connect()
        streams = [await listener.subscribe(topic) for topic in ("left", "right")]
        for topic, stream in zip(("left", "right"), streams, strict=True):
            await publisher.publish(topic, b"x" * 1000)
            await anext(stream)
        totals = relay.meter.totals()
        assert relay.meter.nagle() == 0
        if sys.platform == "linux":
            assert totals is not None
            assert totals.connections >= ends(relay.port) > 0  # closed ones stay in it
            assert totals.up.carried_bytes > 2000
            assert totals.down.carried_bytes > 2000
            # what the server sent again is not asked: a probe may overtake an acknowledgement on a busy machine
            seen = server_ends(serving_processes(os.getpid()), relay.port)
            assert seen is not None
            assert seen.nagle == 0

    run(subject, scenario)


@also_over_tls
@pytest.mark.process
def test_a_client_that_is_left_leaves_no_task_and_no_connection(subject: Subject) -> None:
    async def main() -> None:
        async with (
            asyncio.timeout(WITHIN_S),
            server_process(subject.transport, subject.server, tls=subject.tls) as server,
        ):
            before = asyncio.all_tasks()
            relay = Relay(subject, server.url, AsyncExitStack(), Meter(client_context(server.ca)))
            async with relay.stack:
                both = await relay.connect()
                streams = [await both.subscribe(topic) for topic in ("left", "right")]
                await both.publish("left", b"x")
                assert (await anext(streams[0]))[1] == b"x"
                assert ends(relay.port) > 0
            await until(lambda: asyncio.all_tasks() <= before)
            await until(lambda: ends(relay.port) == 0)

    run_to_its_end(main())


@also_over_tls
@pytest.mark.process
def test_a_client_leaves_at_once_whatever_it_has_not_read(subject: Subject) -> None:
    async def scenario(relay: Relay) -> None:
        publisher, witness = await relay.connect(), await relay.connect()
        seen = await witness.subscribe("topic")
        async with asyncio.timeout(None) as leaving:
            async with relay.connection() as unread:
                await unread.subscribe("topic")
                for payload in [*numbered(100), b"end"]:
                    await publisher.publish("topic", payload)
                assert await hear(seen) == numbered(100)
                leaving.reschedule(asyncio.get_running_loop().time() + WITHIN_S / 3)

    run(subject, scenario)


@also_over_tls
@pytest.mark.process
def test_a_server_that_ends_before_its_clients_leaves_no_task_and_no_listener(subject: Subject) -> None:
    async def main() -> None:
        before = asyncio.all_tasks()
        async with asyncio.timeout(WITHIN_S), AsyncExitStack() as stack:
            server = serving(subject)
            url, meter = await server.__aenter__()
            relay = Relay(subject, url, stack, meter)
            try:
                both = await relay.connect()
                stream = await both.subscribe("topic")
                await both.publish("topic", b"x")
                assert (await anext(stream))[1] == b"x"
            finally:
                await server.__aexit__(None, None, None)
            with pytest.raises(OSError, match=r"."):
                await asyncio.open_connection("127.0.0.1", relay.port)
        async with asyncio.timeout(WITHIN_S):
            await until(lambda: asyncio.all_tasks() - before <= {asyncio.current_task()})

    run_to_its_end(main())
