"""The lab: the servers, the links, and what can be done to them while the page runs."""

from __future__ import annotations

import asyncio
import secrets
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rtbench.errors import TrialError, UsageError
from rtbench.lab.lanes import LANES, LOOPBACK, MQTT, MQTT_SERVERS, TRANSPORTS, Lane, Login, Server, lane_of, request_of
from rtbench.lab.relayed import Relayed
from rtbench.plan.faults import Fault
from rtbench.plan.network import Network
from rtbench.plan.variant import DEFAULT_SERVER
from rtbench.transports import registry
from rtbench.trial.lives import Lives, living

FAULTS = {"cut": "cut", "stall": "stall", "lid": "discard"}  # what the page calls them, and the link
MOST_RTT_MS, MOST_JITTER_MS, MOST_FAULT_S = 2_000.0, 1_000.0, 60.0


@dataclass
class Lab:
    """A running lab. `host` is the name under which the page and the lanes are reached, beside loopback."""

    origins: list[str]
    host: str
    listens: str
    network: Network
    login: Login
    users: Path
    servers: dict[str, Server] = field(default_factory=dict)
    lanes: dict[str, Lane] = field(default_factory=dict)
    relayed: Relayed = field(default_factory=Relayed)
    _broker: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def start(self, stack: AsyncExitStack, broker: str) -> None:
        """Start the servers, then the links to them; `stack` ends them."""
        stack.push_async_callback(lambda: self._broker.aclose())  # of the broker that there is by then
        started = await asyncio.gather(
            *(stack.enter_async_context(living(self._request(name, DEFAULT_SERVER), 1)) for name in TRANSPORTS[:-1]),
            self._start_broker(broker),
        )
        for transport, lives in zip(TRANSPORTS, started, strict=True):
            implementation = broker if transport == MQTT else DEFAULT_SERVER
            self.servers[transport] = Server(implementation, lives)
        links = (lane_of(kind, self.servers[kind.transport], self.network, self.listens) for kind in LANES)
        for lane in await asyncio.gather(*(stack.enter_async_context(link) for link in links)):
            self.lanes[lane.kind.label] = lane

    def _request(self, transport: str, implementation: str) -> Any:
        return request_of(transport, implementation, self.origins, self.host, self.login, self.users)

    async def _start_broker(self, implementation: str) -> Lives:
        return await self._broker.enter_async_context(living(self._request(MQTT, implementation), 1))

    async def change(self, rtt_ms: float, jitter_ms: float) -> None:
        """Give all links this round-trip time and jitter for what is sent from now on.

        Raises:
            UsageError: they are not possible.
        """
        if not 0 <= rtt_ms <= MOST_RTT_MS or not 0 <= jitter_ms <= min(MOST_JITTER_MS, rtt_ms):
            raise UsageError(
                f"the round-trip time must be from 0 to {MOST_RTT_MS:g} ms, and the jitter at most as much: "
                f"got {rtt_ms:g} and {jitter_ms:g}"
            )
        self.network = Network(rtt_s=rtt_ms / 1e3, jitter_s=jitter_ms / 1e3)
        await asyncio.gather(*(lane.link.change(self.network) for lane in self.lanes.values()))

    async def break_link(self, fault: str, lanes: Sequence[str], for_s: float) -> None:
        """Do a fault to the links of some lanes: `cut`, `stall` or `lid`; return when it is over.

        Raises:
            UsageError: there is no such fault or lane, or it may not last so long.
        """
        if fault not in FAULTS:
            raise UsageError(f"no fault {fault!r}; the faults are {', '.join(FAULTS)}")
        if not 0 <= for_s <= MOST_FAULT_S:
            raise UsageError(f"a fault may last up to {MOST_FAULT_S:g} s: got {for_s:g}")
        links = [self.lane(label).link for label in lanes]
        what = Fault(FAULTS[fault], 0.0, 0.0 if fault == "cut" else for_s)
        before = [len(await link.done()) for link in links]
        await asyncio.gather(*(link.plan({time.monotonic_ns(): what}) for link in links))
        for link, count in zip(links, before, strict=True):
            while len(await link.done()) <= count:
                await asyncio.sleep(0.02)

    def lane(self, label: str) -> Lane:
        """Return a lane by its label.

        Raises:
            UsageError: there is none.
        """
        if label not in self.lanes:
            raise UsageError(f"no lane {label!r}; the lanes are {', '.join(self.lanes)}")
        return self.lanes[label]

    async def kill(self, transport: str, for_s: float) -> None:
        """Kill a server (SIGKILL), and start it again at the same address after a time.

        Raises:
            UsageError: there is no such server, or it may not be down for so long.
        """
        if transport not in self.servers:
            raise UsageError(f"no server of {transport!r}; the transports are {', '.join(self.servers)}")
        if not 0 <= for_s <= MOST_FAULT_S:
            raise UsageError(f"a server may be down for up to {MOST_FAULT_S:g} s: got {for_s:g}")
        server = self.servers[transport]
        async with server.changing:
            await self._count(server)
            try:
                await server.lives.kill()
                await asyncio.sleep(for_s)
            finally:
                await server.lives.start()

    async def exchange_broker(self, implementation: str) -> None:
        """Put another broker behind the lanes of MQTT, at a new address behind the same links.

        Raises:
            UsageError: there is no such broker, or its program is not installed; then the former one stays.
        """
        if implementation not in MQTT_SERVERS:
            raise UsageError(f"no broker {implementation!r}; the brokers are {', '.join(MQTT_SERVERS)}")
        registry.server(MQTT, implementation)  # which raises where the program is missing
        server, former = self.servers[MQTT], self._broker
        async with server.changing:
            if implementation == server.implementation:
                return
            await self._count(server)
            self._broker = AsyncExitStack()
            try:
                lives = await self._start_broker(implementation)
            except BaseException:
                self._broker = former
                raise
            server.implementation, server.lives = implementation, lives
            for lane in self.lanes.values():
                if lane.kind.transport == MQTT:
                    await lane.lead_to(server)
            await former.aclose()

    async def count(self, *, patiently: bool = False) -> None:
        """Ask all servers what they relayed since they were last asked.

        A server that is asked already, or is started again, is passed over; `patiently` waits for it.
        """
        asked = [server for server in self.servers.values() if patiently or not server.changing.locked()]
        await asyncio.gather(*(self._ask(server) for server in asked))

    async def _ask(self, server: Server) -> None:
        async with server.changing:
            await self._count(server)

    async def _count(self, server: Server) -> None:
        with suppress(TrialError):
            self.relayed.add(await server.lives.relay_log() or b"")

    async def passed(self) -> dict[str, Mapping[str, Any]]:
        """Return what passed the link of each lane so far; nothing for a link that has ended."""
        found: dict[str, Mapping[str, Any]] = {}
        for label, lane in self.lanes.items():
            with suppress(TrialError):
                found[label] = await lane.link.counts()
        return found


@asynccontextmanager
async def laboratory(
    origins: Sequence[str],
    *,
    host: str = LOOPBACK,
    listens: str = LOOPBACK,
    network: Network | None = None,
    broker: str = DEFAULT_SERVER,
) -> AsyncIterator[Lab]:
    """Start the servers and the links of all lanes, for pages of these origins; end them on leaving.

    `listens` is the address at which the links take clients; the servers listen on loopback.

    Raises:
        UsageError: no such broker, its program is not installed, or the network loses packets.
        TrialError: a server or a link did not start.
    """
    if broker not in MQTT_SERVERS:
        raise UsageError(f"no broker {broker!r}; the brokers are {', '.join(MQTT_SERVERS)}")
    if network is not None and network.loss:
        raise UsageError(f"the lab is over stream links, which cannot lose packets, and {network} does")
    registry.server(MQTT, broker)  # which raises where the program is missing
    login = Login("lab", secrets.token_urlsafe(16))
    async with AsyncExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="rtbench-lab-"))
        lab = Lab(list(origins), host, listens, network or Network(), login, Path(directory, "users"))
        await lab.start(stack, broker)
        yield lab


def address_of_this_machine() -> str:
    """Return the address under which other machines reach this one; loopback without a network. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("192.0.2.1", 9))  # an address for documentation (RFC 5737): it only chooses the interface
        except OSError:
            return LOOPBACK
        return str(sock.getsockname()[0])
