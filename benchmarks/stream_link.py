"""What the relay of a stream link costs: messages of 100 bytes at some rates, and the latency that it adds.

    python benchmarks/stream_link.py

A process of its own receives; this one sends, open loop, in turn on 100 connections, so that the relay reads each
message apart. Each rate is measured without a link and over a link of 20 ms RTT. What is printed is the time from
sending to receiving, for the link without the 10 ms that were asked for.
"""

from __future__ import annotations

import argparse
import asyncio
import selectors
import socket
import subprocess
import sys
import time
from urllib.parse import urlsplit

import numpy as np
import psutil

from rtbench.links.stream_link import stream_link
from rtbench.plan.network import Network
from rtbench.system.process import cpu_ns
from rtbench.trial.pacer import pace

CONNECTIONS = 100
MESSAGE_BYTES = 100
NETWORK = Network(rtt_s=0.02)
TARGET_HZ, TARGET_MS = 20_000, 1.0  # at this rate the link adds less than this, in the median


def receive(expected: int) -> None:
    """Receive on all connections; print how many messages came in how many seconds, and quantiles in ms."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=CONNECTIONS)
    print(listening.getsockname()[1], flush=True)
    selector = selectors.DefaultSelector()
    for _ in range(CONNECTIONS):
        selector.register(listening.accept()[0], selectors.EVENT_READ, bytearray())
    took_ns: list[int] = []
    came_ns: list[int] = []
    while len(took_ns) < expected and (ready := selector.select(5)):
        for key, _ in ready:
            now_ns = time.monotonic_ns()
            key.data.extend(key.fileobj.recv(2**16))  # type: ignore[union-attr]
            while len(key.data) >= MESSAGE_BYTES:
                took_ns.append(now_ns - int.from_bytes(key.data[:8], "big"))
                came_ns.append(now_ns)
                del key.data[:MESSAGE_BYTES]
    p50, p99 = np.percentile(took_ns, [50, 99]) / 1e6
    print(len(took_ns), (came_ns[-1] - came_ns[0]) / 1e9, p50, p99)


async def send(port: int, rate_hz: int, seconds: float) -> None:
    sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(CONNECTIONS)]
    for sock in sockets:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    first_ns = time.monotonic_ns() + 200_000_000

    def send_one(number: int) -> None:
        message = time.monotonic_ns().to_bytes(8, "big").ljust(MESSAGE_BYTES, b"x")
        sockets[number % CONNECTIONS].sendall(message)

    await pace([first_ns + number * 10**9 // rate_hz for number in range(round(rate_hz * seconds))], send_one)


async def measure(rate_hz: int, seconds: float, over_link: bool) -> None:
    expected = str(round(rate_hz * seconds))
    with subprocess.Popen(
        [sys.executable, __file__, "--receive", expected], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        port = int(child.stdout.readline())
        used = 0.0
        if over_link:
            async with stream_link(NETWORK, "seed") as link:
                reached = urlsplit(await link.reach(f"tcp://127.0.0.1:{port}")).port
                assert reached is not None
                relay = psutil.Process(link.relay.process.pid)
                before_ns = cpu_ns(relay)
                await send(reached, rate_hz, seconds)
                used = (cpu_ns(relay) - before_ns) / 1e9 / seconds
                words = (await asyncio.to_thread(child.stdout.readline)).split()
        else:
            await send(port, rate_hz, seconds)
            words = (await asyncio.to_thread(child.stdout.readline)).split()
    count, took_s, p50_ms, p99_ms = map(float, words)
    asked_ms = 1e3 * NETWORK.one_way_s if over_link else 0.0
    print(
        f"{'over a link' if over_link else 'direct':11} {rate_hz:6} asked, {count / took_s:8.0f} messages/s, "
        f"p50 {p50_ms - asked_ms:6.3f} ms, p99 {p99_ms - asked_ms:7.3f} ms, {used:.0%} of a core"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rates", type=int, nargs="+", default=[1_000, 5_000, 10_000, TARGET_HZ])
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--receive", type=int)
    arguments = parser.parse_args()
    if arguments.receive:
        receive(arguments.receive)
        return
    for rate_hz in arguments.rates:
        for over_link in (False, True):
            asyncio.run(measure(rate_hz, arguments.seconds, over_link))
    print(f"the aim: less than {TARGET_MS:g} ms in the median at {TARGET_HZ} messages/s")


if __name__ == "__main__":
    main()
