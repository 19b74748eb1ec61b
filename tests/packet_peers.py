"""The ends of a packet link: `python -m tests.packet_peers USER_NAMESPACE NETWORK_NAMESPACE ROLE HOST NUMBER ...`.

A server says `"ready"` when it listens. Each prints what it saw as one JSON line, with times of CLOCK_MONOTONIC.
"""

from __future__ import annotations

import json
import select
import selectors
import socket
import struct
import sys
import time
from contextlib import suppress
from typing import Any

from rtbench.links.link import Namespaces
from rtbench.links.namespaces import enter

PORT = 5000


def say(content: Any) -> None:
    print(json.dumps(content), flush=True)


def echo(host: str) -> None:
    """Send each packet back."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as packets:
        packets.bind((host, PORT))
        say("ready")
        while True:
            packet, peer = packets.recvfrom(2048)
            packets.sendto(packet, peer)


def ping(host: str, amount: str, gap_ms: str, quiet_ms: str) -> None:
    """Send packets, a gap apart; say for each that came back its number, and when it was sent and received.

    It says `"begun"` before the first, and is over when nothing has come for a time after the last was sent.
    """
    seen = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as packets:
        packets.connect((host, PORT))
        say("begun")
        begin, sent = time.monotonic(), 0
        while True:
            left_s = begin + sent * float(gap_ms) / 1e3 - time.monotonic()
            if sent < int(amount) and left_s <= 0:
                packets.send(f"{sent} {time.monotonic_ns()}".encode())
                sent += 1
            elif select.select([packets], [], [], left_s if sent < int(amount) else float(quiet_ms) / 1e3)[0]:
                seen.append([*map(int, packets.recv(2048).split()), time.monotonic_ns()])
            elif sent == int(amount):
                break
    say(seen)


def sink(host: str) -> None:
    """Receive over one connection; say how many bytes came, and when and after how many the first fifth was there."""
    with socket.create_server((host, PORT)) as listener:
        say("ready")
        connection, _ = listener.accept()
        received = [[0, time.monotonic_ns()]]
        while count := len(connection.recv(1 << 16)):
            received.append([received[-1][0] + count, time.monotonic_ns()])
        say([next(at for at in received if at[0] > received[-1][0] / 5), received[-1]])


def send(host: str, amount: str) -> None:
    """Send bytes over one connection; say how many segments were sent again by then (total_retrans of tcp_info)."""
    with socket.create_connection((host, PORT)) as connection:
        say("connected")
        connection.sendall(bytes(int(amount)))
        say(struct.unpack_from("I", connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104), 100)[0])


def accept(host: str, amount: str) -> None:
    """Take connections, and use every third of them at full speed; say when they were reset."""
    with socket.create_server((host, PORT)) as listener:
        say("ready")
        use([listener.accept()[0] for _ in range(int(amount))], busy=1)


def connect(host: str, amount: str) -> None:
    """Open connections, and use every third of them at full speed; say when they were reset."""
    use([socket.create_connection((host, PORT)) for _ in range(int(amount))], busy=2)


def use(connections: list[socket.socket], busy: int) -> None:
    say("connected")
    resets = []
    selector = selectors.DefaultSelector()
    for number, connection in enumerate(connections):
        connection.setblocking(False)
        writes = selectors.EVENT_WRITE if number % 3 == busy else 0
        selector.register(connection, selectors.EVENT_READ | writes)
    while selector.get_map():
        for key, events in selector.select():
            assert isinstance(key.fileobj, socket.socket)
            try:
                with suppress(BlockingIOError):
                    if events & selectors.EVENT_WRITE:
                        key.fileobj.send(bytes(1 << 16))
                    if events & selectors.EVENT_READ:
                        assert key.fileobj.recv(1 << 20), "closed, not reset"
            except ConnectionError:
                resets.append(time.monotonic_ns())
                selector.unregister(key.fileobj)
                key.fileobj.close()
    say(resets)


ROLES = {role.__name__: role for role in (echo, ping, sink, send, accept, connect)}

if __name__ == "__main__":
    _, user, network, role, *arguments = sys.argv
    enter(Namespaces(user, network))
    ROLES[role](*arguments)
