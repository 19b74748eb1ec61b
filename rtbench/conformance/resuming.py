"""The cases of the contract: what a session keeps of a client from one connection to the next."""

from __future__ import annotations

from rtbench.conformance.case import case, expect, expect_messages, hear, numbered
from rtbench.conformance.subject import Subject, relaying
from rtbench.transports import Session


@case(resuming=True)
async def a_session_to_resume_continues_after_the_last_message_and_has_what_was_acknowledged(subject: Subject) -> None:
    session = Session("resumes", resume=True)
    async with relaying(subject) as relay:
        publisher = await relay.connect()
        async with relay.connection(session) as first:
            left = await first.subscribe("topic")
            await publisher.publish("topic", b"before")
            expect_messages([(await anext(left))[1]], [b"before"])
        acknowledged = [await publisher.publish("topic", payload) for payload in numbered(5, "meanwhile ")]
        async with relay.connection(session) as second:
            stream = await second.subscribe("topic")
            expect(session.resumed, "the client did not set `session.resumed`")
            await publisher.publish("topic", b"after")
            await publisher.publish("topic", b"end")
            heard = await hear(stream)
        meanwhile = [m for m in numbered(5, "meanwhile ") if any(acknowledged) or m in heard]
        expect_messages(heard, [*meanwhile, b"after"])


@case(resuming=True)
async def a_session_that_is_not_to_be_resumed_begins_anew(subject: Subject) -> None:
    session = Session("begins", resume=False)
    async with relaying(subject) as relay:
        publisher = await relay.connect()
        async with relay.connection(session) as first:
            await first.subscribe("topic")
        await publisher.publish("topic", b"meanwhile")
        async with relay.connection(session) as second:
            stream = await second.subscribe("topic")
            expect(not session.resumed, "the client set `session.resumed`")
            await publisher.publish("topic", b"after")
            await publisher.publish("topic", b"end")
            expect_messages(await hear(stream), [b"after"])
