"""Server CPU of one delivery: our WebSocket server beside a bare loop of `websockets.broadcast`, in one run.

    python benchmarks/websocket.py

Each server is a process of its own. This process holds all subscribers as raw sockets and publishes one message at a
time; the servers take turns. What is printed are medians over the turns and the median of the ratios of neighbouring
turns. Linux only: it reads the CPU clock of another process.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import os
import selectors
import socket
import statistics
import subprocess
import sys
import time
from urllib.parse import urlsplit

import psutil
from websockets.asyncio.server import ServerConnection, broadcast, serve

from rtbench.system.process import cpu_ns
from rtbench.transports.serving import serve as serve_transport

TARGET = 1.2  # times the bare loop's CPU time a delivery, at most
PAYLOAD = b"x" * 100
FRAME_BYTES = 2 + len(PAYLOAD)


async def bare() -> None:
    """Relay with nothing but `broadcast`: no feed, no slow subscribers."""
    subscribers: set[ServerConnection] = set()

    async def handle(connection: ServerConnection) -> None:
        if connection.request is not None and not connection.request.path.endswith("?publish"):
            subscribers.add(connection)
        async for message in connection:
            broadcast(subscribers, message)

    async with serve(handle, "127.0.0.1", 0, compression=None, ping_interval=None) as server:
        print(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
        await asyncio.get_running_loop().create_future()


async def ours() -> None:
    """Relay as `rtbench serve websocket` does."""
    async with serve_transport("websocket") as url:
        print(url, flush=True)
        await asyncio.get_running_loop().create_future()


def upgraded(url: str, path: str) -> socket.socket:
    """Return a socket after the handshake of RFC 6455 section 4.1."""
    sock = socket.create_connection(("127.0.0.1", urlsplit(url).port or 0))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    key = base64.b64encode(os.urandom(16)).decode()
    sock.sendall(
        f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += sock.recv(1)
    return sock


def turn(which: str, subscribers: int, messages: int) -> float:
    """Return the server's CPU time a delivery in microseconds."""
    command = [sys.executable, __file__, "--be", which]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        sockets = [upgraded(url, "/topic") for _ in range(subscribers)]
        publisher = upgraded(url, "/topic?publish")
        selector = selectors.DefaultSelector()
        for sock in sockets:
            selector.register(sock, selectors.EVENT_READ)
        server = psutil.Process(process.pid)
        frame = bytes([0x82, 0x80 | len(PAYLOAD)]) + bytes(4) + PAYLOAD  # masked with zeros: RFC 6455 section 5.3
        for number in range(messages + 20):
            if number == 20:  # what comes before warms the server up
                before_ns = cpu_ns(server)
            publisher.sendall(frame)
            missing = subscribers * FRAME_BYTES
            while missing:
                for key, _ in selector.select(timeout=5):
                    missing -= len(key.fileobj.recv(65536))  # type: ignore[union-attr]
            time.sleep(0.002)  # the server goes to sleep between two messages, as it does at a moderate rate
        used_ns = cpu_ns(server) - before_ns
        process.kill()
        for sock in [*sockets, publisher]:
            sock.close()
    return used_ns / 1000 / subscribers / messages


def main() -> None:
    """Measure in turns and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--be", choices=("ours", "bare"), help=argparse.SUPPRESS)
    parser.add_argument("--subscribers", type=int, default=200)
    parser.add_argument("--messages", type=int, default=200)
    parser.add_argument("--turns", type=int, default=7)
    arguments = parser.parse_args()
    if arguments.be:
        asyncio.run(ours() if arguments.be == "ours" else bare())
        return
    pairs = []
    for number in range(arguments.turns):
        order = ("ours", "bare") if number % 2 else ("bare", "ours")
        took = {which: turn(which, arguments.subscribers, arguments.messages) for which in order}
        pairs.append((took["ours"], took["bare"]))
    for name, values in zip(("rtbench", "bare broadcast"), zip(*pairs, strict=True), strict=True):
        print(f"{name:<15} {statistics.median(values):6.2f} us a delivery  ({min(values):.2f} to {max(values):.2f})")
    ratio = statistics.median(a / b for a, b in pairs)
    print(f"ratio {ratio:.2f}, at most {TARGET} wanted")


if __name__ == "__main__":
    main()
