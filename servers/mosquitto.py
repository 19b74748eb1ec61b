"""Eclipse mosquitto as a server of `mqtt`: the program found on PATH, with a configuration made here.

There are three configurations:
    by default   A million messages may wait for a client: mosquitto itself drops acknowledged messages above 1,000.
                 Nothing is on disk.
    stock=yes    As Debian's package has it: 1,000 messages wait for a client, and the rest is dropped after it was
                 acknowledged. Sessions are written to disk every half hour and when mosquitto ends in order: SIGKILL
                 loses them.
    durable=yes  Sessions are written to disk after every change, so that acknowledged messages outlive SIGKILL, but for
                 one acknowledged in the last milliseconds: the write comes after the acknowledgement. Each time
                 mosquitto writes all that waits: what a message costs grows with that.

In all three, TCP_NODELAY is on: it changes no guarantee, and otherwise the measurement would show Nagle's algorithm.
`websocket=yes` has clients speak MQTT over WebSocket; `plain_port` is a second port, for those without it. `users` and
`access_list` become mosquitto's own `password_file` (hashed here, by the program `mosquitto_passwd`) and `acl_file`.
mosquitto confirms a subscription and a publish that the list forbids, and delivers nothing.
Errors and warnings are the only log. mosquitto keeps the user that starts it, because Linux clears the signal that ends
a process with its parent when the process changes its user (prctl(2), PR_SET_PDEATHSIG).
"""

from __future__ import annotations

import getpass
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Annotated

from rtbench.errors import UsageError
from rtbench.plan.variant import NATIVE_TIER
from rtbench.transports import Option, ServerContext
from rtbench.transports.permissions import AccessList, Permissions, Users, permissions_of
from rtbench.transports.serving import address_url

from .mqtt import MaxInflight, MaxQueued, OverWebSocket
from .mqtt_broker import by_hand
from .program import find, running

__all__ = ["DIFFERS_WITH", "OWN_FORMAT", "TIER", "by_hand", "configured", "serve", "software"]

TIER = NATIVE_TIER
OWN_FORMAT = ("websocket",)
DIFFERS_WITH = {
    "websocket": {
        "overlapping publishes keep their order": "mosquitto sends a large message in parts of 4 kB, one every 100 ms"
    }
}

_ALWAYS = """\
listener {port} {host}
user {user}
set_tcp_nodelay true
log_type error
log_type warning
log_dest stderr
"""
_WEBSOCKET = "protocol websockets\nsocket_domain {domain}\n"  # without it, libwebsockets listens on all addresses
_ANONYMOUS = "allow_anonymous true\n"
_USERS = "allow_anonymous false\npassword_file {file}\n"
_ACCESS_LIST = "acl_file {file}\n"
_STATE = "persistence true\npersistence_location {state}/\n"
_EVERY_CHANGE = "autosave_on_changes true\nautosave_interval 1\n"
_LIMITS = "max_queued_messages {queued}\nmax_inflight_messages {in_flight}\nsys_interval 0\n"
_QUEUED, _IN_FLIGHT = 1_000_000, 20
_DEFAULTS = {"max_queued_messages": "1000", "max_inflight_messages": "20", "sys_interval": "10"}

Durable = Annotated[bool, Option("write sessions to disk after every change", metavar="yes|no")]
PlainPort = Annotated[
    int | None,
    Option("with websocket=yes: a second port, for MQTT without WebSocket", metavar="PORT", above=0, most=65_535),
]
Stock = Annotated[bool, Option("the configuration of Debian's package, with TCP_NODELAY", metavar="yes|no")]


@cache
def software() -> str:
    """Return the name and version of the program.

    Raises:
        MissingProgram: mosquitto is not on PATH.
    """
    told = subprocess.run([_program(), "-h"], capture_output=True, text=True, check=False).stdout
    return " ".join(told.split()[:3]).replace("version ", "") if told else "mosquitto"


def _program(name: str = "mosquitto") -> str:
    return find(name, "`sudo apt-get install mosquitto` (Debian, Ubuntu), `brew install mosquitto` (macOS)")


def configured(
    *,
    durable: bool = False,
    stock: bool = False,
    max_queued_messages: int = _QUEUED,
    max_inflight_messages: int = _IN_FLIGHT,
    websocket: bool = False,
    plain_port: int | None = None,
    users: str | None = None,
    access_list: str | None = None,
) -> dict[str, str]:
    """Return the settings that are not mosquitto's own defaults, by its own names; where it listens is none of them."""
    del plain_port
    text = _configuration(durable, stock)
    text += _USERS * (users is not None) + _ACCESS_LIST * (access_list is not None) + _WEBSOCKET * websocket
    text += _ANONYMOUS * (users is None)
    values = {"queued": max_queued_messages, "in_flight": max_inflight_messages}
    shown = text.format(state="a directory", file="a file", domain="ipv4", **values)
    found = dict(line.split(" ", 1) for line in shown.splitlines()) | {"set_tcp_nodelay": "true"}
    return {name: value for name, value in found.items() if _DEFAULTS.get(name) != value}


def _configuration(durable: bool, stock: bool) -> str:
    """Return what these options say, with places for the values."""
    return _STATE * (durable or stock) + _EVERY_CHANGE * durable + _LIMITS * (not stock)


@asynccontextmanager
async def serve(
    listener: socket.socket,
    *,
    durable: Durable = False,
    stock: Stock = False,
    max_queued_messages: MaxQueued = _QUEUED,
    max_inflight_messages: MaxInflight = _IN_FLIGHT,
    websocket: OverWebSocket = False,
    plain_port: PlainPort = None,
    users: Users = None,
    access_list: AccessList = None,
    tls: ServerContext | None = None,
    state: Path | None = None,
) -> AsyncIterator[str]:
    """Run mosquitto at the address of `listener` until left; yield the URL.

    Raises:
        UsageError: `stock` together with an option that changes the configuration, or as `permissions_of`.
    """
    if stock and (durable, max_queued_messages, max_inflight_messages) != (False, _QUEUED, _IN_FLIGHT):
        raise UsageError(
            "stock=yes is the whole configuration; leave out the other options of mosquitto "
            "(users and access_list are none of it)"
        )
    permissions = permissions_of(users=users, access_list=access_list)
    host, port = listener.getsockname()[:2]
    listener.close()  # mosquitto opens its own at the same address
    with ExitStack() as stack:
        directory = state
        if directory is None and (durable or stock):
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rtbench-")))
        values = {"queued": max_queued_messages, "in_flight": max_inflight_messages, "state": directory}
        told = (_ALWAYS + _configuration(durable, stock)).format(host=host, port=port, user=getpass.getuser(), **values)
        guarded = _guarded(stack, permissions, access_list) if permissions.asks else _ANONYMOUS
        if websocket:
            told = _websocket(told, stack, host, plain_port)
        async with _running(told + guarded, host, port, tls):
            yield address_url("ws", host, port, tls) if websocket else address_url("mqtt", host, port, tls)


def _websocket(told: str, stack: ExitStack, host: str, plain_port: int | None) -> str:
    """Return a configuration with its listener over WebSocket, and one for MQTT without it where a port is named.

    mosquitto 2.0.11 ends where it has no other listener: so it has one on a socket of this machine that nobody uses.
    """
    if plain_port is not None:
        other = f"{plain_port} {host}"
    else:
        other = f"0 {Path(stack.enter_context(tempfile.TemporaryDirectory(prefix='rtbench-')), 'unused')}"
    return f"listener {other}\n{told}{_WEBSOCKET.format(domain='ipv6' if ':' in host else 'ipv4')}"


def _guarded(stack: ExitStack, permissions: Permissions, access_list: str | None) -> str:
    """Write the files of users and rights, which only this user can read; return the lines that name them.

    mosquitto reads them when it starts, and when it is told to (SIGHUP): they are deleted when the stack is left.
    """
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rtbench-")))
    passwords = directory / "passwords"
    passwords.write_text("".join(f"{name}:{password}\n" for name, password in permissions.passwords.items()))
    passwords.chmod(0o600)
    subprocess.run([_program("mosquitto_passwd"), "-U", str(passwords)], check=True, capture_output=True)
    lines = _USERS.format(file=passwords)
    if access_list is not None:
        rights = directory / "rights"
        rights.write_text(Path(access_list).read_text(encoding="utf-8"), encoding="utf-8")
        rights.chmod(0o600)
        lines += _ACCESS_LIST.format(file=rights)
    return lines


@asynccontextmanager
async def _running(configuration: str, host: str, port: int, tls: ServerContext | None) -> AsyncIterator[None]:
    """Run mosquitto; its configuration is deleted before anybody knows the URL."""
    if tls:
        configuration += f"certfile {tls.cert_file}\nkeyfile {tls.key_file}\n"
    async with AsyncExitStack() as stack:
        with tempfile.TemporaryDirectory(prefix="rtbench-") as directory:
            file = Path(directory) / "mosquitto.conf"
            file.write_text(configuration)
            await stack.enter_async_context(
                running([_program(), "-c", str(file)], host, port, encrypted=tls is not None)
            )
        yield
