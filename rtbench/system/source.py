"""Source addresses on loopback: each has as many ports as `net.ipv4.ip_local_port_range` says, about 28,000 on Linux.

So many connections to one server and no more leave from one address. Linux takes every address of 127.0.0.0/8 as its
own (RFC 1122 section 3.2.1.3), so the connections beyond leave from 127.0.0.2, and so on.
"""

from __future__ import annotations

import errno
import socket
import sys
from ipaddress import ip_address
from typing import Any

ADDRESSES = 254 if sys.platform == "linux" else 1  # 127.0.0.1 to 127.0.0.254
_NO_PORT_YET = getattr(socket, "IP_BIND_ADDRESS_NO_PORT", 24)  # the port is chosen when the server is known: ip(7)
_used_up: dict[Any, int] = {}  # server address: source addresses without a free port, as far as this process has seen


def next_source(server: Any, error: OSError) -> bool:
    """Take note that there was no port for a connection to `server`; return whether there is another source address."""
    if error.errno != errno.EADDRNOTAVAIL or not _on_loopback(server):
        return False
    _used_up[server] = (_used_up.get(server, 0) + 1) % ADDRESSES
    return _used_up[server] > 0


def bind_source(sock: socket.socket, server: Any) -> None:
    """Let a connection to `server` leave from an address that has ports."""
    if used_up := _used_up.get(server):
        sock.setsockopt(socket.IPPROTO_IP, _NO_PORT_YET, 1)
        sock.bind((f"127.0.0.{1 + used_up}", 0))


def _on_loopback(server: Any) -> bool:
    address = ip_address(server[0])
    return address.version == 4 and address.is_loopback
