"""The stored side of a relay: one bounded feed for each topic. All HTTP and WebSocket servers, and bare TCP, use it.

A message gets the next number when it is appended. A reader has a cursor (the number of the next message that it wants)
and asks for everything from there on. If the feed has dropped some of those messages, it says how many.

All feeds of a server share one `Room`, so no client can fill its memory, whatever it publishes, on however many topics.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from typing import Annotated, Any, Generic, TypeVar

from rtbench.transports.options import Option
from rtbench.transports.relay_log import relayed

DEFAULT_CAPACITY = 10_000
DEFAULT_MAX_BYTES = 256 * 2**20
DEFAULT_MAX_TOPICS = 10_000
MAX_PAYLOAD_BYTES = 16 * 2**20  # of a message that a server takes
MESSAGE_BYTES = 64  # what a message takes beyond its payload: an object and its place
Capacity = Annotated[int, Option("messages that the feed of each topic holds", metavar="N", above=0, most=10**7)]
MaxFeedBytes = Annotated[int, Option("bytes that all feeds hold together", metavar="BYTES", above=0, most=2**40)]
MaxTopics = Annotated[int, Option("topics", metavar="N", above=0, most=10**7)]

T = TypeVar("T", bytes, str | bytes)


@dataclass(frozen=True)
class Batch(Generic[T]):
    """What a reader gets: messages in order, its next cursor, and how many messages before them it missed."""

    messages: list[T]
    cursor: int
    missed: int


class Full(Exception):
    """The server has as many topics as it may have; the text says so."""


class Room:
    """What all feeds of one server may take together. The feed that has been idle for the longest time gives way."""

    def __init__(self, max_bytes: int = DEFAULT_MAX_BYTES, max_topics: int = DEFAULT_MAX_TOPICS) -> None:
        self.max_bytes = max_bytes
        self.max_topics = max_topics
        self.taken_bytes = 0
        self._topics = 0
        self._filled: dict[Feed[Any], None] = {}  # the feeds that hold messages, the idle ones first

    def add_topic(self) -> None:
        """Count one more topic.

        Raises:
            Full: there are `max_topics`.
        """
        if self._topics >= self.max_topics:
            raise Full(f"this server has {self.max_topics} topics, and takes no more (--max-topics)")
        self._topics += 1

    def take(self, feed: Feed[Any], size_bytes: int) -> None:
        """Note that a feed holds `size_bytes` more; where that is too much, drop the first messages of idle feeds.

        The newest message always stays.
        """
        self.taken_bytes += size_bytes
        self._filled.pop(feed, None)
        self._filled[feed] = None
        while self.taken_bytes > self.max_bytes:
            idle = next(iter(self._filled))
            if idle is feed and len(feed) == 1:
                return
            idle.drop_first()
            if not len(idle):
                del self._filled[idle]


@dataclass(eq=False)
class Feed(Generic[T]):
    """The last messages of one topic, numbered from 0: at most `capacity`, and as many as there is `room` for."""

    capacity: int = DEFAULT_CAPACITY
    room: Room = field(default_factory=Room)
    end: int = 0
    followers: dict[Callable[[T], None], None] = field(default_factory=dict)  # get each message when it is stored
    _messages: deque[T] = field(init=False)
    _waiting: dict[asyncio.Future[None], None] = field(default_factory=dict)  # in their order

    def __post_init__(self) -> None:
        self._messages = deque()

    def __len__(self) -> int:
        """Return how many messages the feed holds."""
        return len(self._messages)

    def append(self, payload: T) -> None:
        """Store a message, give it to every follower, and wake everyone who waits in `beyond`."""
        relayed(payload)
        if len(self._messages) == self.capacity:
            self.drop_first()
        self._messages.append(payload)
        self.end += 1
        self.room.take(self, len(payload) + MESSAGE_BYTES)
        for follow in list(self.followers):
            follow(payload)
        waiting, self._waiting = self._waiting, {}
        for one in waiting:
            if not one.done():  # it may be cancelled, and not yet know it
                one.set_result(None)

    def drop_first(self) -> None:
        """Drop the oldest message."""
        self.room.taken_bytes -= len(self._messages.popleft()) + MESSAGE_BYTES

    def after(self, cursor: int, most_bytes: int | None = None) -> Batch[T]:
        """Return everything from number `cursor` on; a cursor above the end means the end.

        With `most_bytes`, return only the first messages that fit into it, and at least one.
        """
        first = self.end - len(self._messages)
        start = min(max(cursor, first), self.end)
        messages = list(islice(self._messages, start - first, None)) if start < self.end else []
        if most_bytes is not None:
            messages = _fitting(messages, most_bytes)
        return Batch(messages, start + len(messages), max(first - cursor, 0))

    async def beyond(self, cursor: int) -> None:
        """Wait until the feed holds a message with number `cursor` or a later one."""
        while self.end <= cursor:
            mine = asyncio.get_running_loop().create_future()
            self._waiting[mine] = None
            try:
                await mine
            except asyncio.CancelledError:
                self._waiting.pop(mine, None)
                raise


def _fitting(messages: list[T], most_bytes: int) -> list[T]:
    """Return the first messages that are no longer than `most_bytes` together, and at least one."""
    size = 0
    for number, message in enumerate(messages):
        size += len(message)
        if size > most_bytes and number:
            return messages[:number]
    return messages


class Cursors:
    """Cursors as clients get them: every run of a server gives other texts for the same numbers."""

    def __init__(self) -> None:
        self._epoch = secrets.token_hex(2)

    def cursor_text(self, cursor: int) -> str:
        """Return a cursor as a client gets it: in an ETag, an event id, or the greeting of a WebSocket."""
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


class Feeds(Cursors):
    """The feeds of one server, each made when its topic is first named; each holds the last `capacity` messages."""

    def __init__(self, capacity: int = DEFAULT_CAPACITY, room: Room | None = None) -> None:
        super().__init__()
        self.capacity = capacity
        self.room = room or Room()
        self._feeds: dict[str, Feed[bytes]] = {}

    def __getitem__(self, topic: str) -> Feed[bytes]:
        """Return the feed of a topic, a new one if it is not known.

        Raises:
            Full: it is not known, and there are as many topics as there may be.
        """
        feed = self._feeds.get(topic)
        if feed is None:
            self.room.add_topic()
            feed = self._feeds[topic] = Feed(self.capacity, self.room)
        return feed

    def get(self, topic: str) -> Feed[bytes]:
        """Return the feed of a topic; for one that is not known an empty feed, which is not kept."""
        feed = self._feeds.get(topic)
        return feed if feed is not None else Feed(self.capacity, self.room)
