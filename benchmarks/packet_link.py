"""The packet link: the round-trip time that it adds, and how much it carries.

    python benchmarks/packet_link.py

- round-trip times: small UDP packets to and fro, a few milliseconds apart, less the time that was asked for;
- TCP: one connection sends as fast as it can, over a link with a round-trip time of 1 ms and no rate;
- packets: small UDP packets one way, at a steady rate; all have to arrive;
- idle: the CPU time of the relay while nothing is sent.

Each endpoint is a process of its own, in the namespaces of its side. Linux only.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

from rtbench.links.link import Namespaces, Place
from rtbench.links.namespaces import enter
from rtbench.links.packet_link import packet_link, packet_link_missing
from rtbench.plan.network import Network

RTTS_MS = (1, 20, 100)
ADDED_TARGET_MS, TCP_TARGET_MBIT, PACKETS_TARGET = 1.0, 500.0, 20_000
PORT = 5000
END = b"end"
CHUNK = bytes(256 * 1024)


def echo(host: str) -> None:
    """Answer each packet with the same, and a connection with how long its bytes took, in seconds."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as packets:
        packets.bind((host, PORT))
        print("ready", flush=True)
        while True:
            packet, peer = packets.recvfrom(2048)
            packets.sendto(packet, peer)


def sink(host: str) -> None:
    """Print the rate of one connection, payload only, in Mbit/s."""
    with socket.create_server((host, PORT)) as listener:
        print("ready", flush=True)
        connection, _ = listener.accept()
        began, received = time.monotonic(), 0
        while count := len(connection.recv(1 << 20)):
            received += count
        print(8 * received / (time.monotonic() - began) / 1e6, flush=True)


def count(host: str) -> None:
    """Print how many packets came."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as packets:
        packets.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 25)
        packets.bind((host, PORT))
        print("ready", flush=True)
        came = 0
        while packets.recv(2048) != END:
            came += 1
        print(came, flush=True)


def ping(host: str, amount: float) -> None:
    """Print the median and the 99th percentile of round-trip times, in milliseconds."""
    taken_ms = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as packets:
        packets.connect((host, PORT))
        for _ in range(int(amount)):
            began_ns = time.monotonic_ns()
            packets.send(bytes(100))
            packets.recv(2048)
            taken_ms.append((time.monotonic_ns() - began_ns) / 1e6)
            time.sleep(0.005)
    print(statistics.median(taken_ms), statistics.quantiles(taken_ms, n=100)[98], flush=True)


def send(host: str, seconds: float) -> None:
    """Send over one connection for a time."""
    with socket.create_connection((host, PORT)) as connection:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            connection.sendall(CHUNK)


def flood(host: str, seconds: float) -> None:
    """Send packets at the rate that the link has to carry; print how many."""
    began = time.monotonic()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as packets:
        packets.connect((host, PORT))
        for sent in itertools.count():
            while (now := time.monotonic()) < began + sent / PACKETS_TARGET:
                time.sleep(0.0005)
            if now > began + seconds:
                break
            packets.send(bytes(100))
        time.sleep(0.5)
        packets.send(END)
    print(sent, flush=True)


SERVERS = {"echo": echo, "sink": sink, "count": count}
CLIENTS = {"ping": ping, "send": send, "flood": flood}


def endpoint(place: Place, *arguments: str) -> subprocess.Popen[str]:
    """Start this program as an endpoint in a place."""
    assert place.namespaces is not None
    where = (place.namespaces.user, place.namespaces.network)
    command = [sys.executable, __file__, "--endpoint", *where, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@contextlib.asynccontextmanager
async def linked(network: Network, server: str, client: str, amount: float) -> AsyncIterator[tuple[list[str], int]]:
    """Yield what a client and its server print, and the process id of the relay, while the link is there."""
    async with packet_link(network, "benchmark") as link:
        with endpoint(link.server, server, link.server.host) as serving:
            assert serving.stdout is not None
            serving.stdout.readline()
            with endpoint(link.clients, client, link.server.host, str(amount)) as asking:
                assert asking.stdout is not None
                words = asking.stdout.read().split()
            if server == "echo":
                serving.kill()
            words += serving.stdout.read().split()
        assert link.server.namespaces is not None
        yield words, int(link.server.namespaces.network.split("/")[2])


def cpu_s(pid: int) -> float:
    """Return the CPU time of a process."""
    return int(Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[0]) / 1e9


async def main(arguments: argparse.Namespace) -> None:
    for rtt_ms in RTTS_MS:
        network = Network(rtt_s=rtt_ms / 1e3)
        async with linked(network, "echo", "ping", arguments.pings) as (words, _):
            p50, p99 = (float(word) - rtt_ms for word in words)
        print(f"RTT {rtt_ms:3d} ms: added p50 {p50:.2f} ms, p99 {p99:.2f} ms (target {ADDED_TARGET_MS:.0f} ms)")
    async with linked(Network(rtt_s=0.001), "sink", "send", arguments.seconds) as (words, _):
        print(f"TCP: {float(words[0]):.0f} Mbit/s (target {TCP_TARGET_MBIT:.0f})")
    async with linked(Network(rtt_s=0.001), "count", "flood", arguments.seconds) as (words, relay):
        sent, came = map(int, words)
        print(f"packets: {sent / arguments.seconds:.0f}/s (target {PACKETS_TARGET}), {sent - came} of {sent} missing")
        before_s = cpu_s(relay)
        await asyncio.sleep(arguments.seconds)
        print(f"idle relay: {100 * (cpu_s(relay) - before_s) / arguments.seconds:.2f} % of a core")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pings", type=int, default=200, help="at each round-trip time")
    parser.add_argument("--seconds", type=float, default=2.0, help="of TCP, of packets, and of idling")
    parser.add_argument("--endpoint", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.endpoint:
        user, network, role, host, *amount = given.endpoint
        enter(Namespaces(user, network))
        if role in SERVERS:
            SERVERS[role](host)
        else:
            CLIENTS[role](host, float(amount[0]))
    elif missing := packet_link_missing():
        sys.exit(f"there is no packet link here: {missing}")
    else:
        asyncio.run(main(given))
