"""A case of the contract test: a sentence, and a scenario that fails where it does not hold."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from rtbench.conformance.subject import Subject
from rtbench.transports import Connection, Message
from rtbench.transports.contract import in_flight

Scenario = Callable[..., Awaitable[None]]
_MODULES = ("messages", "connections", "resuming")
_SHOWN = 60  # characters of a payload


class Broken(AssertionError):
    """The contract does not hold; the text says what came instead of what."""


class Late(Broken):
    """A case did not end in time; others will hardly do."""


class Inapplicable(Exception):
    """The case cannot be tried on this machine; the text says why."""


@dataclass(frozen=True)
class Case:
    """A sentence of the contract, and the scenario that tries it with a subject."""

    text: str
    scenario: Scenario
    over_tls: bool
    resuming: bool = False

    def __str__(self) -> str:
        return self.text


_found: list[Case] = []


def case(over_tls: bool = False, resuming: bool = False, **examples: Sequence[Any]) -> Callable[[Scenario], Scenario]:
    """Make a function a case, named by its name; or several, one for each of the `examples`: their arguments by name.

    With `over_tls` it is tried over TLS, too; with `resuming` only where the client takes a session.
    """

    def declare(scenario: Scenario) -> Scenario:
        text = scenario.__name__.replace("_", " ")
        for example, arguments in examples.items():
            _found.append(
                Case(f"{text}: {example.replace('_', ' ')}", partial(scenario, *arguments), over_tls, resuming)
            )
        if not examples:
            _found.append(Case(text, scenario, over_tls, resuming))
        return scenario

    return declare


def cases() -> list[Case]:
    """Return all cases, those on which others build first."""
    for name in _MODULES:
        importlib.import_module(f"{__package__}.{name}")
    return _found


def cases_of(subject: Subject) -> list[Case]:
    """Return the cases to try with a subject."""
    resumes = subject.spoken.resumes
    return [c for c in cases() if (c.over_tls or not subject.tls) and (resumes or not c.resuming)]


def expect(holds: bool, otherwise: str) -> None:
    """Raise `Broken` with the text `otherwise` unless something holds."""
    if not holds:
        raise Broken(otherwise)


def expect_messages(heard: Sequence[Any], published: Sequence[Any]) -> None:
    """Raise `Broken` at the first message that is another one."""
    for number, (one, other) in enumerate(zip(heard, published, strict=False), start=1):
        expect(one == other, f"message {number} of {len(published)} was {_shown(one)} instead of {_shown(other)}")
    expect(len(heard) == len(published), f"{len(heard)} messages came instead of {len(published)}")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}... ({len(value)} long)"


async def hear(stream: AsyncIterator[Message], end: bytes = b"end") -> list[bytes]:
    """Return the payloads that come until `end`."""
    heard: list[bytes] = []
    while (message := await anext(stream))[1] != end:
        _, content, missed, _ = message
        expect(missed == 0, f"{missed} messages were missed before message {len(heard) + 1}")
        heard.append(content)
    return heard


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that is going to happen."""
    while not condition():
        await asyncio.sleep(0.005)


def numbered(count: int, name: str = "") -> list[bytes]:
    """Return payloads."""
    return [f"{name}{n}".encode() for n in range(count)]


def in_turn(connection: Connection) -> Callable[[bytes], Awaitable[None]]:
    """Return what publishes on "topic", with no more under way at once than the connection allows."""
    limit = in_flight(connection)

    async def publish(payload: bytes) -> None:
        async with limit:
            await connection.publish("topic", payload)

    return publish
