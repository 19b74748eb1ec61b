"""Where the server of a trial comes from: one that rtbench starts, or one that runs already.

Both are a `ServerSource`: entered for one trial, it yields a `RunningServer`.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlsplit

import psutil

from rtbench.errors import TrialError, UsageError
from rtbench.links.link import HERE, Place
from rtbench.plan.login import Login
from rtbench.system import process
from rtbench.system.load import Load
from rtbench.system.tls import make_certificate
from rtbench.trial.lives import Lives, living
from rtbench.trial.server_process import Request


async def _no_relay_log() -> bytes | None:
    return None


@dataclass
class RunningServer:
    """A server that answers at `url`; `ca` (PEM text) signed its certificate, None without one made for the trial.

    `processes` are those that serve; none where they are not rtbench's to look at: then there is no server load.
    `relay_log` returns the rows of `rtbench.transports.relay_log` in the server process, None where there are none;
    after that, `errors` has the exceptions of the server that nobody caught. `lives` can end a server that rtbench
    started, and start it again.
    """

    url: str
    ca: str | None = None
    login: Login = field(default_factory=Login)
    processes: list[psutil.Process] = field(default_factory=list)
    ended: asyncio.Future[str] | None = None
    relay_log: Callable[[], Awaitable[bytes | None]] = _no_relay_log
    errors: list[str] = field(default_factory=list)
    lives: Lives | None = None

    @property
    def port(self) -> int:
        """The port that it listens on; 0 where the URL names none."""
        return urlsplit(self.url).port or 0

    @property
    def raised(self) -> list[str]:
        """The first of the errors as a sentence, if there is one."""
        return [f"the server raised {text}" for text in self.errors[:1]]

    @property
    def is_alive(self) -> bool:
        """Whether all its processes run; a server without any counts as alive."""
        return all(map(process.alive, self.processes))

    def load(self) -> Load | None:
        """Return its load, that of its earlier lives included; None where that is not rtbench's to look at."""
        return self.lives.load() if self.lives else None

    async def died(self) -> str:
        """Wait until the server ends by itself; return how. A server that runs already is never seen to end."""
        return await (self.ended or asyncio.get_running_loop().create_future())


class ServerSource(Protocol):
    """Where a server comes from."""

    def running(self, place: Place = HERE) -> AbstractAsyncContextManager[RunningServer]:
        """Return a context in which the server runs, in a place.

        Raises (on entering):
            UsageError: the server cannot be had as asked for.
            TrialError: it did not start, or does not answer.
        """


@dataclass(frozen=True)
class StartedServer:
    """A server in a fresh process, ended on leaving; with `tls` it has a certificate made for it, perhaps `expired`.

    `restarts` is how often it will be started again: so many processes are prepared. `cores` are those that it stays
    on, with all that it starts; any if there are none. `login` is what its clients enter it with.
    """

    transport: str
    server: str
    options: Mapping[str, Any] = field(default_factory=dict)
    tls: bool = False
    restarts: int = 0
    cores: tuple[int, ...] = ()
    login: Login = field(default_factory=Login)
    expired: bool = False

    @asynccontextmanager
    async def running(self, place: Place = HERE) -> AsyncIterator[RunningServer]:
        """Start the server; end it, and all that it started, on leaving."""
        certificate = make_certificate(place.host, expired=self.expired) if self.tls else None
        request = Request(
            self.transport,
            self.server,
            dict(self.options),
            certificate,
            host=place.host,
            namespaces=place.namespaces,
            cores=self.cores,
        )
        async with living(request, self.restarts) as lives:
            ca = certificate.authority if certificate else None
            yield RunningServer(
                lives.url, ca, self.login, lives.processes, lives.ended, lives.relay_log, lives.errors, lives
            )


@dataclass(frozen=True)
class AnsweringServer:
    """A server that answers at a URL already; it is left as it is."""

    url: str
    login: Login = field(default_factory=Login)

    @asynccontextmanager
    async def running(self, place: Place = HERE) -> AsyncIterator[RunningServer]:
        """Check that something accepts connections at the URL."""
        host, port = _place(self.url)
        try:
            _, writer = await asyncio.open_connection(host, port)
        except OSError as error:
            raise TrialError(f"nothing answers at {self.url}: {error.strerror or error}") from error
        writer.close()
        yield RunningServer(self.url, login=self.login)


def check_url(url: str, allowed_hosts: Sequence[str] = ()) -> bool:
    """Check the URL of a server that runs already; return whether it is on another machine.

    Raises:
        UsageError: it is no URL with a port, has a user name or a password in it, or leads to another machine that is
            not among the allowed hosts.
    """
    host, _ = _place(url)
    if _is_loopback(host):
        return False
    if host not in allowed_hosts:
        raise UsageError(
            f"--url leads to another machine: name it again with --allow-host {host}, if you may put load on it"
        )
    return True


def _place(url: str) -> tuple[str, int]:
    """Return host and port of a URL."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise UsageError(f"--url {url!r} is no URL: {error}") from None
    if not parts.scheme or not host or not port:
        raise UsageError(f"--url must have a scheme, a host and a port, as mqtt://127.0.0.1:1883: got {url!r}")
    if parts.username or parts.password:
        raise UsageError("--url must not have a user name or a password in it: it stands in the result")
    if parts.path.strip("/") or parts.query or parts.fragment not in ("", "plain"):
        raise UsageError(f"--url must end after the port: got {parts.scheme}://{parts.netloc}/...")
    return host, port


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
