"""The stream link, which works on every system: a relay of TCP connections that delays their bytes.

What it emulates stands in `stream_relay.py` (connections) and `stream_line.py` (times). It cannot lose a packet, since
the TCP of the kernel ends at the relay, on both sides.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
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
        parts = urlsplit(url)
        if parts.hostname is None or parts.port is None:
            raise TrialError(f"a stream link leads to a host and a port: got {url}")
        answer = await self.relay.ask({"do": "forward", "host": parts.hostname, "port": parts.port})
        user = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
        return parts._replace(netloc=f"{user}127.0.0.1:{answer['port']}").geturl()

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
        """Return what passed so far, `up` and `down` (chunks, bytes, bytes discarded), and how many connections."""
        return await self.relay.ask({"do": "counts"})


@asynccontextmanager
async def stream_link(network: Network, seed: str) -> AsyncIterator[StreamLink]:
    """Open a stream link; end it on leaving.

    Raises:
        TrialError: the network loses packets, or the relay did not start.
    """
    if network.loss:
        raise TrialError(f"a stream link cannot lose packets, and {network} does: measure it over a packet link")
    delays = {"one_way_s": network.one_way_s, "jitter_s": network.jitter_s}
    up = {**delays, "rate_bps": network.up_bps, "seed": f"{seed} up"}
    down = {**delays, "rate_bps": network.down_bps, "seed": f"{seed} down"}
    async with helper("the stream link", "rtbench.links.stream_relay") as relay:
        await relay.ask({"do": "open", "up": up, "down": down})
        yield StreamLink(relay)
