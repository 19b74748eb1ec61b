"""The stream link, which works on every system: a relay of TCP connections that delays their bytes.

What it emulates stands in `stream_relay.py` (connections) and `stream_line.py` (times). It cannot lose a packet, since
the TCP of the kernel ends at the relay, on both sides.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from rtbench.errors import TrialError
from rtbench.links.link import STREAM, Done, Place
from rtbench.plan.faults import Fault
from rtbench.plan.network import Network
from rtbench.system.helper import Helper, helper

FAULTS = ("cut", "stall", "discard")


@dataclass
class StreamLink:
    """A running stream link; see `rtbench.links.link.Link`."""

    relay: Helper
    listens: str = "127.0.0.1"
    kind: str = STREAM
    server: Place = field(default_factory=Place)
    clients: Place = field(default_factory=Place)

    @property
    def pid(self) -> int:
        """Of the relay."""
        return self.relay.process.pid

    async def reach(self, url: str) -> str:
        """Return the URL with the address of a fresh port of the relay that leads to its host and port.

        Raises:
            TrialError: the URL has no port, or the relay has ended.
        """
        answer = await self.relay.ask({"do": "forward", **_target(url), "listens": self.listens})
        parts = urlsplit(url)
        user = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
        return parts._replace(netloc=f"{user}127.0.0.1:{answer['port']}").geturl()

    async def redirect(self, port: int, url: str) -> None:
        """Let a port that `reach` gave lead to another server; connections that are open stay with the former one.

        Raises:
            TrialError: the URL has no port, or the relay has ended.
        """
        await self.relay.ask({"do": "redirect", "from_port": port, **_target(url)})

    async def change(self, network: Network) -> None:
        """Be another network for what is sent from now on.

        Raises:
            TrialError: the network loses packets, or the relay has ended.
        """
        await self.relay.ask({"do": "change", **_lines(network)})

    async def admit(self, addresses: Collection[str] | None) -> None:
        """Take connections from these IP addresses only; None: from all."""
        await self.relay.ask({"do": "admit", "addresses": None if addresses is None else sorted(addresses)})

    async def trace(self, on: bool) -> list[dict[str, Any]]:
        """Begin to note what passes, or end it; return what was noted (`rtbench.links.trace`)."""
        noted: list[dict[str, Any]] = (await self.relay.ask({"do": "set_trace", "on": on}))["noted"]
        return noted

    async def plan(self, faults: Mapping[int, Fault]) -> None:
        """Do each fault when its time comes: keys are times of CLOCK_MONOTONIC, in nanoseconds.

        Raises:
            TrialError: a stream link cannot do one of them.
        """
        for fault in faults.values():
            if fault.kind not in FAULTS:
                raise TrialError(f"a stream link cannot do '{fault}', only {', '.join(FAULTS)}: it relays streams")
        rows = [[at, at + round(1e9 * fault.for_s), fault.kind, str(fault)] for at, fault in faults.items()]
        await self.relay.ask({"do": "plan", "faults": rows})

    async def done(self) -> list[Done]:
        """Return what was done so far."""
        return [Done(**row) for row in (await self.relay.ask({"do": "done"}))["done"]]

    async def counts(self) -> Mapping[str, Any]:
        """Return what passed so far, `up` and `down`, and how many connections there were, and are.

        Both directions have chunks, bytes, bytes discarded, and bytes on the wire between client and relay (TCP_INFO;
        None where the kernel does not tell).
        """
        return await self.relay.ask({"do": "counts"})


@asynccontextmanager
async def stream_link(network: Network, seed: str, listens: str = "127.0.0.1") -> AsyncIterator[StreamLink]:
    """Open a stream link, for clients that connect to the address `listens`; end it on leaving.

    Raises:
        TrialError: the network loses packets, or the relay did not start.
    """
    lines = _lines(network)
    async with helper("the stream link", "rtbench.links.stream_relay") as relay:
        await relay.ask({"do": "open", **{way: {**line, "seed": f"{seed} {way}"} for way, line in lines.items()}})
        yield StreamLink(relay, listens)


def _lines(network: Network) -> dict[str, dict[str, float | None]]:
    if network.loss:
        raise TrialError(f"a stream link cannot lose packets, and {network} does: measure it over a packet link")
    delays = {"one_way_s": network.one_way_s, "jitter_s": network.jitter_s}
    return {"up": {**delays, "rate_bps": network.up_bps}, "down": {**delays, "rate_bps": network.down_bps}}


def _target(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    if parts.hostname is None or parts.port is None:
        raise TrialError(f"a stream link leads to a host and a port: got {url}")
    return {"host": parts.hostname, "port": parts.port}
