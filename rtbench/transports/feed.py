"""The stored side of a relay: one bounded feed for each topic. All HTTP and WebSocket servers, and bare TCP, use it.

A message gets the next number when it is appended. A reader has a cursor (the number of the next message that it wants)
and asks for everything from there on. If the feed has dropped some of those messages, it says how many.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from dataclasses import dataclass, field
from itertools import islice
from typing import Annotated, Generic, TypeVar

from rtbench.transports.options import Option
from rtbench.transports.relay_log import relayed

DEFAULT_CAPACITY = 10_000
Capacity = Annotated[int, Option("messages that the feed of each topic holds", metavar="N", above=0)]

T = TypeVar("T", bytes, str | bytes)


@dataclass(frozen=True)
class Batch(Generic[T]):
    """What a reader gets: messages in order, its next cursor, and how many messages before them it missed."""

    messages: list[T]
    cursor: int
    missed: int


@dataclass(eq=False)
class Feed(Generic[T]):
    """The last `capacity` messages of one topic, numbered from 0."""

    capacity: int = DEFAULT_CAPACITY
    end: int = 0
    _messages: deque[T] = field(init=False)
    _grown: asyncio.Future[None] | None = None

    def __post_init__(self) -> None:
        self._messages = deque(maxlen=self.capacity)

    def append(self, payload: T) -> None:
        """Store a message, and wake everyone who waits in `beyond`."""
        relayed(payload)
        self._messages.append(payload)
        self.end += 1
        if self._grown is not None:
            self._grown.set_result(None)
            self._grown = None

    def after(self, cursor: int) -> Batch[T]:
        """Return everything from number `cursor` on; a cursor above the end means the end."""
        first = self.end - len(self._messages)
        start = min(max(cursor, first), self.end)
        messages = list(islice(self._messages, start - first, None)) if start < self.end else []
        return Batch(messages, self.end, max(first - cursor, 0))

    async def beyond(self, cursor: int) -> None:
        """Wait until the feed holds a message with number `cursor` or a later one."""
        while self.end <= cursor:
            if self._grown is None:
                self._grown = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._grown)


class Feeds:
    """The feeds of one server, each made when its topic is first named; each holds the last `capacity` messages."""

    def __init__(self, capacity: int = DEFAULT_CAPACITY) -> None:
        self.capacity = capacity
        self._epoch = secrets.token_hex(2)
        self._feeds: dict[str, Feed[bytes]] = {}

    def __getitem__(self, topic: str) -> Feed[bytes]:
        feed = self._feeds.get(topic)
        if feed is None:
            feed = self._feeds[topic] = Feed(self.capacity)
        return feed

    def cursor_text(self, cursor: int) -> str:
        """Return a cursor as a client gets it, in an ETag or an event id; every run of a server gives other texts."""
        return f"{self._epoch}-{cursor}"

    def cursor(self, text: str | None, default: int) -> int:
        """Return the cursor in a text of `cursor_text` that a client sent; `default` without a text.

        For a text of another run of a server it is 0: the client gets everything that the feed holds.
        """
        if text is None:
            return default
        epoch, _, number = text.strip().removeprefix("W/").strip('"').partition("-")
        ours = epoch == self._epoch and number.isascii() and number.isdigit() and len(number) < 20
        return int(number) if ours else 0
