"""The intruder: a process that tries to get into a server many times, always in the same way.

A witness, who may use every topic, subscribes to the topic: what it receives of the attempts got in, whatever the
server answered to them.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

from rtbench.errors import TrialError
from rtbench.plan.login import Login
from rtbench.plan.protection import ENTRANCES, Entrance
from rtbench.system.meter import Meter
from rtbench.system.tls import client_context, outdated_context
from rtbench.transports import registry
from rtbench.transports.attempts import Attempt
from rtbench.transports.contract import Connection, Message
from rtbench.transports.records import AttemptsPlan, AttemptsRecord
from rtbench.trial.connections import end, run_on_its_loop

_MARK, _OF_WITNESS, _END = b"attempt ", b"from the witness", b"end"
_END_WITHIN_S = 20.0


def attempts(plan: AttemptsPlan) -> AttemptsRecord:
    """Run the process."""
    return run_on_its_loop(registry.client(plan.transport), _attempts(plan))


async def _attempts(plan: AttemptsPlan) -> AttemptsRecord:
    entrance, client = ENTRANCES[plan.entrance], registry.client(plan.transport)
    assert client.connect is not None
    assert client.attempt is not None
    record, login, tls = AttemptsRecord(), _login(entrance, plan.login), _context(entrance, plan.ca)
    if entrance.tls == "expired":  # nobody who verifies the certificate can be a witness
        for _ in range(plan.attempts):
            outcome = await client.attempt(plan.url, _attempt(entrance, 0, login, tls, _nothing), **plan.options)
            record.let_in += outcome.is_in
            record.answers[outcome.answer] += 1
        return record
    meter = Meter(client_context(plan.ca), plan.witness)
    async with client.connect(plan.url, meter, **plan.options) as witness:
        seen = _Seen()

        async def publish() -> None:
            seen.own.clear()
            if not await witness.publish(entrance.topic, _OF_WITNESS):
                await seen.own.wait()  # nobody acknowledges it: once it has come back, it has gone to all

        reader = asyncio.create_task(seen.watch(await witness.subscribe(entrance.topic)))
        try:
            said_yes: set[str] = set()
            for number in range(plan.attempts):
                attempt = _attempt(entrance, number, login, tls, publish)
                outcome = await client.attempt(plan.url, attempt, **plan.options)
                record.answers[outcome.answer] += 1
                record.let_in += outcome.is_in and not entrance.to_publish
                said_yes |= {outcome.answer} if outcome.is_in else set()
            if entrance.to_publish:
                record.let_in = await _arrived(witness, entrance, seen, reader)
                for answer in said_yes if not record.let_in else ():
                    record.answers[f"{answer}, but not delivered"] = record.answers.pop(answer)
        finally:
            await end([reader])
    return record


async def _nothing() -> None:
    """Publish nothing."""


def _login(entrance: Entrance, login: Login) -> Login:
    if entrance.password == "none":
        return Login()
    return replace(login, password=f"not {login.password}") if entrance.password == "wrong" else login


def _context(entrance: Entrance, ca: str | None) -> ssl.SSLContext | None:
    return outdated_context(ca) if ca is not None and entrance.tls == "1.1" else client_context(ca)


def _attempt(
    entrance: Entrance, number: int, login: Login, tls: ssl.SSLContext | None, publish: Callable[[], Awaitable[object]]
) -> Attempt:
    payload = _MARK + b"%06d" % number if entrance.to_publish else None
    return Attempt(entrance.topic, payload, publish, login, tls, entrance.origin)


class _Seen:
    """What the witness has received: attempts, and what it missed, which may have been attempts, too."""

    def __init__(self) -> None:
        self.count = 0
        self.ended = asyncio.Event()
        self.own = asyncio.Event()

    async def watch(self, stream: AsyncIterator[Message]) -> None:
        async for _, payload, missed, _ in stream:
            self.count += missed + payload.startswith(_MARK)
            if payload == _END:
                self.ended.set()
            if payload == _OF_WITNESS:
                self.own.set()


async def _arrived(witness: Connection, entrance: Entrance, seen: _Seen, reader: asyncio.Task[None]) -> int:
    """Return how many attempts had arrived when a message that the witness published after them did."""
    await witness.publish(entrance.topic, _END)
    ended = asyncio.ensure_future(seen.ended.wait())
    await asyncio.wait([ended, reader], timeout=_END_WITHIN_S, return_when=asyncio.FIRST_COMPLETED)
    if not ended.done():
        ended.cancel()
        raise TrialError("the witness of the attempts did not receive its own message")
    return seen.count
