"""The stored side of a relay: one bounded feed a topic, shared by every HTTP and WebSocket server.

A message gets the next number when it is appended. A reader holds a cursor (the number of the next message it wants)
and asks for everything after it; when the feed has meanwhile dropped some of that, it is told how many it missed.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from dataclasses import dataclass, field
from itertools import islice
from typing import Annotated, Generic, TypeVar

from rtbench.transports.options import Option

DEFAULT_CAPACITY = 10_000
Capacity = Annotated[int, Option("messages that the feed of each topic holds", metavar="N", above=0)]

T = TypeVar("T", bytes, str | bytes)


@dataclass(frozen=True)
class Batch(Generic[T]):
    """What a reader gets: messages in order, the cursor to ask with next time, and how many it missed before them."""

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
        """Bound the store."""
        self._messages = deque(maxlen=self.capacity)

    def append(self, payload: T) -> None:
        """Store a message and tell everyone who waits for it."""
        self._messages.append(payload)
        self.end += 1
        if self._grown is not None:
            self._grown.set_result(None)
            self._grown = None

    def after(self, cursor: int) -> Batch[T]:
        """Return everything from number `cursor` on; a cursor beyond the end stands for the end."""
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
    """The feeds of one server, made as topics are first named."""

    def __init__(self, capacity: int = DEFAULT_CAPACITY) -> None:
        """Make every feed hold the last `capacity` messages."""
        self.capacity = capacity
        self._epoch = secrets.token_hex(2)
        self._feeds: dict[str, Feed[bytes]] = {}

    def __getitem__(self, topic: str) -> Feed[bytes]:
        """Return the feed of a topic, empty if nobody named it before."""
        feed = self._feeds.get(topic)
        if feed is None:
            feed = self._feeds[topic] = Feed(self.capacity)
        return feed

    def cursor_text(self, cursor: int) -> str:
        """Return a cursor as a client gets it (in an ETag or an event id): no other server run gives the same."""
        return f"{self._epoch}-{cursor}"

    def cursor(self, text: str | None, default: int) -> int:
        """Return the cursor that a client hands back; `default` without one, and 0 (all there is) for one of another
        server run.
        """
        if text is None:
            return default
        epoch, _, number = text.strip().removeprefix("W/").strip('"').partition("-")
        ours = epoch == self._epoch and number.isascii() and number.isdigit() and len(number) < 20
        return int(number) if ours else 0
