"""How a publisher hands its messages to its connection, and notes what became of each.

At most `in_flight_limit` messages of a connection are unanswered at a time. The others wait here, in order: a message
is sent when it is handed over.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from functools import partial
from typing import Protocol

from rtbench.errors import Refused
from rtbench.plan.records import ACKED, FAILED, INDETERMINATE
from rtbench.transports.contract import Connection, DirectConnection
from rtbench.transports.records import PublisherRecord
from rtbench.trial.reconnecting import turn
from rtbench.trial.uncaught import note


class Outlet(Protocol):
    """Where the messages of one publisher go."""

    @property
    def unfinished(self) -> int:
        """How many messages have no outcome yet."""

    def hand_over(self, position: int, content: bytes) -> None:
        """Publish, and note the outcome at this position of the record."""

    async def finished(self) -> None:
        """Wait until every message has an outcome."""


def outlet(connection: Connection, topic: str, record: PublisherRecord) -> Outlet:
    """Return the outlet of a connection."""
    if isinstance(connection, DirectConnection):
        return DirectOutlet(connection, topic, record)
    return TaskOutlet(connection, topic, record)


def _note_outcome(record: PublisherRecord, position: int, outcome: bool | BaseException) -> None:
    if isinstance(outcome, Refused):  # or dropped, in its turn
        record.status[position] = FAILED
        record.sent_ns[position] = record.sent_ns[position] or time.monotonic_ns()
    elif isinstance(outcome, OSError):  # the fate of the message is unknown, the run goes on
        return
    elif isinstance(outcome, BaseException):
        note(record.usage.errors, outcome)
        return
    else:
        record.status[position] = ACKED if outcome else INDETERMINATE
    record.done_ns[position] = time.monotonic_ns()


class TaskOutlet:
    """Publishes each message in a task of its own."""

    def __init__(self, connection: Connection, topic: str, record: PublisherRecord) -> None:
        self._connection = connection
        self._topic = topic
        self._record = record
        self._turn = turn(connection)
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def unfinished(self) -> int:
        """See `Outlet`."""
        return len(self._tasks)

    def hand_over(self, position: int, content: bytes) -> None:
        """See `Outlet`."""
        task = asyncio.create_task(self._publish(position, content))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _publish(self, position: int, content: bytes) -> None:
        outcome: bool | Exception
        try:
            async with self._turn():
                self._record.sent_ns[position] = time.monotonic_ns()
                outcome = await self._connection.publish(self._topic, content)
        except Exception as error:
            outcome = error
        _note_outcome(self._record, position, outcome)

    async def finished(self) -> None:
        """See `Outlet`."""
        if self._tasks:
            await asyncio.wait(self._tasks)


class DirectOutlet:
    """Publishes without tasks."""

    def __init__(self, connection: DirectConnection, topic: str, record: PublisherRecord) -> None:
        self._connection = connection
        self._topic = topic
        self._record = record
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._in_flight = 0
        self._all_done = asyncio.Event()

    @property
    def unfinished(self) -> int:
        """See `Outlet`."""
        return self._in_flight + len(self._waiting)

    def hand_over(self, position: int, content: bytes) -> None:
        """See `Outlet`."""
        self._waiting.append((position, content))
        self._send()

    def _send(self) -> None:
        limit = self._connection.in_flight_limit
        while self._waiting and (limit is None or self._in_flight < limit):
            position, content = self._waiting.popleft()
            self._in_flight += 1
            self._record.sent_ns[position] = time.monotonic_ns()
            self._connection.send(self._topic, content, partial(self._done, position))

    def _done(self, position: int, outcome: bool | BaseException) -> None:
        _note_outcome(self._record, position, outcome)
        self._in_flight -= 1
        if self._waiting:
            self._send()
        elif not self._in_flight:
            self._all_done.set()

    async def finished(self) -> None:
        """See `Outlet`."""
        while self.unfinished:
            self._all_done.clear()
            await self._all_done.wait()
