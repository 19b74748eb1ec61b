"""A client that connects again when its connection is lost, as its policy says, and that notes each outage.

It is a `Connection` itself, so a publisher or a subscriber does not see that there were several. It has one part: it
publishes, or it subscribes to one topic.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from itertools import chain
from random import Random
from typing import TypeAlias

from rtbench.errors import Refused
from rtbench.plan.reconnect import Reconnect
from rtbench.plan.records import PUBLISHER, SUBSCRIBER, Outage
from rtbench.system.meter import bytes_so_far, noting_sockets
from rtbench.transports import registry
from rtbench.transports.contract import Connection, Message, in_flight
from rtbench.transports.records import PublisherPlan, SubscriberPlan
from rtbench.transports.session import Session

AnyConnection: TypeAlias = AbstractAsyncContextManager[Connection]
Connect: TypeAlias = Callable[..., AnyConnection]
Forget: TypeAlias = Callable[[Session], Awaitable[None]]


class Reconnecting:
    """One publisher or subscriber, over all its connections."""

    def __init__(
        self,
        connect: Connect,
        session: Session,
        policy: Reconnect,
        random: Random,
        new_outage: Callable[[], Outage],
        forget: Forget | None = None,
    ) -> None:
        """Call `connect` for each connection, with the same `session`; `new_outage` makes and notes an outage.

        `forget` removes what the server keeps of the session, in the end.
        """
        self._forget = forget
        self.in_flight_limit: int | None = None
        self._connect = connect
        self._session = session
        self._policy = policy
        self._random = random
        self._new_outage = new_outage
        self._opened = AsyncExitStack()
        self._in_order = asyncio.Lock()  # for messages that wait for a connection
        self._topic: str | None = None
        self._restoring: asyncio.Task[None] | None = None  # while there is no connection
        self._losses = 0
        self._has_published = False
        self._lost_meanwhile = False
        self._used = True  # since the last outage: something was published or subscribed to
        self._away_s: float | None = None  # how long it stays away, having left on purpose
        self._left = False

    async def __aenter__(self) -> Reconnecting:
        """Connect for the first time; what goes wrong then is raised."""
        await self._open()
        self._session.lost = self._lose_publisher
        self.in_flight_limit = self._connection.in_flight_limit
        self._limit = in_flight(self._connection)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Leave for good."""
        self._left = True
        if self._restoring is not None:
            self._restoring.cancel()
            await asyncio.gather(self._restoring, return_exceptions=True)
        await self._opened.aclose()
        if self._forget is not None and self._policy.resumes:
            await self._forget(self._session)

    async def _open(self) -> None:
        async with AsyncExitStack() as opened:
            self._session.resumed = self._lost_meanwhile = False
            connection = await opened.enter_async_context(self._connect())
            if self._topic is not None:
                self._stream = await connection.subscribe(self._topic)
            if self._lost_meanwhile:
                raise ConnectionError("the connection was lost again at once")
            self._opened = opened.pop_all()
        self._connection = connection

    # What a publisher uses

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Enter for each publish, in order: wait as `in_flight` says, and until there is a connection.

        Raises:
            Refused: there was none meanwhile, and the policy is to drop the message.
        """
        losses = self._losses if self._restoring is None else -1
        self._drop_after(losses)
        async with self._limit:
            self._drop_after(losses)
            async with self._in_order:
                await self._connected()
            yield

    def _drop_after(self, losses: int) -> None:
        if self._policy.drops and self._losses != losses:
            raise Refused("there is no connection: the message is dropped")

    async def publish(self, topic: str, payload: bytes) -> bool:
        """Publish. A client that resumes publishes again what was lost with a connection: it may arrive twice.

        Raises:
            Refused: the server refused it.
            OSError: the connection was lost, and the message is not published again.
        """
        if self._has_published:
            return await self._hand_over(topic, payload)
        async with self._in_order:  # the first one opens the connection; no other may do so on one that was lost
            return await self._hand_over(topic, payload)

    async def _hand_over(self, topic: str, payload: bytes) -> bool:
        while True:
            await self._connected()
            connection = self._connection
            try:
                acknowledged = await connection.publish(topic, payload)
            except OSError:
                if connection is self._connection:
                    self._lose()
                if not self._policy.resumes:
                    raise
                continue
            self._used = self._has_published = True
            return acknowledged

    # What a subscriber uses

    async def subscribe(self, topic: str) -> AsyncIterator[Message]:
        """Subscribe to the one topic; the messages go on over all connections."""
        self._topic = topic
        self._stream = await self._connection.subscribe(topic)
        return self._read()

    async def _read(self) -> AsyncIterator[Message]:
        while not self._left:
            try:
                async with asyncio.timeout(None) as self._staying:
                    async for message in self._stream:
                        yield message
            except OSError:  # also TimeoutError: see `go_offline`
                pass
            self._lose()
            await self._connected()

    def go_offline(self, for_s: float) -> None:
        """Leave on purpose, and connect again after a time; it does nothing while there is no connection anyway."""
        if self._restoring is None:
            self._away_s = for_s
            self._staying.reschedule(asyncio.get_running_loop().time())

    # Lost and found

    async def _connected(self) -> None:
        """Wait until there is a connection."""
        while self._restoring is not None:
            await asyncio.shield(self._restoring)

    def _lose_publisher(self) -> None:
        if self._topic is None:  # a subscriber first reads its stream to the end
            self._lost_meanwhile = True
            self._lose()

    def _lose(self) -> None:
        if self._restoring is not None or self._left:
            return
        if self._used:
            self._outage, self._delays_s = self._new_outage(), self._policy.delays_s(self._random)
        self._used = self._topic is not None  # a subscription that begins again is used
        self._losses += 1
        self._restoring = asyncio.create_task(self._restore(self._waits_s()))

    def _waits_s(self) -> Iterator[float]:
        """Return how long to wait before each attempt."""
        away_s, self._away_s = self._away_s, None
        if away_s is None:
            return self._delays_s
        self._outage.planned = True
        return chain([away_s], self._delays_s)

    async def _restore(self, waits_s: Iterator[float]) -> None:
        """Connect again; where the policy makes no attempt, wait for ever."""
        outage = self._outage
        outage.back_ns = 0
        with suppress(OSError):
            await self._opened.aclose()
        for wait_s in waits_s:
            await asyncio.sleep(wait_s)
            outage.attempts += 1
            with noting_sockets() as sockets:
                try:
                    await self._open()
                    is_back = True
                except (OSError, Refused):
                    is_back = False
                spent = bytes_so_far(sockets)
            outage.wire_bytes = None if spent is None or outage.wire_bytes is None else outage.wire_bytes + spent
            if not is_back:
                continue
            outage.back_ns, outage.resumed = time.monotonic_ns(), self._session.resumed
            self._restoring = None
            return
        await asyncio.get_running_loop().create_future()


# What the client processes use


def lasting(
    plan: PublisherPlan | SubscriberPlan, outages: list[Outage], connect: Connect, forget: Forget | None = None
) -> list[AnyConnection]:
    """Return a connection for each publisher or subscriber of a plan; its outages are noted where it has a policy."""
    if plan.reconnect is None:
        return [connect() for _ in plan.topics]
    publishes = isinstance(plan, PublisherPlan)
    numbers = plan.publishers if isinstance(plan, PublisherPlan) else plan.subscribers
    takes_session = registry.client(plan.transport, plan.client).resumes
    found: list[AnyConnection] = []
    for number in numbers:
        name = f"{secrets.token_hex(4)}-{number}"  # short: an MQTT broker may refuse more than 23 characters
        session = Session(name, plan.reconnect.resumes, plan.reconnect.keep_alive_s)
        one = partial(connect, session=session) if takes_session else connect
        noting = partial(_noted, outages, PUBLISHER if publishes else SUBSCRIBER, number)
        found.append(Reconnecting(one, session, plan.reconnect, Random(f"{plan.seed} {number}"), noting, forget))
    return found


def _noted(outages: list[Outage], role: str, number: int) -> Outage:
    outages.append(Outage(role, number, lost_ns=time.monotonic_ns()))
    return outages[-1]


def turn(connection: Connection) -> Callable[[], AbstractAsyncContextManager[None]]:
    """Return what makes the context to enter for each publish on a connection."""
    if isinstance(connection, Reconnecting):
        return connection.turn
    limit = in_flight(connection)
    return lambda: limit


def leaving(
    offline: Iterable[tuple[int, int, int]], connections: Sequence[Connection], start_ns: int
) -> list[asyncio.TimerHandle]:
    """Let connections go offline at their times after the start; return what can be cancelled."""
    loop, timers = asyncio.get_running_loop(), []
    for i, at_ns, for_ns in offline:
        connection = connections[i]
        assert isinstance(connection, Reconnecting)
        after_s = (start_ns + at_ns - time.monotonic_ns()) / 1e9
        timers.append(loop.call_later(after_s, connection.go_offline, for_ns / 1e9))
    return timers
