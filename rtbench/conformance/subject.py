"""The subject of the contract test: a server, a client and its options; and the relay that a case talks to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

from rtbench.errors import UsageError
from rtbench.plan.variant import DEFAULT_CLIENT, DEFAULT_SERVER, label
from rtbench.system.meter import Meter
from rtbench.system.tls import client_context, make_certificate, server_context
from rtbench.transports import Connection, Session, registry
from rtbench.transports.choice import server_options
from rtbench.transports.contract import Client
from rtbench.transports.serving import serve
from rtbench.trial.server_process import server_process

FAST = {"interval_s": 0.01}  # options that only decide how long a message may take


@dataclass(frozen=True)
class Subject:
    """One server, one client and one of its variants, over TLS or not."""

    transport: str
    server: str
    client: str
    variant: Mapping[str, Any] = field(default_factory=dict)
    tls: bool = False
    server_options: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        name = label(self.transport, self.variant)
        given = "".join(f", {option}={value}" for option, value in self.server_options.items())
        return f"{name} (server {self.server}{given}, client {self.client}{', over TLS' * self.tls})"

    @property
    def spoken(self) -> Client:
        """The client."""
        return registry.client(self.transport, self.client)

    @property
    def options(self) -> dict[str, Any]:
        """The options of the client."""
        fast = {name: value for name, value in FAST.items() if name in self.spoken.options}
        return {**self.spoken.defaults, **fast, **self.variant}


def subjects_of(
    transport: str,
    server: str = DEFAULT_SERVER,
    client: str = DEFAULT_CLIENT,
    server_option: Sequence[str] = (),
) -> list[Subject]:
    """Return every variant of a client with a server, and each over TLS where the server has that.

    Raises:
        UsageError: they are not installed, cannot be loaded, or the client runs whole processes; or the server has no
            such option.
    """
    options = server_options(transport, server, server_option)
    tls, spoken = registry.server(transport, server).tls, registry.client(transport, client)
    if spoken.connect is None:
        raise UsageError(f"the client {client!r} of {transport} has no `connect`: the contract is one of connections")
    plain = [Subject(transport, server, client, variant, server_options=options) for variant in spoken.variants]
    return plain + [replace(subject, tls=True) for subject in plain] * tls


@dataclass
class Relay:
    """A server that runs, and the way to its clients; all are metered together."""

    subject: Subject
    url: str
    meter: Meter
    stack: AsyncExitStack

    @property
    def port(self) -> int:
        """The port that the server listens on."""
        return urlsplit(self.url).port or 0

    async def connect(self) -> Connection:
        """Return a new connection, which lasts as long as the relay."""
        return await self.stack.enter_async_context(self.connection())

    def connection(self, session: Session | None = None) -> AbstractAsyncContextManager[Connection]:
        """Return a context in which there is a new connection, the next of a session where there is one."""
        connect = self.subject.spoken.connect
        assert connect is not None
        kept = {} if session is None else {"session": session}
        return connect(self.url, self.meter, **self.subject.options, **kept)


@asynccontextmanager
async def relaying(subject: Subject, host: str = "127.0.0.1") -> AsyncIterator[Relay]:
    """Serve in this process; leave the connections first, then the server."""
    async with AsyncExitStack() as serving, AsyncExitStack() as connections:
        tls = authority = None
        if subject.tls:
            certificate = make_certificate()
            tls, authority = server_context(*serving.enter_context(certificate.files())), certificate.authority
        url = await serving.enter_async_context(
            serve(subject.transport, subject.server, host, 0, subject.server_options, tls)
        )
        yield Relay(subject, url, Meter(client_context(authority)), connections)


@asynccontextmanager
async def relaying_elsewhere(subject: Subject) -> AsyncIterator[Relay]:
    """Serve in a process of its own, so that all tasks and sockets in this one are the client's."""
    serving = server_process(subject.transport, subject.server, subject.server_options, subject.tls)
    async with serving as server, AsyncExitStack() as connections:
        yield Relay(subject, server.url, Meter(client_context(server.ca)), connections)
