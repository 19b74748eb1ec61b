"""What a transport is, and how the bench finds the installed ones. It knows none by name.

A transport is two modules (or one that plays both parts), each behind an entry point:

    [project.entry-points."rtbench.servers"]     [project.entry-points."rtbench.clients"]
    carrier-pigeon = "pigeon.loft"               carrier-pigeon = "pigeon.handler"

- a **server** module has `serve(listener, **options)`: an async context manager that relays for as long as it is
  entered, and yields the URL where clients reach it;
- a **client** module has `connect(url, meter, **options)`: an async context manager that yields a `Connection`.

Their keyword-only parameters are the declaration of the options they take, with their defaults: `connect(url, meter, *,
qos=0)` takes `--qos`, and without it `--qos` is refused. What else a client module may say of itself is in `Client`.

`TRANSPORT` names the default server and client of a transport; `TRANSPORT.NAME` names another one.
"""

from __future__ import annotations

import asyncio
import inspect
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Protocol, TypeAlias

from rtbench.errors import UsageError
from rtbench.prediction import Predicted

DEFAULT_SERVER = "embedded"
DEFAULT_CLIENT = "library"


Message: TypeAlias = tuple[str, bytes, int, int]
"""One delivery, as the application has it: topic, payload, missed, arrived_ns.

`missed` is the number of messages that the server says it skipped just before this one, because the subscriber had
fallen behind the end of the feed, else 0. `arrived_ns` is when the kernel had it (`MeteredSocket.arrived_ns`), 0 where
that is not known. A plain tuple, for a named one would make recording a delivery half as dear again.
"""


class Connection(Protocol):
    """One client of a relay: it publishes, subscribes, or both.

    `window` is how many publishes may be under way at once, None for any number; the others wait for their turn
    (`turns`), and are sent when it has come.
    """

    window: int | None

    async def publish(self, topic: str, payload: bytes) -> bool:
        """Publish; return whether the server acknowledged it (False: the transport has no acknowledgement).

        Publishes of one connection keep the order in which they were called, also when they overlap (as far as
        `window` lets them).

        Raises:
            Refused: the server would not take it.
            OSError: the connection is broken; whether the message arrived is not known.
        """

    async def subscribe(self, topic: str) -> AsyncIterator[Message]:
        """Subscribe; once this returns, every later publish on `topic` comes out of the iterator, in order.

        Raises:
            Refused: the server, or the transport itself, would not take the subscription.
        """


def turns(connection: Connection) -> AbstractAsyncContextManager[None]:
    """Return what is to be entered for each publish on a connection: it lets `window` of them in, first come first."""
    return nullcontext() if connection.window is None else asyncio.Semaphore(connection.window)


@dataclass(frozen=True)
class Server:
    """An installed implementation that serves a transport; `options` are those it takes, with their defaults."""

    transport: str
    name: str
    serve: Callable[..., AbstractAsyncContextManager[str]]
    options: Mapping[str, Any]
    software: str  # what runs, with its version: it stands in every result


@dataclass(frozen=True)
class Client:
    """An installed implementation that speaks a transport, with what its module says of it.

    `options` are those it takes, with their defaults.

    A client module may define, beside `connect`:
        VARIANTS: the option sets that a comparison measures, and whose options enter the label,
            e.g. `({"qos": 0}, {"qos": 1})`; default one variant without options.
        WILDCARDS: whether topics may hold the MQTT wildcards `+` and `#`; default no.
        SLOT: the fixed place in tables and the fixed colour in charts, 0 to 9; default from the name.
        CONTROL: whether it is the floor that every comparison measures beside the others; default no.
        software(): what runs, with its version.
        observation(seen): one sentence on what a run showed, in plain words; `seen` is the row of `summary.csv` as
            a mapping, together with the client's options.
        predict(traffic, **options): the bytes above TCP that the format needs for what was counted (a
            `rtbench.prediction.Predicted` for a `Traffic`), to be held against those measured.
    """

    transport: str
    name: str
    connect: Callable[..., AbstractAsyncContextManager[Connection]]
    options: Mapping[str, Any]
    software: str
    variants: tuple[Mapping[str, Any], ...]
    wildcards: bool
    slot: int | None
    control: bool
    observation: Callable[[Mapping[str, Any]], str] | None
    predict: Callable[..., Predicted] | None


def _options(function: Callable[..., Any]) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def _software(point: EntryPoint, module: Any) -> str:
    if hasattr(module, "software"):
        return str(module.software())
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.value


@cache
def _points(group: str) -> dict[tuple[str, str], EntryPoint]:
    default = DEFAULT_SERVER if group == "rtbench.servers" else DEFAULT_CLIENT
    found = {}
    for point in entry_points(group=group):
        transport, _, name = point.name.partition(".")
        found[transport, name or default] = point
    return found


def server_names() -> list[tuple[str, str]]:
    """Return (transport, server) of every installed server, nothing imported."""
    return list(_points("rtbench.servers"))


def client_names() -> list[tuple[str, str]]:
    """Return (transport, client) of every installed client, nothing imported."""
    return list(_points("rtbench.clients"))


def _load(group: str, kind: str, transport: str, name: str) -> tuple[EntryPoint, Any]:
    points = _points(group)
    if point := points.get((transport, name)):
        try:
            return point, point.load()
        except ImportError as error:
            raise UsageError(f"the {kind} {name!r} of {transport} cannot be loaded: {error}") from error
    transports = sorted({t for t, _ in points})
    if transport not in transports:
        raise UsageError(f"unknown transport {transport!r}; installed: {', '.join(transports)}")
    names = sorted(n for t, n in points if t == transport)
    raise UsageError(f"{transport} has no {kind} {name!r}; installed: {', '.join(names)}")


@cache
def server(transport: str, name: str = DEFAULT_SERVER) -> Server:
    """Load a server.

    Raises:
        UsageError: no such transport, or no such server of it.
    """
    point, module = _load("rtbench.servers", "server", transport, name)
    return Server(transport, name, module.serve, _options(module.serve), _software(point, module))


@cache
def client(transport: str, name: str = DEFAULT_CLIENT) -> Client:
    """Load a client.

    Raises:
        UsageError: no such transport, or no such client of it.
    """
    point, module = _load("rtbench.clients", "client", transport, name)
    return Client(
        transport,
        name,
        module.connect,
        _options(module.connect),
        _software(point, module),
        tuple(getattr(module, "VARIANTS", ({},))),
        bool(getattr(module, "WILDCARDS", False)),
        getattr(module, "SLOT", None),
        bool(getattr(module, "CONTROL", False)),
        getattr(module, "observation", None),
        getattr(module, "predict", None),
    )


def refuse_wildcards(transport: str, topic: str) -> None:
    """Refuse a topic filter with MQTT wildcards, for a transport whose topics are exact.

    Raises:
        UsageError: the topic holds `+` or `#`.
    """
    if "+" in topic or "#" in topic:
        raise UsageError(f"{transport} has no wildcard subscriptions (+, #): got {topic!r}; mqtt has them")


def tls_context(cert: str | None, key: str | None) -> ssl.SSLContext | None:
    """Return a server's TLS context, or None where no certificate was asked for.

    Raises:
        UsageError: the two files are no certificate chain and its private key in PEM.
    """
    if cert is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"cannot use {cert} as a TLS certificate (PEM, with its key): {error}") from error
    return context
