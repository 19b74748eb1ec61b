"""What the lean clients cost: CPU time a delivery, growth with the subscribers, and 10,000 connections in one process.

    python benchmarks/lean.py                           our clients only
    python benchmarks/lean.py --tcpkali PATH            beside tcpkali, a load generator in C that records nothing

The machine should be idle. Printed are medians over trials, each with fresh processes; every delivery is recorded.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import psutil

import rtbench
from rtbench.system.direct import new_loop
from rtbench.system.meter import Meter
from rtbench.system.room import all_open_files
from rtbench.transports import registry
from rtbench.trial.server_process import server_process
from rtbench.wire import mqtt

SUBSCRIBERS, RATE_HZ, SECONDS, TRIALS = 500, 20, 4, 3
TOPIC = "fan-out/0"
CONNECTING_AT_ONCE = 50


def cost_us(
    transport: str, client: str, subscribers: int = SUBSCRIBERS, rate_hz: float = RATE_HZ, **more: Any
) -> float:
    """Return the CPU time of the subscriber process for a delivery, microseconds."""
    result = rtbench.run(
        transport,
        client=client,
        subscribers=subscribers,
        rate=rate_hz,
        duration=SECONDS,
        trials=TRIALS,
        repeat=False,
        progress=False,
        **more,
    )
    (row,) = result.summary
    return float(row["client_cpu_us_per_delivery"])


def tcpkali_us(program: str) -> float:
    """Return the same of tcpkali, which reads from mosquitto; its idle ticks are part of it, as ours are."""
    costs = []
    with tempfile.TemporaryDirectory() as directory, socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
        free.close()
        config, first = Path(directory, "mosquitto.conf"), Path(directory, "first")
        config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\n")
        subscribe = mqtt.Subscribe(1, ((TOPIC, 0),))
        first.write_bytes(mqtt.encode(mqtt.Connect("", True, 600)) + mqtt.encode(subscribe))
        broker = subprocess.Popen(
            [shutil.which("mosquitto", path="/usr/sbin:/usr/bin") or "mosquitto", "-c", str(config)],
            stderr=subprocess.DEVNULL,
        )
        time.sleep(0.5)
        for _ in range(TRIALS):
            costs.append(_one_tcpkali_us(program, port, str(first)))
        broker.terminate()
        broker.wait()
    return statistics.median(costs)


def _one_tcpkali_us(program: str, port: int, first: str) -> float:
    much = ["-w", "1", "-c", str(SUBSCRIBERS), "--connect-rate", "2000", "--nagle", "off"]
    how = ["--first-message-file", first, "-T", f"{SECONDS + 6}", f"127.0.0.1:{port}"]
    running = subprocess.Popen([program, *much, *how], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(3)
    with socket.create_connection(("127.0.0.1", port)) as publisher:
        publisher.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        publisher.sendall(mqtt.encode(mqtt.Connect("", True, 0)))
        publisher.recv(4)
        packet, clock = mqtt.encode(mqtt.Publish(TOPIC, b"x" * 100)), ((~running.pid) << 3) | 2
        before, due = time.clock_gettime_ns(clock), time.monotonic()
        for _ in range(SECONDS * RATE_HZ):
            due += 1 / RATE_HZ
            time.sleep(max(due - time.monotonic(), 0))
            publisher.sendall(packet)
        time.sleep(0.2)
        spent_ns = time.clock_gettime_ns(clock) - before
    running.kill()
    running.wait()
    return spent_ns / (SECONDS * RATE_HZ * SUBSCRIBERS) / 1e3


async def many(transport: str, connections: int) -> str:
    """Hold many subscribers in this process; return what that took, and whether all hear a message."""
    client, meter, heard = registry.client(transport, "lean"), Meter(), 0
    limit = asyncio.Semaphore(CONNECTING_AT_ONCE)

    def deliver(*_: Any) -> None:
        nonlocal heard
        heard += 1

    async with server_process(transport, "embedded") as server, AsyncExitStack() as stack:
        process, ours = psutil.Process(server.pid), psutil.Process()
        before, began = process.memory_info().rss, time.monotonic()

        async def subscribe() -> None:
            async with limit:
                connection: Any = await stack.enter_async_context(client.connect(server.url, meter))  # type: ignore[misc]
                await connection.receive("topic", deliver, print)

        await asyncio.gather(*(subscribe() for _ in range(connections)))
        took_s, memory = time.monotonic() - began, ours.memory_info().rss / 2**20
        each = (process.memory_info().rss - before) / connections / 1024
        publisher: Any = await stack.enter_async_context(client.connect(server.url, meter))  # type: ignore[misc]
        await publisher.publish("topic", b"x" * 100)
        end = time.monotonic() + 30
        while heard < connections and time.monotonic() < end:
            await asyncio.sleep(0.01)
    return f"{took_s:.1f} s, {memory:.0f} MB here, {each:.2f} kB a connection at the server, {heard:,} heard a message"


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tcpkali", metavar="PATH", help="the program, if it is here")
    program = parser.parse_args().tcpkali
    print(f"CPU of the subscribers a delivery, {SUBSCRIBERS} subscribers, {RATE_HZ} messages a second of 100 bytes")
    base = cost_us("mqtt", "lean", qos=0, server="mosquitto")
    print(f"  mqtt-qos0 (mosquitto, lean)     {base:5.1f} us")
    library = cost_us("mqtt", "library", qos=0, server="mosquitto")
    print(f"  mqtt-qos0 (mosquitto, library)  {library:5.1f} us: lean is {base / library:.2f} times that")
    if program:
        theirs = tcpkali_us(program)
        print(f"  tcpkali                         {theirs:5.1f} us: lean is {base / theirs:.2f} times that")
    for transport in ("websocket", "sse", "long-polling"):
        cost = cost_us(transport, "lean")
        print(f"  {transport + ' (lean)':31} {cost:5.1f} us: {cost / base:.2f} times MQTT")
    print("growth with the subscribers (mqtt-qos0, embedded), 10,000 deliveries a second")
    for subscribers in (10, 100, 1000, 10_000):
        cost = cost_us("mqtt", "lean", subscribers, 10_000 / subscribers, qos=0)
        print(f"  {subscribers:>6,}: {cost:.1f} us")
    print("10,000 subscribers in one process")
    all_open_files()
    for transport in ("mqtt", "websocket", "sse", "long-polling", "tcp"):
        with asyncio.Runner(loop_factory=new_loop) as runner:
            print(f"  {transport:13} {runner.run(many(transport, 10_000))}")


if __name__ == "__main__":
    main()
