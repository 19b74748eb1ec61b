"""The packet link: server and clients live in two network namespaces, a relay moves packets between them (Linux).

TCP on both sides is that of the kernel: it sees the round-trip time, and sends again what the relay drops. No root is
needed, and nothing stays behind: see `packet_relay.py`.
"""

from __future__ import annotations

import asyncio
import functools
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from rtbench.errors import TrialError
from rtbench.links.link import PACKET, Done, Link, Namespaces, Place
from rtbench.links.packet_faults import KINDS
from rtbench.plan.faults import Fault
from rtbench.plan.network import Network

RELAY = (sys.executable, "-P", "-m", "rtbench.links.packet_relay")  # -P: no import from the working directory
_ANSWER_WITHIN_S = 10.0
_END_WITHIN_S = 2.0


@dataclass
class _PacketLink:
    """A link with a running relay."""

    server: Place
    clients: Place
    relay: _Relay
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
        await self.relay.ask("plan", faults=[[at_ns, asdict(fault)] for at_ns, fault in faults.items()])

    async def done(self) -> list[Done]:
        """Return what was done so far; a fault that is not over is not yet there."""
        return [Done(**done) for done in await self.relay.ask("done")]

    async def counts(self) -> Mapping[str, Any]:
        """Return for `up` and `down` the packets and bytes that came, and how many packets were lost or overflowed."""
        answer: Mapping[str, Any] = await self.relay.ask("counts")
        return answer


@asynccontextmanager
async def packet_link(network: Network, seed: str) -> AsyncIterator[Link]:
    """Start a packet link; end it on leaving.

    Raises:
        TrialError: this system has no packet link; `packet_link_missing` says so beforehand.
    """
    process = await asyncio.create_subprocess_exec(
        *RELAY,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        relay = _Relay(process)
        places = await relay.say(_request(network, seed))
        yield _PacketLink(_place(places["server"]), _place(places["clients"]), relay)
    finally:
        await asyncio.shield(_end(process))


@functools.cache
def packet_link_missing() -> str | None:
    """Return why this system has no packet link, None if it has: one is started, and ends at once."""
    if sys.platform != "linux":
        return "the packet link needs Linux"
    try:
        done = subprocess.run(
            RELAY,
            input=_line(_request(Network(), "")),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_ANSWER_WITHIN_S,
            check=False,
        )
        _answer_in(done.stdout)
    except (TrialError, OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return None


@dataclass
class _Relay:
    """The relay process, which answers one question at a time."""

    process: asyncio.subprocess.Process
    _asked: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def ask(self, question: str, **details: Any) -> Any:
        """Return the answer to a question."""
        return await self.say({"ask": question, **details})

    async def say(self, content: Mapping[str, Any]) -> Any:
        """Send a line, and return the answer to it."""
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None
        assert stdout is not None
        async with self._asked:
            stdin.write(_line(content))
            try:
                return _answer_in(await asyncio.wait_for(stdout.readline(), _ANSWER_WITHIN_S))
            except TimeoutError:
                raise TrialError(f"the packet link did not answer within {_ANSWER_WITHIN_S:.0f} s") from None


def _request(network: Network, seed: str) -> Mapping[str, Any]:
    return {"network": asdict(network), "seed": seed}


def _line(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content).encode() + b"\n"


def _answer_in(line: bytes) -> Any:
    answer = json.loads(line or b'{"error": "its process ended without a word"}')
    if "error" in answer:
        raise TrialError(f"the packet link does not work: {answer['error']}")
    return answer["answer"]


def _place(place: Mapping[str, Any]) -> Place:
    return Place(place["host"], Namespaces(**place["namespaces"]))


async def _end(process: asyncio.subprocess.Process) -> None:
    """Ask by closing standard input, then insist."""
    assert process.stdin is not None
    process.stdin.close()
    with suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), _END_WITHIN_S)
    with suppress(ProcessLookupError):
        process.kill()
    await process.wait()
