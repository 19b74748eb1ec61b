"""What a waiting connection costs our servers, beside the least that a server of the same library can do.

    python benchmarks/server_memory.py [--connections 5000]

Each server is a process of its own. Every connection asks for a stream (or long-polls, or becomes a WebSocket), and
waits. Printed is how much the resident memory grew, for each connection.
"""

from __future__ import annotations

import argparse
import re
import socket
import subprocess
import sys

import psutil

from rtbench.system.room import all_open_files

FIRST = 200  # connections before the first reading: what a library loads at the first use is not of a connection
SSE = "GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: text/event-stream\r\n\r\n"
LONG_POLL = "GET {path} HTTP/1.1\r\nHost: {host}\r\nPrefer: wait=600\r\n\r\n"
WEBSOCKET = (
    "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
AIOHTTP = """
import asyncio
from aiohttp import web
from rtbench.system.room import all_open_files
all_open_files()
async def sse(request):
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    await asyncio.Event().wait()
async def long_poll(request):
    await asyncio.Event().wait()
async def main():
    app = web.Application()
    app.router.add_get("/sse", sse)
    app.router.add_get("/long-polling", long_poll)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=4096)
    await site.start()
    print("http://127.0.0.1:%d" % runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""
WEBSOCKETS = """
import asyncio
from websockets.asyncio.server import serve
from rtbench.system.room import all_open_files
all_open_files()
async def main():
    wait = lambda connection: connection.wait_closed()
    async with serve(wait, "127.0.0.1", 0, compression=None, ping_interval=None, backlog=4096) as server:
        print("ws://127.0.0.1:%d" % server.sockets[0].getsockname()[1], flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""


def each_kb(command: list[str], path: str, request: str, connections: int) -> float:
    """Return by how much the memory of a server grows with each connection, kB."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        port = next(int(match[1]) for line in server.stdout if (match := re.search(r"://127\.0\.0\.1:(\d+)", line)))
        process, asked = psutil.Process(server.pid), request.format(path=path, host=f"127.0.0.1:{port}")
        opened: list[socket.socket] = []
        sizes = []
        for number in (FIRST, connections):
            opened += [_waiting(port, asked) for _ in range(number)]
            _until_idle(process)
            sizes.append(process.memory_info().rss)
        server.kill()
    for sock in opened:
        sock.close()
    return (sizes[1] - sizes[0]) / connections / 1024


def _waiting(port: int, request: str) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port))
    sock.sendall(request.encode())
    if "Prefer" not in request:
        sock.recv(4096)  # the head of the answer
    return sock


def _until_idle(process: psutil.Process) -> None:
    while process.cpu_percent(interval=0.3) > 5:
        pass


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=5000)
    connections = parser.parse_args().connections
    all_open_files()
    for transport, library, request in (
        ("sse", AIOHTTP, SSE),
        ("long-polling", AIOHTTP, LONG_POLL),
        ("websocket", WEBSOCKETS, WEBSOCKET),
    ):
        serve = "from rtbench.cli import main; main()"
        ours = each_kb([sys.executable, "-c", serve, "serve", transport, "--port", "0"], "/topic", request, connections)
        bare = each_kb([sys.executable, "-c", library], f"/{transport}", request, connections)
        print(f"{transport:13} {ours:5.1f} kB a connection, the library by itself {bare:5.1f}: {ours / bare:.2f} times")


if __name__ == "__main__":
    main()
