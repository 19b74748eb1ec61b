"""DelayQueue: what one direction of a network does to what passes: loss, rate and delay, with the order kept. Pure.

Each packet goes through four steps:

1. It is lost or not, independently of all others. The seed decides.
2. It waits until the line is free. The line has a bounded queue: the bytes that may wait are twice the bandwidth-delay
   product (2 x rate x round-trip time), and at least 64 KiB. A packet that does not fit is dropped.
3. It occupies the line for 8 x size / rate seconds.
4. It travels for half of the round-trip time, +- half of the jitter (uniform). It never overtakes an earlier packet:
   if it would, it arrives together with that one. So packets that come closely together are delayed more on average.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Mapping
from random import Random
from typing import Generic, TypeVar

from rtbench.plan.network import Network

NEVER_NS = 2**63 - 1
_LEAST_LINE_BYTES = 64 * 1024

T = TypeVar("T")


def line_bytes(rtt_s: float, bps: float) -> float:
    """Return how many bytes may wait for a line of this rate."""
    return max(2 * rtt_s * bps / 8, _LEAST_LINE_BYTES)


class DelayQueue(Generic[T]):
    """The packets on their way in one direction. All times are of one clock, which the caller reads."""

    def __init__(self, network: Network, bps: float | None, seed: str) -> None:
        self._loss = network.loss
        self._losses, self._delays = Random(f"{seed} losses"), Random(f"{seed} delays")
        self._least_delay_ns = round(1e9 * (network.one_way_s - network.jitter_s / 2))
        self._jitter_ns = 1e9 * network.jitter_s
        self._ns_per_byte = 8e9 / bps if bps else 0.0
        self._longest_wait_ns = self._ns_per_byte * line_bytes(network.rtt_s, bps) if bps else 0.0
        self._line_free_ns = 0
        self._waiting: deque[tuple[int, T]] = deque()
        self._packets = self._bytes = self._lost = self._overflowed = 0

    def put(self, now_ns: int, packet: T, size_bytes: int) -> None:
        """Let a packet begin its way: it is lost, or dropped because the line is full, or due later."""
        self._packets += 1
        self._bytes += size_bytes
        if self._loss and self._losses.random() < self._loss:
            self._lost += 1
            return
        sent_ns = now_ns
        if self._ns_per_byte:
            sent_ns = max(now_ns, self._line_free_ns) + round(size_bytes * self._ns_per_byte)
            if sent_ns - now_ns > self._longest_wait_ns:
                self._overflowed += 1
                return
            self._line_free_ns = sent_ns
        due_ns = sent_ns + self._least_delay_ns
        if self._jitter_ns:
            due_ns += int(self._jitter_ns * self._delays.random())
        self._waiting.append((due_ns, packet))

    @property
    def due_ns(self) -> int:
        """When the first packet arrives; `NEVER_NS` if none is on its way. Those behind it wait for it."""
        return self._waiting[0][0] if self._waiting else NEVER_NS

    def take(self, now_ns: int, at_most: int = sys.maxsize) -> list[T]:
        """Remove and return, in order, packets that have arrived."""
        waiting = self._waiting
        taken: list[T] = []
        while waiting and waiting[0][0] <= now_ns and len(taken) < at_most:
            taken.append(waiting.popleft()[1])
        return taken

    def clear(self) -> int:
        """Remove all packets that are on their way; return how many they were."""
        count = len(self._waiting)
        self._waiting.clear()
        return count

    def counts(self) -> Mapping[str, int]:
        """Return the packets and bytes that were put in, and how many of those packets were lost or overflowed."""
        return {
            "packets": self._packets,
            "bytes": self._bytes,
            "lost": self._lost,
            "overflowed": self._overflowed,
        }
