"""What a server needs around its relay: a socket to listen on, a URL, and the way it is entered."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from rtbench.errors import UsageError
from rtbench.plan.variant import DEFAULT_SERVER
from rtbench.system import memory
from rtbench.system.tls import ServerContext
from rtbench.transports import registry
from rtbench.transports.options import STATE, TLS, refuse_unknown

BACKLOG = 4096  # connections that the kernel accepts for a server that is busy


def _without_late_accepts(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Say what nobody caught, but for one thing.

    asyncio accepts again a second after it had no file for a connection, also where the server is closed by then.
    """
    if "._start_serving(" not in context["message"]:
        loop.default_exception_handler(context)


def listen(host: str, port: int) -> socket.socket:
    """Return a bound TCP socket for a server to listen on; port 0 takes any free one.

    Raises:
        UsageError: the address is not available.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        sock = socket.socket(family, kind, protocol)
        try:
            if os.name == "posix":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address)
            sock.listen(BACKLOG)
        except OSError:
            sock.close()
            raise
    except OSError as error:
        hint = "; choose another with --port, or 0 for any free one" if port else ""
        raise UsageError(f"cannot listen on {host} port {port}: {error.strerror or error}{hint}") from error
    return sock


def server_url(scheme: str, listener: socket.socket, tls: object = None) -> str:
    """Return the URL of a server: `http` becomes `https` with TLS; an IPv6 address stands in brackets (RFC 3986)."""
    host, port = listener.getsockname()[:2]
    return address_url(scheme, host, port, tls)


def address_url(scheme: str, host: str, port: int, tls: object = None) -> str:
    """As `server_url`, for a server whose listening socket is not at hand any more."""
    return f"{scheme}{'s' if tls else ''}://{f'[{host}]' if ':' in host else host}:{port}"


@asynccontextmanager
async def serve(
    transport: str,
    server: str = DEFAULT_SERVER,
    host: str = "127.0.0.1",
    port: int = 0,
    options: Mapping[str, Any] | None = None,
    tls: ServerContext | None = None,
    state: Path | None = None,
) -> AsyncIterator[str]:
    """Serve a transport in this process, over TLS where there is a context for it; yield the URL.

    `state` is a directory in which a server that takes one keeps what must outlive a restart.

    Raises:
        UsageError: no such server, an option that it does not take, or an address that is not available.
    """
    implementation = registry.server(transport, server)
    given = dict(options or {})
    owner = f"the server {server} of {transport}"
    refuse_unknown(owner, list(implementation.options.values()), given)
    if tls is not None:
        if not implementation.tls:
            raise UsageError(f"{owner} has no TLS (its `serve` takes no parameter `tls`)")
        given[TLS] = tls
    if state is not None and implementation.state:
        given[STATE] = state
    memory.prepare()
    asyncio.get_running_loop().set_exception_handler(_without_late_accepts)
    with listen(host, port) as listener:
        async with implementation.serve(listener, **given) as url:
            yield url
