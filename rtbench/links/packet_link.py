"""The packet link: server and clients live in two network namespaces, a relay moves packets between them (Linux).

TCP on both sides is that of the kernel: it sees the round-trip time, and sends again what the relay drops. No root is
needed, and nothing stays behind: see `packet_relay.py`.
"""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Any

from rtbench.errors import TrialError
from rtbench.links.link import PACKET, Done, Link, Namespaces, Place
from rtbench.links.packet_faults import KINDS
from rtbench.plan.faults import Fault
from rtbench.plan.network import Network
from rtbench.system.helper import Helper, helper

_MODULE = "rtbench.links.packet_relay"
RELAY = (sys.executable, "-P", "-m", _MODULE)  # -P: no import from the working directory
_ANSWER_WITHIN_S = 10.0


@dataclass
class _PacketLink:
    """A link with a running relay."""

    server: Place
    clients: Place
    relay: Helper
    kind: str = PACKET

    @property
    def pid(self) -> int:
        """Of the relay, which is in the network namespace of the server."""
        return self.relay.process.pid

    async def reach(self, url: str) -> str:
        """Return the URL itself: the server listens at an address that clients reach over the link."""
        return url

    async def plan(self, faults: Mapping[int, Fault]) -> None:
        """Do each fault at its time of CLOCK_MONOTONIC.

        Raises:
            TrialError: a fault is none that this link has.
        """
        for fault in faults.values():
            if fault.kind not in KINDS:
                raise TrialError(f"the packet link has the faults {', '.join(KINDS)}: got '{fault}'")
        await self.relay.ask({"ask": "plan", "faults": [[at_ns, asdict(fault)] for at_ns, fault in faults.items()]})

    async def done(self) -> list[Done]:
        """Return what was done so far; a fault that is not over is not yet there."""
        return [Done(**done) for done in (await self.relay.ask({"ask": "done"}))["answer"]]

    async def counts(self) -> Mapping[str, Any]:
        """Return for `up` and `down` the packets and bytes that came, and how many packets were lost or overflowed."""
        answer: Mapping[str, Any] = (await self.relay.ask({"ask": "counts"}))["answer"]
        return answer


@asynccontextmanager
async def packet_link(network: Network, seed: str) -> AsyncIterator[Link]:
    """Start a packet link; end it on leaving.

    Raises:
        TrialError: this system has no packet link; `packet_link_missing` says so beforehand.
    """
    async with helper("the packet link", _MODULE) as relay:
        places = (await relay.ask(_request(network, seed)))["answer"]
        yield _PacketLink(_place(places["server"]), _place(places["clients"]), relay)


@functools.cache
def packet_link_missing() -> str | None:
    """Return why this system has no packet link, None if it has: one is started, and ends at once."""
    if sys.platform != "linux":
        return "the packet link needs Linux"
    try:
        done = subprocess.run(
            RELAY,
            input=json.dumps(_request(Network(), "")).encode() + b"\n",
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_ANSWER_WITHIN_S,
            check=False,
        )
        answer = json.loads(done.stdout or b'{"error": "its process ended without a word"}')
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return answer.get("error")  # type: ignore[no-any-return]


def _request(network: Network, seed: str) -> Mapping[str, Any]:
    return {"network": asdict(network), "seed": seed}


def _place(place: Mapping[str, Any]) -> Place:
    return Place(place["host"], Namespaces(**place["namespaces"]))
