"""Clients that connect again, over a way that is reset: what each policy loses and what it does not."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from rtbench.errors import Refused
from rtbench.plan import reconnect
from rtbench.plan.reconnect import NAIVE, NONE, ROBUST, Reconnect
from rtbench.plan.records import SUBSCRIBER, Outage
from rtbench.system.meter import Meter
from rtbench.transports import Message, Session, registry
from rtbench.transports.serving import serve
from rtbench.trial.reconnecting import Reconnecting
from tests.connecting import connect
from tests.flaky import FlakyWay, flaky_way

WITHIN_S = 20.0
RESETS = 20
RESUMING: dict[str, tuple[str, dict[str, Any]]] = {
    "polling": ("polling", {"interval_s": 0.005}),
    "long-polling": ("long-polling", {}),
    "sse": ("sse", {}),
    "websocket": ("websocket", {}),
    "mqtt-qos1": ("mqtt", {"qos": 1}),
    "mqtt-qos2": ("mqtt", {"qos": 2}),
}
every_transport = pytest.mark.parametrize("name", RESUMING)

pytestmark = pytest.mark.process


@pytest.fixture(autouse=True)
def short_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconnect, "BASE_S", 0.002)
    monkeypatch.setattr(reconnect, "CAP_S", 0.01)
    monkeypatch.setattr(reconnect, "NAIVE_DELAY_S", 0.01)


@dataclass
class Scene:
    """A server, a flaky way to it, and a client that connects over that way."""

    transport: str
    options: dict[str, Any]
    url: str
    way: FlakyWay
    meter: Meter
    outages: list[Outage] = field(default_factory=list)

    def noted(self) -> Outage:
        self.outages.append(Outage(SUBSCRIBER, 0, lost_ns=1))
        return self.outages[-1]

    def client(self, policy: str = ROBUST, **more: Any) -> Reconnecting:
        what = Reconnect(policy, **more)
        session = Session("client", what.resumes, what.keep_alive_s)
        options = {**self.options, "session": session} if registry.client(self.transport).resumes else self.options
        one = partial(connect, self.transport, self.way.url, self.meter, **options)
        return Reconnecting(one, session, what, Random(1), self.noted)

    def other(self) -> Any:
        """A client on the direct way."""
        return connect(self.transport, self.url, self.meter, **self.options)


@asynccontextmanager
async def scene(name: str, **server_options: Any) -> AsyncIterator[Scene]:
    transport, options = RESUMING[name]
    async with (
        asyncio.timeout(WITHIN_S),
        serve(transport, "embedded", "127.0.0.1", options=server_options) as url,
        flaky_way(url) as way,
    ):
        yield Scene(transport, options, url, way, Meter())


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


async def heard(stream: AsyncIterator[Message], into: list[bytes], missed: list[int] | None = None) -> None:
    async for _, payload, gap, _ in stream:
        into.append(payload)
        if missed is not None and gap:
            missed.append(gap)


@every_transport
def test_a_robust_subscriber_has_every_message_once_over_many_resets(name: str) -> None:
    async def run() -> None:
        published: list[bytes] = []
        got: list[bytes] = []
        async with scene(name) as s, s.client() as subscriber, s.other() as publisher:
            reader = asyncio.create_task(heard(await subscriber.subscribe("topic"), got))
            for number in range(RESETS):
                for payload in (f"{number} before", f"{number} at", f"{number} after"):
                    if payload.endswith("at"):
                        s.way.reset()
                    await publisher.publish("topic", payload.encode())
                    published.append(payload.encode())
                await until(lambda: published[-1] in got)
            reader.cancel()
        if name == "mqtt-qos1":
            assert set(got) == set(published)
            assert list(dict.fromkeys(got)) == published
        else:
            assert got == published
        if name != "polling":  # it opens a new connection for the next poll, and nothing was lost
            assert len(s.outages) == RESETS
        assert all(o.back_ns and o.resumed and o.attempts for o in s.outages)

    asyncio.run(run())


@every_transport
@pytest.mark.parametrize("policy", [NONE, NAIVE])
def test_a_subscriber_that_does_not_resume_loses_what_is_published_in_an_outage(name: str, policy: str) -> None:
    async def run() -> None:
        got: list[bytes] = []
        async with scene(name) as s, s.client(policy) as subscriber, s.other() as publisher:
            reader = asyncio.create_task(heard(await subscriber.subscribe("topic"), got))
            await publisher.publish("topic", b"before")
            await until(lambda: got)
            s.way.down()
            await until(lambda: s.outages)
            await publisher.publish("topic", b"meanwhile")
            s.way.up()
            (outage,) = s.outages
            if policy == NAIVE:
                await until(lambda: outage.back_ns)
                await publisher.publish("topic", b"after")
                await until(lambda: len(got) == 2)
            reader.cancel()
        assert got == [b"before", b"after"][: 2 if policy == NAIVE else 1]
        assert not outage.resumed
        assert (outage.back_ns > 0) == (outage.attempts > 0) == (policy == NAIVE)

    asyncio.run(run())


@pytest.mark.parametrize("name", ["polling", "long-polling", "sse", "websocket"])
def test_a_gap_is_announced_when_the_feed_is_smaller_than_the_outage(name: str) -> None:
    async def run() -> None:
        got: list[bytes] = []
        missed: list[int] = []
        async with scene(name, capacity=3) as s, s.client() as subscriber, s.other() as publisher:
            reader = asyncio.create_task(heard(await subscriber.subscribe("topic"), got, missed))
            await publisher.publish("topic", b"before")
            await until(lambda: got)
            s.way.down()
            await until(lambda: s.outages)
            for number in range(10):
                await publisher.publish("topic", b"%d" % number)
            s.way.up()
            await until(lambda: b"9" in got)
            s.way.reset()  # and the position is right after the gap, too
            await publisher.publish("topic", b"after")
            await until(lambda: b"after" in got)
            reader.cancel()
        assert got == [b"before", b"7", b"8", b"9", b"after"]
        assert missed == [7]

    asyncio.run(run())


@every_transport
def test_a_robust_publisher_gets_every_message_through_many_resets(name: str) -> None:
    async def run() -> None:
        published: list[bytes] = []
        got: list[bytes] = []
        async with scene(name) as s, s.other() as subscriber, s.client() as publisher:
            reader = asyncio.create_task(heard(await subscriber.subscribe("topic"), got))
            publishing = []

            async def publish(payload: bytes) -> None:
                async with publisher.turn():
                    await publisher.publish("topic", payload)

            for number in range(RESETS):
                for payload in (b"%d before" % number, b"%d after" % number):
                    publishing.append(asyncio.create_task(publish(payload)))
                    published.append(payload)
                    await asyncio.sleep(0)
                await asyncio.sleep(0.002)
                s.way.reset()
            await asyncio.gather(*publishing)
            if name != "websocket":  # which cannot know what arrived
                await until(lambda: set(got) == set(published))
            reader.cancel()
        counts = Counter(got)
        assert counts.keys() <= set(published)
        if name == "mqtt-qos2":
            assert set(counts.values()) == {1}

    asyncio.run(run())


@every_transport
@pytest.mark.parametrize("offline", ["queue", "drop"])
def test_messages_that_are_due_in_an_outage_are_queued_in_order_or_dropped(name: str, offline: str) -> None:
    async def run() -> None:
        got: list[bytes] = []
        async with scene(name) as s, s.other() as subscriber, s.client(offline=offline) as publisher:
            reader = asyncio.create_task(heard(await subscriber.subscribe("topic"), got))

            async def publish(payload: bytes) -> bool:
                try:
                    async with publisher.turn():
                        await publisher.publish("topic", payload)
                except Refused:
                    return False
                return True

            assert await publish(b"before")
            s.way.down()
            noticing = asyncio.create_task(publish(b"noticed"))
            await until(lambda: s.outages)
            tasks = [asyncio.create_task(publish(b"%d" % n)) for n in range(10)]
            await until(lambda: s.outages[-1].attempts > 3)
            s.way.up()
            sent = await asyncio.gather(*tasks)
            await noticing
            await until(lambda: s.outages[-1].back_ns)
            assert await publish(b"after")
            await until(lambda: b"after" in got)
            reader.cancel()
        dues = [payload for payload in got if payload.isdigit()]
        assert dues == [b"%d" % n for n in range(10) if sent[n]]
        assert sent == [offline == "queue"] * 10

    asyncio.run(run())


@every_transport
def test_a_subscriber_that_leaves_on_purpose_has_missed_nothing_when_it_is_back(name: str) -> None:
    async def run() -> None:
        got: list[bytes] = []
        async with scene(name) as s, s.client() as subscriber, s.other() as publisher:
            reader = asyncio.create_task(heard(await subscriber.subscribe("topic"), got))
            await publisher.publish("topic", b"before")
            await until(lambda: got)
            subscriber.go_offline(0.02)
            await until(lambda: s.outages)
            subscriber.go_offline(0.02)  # it is away already
            await publisher.publish("topic", b"meanwhile")
            assert got == [b"before"]
            await until(lambda: len(got) == 2)
            reader.cancel()
        (outage,) = s.outages
        assert outage.planned
        assert outage.resumed
        assert outage.attempts == 1
        assert got == [b"before", b"meanwhile"]

    asyncio.run(run())


@every_transport
def test_a_server_that_is_started_again_is_subscribed_to_anew(name: str) -> None:
    async def run() -> None:
        got: list[bytes] = []
        transport, options = RESUMING[name]
        async with asyncio.timeout(WITHIN_S), AsyncExitStack() as later:
            async with scene(name) as s:
                subscriber = await later.enter_async_context(s.client())
                reader = asyncio.create_task(heard(await subscriber.subscribe("topic"), got))
                async with s.other() as publisher:
                    await publisher.publish("topic", b"before")
                    await until(lambda: got)
                s.way.down()
                await until(lambda: s.outages)
                port, own_port = urlsplit(s.url).port or 0, urlsplit(s.way.url).port or 0
            async with serve(transport, "embedded", port=port) as url, flaky_way(url, own_port):
                await until(lambda: s.outages[-1].back_ns)
                async with connect(transport, url, s.meter, **options) as publisher:
                    await publisher.publish("topic", b"after")
                    await until(lambda: len(got) == 2)
                reader.cancel()
                await later.aclose()
        assert got == [b"before", b"after"]

    asyncio.run(run())


@pytest.mark.parametrize(
    "name",
    [
        "polling",
        pytest.param("websocket", marks=pytest.mark.long),  # its closing handshake has a second
        pytest.param("long-polling", marks=pytest.mark.long),  # `Prefer` and MQTT have whole seconds
        pytest.param("sse", marks=pytest.mark.long),
        pytest.param("mqtt-qos1", marks=pytest.mark.long),
    ],
)
def test_a_connection_on_which_nothing_comes_is_noticed_and_a_quiet_topic_is_none(name: str) -> None:
    async def run() -> None:
        got: list[bytes] = []
        async with scene(name) as s, s.client(keep_alive_s=0.1) as subscriber, s.other() as publisher:
            reader = asyncio.create_task(heard(await subscriber.subscribe("topic"), got))
            await asyncio.sleep(0.3 if name in ("polling", "websocket") else 2.5)
            assert s.outages == []  # though nothing was published
            s.way.is_silent = True
            await publisher.publish("topic", b"kept")
            await until(lambda: s.outages)
            s.way.is_silent = False
            await until(lambda: got)
            reader.cancel()
        assert got == [b"kept"]

    asyncio.run(run())


@pytest.mark.parametrize("dies", [True, False], ids=["dies", "is closed"])
def test_the_will_of_a_client_is_published_when_its_connection_dies_and_not_when_it_is_closed(dies: bool) -> None:
    async def run() -> None:
        got: list[bytes] = []
        async with scene("mqtt-qos1") as s, s.other() as watcher:
            reader = asyncio.create_task(heard(await watcher.subscribe("status"), got))
            options = {"will_topic": "status", "will_payload": "gone"}
            async with connect("mqtt", s.way.url, s.meter, **options) as client:
                await client.subscribe("topic")
                if dies:
                    s.way.reset()
                    await until(lambda: got)
            async with s.other() as publisher:
                await publisher.publish("status", b"end")
            await until(lambda: b"end" in got)
            reader.cancel()
        assert got == [b"gone", b"end"][not dies :]

    asyncio.run(run())


@every_transport
def test_a_client_that_connected_again_is_one_subscriber_at_the_server(name: str) -> None:
    async def run() -> None:
        got: list[bytes] = []
        async with scene(name) as s, s.client() as subscriber, s.other() as publisher:
            reader = asyncio.create_task(heard(await subscriber.subscribe("topic"), got))
            for number in range(5):
                await publisher.publish("topic", b"%d" % number)
                await until(lambda: b"%d" % number in got)  # noqa: B023
                s.way.reset()
            await until(lambda: all(o.back_ns for o in s.outages))
            # each end that the server holds: the publisher's, and one of the subscriber at most
            await until(lambda: established(urlsplit(s.url).port or 0) <= 2)
            reader.cancel()

    asyncio.run(run())


def established(port: int) -> int:
    connections = psutil.Process().net_connections(kind="tcp")
    return sum(c.laddr.port == port and c.status == psutil.CONN_ESTABLISHED for c in connections)


@every_transport
def test_without_a_policy_a_publisher_ends_with_its_connection(name: str) -> None:
    async def run() -> None:
        async with scene(name) as s, s.client(NONE) as publisher:
            await publisher.publish("topic", b"before")
            s.way.down()
            with suppress(OSError):  # a client whose library says at once that the connection is lost drops this one
                while not s.outages:
                    await publisher.publish("topic", b"lost")
                    await asyncio.sleep(0)
            s.way.up()
            for _ in range(3):
                with pytest.raises(Refused, match="dropped"):
                    async with publisher.turn():
                        pass
            assert s.outages[0].back_ns == s.outages[0].attempts == 0

    asyncio.run(run())
