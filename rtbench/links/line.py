"""Line: one way of a network: what is sent into it comes out later, in order, or not at all. Pure: its clock is given.

A packet waits until the line is free, occupies it for as long as its bits take at the rate of the line, and then
travels for the delay. As many bytes may wait as the line carries in `QUEUE_S` or two round trips, and at least 64 KiB;
what finds that many waiting is dropped, as in the buffer of a router.
"""

from __future__ import annotations

from collections import deque
from random import Random

from rtbench.plan.network import Network

QUEUE_S = 0.1
_LEAST_QUEUE_BYTES = 65_536


class Line:
    """One way of a network, `down` (to the clients) or up: packets with the time at which they come out.

    `packets` and `bytes` count what was sent into it, `lost` what was dropped by chance, `overflowed` what found its
    queue full.
    """

    def __init__(self, network: Network, down: bool, seed: str) -> None:
        rate_bps = network.down_bps if down else network.up_bps
        self._delay_ns = round(network.one_way_s * 1e9)
        self._jitter_ns = network.jitter_s / 2 * 1e9
        self._loss = network.loss
        self._byte_ns = 8e9 / rate_bps if rate_bps else 0.0
        self._most_waiting_ns = max(QUEUE_S * 1e9, 2e9 * network.rtt_s, _LEAST_QUEUE_BYTES * self._byte_ns)
        self._random = Random(f"{seed} {'down' if down else 'up'}").random
        self._free_ns = 0.0
        self._last_ns = 0
        self.under_way: deque[tuple[int, bytes]] = deque()
        self.packets = self.bytes = self.lost = self.overflowed = 0

    def send(self, packet: bytes, now_ns: int, extra_bytes: int = 0) -> None:
        """Send a packet into the line; it is in `under_way` unless it is dropped. `extra_bytes` are headers."""
        size = len(packet) + extra_bytes
        self.packets += 1
        self.bytes += size
        if self._loss and self._random() < self._loss:
            self.lost += 1
            return
        due_ns = now_ns + self._delay_ns
        if self._byte_ns:
            start_ns = max(self._free_ns, now_ns)
            if start_ns - now_ns > self._most_waiting_ns:
                self.overflowed += 1
                return
            self._free_ns = start_ns + size * self._byte_ns
            due_ns = round(self._free_ns) + self._delay_ns
        if self._jitter_ns:
            due_ns += round((2 * self._random() - 1) * self._jitter_ns)
        self._last_ns = due_ns = max(due_ns, self._last_ns)
        self.under_way.append((due_ns, packet))

    @property
    def counts(self) -> dict[str, int]:
        """What was counted so far."""
        return {"packets": self.packets, "bytes": self.bytes, "lost": self.lost, "overflowed": self.overflowed}
