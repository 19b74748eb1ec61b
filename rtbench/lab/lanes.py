"""The lanes: the ways on which the page sends the same messages, each with its server and its link."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rtbench.links.stream_link import StreamLink, stream_link
from rtbench.plan.network import Network
from rtbench.plan.variant import BROWSER_CLIENT, DEFAULT_SERVER, Variant
from rtbench.trial.lives import Lives, reserved_port
from rtbench.trial.server_process import Request

LOOPBACK = "127.0.0.1"
MQTT = "mqtt"
PLAIN_PORT = "plain_port"  # an option of mosquitto
MQTT_SERVERS = (DEFAULT_SERVER, "mosquitto")


@dataclass(frozen=True)
class LaneKind:
    """A lane before it runs. `slot` and `shade` decide its colour, as in the charts; `qos` is None without one."""

    label: str
    transport: str
    slot: int
    shade: int = 0
    qos: int | None = None

    @property
    def variant(self) -> Variant:
        """The lane as a variant of a result; its client is the browser."""
        options = {} if self.qos is None else {"qos": self.qos}
        return Variant(self.label, self.transport, DEFAULT_SERVER, BROWSER_CLIENT, options, self.slot, self.shade)


LANES = (
    LaneKind("polling", "polling", 0),
    LaneKind("long-polling", "long-polling", 1),
    LaneKind("sse", "sse", 2),
    LaneKind("websocket", "websocket", 3),
    *(LaneKind(f"mqtt-qos{qos}", MQTT, 4, qos, qos) for qos in (0, 1, 2)),
)
NUMBERS = {kind.label: number for number, kind in enumerate(LANES)}
TRANSPORTS = tuple(dict.fromkeys(kind.transport for kind in LANES))


@dataclass(frozen=True)
class Login:
    """The name and the password with which the page comes to a broker that does not look at `Origin`."""

    username: str
    password: str = field(repr=False)


@dataclass
class Server:
    """The server of a transport: a process that can be killed, started again, and exchanged for another."""

    implementation: str
    lives: Lives
    changing: asyncio.Lock = field(default_factory=asyncio.Lock)  # it is asked, killed or exchanged, one at a time

    @property
    def url(self) -> str:
        """Where it listens, for the link."""
        return self.lives.url

    @property
    def plain_url(self) -> str:
        """Where a broker takes clients without WebSocket: the embedded one at the same port, mosquitto at another."""
        port = self.lives.request.options.get(PLAIN_PORT)
        return self.url if port is None else urlsplit(self.url)._replace(netloc=f"{LOOPBACK}:{port}").geturl()


@dataclass(frozen=True)
class Lane:
    """A lane that runs: the page subscribes at one port of its link and publishes at another.

    So the six connections that a browser opens to one origin are for subscribing alone.
    """

    kind: LaneKind
    link: StreamLink
    subscribe_port: int
    publish_port: int
    plain_port: int | None = None  # where a client of MQTT without WebSocket comes

    @property
    def ports(self) -> tuple[int, int]:
        """Those of the page."""
        return self.subscribe_port, self.publish_port

    async def lead_to(self, server: Server) -> None:
        """Let its ports lead to another server."""
        for port in self.ports:
            await self.link.redirect(port, server.url)
        if self.plain_port is not None:
            await self.link.redirect(self.plain_port, server.plain_url)


def request_of(
    transport: str, implementation: str, origins: list[str], host: str, login: Login, users: Path
) -> Request:
    """Return what the process of a server is to serve: to the pages of these origins, under the name `host`.

    mosquitto does not look at `Origin`: it asks for a password, which only the page knows.
    """
    options: dict[str, Any] = {"websocket": True} if transport == MQTT else {}
    if implementation == DEFAULT_SERVER:
        options |= {"allow_origin": ",".join(origins), "allow_host": host}
    else:
        users.write_text(f"{login.username}:{login.password}\n", encoding="utf-8")
        users.chmod(0o600)
        with reserved_port(LOOPBACK) as port:
            options |= {"users": str(users), PLAIN_PORT: port}
    return Request(transport, implementation, options, keeps_log=False)


@asynccontextmanager
async def lane_of(kind: LaneKind, server: Server, network: Network, listens: str) -> AsyncIterator[Lane]:
    """Open the link of a lane to its server; end it on leaving."""
    async with stream_link(network, f"lab {kind.label}", listens) as link:
        subscribe, publish = [urlsplit(await link.reach(server.url)).port or 0 for _ in range(2)]
        plain = urlsplit(await link.reach(server.plain_url)).port if kind.transport == MQTT else None
        yield Lane(kind, link, subscribe, publish, plain)
