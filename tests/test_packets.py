"""Packets of TCP as the packet link reads and builds them, without a network."""

from __future__ import annotations

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtbench.links.delay_queue import NEVER_NS, DelayQueue
from rtbench.links.packet_faults import Faults
from rtbench.links.packets import (
    ACK,
    FIN,
    RST,
    SYN,
    Seen,
    answer_to_late,
    checksum,
    flow_of,
    reset,
    resets,
    resets_of,
    segment_of,
    way_back,
)
from rtbench.plan.faults import parse_fault
from rtbench.plan.network import Network

MS = 1_000_000
CLIENT, SERVER = socket.inet_aton("10.77.0.1"), socket.inet_aton("10.77.0.2")
FLOW = CLIENT + SERVER + struct.pack("!HH", 40000, 80)
# of RFC 1071 section 3, and a well-known header of IPv4 with its checksum, b861
SUM_OF_RFC = bytes.fromhex("0001f203f4f5f6f7")
HEADER = bytes.fromhex("4500007300004000401100 00c0a80001c0a800c7".replace(" ", ""))


def tcp(flow: bytes, seq: int, ack: int, flags: int, payload: bytes = b"", options: bytes = b"") -> bytes:
    segment = flow[8:] + struct.pack("!IIBBHHH", seq, ack, (20 + len(options)) // 4 << 4, flags, 1000, 0, 0)
    size = 40 + len(options) + len(payload)
    return struct.pack("!BBHHHBBH", 0x45, 0, size, 0, 0, 64, 6, 0) + flow[:8] + segment + options + payload


def test_the_checksum_is_that_of_the_internet() -> None:
    assert checksum(SUM_OF_RFC) == 0xDDF2 ^ 0xFFFF
    assert checksum(HEADER) == 0xB861
    assert checksum(b"\x01") == 0x0100 ^ 0xFFFF


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_a_reset_has_its_numbers_and_right_checksums(seq: int, ack: int) -> None:
    packet = reset(FLOW, seq, ack)
    assert len(packet) == 40 == int.from_bytes(packet[2:4])
    assert checksum(packet[:20]) == 0
    assert checksum(packet[12:20] + struct.pack("!HH", 6, 20) + packet[20:]) == 0
    assert flow_of(packet) == FLOW
    segment = segment_of(packet)
    assert (segment.seq, segment.ack, segment.end, segment.flags) == (seq, ack, seq, RST | ACK)


def test_a_segment_ends_after_its_payload_and_syn_and_fin_count_as_one() -> None:
    options = bytes(12)
    assert segment_of(tcp(FLOW, 2**32 - 1, 9, ACK, b"four", options)).end == 3
    assert segment_of(tcp(FLOW, 5, 0, SYN, options=options)).end == 6
    assert segment_of(tcp(FLOW, 5, 9, FIN | ACK, b"x")).end == 7


def test_the_way_back_changes_the_ends() -> None:
    assert way_back(FLOW) == SERVER + CLIENT + struct.pack("!HH", 80, 40000)
    assert way_back(way_back(FLOW)) == FLOW


def test_what_is_no_tcp_or_has_options_of_ip_has_no_flow() -> None:
    packet = bytearray(tcp(FLOW, 1, 1, ACK))
    packet[9] = 17
    assert flow_of(bytes(packet)) is None
    packet[0], packet[9] = 0x46, 6
    assert flow_of(bytes(packet)) is None


def test_the_receiver_is_reset_at_the_end_of_what_it_got_and_where_it_acknowledged() -> None:
    delivered, answer = tcp(FLOW, 100, 500, ACK, b"0123456789"), tcp(way_back(FLOW), 500, 105, ACK, b"ab")
    found = [segment_of(packet) for packet in resets(FLOW, delivered, answer)]
    assert [(each.seq, each.ack) for each in found] == [(110, 502), (105, 502)]
    acknowledged = tcp(way_back(FLOW), 500, 110, ACK)
    assert [segment_of(packet).seq for packet in resets(FLOW, delivered, acknowledged)] == [110]


def test_a_client_that_has_sent_its_syn_is_reset_with_the_ack_number_that_it_demands() -> None:
    (packet,) = resets(way_back(FLOW), None, tcp(FLOW, 41, 0, SYN))
    assert segment_of(packet).ack == 42
    assert resets(FLOW, None, None) == []


def test_what_comes_late_is_answered_where_its_sender_expects_it_and_a_reset_is_not() -> None:
    (answer,) = answer_to_late(tcp(FLOW, 7, 300, ACK, b"abc"))
    assert flow_of(answer) == way_back(FLOW)
    assert (segment_of(answer).seq, segment_of(answer).ack) == (300, 10)
    assert answer_to_late(tcp(FLOW, 7, 300, RST)) == []


@pytest.mark.parametrize(("from_client", "from_server"), [(FIN | ACK, ACK), (ACK, FIN | ACK), (RST, ACK)])
def test_a_connection_that_is_closing_is_left_alone(from_client: int, from_server: int) -> None:
    back = way_back(FLOW)
    up = Seen(sent={FLOW: tcp(FLOW, 1, 1, from_client)})
    down = Seen(sent={back: tcp(back, 1, 1, from_server)})
    assert resets_of(up, down) == []
    up.sent[FLOW] = down.sent[back] = tcp(FLOW, 1, 1, ACK)
    assert len(resets_of(up, down)) == 1


class Way:
    """A direction of the relay without devices."""

    def __init__(self) -> None:
        self.queue: DelayQueue[bytes] = DelayQueue(Network(rtt_s=0.02), None, "seed")
        self.seen = Seen()
        self.delivered: list[bytes] = []

    def deliver(self, now_ns: int) -> int:
        packets = self.queue.take(now_ns)
        self.delivered += packets
        return len(packets)

    def inject(self, packet: bytes) -> None:
        self.delivered.append(packet)


def faults_of(up: Way, down: Way, *texts: str) -> Faults:
    faults = Faults(up, down)
    planned = [parse_fault(text) for text in texts]
    faults.plan([(round(1e9 * fault.at_s), fault) for fault in planned])
    return faults


def test_a_stall_keeps_what_is_due_and_delivers_it_at_its_end() -> None:
    up, down = Way(), Way()
    faults = faults_of(up, down, "blackhole@200ms for 10ms", "stall@100ms for 50ms")
    assert faults.next_ns == 100 * MS
    faults.step(100 * MS - 1)
    assert not faults.keeps
    faults.step(100 * MS)
    assert faults.keeps
    assert faults.next_ns == 150 * MS
    up.queue.put(110 * MS, b"held", 4)
    down.queue.put(145 * MS, b"on its way", 4)
    faults.step(150 * MS)
    assert (up.delivered, down.delivered) == ([b"held"], [])
    assert not faults.keeps
    assert [(done.fault, done.counts) for done in faults.done] == [("stall@100ms for 50ms", {"held": 1})]
    assert faults.next_ns == 200 * MS


def test_a_blackhole_drops_what_was_due_meanwhile() -> None:
    up, down = Way(), Way()
    faults = faults_of(up, down, "blackhole@100ms for 50ms")
    faults.step(100 * MS)
    up.queue.put(110 * MS, b"dropped", 4)
    down.queue.put(145 * MS, b"on its way", 4)
    faults.step(150 * MS)
    assert up.delivered == []
    assert faults.done[0].counts == {"dropped": 1}
    assert down.queue.take(155 * MS) == [b"on its way"]
    assert faults.next_ns == NEVER_NS


def test_a_cut_drops_what_is_on_its_way_and_resets_both_ends_once() -> None:
    up, down = Way(), Way()
    faults = faults_of(up, down, "cut@100ms", "cut@200ms")
    up.queue.put(95 * MS, b"dropped", 4)
    up.seen.sent[FLOW] = up.seen.delivered[FLOW] = tcp(FLOW, 10, 20, ACK)
    back = way_back(FLOW)
    down.seen.sent[back] = down.seen.delivered[back] = tcp(back, 20, 10, ACK)
    faults.step(100 * MS)
    assert [segment_of(packet).seq for packet in up.delivered] == [10]
    assert [segment_of(packet).seq for packet in down.delivered] == [20]
    faults.step(200 * MS)
    assert [done.counts for done in faults.done] == [{"dropped": 1, "reset": 1}, {"dropped": 0, "reset": 0}]
    assert (up.seen.cut, down.seen.cut) == ({FLOW}, {back})
