"""The cases of the contract: what arrives, in which order, and where."""

from __future__ import annotations

import asyncio
import random
import socket
from urllib.parse import urlsplit

from rtbench.conformance.case import Inapplicable, case, expect, expect_messages, hear, in_turn, numbered
from rtbench.conformance.subject import Relay, Subject, relaying
from rtbench.errors import Refused, UsageError
from rtbench.transports import Connection

FILTERS = {
    "room/+/heat": ["room/1/heat", "room/2/heat"],
    "room/#": ["room/1/heat", "room/2/heat", "room/1/light", "room/1/heat/up", "room"],
    "+/1/heat": ["room/1/heat", "hall/1/heat"],
}


@case(over_tls=True)
async def a_message_reaches_every_subscriber_of_its_topic_in_order_and_nobody_else(subject: Subject) -> None:
    async with relaying(subject) as relay:
        publisher, *subscribers = [await relay.connect() for _ in range(4)]
        mine = [await subscriber.subscribe("mine") for subscriber in subscribers]
        other = await subscribers[0].subscribe("other")
        for payload in numbered(20):
            await publisher.publish("mine", payload)
            await publisher.publish("other", b"other " + payload)
        await publisher.publish("other", b"end")
        expect_messages(await hear(other), numbered(20, "other "))
        await publisher.publish("mine", b"end")
        for stream in mine:
            expect_messages(await hear(stream), numbered(20))


@case()
async def a_message_names_its_topic(subject: Subject) -> None:
    async with relaying(subject) as relay:
        both = await relay.connect()
        stream = await both.subscribe("a/b")
        await both.publish("a/b", b"x")
        expect_messages([(await anext(stream))[:3]], [("a/b", b"x", 0)])


@case()
async def a_subscriber_hears_what_is_published_after_it_has_subscribed_and_nothing_before(subject: Subject) -> None:
    async with relaying(subject) as relay:
        publisher, witness, newcomer = [await relay.connect() for _ in range(3)]
        witnessed = await witness.subscribe("topic")
        await publisher.publish("topic", b"before")
        expect_messages([(await anext(witnessed))[1]], [b"before"])  # it is not under way any more
        stream = await newcomer.subscribe("topic")
        await publisher.publish("topic", b"after")
        await publisher.publish("topic", b"end")
        expect_messages(await hear(stream), [b"after"])


@case(over_tls=True)
async def many_subscriptions_in_a_row_are_each_ready_when_they_say_so(subject: Subject) -> None:
    async with relaying(subject) as relay:
        publisher, listener = await relay.connect(), await relay.connect()
        for payload in numbered(10):
            stream = await listener.subscribe("topic")
            await publisher.publish("topic", payload)
            expect_messages([(await anext(stream))[1]], [payload])


@case(
    an_empty_payload=[b""],
    a_space=[b" "],
    a_line_end=[b"\n"],
    empty_lines=[b"\n\none\n\ntwo\n\n"],
    text_beyond_ASCII=["größer als 1 € 🙂\u2028".encode()],
    a_byte_order_mark=["\ufeffmark".encode()],
    what_looks_like_an_event=[b"data: x\nid: 7\nevent: missed\n\n"],
    what_looks_like_a_boundary=[b"\n--m\n--m--\n"],
    what_looks_like_a_control_message=[b'{"missed": 3}'],
    control_characters=[b"\0 tab\t and bell\a"],
    a_hundred_kB=[bytes(random.Random(1).choices(b"abc \n", k=100_000))],
)
async def a_text_arrives_as_it_was_sent(payload: bytes, subject: Subject) -> None:
    async with relaying(subject) as relay:
        publisher, listener = await relay.connect(), await relay.connect()
        stream = await listener.subscribe("topic")
        for _ in range(3):  # one after the other: some transports put several into one body
            await publisher.publish("topic", payload)
        await publisher.publish("topic", b"end")
        expect_messages(await hear(stream), [payload] * 3)


@case(carriage_returns=[b"one\r\ntwo\rthree"], every_byte_there_is=[bytes(range(256))])
async def bytes_arrive_as_they_were_sent_or_are_refused(payload: bytes, subject: Subject) -> None:
    async with relaying(subject) as relay:
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
        expect_messages(await hear(stream), expected)


@case()
async def two_topics_on_one_connection_stay_apart(subject: Subject) -> None:
    async with relaying(subject) as relay:
        both = await relay.connect()
        streams = {topic: await both.subscribe(topic) for topic in ("left", "right")}
        for payload in numbered(10):
            for topic in streams:
                await both.publish(topic, topic.encode() + payload)
        for topic, stream in streams.items():
            await both.publish(topic, b"end")
            expect_messages(await hear(stream), numbered(10, topic))


@case(
    levels=["a/b/c", "a/b"],
    a_slash_in_front=["/a", "a"],
    a_slash_at_the_end=["a/", "a"],
    two_slashes=["a//b", "a/b"],
    capitals=["A", "a"],
    a_space=["living room", "living"],
    letters_beyond_ASCII=["küche/größe", "kuche/grosse"],
    a_question_mark=["a?publish", "a"],
    a_percent_sign=["a%20b", "a b"],
    punctuation=["a=b&c;d,e:f@g", "a"],
    dots=["a/../b", "b"],
)
async def topics_that_look_alike_are_two(topic: str, other: str, subject: Subject) -> None:
    async with relaying(subject) as relay:
        publisher, listener = await relay.connect(), await relay.connect()
        streams = {name: await listener.subscribe(name) for name in (topic, other)}
        for name in streams:
            await publisher.publish(name, f"for {name}".encode())
        for name, stream in streams.items():
            await publisher.publish(name, b"end")
            expect_messages(await hear(stream), [f"for {name}".encode()])


@case(over_tls=True)
async def overlapping_publishes_keep_their_order(subject: Subject) -> None:
    async with relaying(subject) as relay:
        publisher, listener = await relay.connect(), await relay.connect()
        stream = await listener.subscribe("topic")
        # a small one would overtake the large one before it, if anything let it
        payloads = [payload.ljust(3_000_000 if n % 40 == 0 else 10) for n, payload in enumerate(numbered(100))]
        await asyncio.gather(*map(in_turn(publisher), [*payloads, b"end"]))
        expect_messages(await hear(stream), payloads)


@case()
async def a_publish_does_not_overtake_those_that_still_wait_for_the_first_connection(subject: Subject) -> None:
    async with relaying(subject) as relay:
        publisher, listener = await relay.connect(), await relay.connect()
        stream = await listener.subscribe("topic")
        publish = in_turn(publisher)
        tasks = [asyncio.ensure_future(publish(payload)) for payload in numbered(20)]
        await tasks[0]
        await publish(b"last")
        await asyncio.gather(*tasks)
        await publisher.publish("topic", b"end")
        expect_messages(await hear(stream), [*numbered(20), b"last"])


@case()
async def publish_says_for_every_message_whether_the_server_acknowledges(subject: Subject) -> None:
    async with relaying(subject) as relay:
        publisher, listener = await relay.connect(), await relay.connect()
        stream = await listener.subscribe("topic")
        answers = [await publisher.publish("topic", payload) for payload in [*numbered(5), b"end"]]
        expect_messages(await hear(stream), numbered(5))
        expect(answers in ([True] * 6, [False] * 6), f"publish returned {answers}: neither all True nor all False")


@case(over_tls=True)
async def several_publishers_and_subscribers_all_hear_all_and_each_publisher_in_order(subject: Subject) -> None:
    async with relaying(subject) as relay:
        room = [await relay.connect() for _ in range(4)]
        streams = [await participant.subscribe("room") for participant in room]

        async def publish(participant: Connection, name: str) -> None:
            for payload in numbered(15, name):
                await participant.publish("room", payload)

        await asyncio.gather(*(publish(participant, name) for participant, name in zip(room, "abcd", strict=True)))
        for stream in streams:
            heard = [(await anext(stream))[1] for _ in range(4 * 15)]
            for name in "abcd":
                expect_messages([p for p in heard if p.startswith(name.encode())], numbered(15, name))


@case()
async def wildcards_work_where_the_client_says_so_and_are_refused_elsewhere(subject: Subject) -> None:
    async with relaying(subject) as relay:
        if subject.spoken.wildcards:
            await _hear_through_wildcards(relay)
        else:
            listener = await relay.connect()
            for wildcard in FILTERS:
                try:
                    await listener.subscribe(wildcard)
                except UsageError as refusal:
                    expect(wildcard in str(refusal), f"the refusal of {wildcard} does not name it: {refusal}")
                else:
                    expect(False, f"a subscription to {wildcard} was not refused (refuse_wildcards does it)")


async def _hear_through_wildcards(relay: Relay) -> None:
    publisher, listener = await relay.connect(), await relay.connect()
    streams = {wildcard: await listener.subscribe(wildcard) for wildcard in FILTERS}
    for topic in ("room/1/heat", "room/2/heat", "room/1/light", "room/1/heat/up", "room", "hall/1/heat"):
        await publisher.publish(topic, topic.encode())
    for wildcard, stream in streams.items():
        heard = [(await anext(stream))[:2] for _ in FILTERS[wildcard]]
        expect_messages(heard, [(topic, topic.encode()) for topic in FILTERS[wildcard]])


@case(over_tls=True)
async def a_server_on_an_ipv6_address_has_it_in_brackets_and_is_reached_there(subject: Subject) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        raise Inapplicable("this machine has no ::1") from None
    async with relaying(subject, host="::1") as relay:
        place = urlsplit(relay.url).netloc
        expect(place == f"[::1]:{relay.port}", f"the URL is {relay.url}")
        publisher, listener = await relay.connect(), await relay.connect()
        stream = await listener.subscribe("topic")
        for payload in [*numbered(3), b"end"]:
            await publisher.publish("topic", payload)
        expect_messages(await hear(stream), numbered(3))
