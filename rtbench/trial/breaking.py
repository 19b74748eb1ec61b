"""Faults of a trial: each is done at its time, and others than those who do it see that it happened.

fault of       done by                                  seen by
the link       the link                                 a witness, which pings over the link all through the trial
the server     signals, and a new server process        the processes of the server, in /proc
subscribers    the subscribers themselves               their records (`offline_evidence`)
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

from rtbench.links.link import Link
from rtbench.links.witness import Gap, Witness, witness
from rtbench.plan.faults import LINK, SERVER, SUBSCRIBERS, Evidence, Fault
from rtbench.plan.network import Network
from rtbench.plan.records import Outage
from rtbench.trial.server_faults import inject
from rtbench.trial.servers import RunningServer


class Breaking:
    """Does the faults of a trial, and collects what was seen of them."""

    def __init__(
        self,
        faults: Sequence[Fault],
        link: Link | None,
        network: Network,
        server: RunningServer,
        seen: Witness | None,
    ) -> None:
        self._faults = faults
        self._link, self._server, self._witness = link, server, seen
        self._under_way_ns = round(1e9 * network.one_way_s)
        self._start_ns = 0
        self._injected: list[asyncio.Task[Evidence]] = []

    async def begin(self, start_ns: int) -> None:
        """Do each fault at its time after `start_ns` (CLOCK_MONOTONIC)."""
        self._start_ns = start_ns
        of_link = {start_ns + fault.at_ns: fault for fault in self._of(LINK)}
        if of_link:
            assert self._link is not None
            await self._link.plan(of_link)
        for fault in self._of(SERVER):
            self._injected.append(asyncio.create_task(inject(self._server, fault, start_ns + fault.at_ns)))

    def _of(self, what: str) -> list[Fault]:
        return [fault for fault in self._faults if fault.breaks == what]

    async def evidence(self) -> list[Evidence]:
        """Return what was seen of the faults of link and server, with times after the start of the trial.

        Raises:
            TrialError: the server did not start again, or the witness is gone.
        """
        found = [_after(await injected, self._start_ns) for injected in self._injected]
        if self._witness is not None:
            gaps = [_after_start(gap, self._start_ns) for gap in await self._witness.report()]
            found += [link_evidence(fault, gaps, self._under_way_ns) for fault in self._of(LINK)]
        return found


@asynccontextmanager
async def breaking(
    faults: Sequence[Fault], link: Link | None, network: Network, server: RunningServer
) -> AsyncIterator[Breaking]:
    """Be ready to do the faults; those of the link have a witness from now on."""
    async with AsyncExitStack() as stack:
        seen = None
        if link is not None and any(fault.breaks == LINK for fault in faults):
            seen = await stack.enter_async_context(witness(link, network))
        yield Breaking(faults, link, network, server, seen)


def link_evidence(fault: Fault, gaps: Iterable[Gap], under_way_ns: int = 0) -> Evidence:
    """Return what a witness saw of a fault of the link: the gap in its pings that is nearest to the fault. Pure.

    A cut and a discard reset its connection, a stall and a blackhole only silence it. What was `under_way_ns` when a
    discard began still arrives: that much later is the last pong.
    """
    if fault.kind == "discard":
        gaps = [gap._replace(before_ns=gap.before_ns - under_way_ns) for gap in gaps]
    resets = fault.kind in ("cut", "discard")
    near = sorted((gap for gap in gaps if gap.reset or not resets), key=lambda gap: abs(gap.before_ns - fault.at_ns))
    if not near:
        return Evidence(str(fault), fault.at_ns, None, None, "the pings of the witness went on")
    gap = near[0]
    silent = "were never answered again" if gap.after_ns is None else f"paused for {_ms(gap.after_ns - gap.before_ns)}"
    was_reset = ", and its connection was reset" if gap.reset else ""
    return Evidence(
        str(fault), fault.at_ns, gap.before_ns, gap.after_ns, f"the pings of the witness {silent}{was_reset}"
    )


def offline_evidence(fault: Fault, outages: Iterable[Outage]) -> Evidence:
    """Return what the records of the subscribers say of a fault `offline`. Pure."""
    own = [o for o in outages if o.planned and abs(o.lost_ns - fault.at_ns) < fault.for_ns]
    if not own:
        return Evidence(str(fault), fault.at_ns, None, None, "no subscriber has noted that it left")
    last_ns = max((o.back_ns for o in own), default=0)
    worst_ns = max((o.lost_ns for o in own), key=lambda lost_ns: abs(lost_ns - fault.at_ns))
    seen = f"{len(own)} subscribers left, {sum(o.back_ns > 0 for o in own)} came back"
    return Evidence(str(fault), fault.at_ns, worst_ns, last_ns or None, seen)


def of_subscribers(faults: Iterable[Fault], outages: Sequence[Outage]) -> list[Evidence]:
    """Return the evidence of the faults that subscribers do themselves."""
    return [offline_evidence(fault, outages) for fault in faults if fault.breaks == SUBSCRIBERS]


def _after(evidence: Evidence, start_ns: int) -> Evidence:
    """Return evidence of CLOCK_MONOTONIC as one after the start."""

    def after(at_ns: int | None) -> int | None:
        return None if at_ns is None else at_ns - start_ns

    planned_ns = evidence.planned_ns - start_ns
    return replace(
        evidence, planned_ns=planned_ns, began_ns=after(evidence.began_ns), ended_ns=after(evidence.ended_ns)
    )


def _after_start(gap: Gap, start_ns: int) -> Gap:
    return Gap(gap.before_ns - start_ns, None if gap.after_ns is None else gap.after_ns - start_ns, gap.reset)


def _ms(time_ns: int) -> str:
    return f"{time_ns / 1e6:.0f} ms"
