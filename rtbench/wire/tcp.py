"""What TCP connections carried, as the client's kernel counted it: bytes, segments, headers. Numbers only.

`rtbench.system.meter` reads them from TCP_INFO; a result keeps them, and metrics are computed from them.
"""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Direction:
    """What went in one direction over some TCP connections.

    `carried_bytes` is what TCP carried: payload, framing, headers of the protocol above, TLS. `header_bytes` are the
    TCP and IP headers of all segments; `ack_segments` carried nothing but an acknowledgement (or opened a connection).
    `tls_bytes` is what TLS added, counted by the client itself (`rtbench.wire.tls`), since no kernel counts it;
    `tls_handshake_bytes` is the part of it that came before TLS carried anything.
    """

    carried_bytes: int = 0
    segments: int = 0
    ack_segments: int = 0
    header_bytes: int = 0
    ack_header_bytes: int = 0
    tls_bytes: int = 0
    tls_handshake_bytes: int = 0

    @property
    def ip_bytes(self) -> int:
        """Bytes at the IP layer, as a packet capture counts them."""
        return self.carried_bytes + self.header_bytes

    def __add__(self, other: Direction) -> Direction:
        return Direction(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(Direction)))

    def __sub__(self, other: Direction) -> Direction:
        return Direction(*(getattr(self, f.name) - getattr(other, f.name) for f in fields(Direction)))


@dataclass(frozen=True)
class Wire:
    """What went over some TCP connections: `up` to the server, `down` to the client."""

    connections: int = 0
    up: Direction = Direction()
    down: Direction = Direction()
    retransmitted_bytes: int = 0

    @property
    def carried_bytes(self) -> int:
        """What TCP carried, in both directions."""
        return self.up.carried_bytes + self.down.carried_bytes

    @property
    def tls_handshake_bytes(self) -> int:
        """Bytes of the TLS handshakes, in both directions."""
        return self.up.tls_handshake_bytes + self.down.tls_handshake_bytes

    @property
    def segments(self) -> int:
        """TCP segments, in both directions."""
        return self.up.segments + self.down.segments

    @property
    def ip_bytes(self) -> int:
        """Bytes at the IP layer, in both directions."""
        return self.up.ip_bytes + self.down.ip_bytes

    @property
    def ack_bytes(self) -> int:
        """Bytes of the segments that carried only an acknowledgement, in both directions."""
        return self.up.ack_header_bytes + self.down.ack_header_bytes

    def __add__(self, other: Wire) -> Wire:
        return Wire(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(Wire)))

    def __sub__(self, other: Wire) -> Wire:
        return Wire(*(getattr(self, f.name) - getattr(other, f.name) for f in fields(Wire)))


def total(wires: list[Wire | None]) -> Wire | None:
    """Return the sum of some counts; None if one of them is not known, or if there are none."""
    known = [wire for wire in wires if wire is not None]
    return sum(known, Wire()) if known and len(known) == len(wires) else None
