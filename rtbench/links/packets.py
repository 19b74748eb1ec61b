"""IPv4 packets with TCP segments, as far as a link reads and writes them (RFC 791, RFC 9293). Pure."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

_TCP = 6
_FIN, _SYN, _RST, _ACK = 1, 2, 4, 16
Flow = tuple[bytes, bytes, int, int]  # source and destination address, source and destination port


@dataclass
class Flows:
    """What is known of each TCP flow: the next sequence numbers that its receiver may expect.

    `delivered` is the end of what was delivered, `acknowledged` what the receiver asked for last. One of the two is
    what it expects: the second where something was lost, the first where its acknowledgement is not sent yet.
    """

    delivered: dict[Flow, int] = field(default_factory=dict)
    acknowledged: dict[Flow, int] = field(default_factory=dict)

    def see(self, packet: bytes, delivered: bool) -> None:
        """Take in a packet that was read, or delivered."""
        if packet[9] != _TCP or packet[0] >> 4 != 4:
            return
        head = (packet[0] & 15) * 4
        source, destination, sequence, acknowledged, offset, flags = struct.unpack_from("!HHIIBB", packet, head)
        flow = (packet[12:16], packet[16:20], source, destination)
        back = (packet[16:20], packet[12:16], destination, source)
        if flags & _RST:
            self.delivered.pop(flow, None)
            self.delivered.pop(back, None)
            return
        if flags & _ACK:
            self.acknowledged[back] = acknowledged
        if delivered:
            carried = len(packet) - head - (offset >> 4) * 4 + bool(flags & _SYN) + bool(flags & _FIN)
            end = (sequence + carried) & 0xFFFFFFFF
            before = self.delivered.get(flow)
            if before is None or (end - before) & 0xFFFFFFFF < 0x80000000:
                self.delivered[flow] = end

    def resets(self) -> list[bytes]:
        """Return the packets that reset every flow at its receiver: one for each number that it may expect.

        A receiver takes a reset only with the very number that it expects (RFC 9293 section 3.5.3; RFC 5961).
        """
        found = []
        for flow, end in self.delivered.items():
            source, destination, source_port, destination_port = flow
            back = (destination, source, destination_port, source_port)
            acknowledge = self.delivered.get(back, self.acknowledged.get(back, 0))
            for sequence in dict.fromkeys((end, self.acknowledged.get(flow, end))):
                found.append(reset(flow, sequence, acknowledge))
        return found


def reset(flow: Flow, sequence: int, acknowledge: int) -> bytes:
    """Return a packet with an RST segment."""
    source, destination, *ports = flow
    segment = struct.pack("!HHIIBBHHH", *ports, sequence, acknowledge, 5 << 4, _RST | _ACK, 0, 0, 0)
    pseudo = source + destination + struct.pack("!BBH", 0, _TCP, len(segment))
    segment = segment[:16] + struct.pack("!H", checksum(pseudo + segment)) + segment[18:]
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(segment), 0, 0x4000, 64, _TCP, 0, source, destination)
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + segment


def checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071)."""
    data += b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
