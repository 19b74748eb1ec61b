"""The packet link: server and clients in two network namespaces, and a relay of packets between them (Linux)."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict
from functools import cache
from typing import Any

from rtbench.links.link import PACKET, Done, Namespaces, Place
from rtbench.links.packet_relay import ADDRESSES
from rtbench.links.relay_process import RelayProcess, relay_process
from rtbench.plan.faults import Fault
from rtbench.plan.network import Network

_PROGRAM = (sys.executable, "-P", "-m", "rtbench.links.packet_relay")
_TRY_WITHIN_S = 10.0


class PacketLink:
    """A running packet link."""

    kind = PACKET

    def __init__(self, relay: RelayProcess, files: Mapping[str, str]) -> None:
        self._relay = relay
        self.server, self.clients = (
            Place(ADDRESSES[side], Namespaces(files["user"], files[side])) for side in ("server", "clients")
        )

    @property
    def pid(self) -> int:
        """Of the relay."""
        return self._relay.pid

    async def reach(self, url: str) -> str:
        """Return the URL itself: packets find their way."""
        return url

    async def plan(self, faults: Mapping[int, Fault]) -> None:
        """Do each fault at its time of CLOCK_MONOTONIC."""
        await self._relay.ask({"faults": [[at_ns, str(fault)] for at_ns, fault in faults.items()]})

    async def done(self) -> list[Done]:
        """Return what was done so far."""
        return [Done(**done) for done in (await self._relay.ask({}))["done"]]

    async def counts(self) -> Mapping[str, Any]:
        """Return what passed on each way: packets, bytes, and packets lost and overflowed."""
        told = await self._relay.ask({})
        return {way: told[way] for way in ("up", "down")}


@asynccontextmanager
async def packet_link(network: Network, seed: str) -> AsyncIterator[PacketLink]:
    """Start the relay; end it, and the namespaces with it, on leaving.

    Raises:
        TrialError: it did not start.
    """
    async with relay_process("rtbench.links.packet_relay") as relay:
        files = await relay.ask({"network": asdict(network), "seed": seed})
        yield PacketLink(relay, files)


@cache
def packet_link_missing() -> str | None:
    """Return why this machine has no packet link, found by trying it; None if it has."""
    if sys.platform != "linux":
        return "it is made of network namespaces, which only Linux has"
    asked = json.dumps({"network": asdict(Network()), "seed": ""}) + "\n"
    try:
        tried = subprocess.run(
            _PROGRAM, input=asked, capture_output=True, text=True, timeout=_TRY_WITHIN_S, check=False
        )
        answer = json.loads(tried.stdout.splitlines()[0])
    except (OSError, ValueError, IndexError, subprocess.TimeoutExpired):
        return "the relay did not start"
    return f"this system does not allow it ({answer['error']})" if "error" in answer else None
