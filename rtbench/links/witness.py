"""Witness: a connection with pings of its own, which sees during a trial that a fault of the link happened."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import NamedTuple

from rtbench.analysis.link_check import PING_WIRE_BYTES
from rtbench.links.link import Link
from rtbench.links.measure import probes
from rtbench.plan.network import Network
from rtbench.system.helper import Helper

_INTERVAL_S = 5e-3
_LINE_SHARE = 0.05  # of a slow line is used at most
_STILL_S = 50e-3  # and twice the jitter: a shorter time without pongs is no gap; a busy machine makes such


class Gap(NamedTuple):
    """A time without pongs (CLOCK_MONOTONIC); `after_ns` is None if none has come again.

    A time in which the connection was reset is a gap however short.
    """

    before_ns: int
    after_ns: int | None
    reset: bool


@dataclass
class Witness:
    """A witness at work."""

    probe: Helper

    async def report(self) -> list[Gap]:
        """Return the gaps that it has seen so far."""
        return [Gap(*gap) for gap in (await self.probe.ask({"do": "gaps"}))["gaps"]]


@asynccontextmanager
async def witness(link: Link, network: Network | None = None) -> AsyncIterator[Witness]:
    """Let a witness ping over a link until leaving: every 5 ms, less often over a slow `network`.

    Raises:
        TrialError: it did not start.
    """
    network = network or Network()
    slowest = min((bps for bps in (network.down_bps, network.up_bps) if bps), default=None)
    interval_s = max(_INTERVAL_S, 8 * PING_WIRE_BYTES / slowest / _LINE_SHARE if slowest else 0.0)
    still_s = max(_STILL_S, 4 * interval_s) + 2 * network.jitter_s
    async with probes(link) as (_, client, address):
        question = {"do": "watch", **address, "interval_s": interval_s, "still_s": still_s}
        await client.ask(question, within_s=90)
        yield Witness(client)
