"""Packets: what the packet link reads and writes of IPv4 and TCP. Pure.

A cut resets connections from the middle. Linux obeys a RST only if its sequence number is exactly the next one that the
receiver expects (RFC 5961). The relay sees that number in two places, and nearly always one of them is right:

- the end of the last packet that was delivered to the receiver, if that packet came in order;
- the ACK number of the last packet that the receiver sent: whoever gets a packet out of order answers at once.

So it sends a RST for each. Where both are wrong, the receiver answers with an ACK, as RFC 5961 demands, and whatever
comes on a connection that was cut is answered with a RST for its ACK number: that one is always right.

Every RST carries an ACK number, too: a client that has sent nothing but its SYN demands it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10
_PLAIN_HEADER, _TCP = 0x45, 6  # the first byte of an IPv4 header without options; the protocol number
_IP_BYTES = _TCP_BYTES = 20
_TTL = 64


def flow_of(packet: bytes) -> bytes | None:
    """Return the addresses and ports of a TCP segment (12 bytes); None if the packet has no TCP header at byte 20."""
    return packet[12:24] if packet[0] == _PLAIN_HEADER and packet[9] == _TCP else None


def way_back(flow: bytes) -> bytes:
    """Return the flow in the other direction."""
    return flow[4:8] + flow[0:4] + flow[10:12] + flow[8:10]


@dataclass(frozen=True)
class Segment:
    """The numbers of a TCP segment: `end` is the sequence number that follows it."""

    seq: int
    ack: int
    end: int
    flags: int


def segment_of(packet: bytes) -> Segment:
    """Read a packet that has a flow."""
    seq, ack, offset, flags = struct.unpack_from("!IIBB", packet, _IP_BYTES + 4)
    length = len(packet) - _IP_BYTES - (offset >> 4) * 4 + bool(flags & SYN) + bool(flags & FIN)
    return Segment(seq, ack, (seq + length) % 2**32, flags)


def is_closing(*packets: bytes | None) -> bool:
    """Return whether one of the last packets of a connection says that it ends."""
    return any(segment_of(packet).flags & (FIN | RST) for packet in packets if packet is not None)


def checksum(data: bytes | bytearray) -> int:
    """Return the checksum of the internet (RFC 1071)."""
    data = bytes(data) + bytes(len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def reset(flow: bytes, seq: int, ack: int) -> bytes:
    """Return a packet with a RST segment on a flow."""
    addresses, ports = flow[:8], flow[8:]
    segment = bytearray(ports + struct.pack("!IIBBHHH", seq, ack, _TCP_BYTES // 4 << 4, RST | ACK, 0, 0, 0))
    segment[16:18] = checksum(addresses + struct.pack("!HH", _TCP, _TCP_BYTES) + segment).to_bytes(2)
    sizes = struct.pack("!BBHHHBBH", _PLAIN_HEADER, 0, _IP_BYTES + _TCP_BYTES, 0, 0, _TTL, _TCP, 0)
    header = bytearray(sizes + addresses)
    header[10:12] = checksum(header).to_bytes(2)
    return bytes(header + segment)


def resets(flow: bytes, delivered: bytes | None, answer: bytes | None) -> list[bytes]:
    """Return the RST packets on a flow, one of which its receiver obeys; none if it knows of no connection.

    `delivered` is the last packet of the flow that its receiver got, `answer` is the last one that the receiver sent.
    """
    expected = []
    if delivered is not None:
        expected.append(segment_of(delivered).end)
    if answer is not None:
        expected.append(segment_of(answer).ack)
    ack = 0 if answer is None else segment_of(answer).end
    return [reset(flow, seq, ack) for seq in dict.fromkeys(expected)]


def answer_to_late(packet: bytes) -> list[bytes]:
    """Return the answer to a packet that came on a connection after it was cut: a RST; none to a RST."""
    segment = segment_of(packet)
    return [] if segment.flags & RST else [reset(way_back(packet[12:24]), segment.ack, segment.end)]


@dataclass(frozen=True)
class Seen:
    """The TCP flows of one direction: the last packets that were sent and delivered, and which flows were cut."""

    sent: dict[bytes, bytes] = field(default_factory=dict)
    delivered: dict[bytes, bytes] = field(default_factory=dict)
    cut: set[bytes] = field(default_factory=set)

    def cut_all(self) -> None:
        """Note that all connections were cut."""
        self.cut.update(self.sent)
        self.sent.clear()
        self.delivered.clear()


def resets_of(up: Seen, down: Seen) -> list[tuple[list[bytes], list[bytes]]]:
    """Return for each connection the RST packets to the server and those to the client.

    A connection that one of its ends is closing is left alone.
    """
    found = []
    for flow, from_client in up.sent.items():
        back = way_back(flow)
        from_server = down.sent.get(back)
        if not is_closing(from_client, from_server):
            to_server = resets(flow, up.delivered.get(flow), from_server)
            found.append((to_server, resets(back, down.delivered.get(back), from_client)))
    return found
