"""Captures all TCP packets of the loopback interface while a program runs, and counts them by connection.

Run as a program, in a network namespace of its own where there may be one (`unshare -n`):

    python tests/capture.py CAPTURE PROGRAM ARGUMENT...
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

FIN, SYN = 1, 2
TIME_STAMP_BYTES = 12  # RFC 7323, padded
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1


@dataclass(frozen=True)
class Packet:
    """One TCP segment over IPv4; `more_options_bytes` are those of its options beyond a time stamp's."""

    ip_bytes: int
    more_options_bytes: int
    sequence: int
    payload_bytes: int
    source: int
    destination: int
    flags: int


def packets(capture: Path) -> list[Packet]:
    """Return every whole packet of a pcap file of lo."""
    data = capture.read_bytes()
    if len(data) < 24:
        return []
    order = "<" if data[:4] in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1") else ">"
    assert struct.unpack_from(order + "I", data, 20) == (1,), "lo looks like Ethernet"
    found, at = [], 24
    while at + 16 <= len(data):
        (kept,) = struct.unpack_from(order + "I", data, at + 8)
        ip = data[at + 16 + 14 : at + 16 + kept]
        if len(ip) < kept - 14:
            break
        head = (ip[0] & 15) * 4
        tcp = ip[head:]
        (length,) = struct.unpack_from(">H", ip, 2)
        source, destination = struct.unpack_from(">HH", tcp)
        tcp_head = (tcp[12] >> 4) * 4
        more = 0 if tcp[13] & SYN else tcp_head - 20 - TIME_STAMP_BYTES
        (sequence,) = struct.unpack_from(">I", tcp, 4)
        found.append(Packet(length, more, sequence, length - head - tcp_head, source, destination, tcp[13]))
        at += 16 + kept
    return found


def connections(found: list[Packet], server_port: int) -> list[list[Packet]]:
    """Return the packets of each connection to a port, in the order in which they were opened."""
    by_client: dict[int, list[Packet]] = {}
    for packet in found:
        if server_port in (packet.source, packet.destination):
            client = packet.source if packet.destination == server_port else packet.destination
            by_client.setdefault(client, []).append(packet)
    return list(by_client.values())


def repeated_by_server(exchanged: list[Packet], server_port: int) -> int:
    """Return the bytes of one connection that TCP_INFO of the client's end lacks, because the server sent something again.

    They are the repeated payload, the options that tell of it (RFC 2018, 2883), and, once both ends have sent a FIN, all
    packets from a repeated FIN on.
    """
    seen: set[int] = set()
    finished: set[int] = set()
    repeated, is_over = 0, False
    for packet in exchanged:
        is_over = is_over or (bool(packet.flags & FIN) and len(finished) == 2)
        if packet.flags & FIN:
            finished.add(packet.source)
        if is_over:
            repeated += packet.ip_bytes
            continue
        repeated += packet.more_options_bytes
        if packet.source == server_port and packet.payload_bytes:
            repeated += packet.payload_bytes if packet.sequence in seen else 0
            seen.add(packet.sequence)
    return repeated


def bring_loopback_up() -> None:
    """In a new network namespace lo is down."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        answer = fcntl.ioctl(sock, _SIOCGIFFLAGS, struct.pack("16sh14x", b"lo", 0))
        (flags,) = struct.unpack_from("h", answer, 16)
        if not flags & _IFF_UP:
            fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | _IFF_UP))


def start(capture: Path, what: str) -> subprocess.Popen[bytes]:
    """Start tcpdump, and return once it captures.

    Raises:
        PermissionError: it may not.
    """
    tcpdump = subprocess.Popen(
        [
            "tcpdump",
            "-i",
            "lo",
            "-w",
            capture,
            "-U",
            "--immediate-mode",
            "-B",
            "65536",
            "-s",
            "128",
            "-Z",
            "root",
            what,
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert tcpdump.stderr is not None
    said = b""
    while b"listening on" not in said:
        line = tcpdump.stderr.readline()
        if not line:
            raise PermissionError(f"tcpdump cannot capture on lo here: {said.decode().strip()}")
        said += line
    return tcpdump


def main(capture: Path, program: list[str]) -> int:
    bring_loopback_up()
    tcpdump = start(capture, "tcp")
    try:
        code = subprocess.run(program, check=False).returncode
        size = -1
        while size != (size := capture.stat().st_size):  # until it has written what is on its way
            time.sleep(0.2)
    finally:
        tcpdump.send_signal(signal.SIGTERM)
        tcpdump.communicate()
    return code


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
