"""Faults of the packet link: what its relay does to the packets at their times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import monotonic_ns
from typing import Protocol

from rtbench.links.delay_queue import NEVER_NS, DelayQueue
from rtbench.links.link import Done
from rtbench.links.packets import Seen, resets_of
from rtbench.plan.faults import Fault

KINDS = ("cut", "stall", "blackhole")


class Direction(Protocol):
    """What a fault needs of one direction of the relay."""

    queue: DelayQueue[bytes]
    seen: Seen

    def deliver(self, now_ns: int) -> int:
        """Deliver all that is due; return how many packets it was."""

    def inject(self, packet: bytes) -> None:
        """Deliver a packet at once."""


class Faults:
    """The planned faults, one after the other, and what was done.

    A stall and a blackhole keep what is due, where it leaves the link. When they end, a stall delivers all of it and a
    blackhole drops it.
    """

    def __init__(self, up: Direction, down: Direction) -> None:
        self.done: list[Done] = []
        self._up, self._down = up, down
        self._planned: list[tuple[int, Fault]] = []
        self._began_ns: int | None = None

    def plan(self, faults: Sequence[tuple[int, Fault]]) -> None:
        """Add faults with their times. They do not overlap."""
        self._planned = sorted([*self._planned, *faults], key=lambda planned: planned[0])

    @property
    def keeps(self) -> bool:
        """Whether nothing may be delivered now."""
        return self._began_ns is not None

    @property
    def next_ns(self) -> int:
        """When the next fault begins, or the one that has begun ends; `NEVER_NS` if none is planned."""
        if not self._planned:
            return NEVER_NS
        at_ns, fault = self._planned[0]
        return at_ns + (round(1e9 * fault.for_s) if self.keeps else 0)

    def step(self, now_ns: int) -> None:
        """Begin the next fault, or end the one that has begun, if it is time."""
        while now_ns >= self.next_ns:
            fault = self._planned[0][1]
            if self._began_ns is None:
                self._began_ns = now_ns
                if fault.kind != "cut":
                    continue
            counts = self._cut() if fault.kind == "cut" else self._end_keeping(fault.kind, now_ns)
            ended_ns = monotonic_ns() if fault.kind == "cut" else now_ns  # resetting takes a while
            self.done.append(Done(str(fault), self._began_ns, ended_ns, counts))
            self._began_ns = None
            del self._planned[0]

    def _end_keeping(self, kind: str, now_ns: int) -> Mapping[str, int]:
        ways = (self._up, self._down)
        if kind == "stall":
            return {"held": sum(way.deliver(now_ns) for way in ways)}
        return {"dropped": sum(len(way.queue.take(now_ns)) for way in ways)}

    def _cut(self) -> Mapping[str, int]:
        """Drop what is on its way, and reset every connection at both ends."""
        dropped = self._up.queue.clear() + self._down.queue.clear()
        connections = resets_of(self._up.seen, self._down.seen)
        for to_server, to_client in connections:
            for packet in to_server:
                self._up.inject(packet)
            for packet in to_client:
                self._down.inject(packet)
        for way in (self._up, self._down):
            way.seen.cut_all()
        return {"dropped": dropped, "reset": len(connections)}
