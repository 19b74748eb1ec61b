"""The contract of a transport: what a server module and a client module define, and what a connection does.

A transport is two modules (or one that plays both parts), each behind an entry point:

    [project.entry-points."rtbench.servers"]     [project.entry-points."rtbench.clients"]
    carrier-pigeon = "pigeon.loft"               carrier-pigeon = "pigeon.handler"

- A **server** module has `serve(listener, **options)`: an async context manager that relays as long as it is entered
  and yields the URL where clients reach it.
- A **client** module has `connect(url, meter, **options)`: an async context manager that yields a `Connection`. A
  client with a loop of its own has `publish(plan, **options)` and `subscribe(plan, **options)` instead: functions that
  run a whole process, from its plan to its record (`rtbench.transports.records`).

Their keyword-only parameters declare their options (`rtbench.transports.options`). `Server` and `Client` list what else
a module may define.

`TRANSPORT` names the default server and client of a transport; `TRANSPORT.NAME` names another one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

from rtbench.errors import UsageError
from rtbench.transports.attempts import Outcome
from rtbench.transports.options import Option
from rtbench.transports.records import IdleRecord, PublisherRecord, SubscriberRecord
from rtbench.wire.traffic import Predicted, Steady

Message: TypeAlias = tuple[str, bytes, int, int]
"""One delivery, as the application has it: topic, payload, missed, arrived_ns.

`missed` is the number of messages that the server says it skipped just before this one, because the subscriber fell
behind the end of the feed; else 0. `arrived_ns` is when the kernel received it (`MeteredSocket.arrived_ns`), 0 where
that is not known. It is a plain tuple because a named one makes the recording of a delivery 50 % more expensive.
"""

Deliver: TypeAlias = Callable[[str, bytes, int, int], object]
"""Takes one delivery: the fields of a `Message`."""

Ended: TypeAlias = Callable[[Exception], object]
"""Is told why a subscription has ended."""

Done: TypeAlias = Callable[[bool | Exception], object]
"""Takes what became of a publish: what `publish` would return, or what it would raise."""

DRAIN_TIMEOUT_S = 2.0  # how long a trial waits for deliveries that do not come, unless the client module says otherwise


class Connection(Protocol):
    """One client of a relay: it publishes, subscribes, or both.

    `in_flight_limit` is how many publishes may be unanswered at a time, None for any number. The generator holds back
    the others: a message is sent when it is handed over.
    """

    in_flight_limit: int | None

    async def publish(self, topic: str, payload: bytes) -> bool:
        """Publish; return whether the server acknowledged it (False: the transport has no acknowledgement).

        Publishes of one connection keep the order of the calls, also when they overlap (as far as `in_flight_limit`
        lets them).

        Raises:
            Refused: the server did not accept the message.
            OSError: the connection is broken; whether the message arrived is not known.
        """

    async def subscribe(self, topic: str) -> AsyncIterator[Message]:
        """Subscribe; once this returns, every later publish on `topic` comes out of the iterator, in order.

        Raises:
            Refused: the server, or the transport itself, did not accept the subscription.
        """


@runtime_checkable
class DirectConnection(Connection, Protocol):
    """A connection that can also do without a task for each publish, and without an iterator for each subscription."""

    def send(self, topic: str, payload: bytes, done: Done) -> None:
        """Do what `publish` does, and call `done` with the outcome, perhaps before this returns; raise nothing.

        The connection was used to `publish` on this topic before. Keep to `in_flight_limit`.
        """

    async def receive(self, topic: str, deliver: Deliver, ended: Ended) -> None:
        """Subscribe; once this returns, every later publish on `topic` is handed to `deliver`, in order.

        `deliver` and `ended` raise nothing.

        Raises:
            Refused: the server, or the transport itself, did not accept the subscription.
        """


def in_flight(connection: Connection) -> AbstractAsyncContextManager[None]:
    """Return a context to enter for each publish on a connection: it admits `in_flight_limit` of them, in order."""
    limit = connection.in_flight_limit
    return nullcontext() if limit is None else asyncio.Semaphore(limit)


@dataclass(frozen=True)
class Server:
    """An installed implementation that serves a transport.

    A server module may define, beside `serve`:
        software(): the program that runs, with its version; it stands in every result.
        configured(**options): the settings of the program that are not its own defaults, by its own names; they stand
            in every result; default: none.
        by_hand(url): lines for a terminal that try the server at a URL; `rtbench serve` prints them.
        DIFFERS: what it does otherwise than the contract says: by the text of the case, such as `a text arrives as it
            was sent: a space`; default: nothing.
        DIFFERS_WITH: the same for an option that is on: by the name of the option.
        OWN_FORMAT: its options with which it writes other bytes than the clients predict from the formats of rtbench,
            `*`: it always does; default: none.
        TIER: `native` for a program that users run, such as mosquitto; default: `embedded`.

    `tls` says whether `serve` takes a TLS context (its parameter `tls`), `state` whether it takes a directory that
    outlives a restart within a trial (its parameter `state`).
    """

    transport: str
    name: str
    serve: Callable[..., AbstractAsyncContextManager[str]]
    options: Mapping[str, Option]
    tls: bool
    state: bool
    software: str
    by_hand: Callable[[str], list[str]]
    configured: Callable[..., Mapping[str, str]]


@dataclass(frozen=True)
class Client:
    """An installed implementation that speaks a transport, with what its module says about itself.

    A client module defines `connect`, or both `publish` and `subscribe` (and `hold`, for idle connections). It may
    also define:
        VARIANTS: the option sets that a comparison measures, and whose options enter the label,
            e.g. `({"qos": 0}, {"qos": 1})`; default: one variant without options.
        WILDCARDS: whether topics may contain the MQTT wildcards `+` and `#`; default: no.
        SCHEMES: those of the URLs of its servers; default: the name of the transport, also with an `s` for TLS.
        SLOT: the fixed place in tables and the fixed colour in charts, 0 to 9; default: derived from the name.
        CONTROL: whether it is the floor that every comparison measures beside the others; default: no.
        software(): the program that runs, with its version.
        observation(seen): one sentence on what a run showed, in plain words; `seen` is the row of `summary.csv` as
            a mapping, together with the client's options and `median`: the median times in words.
        predict(traffic, **options): the bytes above TCP that the format needs for what was counted (a `Predicted`
            for a `Traffic`); they are compared with the measured bytes.
        DIRECT: whether its connections are `DirectConnection`s; its processes then run on a `DirectLoop`, on which the
            sockets that it watches (`rtbench.system.direct.watcher`) cost little.
        steady(rate_hz, **options): what a subscriber does in a steady state (a `Steady`) while `rate_hz` messages per
            second are published on its topic; with `predict` it gives the bytes at any update rate. Default: it sends
            no requests.
        hold_filters(url, meter, filters): an async context manager that has one client subscribed to many topic
            filters; default: subscribers ask for topics only.
        forget(url, meter, session): a coroutine that removes what a server keeps of a session; a trial calls it for the
            sessions that it has resumed, once it is over, at a server that goes on running. Default: servers keep none.
        attempt(url, attempt, **options): one `Attempt` to use a server, allowed or not, byte by byte; returns its
            `Outcome`. `rtbench security` measures only transports whose default client has it.
        drain_timeout_s(**options): how long a trial waits, after the last delivery, for those that are still missing,
            in seconds, unless the user gives `--drain`; default: `DRAIN_TIMEOUT_S`.

    `resumes` says whether `connect` takes a `session` (`rtbench.transports.session`). Without one (None) a client does
    what it always does. With one, it does not connect again by itself: rtbench calls `connect` again with the same
    session. Then
        - a lost connection is an OSError, raised by the iterator of a subscription and by `publish`;
        - `connect` opens again what a publisher had open, and raises an OSError where it cannot;
        - `subscribe` continues after the last message that came out of the iterator, where `session.resume` is true;
        - with `session.keep_alive_s` a connection on which nothing comes any more is lost, too.
    """

    transport: str
    name: str
    connect: Callable[..., AbstractAsyncContextManager[Connection]] | None
    publish: Callable[..., PublisherRecord] | None
    subscribe: Callable[..., SubscriberRecord] | None
    hold: Callable[..., IdleRecord] | None
    options: Mapping[str, Option]
    resumes: bool
    software: str
    variants: tuple[Mapping[str, Any], ...]
    wildcards: bool
    slot: int | None
    control: bool
    direct: bool
    observation: Callable[[Mapping[str, Any]], str] | None
    predict: Callable[..., Predicted] | None
    steady: Callable[..., Steady]
    schemes: tuple[str, ...]
    hold_filters: Callable[..., AbstractAsyncContextManager[None]] | None
    forget: Callable[..., Awaitable[None]] | None
    attempt: Callable[..., Awaitable[Outcome]] | None
    drain_timeout_s: Callable[..., float]

    @property
    def defaults(self) -> dict[str, Any]:
        """The options with their defaults."""
        return {name: option.default for name, option in self.options.items()}


def refuse_wildcards(transport: str, topic: str) -> None:
    """Refuse a topic filter with MQTT wildcards, for a transport whose topics are exact.

    Raises:
        UsageError: the topic contains `+` or `#`.
    """
    if "+" in topic or "#" in topic:
        raise UsageError(f"{transport} has no wildcard subscriptions (+, #): got {topic!r}")
