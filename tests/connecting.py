"""Connections of an installed transport, for tests that know its name, and what they can be made over."""

from __future__ import annotations

import socket
from contextlib import AbstractAsyncContextManager
from typing import Any

from rtbench.system.meter import Meter
from rtbench.transports import Connection, registry


def connect(transport: str, url: str, meter: Meter, **options: Any) -> AbstractAsyncContextManager[Connection]:
    """Return a connection of the default client of a transport."""
    connect = registry.client(transport).connect
    assert connect is not None
    return connect(url, meter, **options)


def has_ipv6() -> bool:
    """Return whether this machine has a loopback address of IPv6."""
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False
