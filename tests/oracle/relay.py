"""The oracle's servers: an embedded server whose relay drops, repeats, swaps or corrupts the messages it is told to.

Nothing of a server is copied. Each has one method that every message passes through on its way from the publisher to
all subscribers; while the server is entered, that method stands behind the faults.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, is_dataclass, replace
from importlib.metadata import entry_points
from typing import Any

from rtbench.plan import payload
from rtbench.transports.feed import Feed

# Where a message passes: in a server that sends to its subscribers itself, and beside that to a feed, a method of its
# own; in all others the feed's.
DOORS = [("Broker", "publish"), ("Topic", "publish"), ("Connection", "publish")]


@dataclass
class Relay:
    """Does to each message what the plan says for its sequence number; a readiness probe is none of them."""

    plan: dict[str, list[int]]
    _held: dict[bytes, Callable[[], None]] = field(default_factory=dict)

    def __call__(self, content: bytes, forward: Callable[[bytes], None]) -> None:
        """Forward a message: not at all, once, twice, after the publisher's next one, or changed."""
        if not content[payload.SEQUENCE].isdigit() or payload.is_probe(content):
            forward(content)
            return
        publisher, sequence = content[payload.PUBLISHER], int(content[payload.SEQUENCE])
        before = self._held.pop(publisher, None)
        if self._is(sequence, "swap"):
            self._held[publisher] = lambda: forward(content)
        elif not self._is(sequence, "drop"):
            forward(content[:-1] + b"#" if self._is(sequence, "corrupt") else content)
            if self._is(sequence, "repeat"):
                forward(content)
        if before is not None:
            before()

    def _is(self, sequence: int, fate: str) -> bool:
        return sequence in self.plan.get(fate, [])


@contextmanager
def standing_before(door: tuple[type[Any], str], relay: Relay) -> Iterator[None]:
    """Let every message that goes through a method go through the relay first."""
    owner, name = door
    original = getattr(owner, name)

    def through_relay(self: Any, message: Any) -> None:
        if is_dataclass(message) and not isinstance(message, type):
            fields: Any = message  # a broker's message: its payload is one field of several
            relay(fields.payload, lambda content: original(self, replace(fields, payload=content)))
        else:
            relay(message, lambda content: original(self, content))

    setattr(owner, name, through_relay)
    try:
        yield
    finally:
        setattr(owner, name, original)


class Oracle:
    """The embedded server of one transport, with faults."""

    def __init__(self, transport: str) -> None:
        """Load the server from its own entry point."""
        (point,) = entry_points(group="rtbench.servers", name=transport)
        self._embedded = point.load()

    def software(self) -> str:
        """Say that it is not what it looks like."""
        return f"oracle of {self._embedded.software()}"

    def door(self) -> tuple[type[Any], str]:
        """Return the class and the method that every message passes."""
        for owner, method in DOORS:
            found = getattr(self._embedded, owner, None)
            if found is not None and hasattr(found, method):
                return found, method
        return Feed, "append"

    @asynccontextmanager
    async def serve(self, listener: socket.socket) -> AsyncIterator[str]:
        """Relay, with the faults that the environment names."""
        relay = Relay(json.loads(os.environ["ORACLE"]))
        with standing_before(self.door(), relay):
            async with self._embedded.serve(listener) as url:
                yield url


def __getattr__(name: str) -> Oracle:
    if name.startswith("__"):
        raise AttributeError(name)
    return Oracle(name.replace("_", "-"))
