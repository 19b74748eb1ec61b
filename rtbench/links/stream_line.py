"""Line: one direction of a stream link: how long what is sent takes to arrive. No clock of its own.

All connections of a direction share the line. What is sent first waits until the line is free, then occupies it for as
long as its rate asks for, and then travels: half the round-trip time, give or take half the jitter.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

SEGMENT_BYTES = 1448  # what an Ethernet frame carries of a stream: 1,500 bytes without the headers
HEADER_BYTES = 52  # of IPv4 and TCP with time stamps
_PIECE_S = 1e-3  # what is sent is cut into pieces that occupy the line for so long, or of one segment
_QUEUE_S = 0.1  # a connection may have so much waiting for the line, beside what travels
_LEAST_WAITING_BYTES = 2**16
_MOST_WAITING_BYTES = 2**22  # about the receive window that Linux gives to one connection


def wire_bytes(stream_bytes: int) -> int:
    """Return how many bytes the segments have that carry so many bytes of a stream."""
    return stream_bytes + HEADER_BYTES * -(-stream_bytes // SEGMENT_BYTES)


@dataclass
class Line:
    """A direction, with the state of its line; times are in nanoseconds of any clock."""

    one_way_s: float
    jitter_s: float
    rate_bps: float | None
    seed: str
    chunks: int = 0
    bytes: int = 0
    discarded: int = 0
    most_waiting_bytes: int = field(init=False)  # what a connection may have under way; beyond, it is not read
    piece_bytes: int | None = field(init=False)  # into how large pieces is cut what is sent; None without a rate
    _free_ns: int = 0
    _random: Random = field(init=False)

    def __post_init__(self) -> None:
        self._random = Random(self.seed)
        self.change(self.one_way_s, self.jitter_s, self.rate_bps)

    def change(self, one_way_s: float, jitter_s: float, rate_bps: float | None) -> None:
        """Be another line for what is sent from now on; what is under way arrives as it would have."""
        self.one_way_s, self.jitter_s, self.rate_bps = one_way_s, jitter_s, rate_bps
        self.most_waiting_bytes, self.piece_bytes = _MOST_WAITING_BYTES, None
        if rate_bps is not None:
            under_way = round(rate_bps / 8 * (one_way_s + jitter_s + _QUEUE_S))
            self.most_waiting_bytes = min(max(under_way, _LEAST_WAITING_BYTES), _MOST_WAITING_BYTES)
            segments = int(rate_bps * _PIECE_S / 8) // (SEGMENT_BYTES + HEADER_BYTES)
            self.piece_bytes = SEGMENT_BYTES * max(segments, 1)

    def travel_ns(self) -> int:
        """Return how long the next piece travels."""
        if not self.jitter_s:
            return round(1e9 * self.one_way_s)
        return round(1e9 * (self.one_way_s + self._random.uniform(-self.jitter_s / 2, self.jitter_s / 2)))

    def arrival_ns(self, sent_ns: int, size_bytes: int) -> int:
        """Return when a piece arrives that is sent now, after all that was sent before."""
        if self.rate_bps is None:
            return sent_ns + self.travel_ns()
        occupied_ns = round(8e9 * wire_bytes(size_bytes) / self.rate_bps)
        self._free_ns = max(self._free_ns, sent_ns) + occupied_ns
        return self._free_ns + self.travel_ns()
