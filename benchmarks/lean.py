"""What the lean clients cost: CPU time a delivery, growth with the subscribers, and 10,000 connections in one process.

    python benchmarks/lean.py                           our clients only
    python benchmarks/lean.py --tcpkali PATH            beside tcpkali, a load generator in C that records nothing

Where they are installed, Tsung (Erlang) reads the same messages, nginx with nchan serves SSE as mosquitto serves MQTT,
and sockperf (C) measures the bare way over loopback. `epoll and recvmsg` is the least that a program in Python can do:
it reads with the stamps of the kernel, and keeps nothing.

The machine should be idle. Printed are medians over trials, each with fresh processes; every delivery is recorded.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import psutil

import rtbench
from rtbench.errors import UsageError
from rtbench.system import memory
from rtbench.system.direct import new_loop
from rtbench.system.meter import Meter
from rtbench.system.room import all_open_files
from rtbench.transports import registry
from rtbench.trial.server_process import server_process
from rtbench.wire import mqtt

SUBSCRIBERS, RATE_HZ, SECONDS, TRIALS = 500, 20, 4, 3
TOPIC = "fan-out/0"
CONNECTING_AT_ONCE = 50
TSUNG = """<?xml version="1.0"?>
<!DOCTYPE tsung SYSTEM "/usr/share/tsung/tsung-1.0.dtd">
<tsung loglevel="emergency" version="1.0">
  <clients><client host="localhost" use_controller_vm="true" maxusers="2000"/></clients>
  <servers><server host="127.0.0.1" port="{port}" type="tcp"/></servers>
  <load><arrivalphase phase="1" duration="5" unit="second">
    <users maxnumber="{users}" arrivalrate="250" unit="second"/>
  </arrivalphase></load>
  <sessions><session name="subscriber" probability="100" type="ts_mqtt">
    <request><mqtt type="connect" clean_start="true" keepalive="600"></mqtt></request>
    <request><mqtt type="subscribe" topic="{topic}" qos="0"></mqtt></request>
    <request><mqtt type="waitForMessages" timeout="60"></mqtt></request>
  </session></sessions>
</tsung>
"""

LEAST = """
import select, socket, sys
port, count, first = int(sys.argv[1]), int(sys.argv[2]), open(sys.argv[3], "rb").read()
epoll, read = select.epoll(), {}
for _ in range(count):
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setsockopt(socket.SOL_SOCKET, 35, 1)  # SO_TIMESTAMPNS
    sock.sendall(first)
    epoll.register(sock, select.EPOLLIN)
    read[sock.fileno()] = sock.recvmsg
while True:
    for descriptor, _ in epoll.poll(None, count):
        read[descriptor](65536, 32)
"""


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


def least_us() -> float:
    """Return the same of the least program in Python, which reads from mosquitto."""

    def command(directory: Path, port: int) -> list[str]:
        return [sys.executable, "-c", LEAST, str(port), str(SUBSCRIBERS), str(_first_message(directory))]

    return _of_another_us(command)


def _first_message(directory: Path) -> Path:
    file = directory / "first"
    file.write_bytes(mqtt.encode(mqtt.Connect("", True, 600)) + mqtt.encode(mqtt.Subscribe(1, ((TOPIC, 0),))))
    return file


def tcpkali_us(program: str) -> float:
    """Return the same of tcpkali, which reads from mosquitto; its idle ticks are part of it, as ours are."""
    much = ["-w", "1", "-c", str(SUBSCRIBERS), "--connect-rate", "2000", "--nagle", "off"]

    def command(directory: Path, port: int) -> list[str]:
        how = ["--first-message-file", str(_first_message(directory)), "-T", f"{SECONDS + 20}", f"127.0.0.1:{port}"]
        return [program, *much, *how]

    return _of_another_us(command)


def tsung_us(program: str) -> float:
    """Return the same of Tsung."""

    def command(directory: Path, port: int) -> list[str]:
        (directory / "tsung.xml").write_text(TSUNG.format(port=port, users=SUBSCRIBERS, topic=TOPIC))
        return [program, "-f", str(directory / "tsung.xml"), "-l", str(directory), "start"]

    return _of_another_us(command)


def _of_another_us(command: Callable[[Path, int], list[str]]) -> float:
    """Return the CPU time that a program needs for a delivery from mosquitto, its child processes included."""
    costs = []
    with tempfile.TemporaryDirectory() as parent, socket.create_server(("127.0.0.1", 0)) as free:
        directory, port = Path(parent), free.getsockname()[1]
        free.close()
        config = directory / "mosquitto.conf"
        config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\n")
        mosquitto = shutil.which("mosquitto", path="/usr/sbin:/usr/bin") or "mosquitto"
        broker = subprocess.Popen([mosquitto, "-c", str(config)], stderr=subprocess.DEVNULL)
        time.sleep(0.5)
        for _ in range(TRIALS):
            costs.append(_one_us(command(directory, port), port, psutil.Process(broker.pid)))
        broker.terminate()
        broker.wait()
    return statistics.median(costs)


def _one_us(command: list[str], port: int, broker: psutil.Process) -> float:
    running = psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while sum(c.status == psutil.CONN_ESTABLISHED for c in broker.net_connections()) < SUBSCRIBERS:
        time.sleep(0.1)
    time.sleep(1)  # until all have subscribed
    processes = [running, *running.children(recursive=True)]
    with socket.create_connection(("127.0.0.1", port)) as publisher:
        publisher.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        publisher.sendall(mqtt.encode(mqtt.Connect("", True, 0)))
        publisher.recv(4)
        packet, before, due = mqtt.encode(mqtt.Publish(TOPIC, b"x" * 100)), _cpu_ns(processes), time.monotonic()
        for _ in range(SECONDS * RATE_HZ):
            due += 1 / RATE_HZ
            time.sleep(max(due - time.monotonic(), 0))
            publisher.sendall(packet)
        time.sleep(0.2)
        spent_ns = _cpu_ns(processes) - before
    for process in processes:
        process.kill()
    running.wait()
    while any(c.status == psutil.CONN_ESTABLISHED for c in broker.net_connections()):
        time.sleep(0.1)
    return spent_ns / (SECONDS * RATE_HZ * SUBSCRIBERS) / 1e3


def _cpu_ns(processes: list[psutil.Process]) -> int:
    """Return the CPU time of processes so far (clock_getcpuclockid(3))."""
    return sum(time.clock_gettime_ns(((~process.pid) << 3) | 2) for process in processes)


def one_way_us(program: str) -> float:
    """Return the median time of 100 bytes from one process in C to another over loopback, at the usual rate."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        to = ["--tcp", "-i", "127.0.0.1", "-p", str(free.getsockname()[1])]
    server = subprocess.Popen([program, "server", *to], stdout=subprocess.DEVNULL)
    time.sleep(0.5)
    client = [program, "ping-pong", *to, "-m", "100", "--mps", "50", "-t", "5"]
    said = subprocess.run(client, check=True, capture_output=True, text=True).stdout
    server.kill()
    server.wait()
    match = re.search(r"percentile 50\.000 = *([0-9.]+)", said)
    assert match is not None, said
    return float(match[1])


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
        took_s, ours_mb = time.monotonic() - began, ours.memory_info().rss / 2**20
        each = (process.memory_info().rss - before) / connections / 1024
        publisher: Any = await stack.enter_async_context(client.connect(server.url, meter))  # type: ignore[misc]
        await publisher.publish("topic", b"x" * 100)
        end = time.monotonic() + 30
        while heard < connections and time.monotonic() < end:
            await asyncio.sleep(0.01)
    return f"{took_s:.1f} s, {ours_mb:.0f} MB here, {each:.2f} kB a connection at the server, {heard:,} heard a message"


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
    theirs = least_us()
    print(f"  epoll and recvmsg in Python     {theirs:5.1f} us: lean is {base / theirs:.2f} times that")
    if program:
        theirs = tcpkali_us(program)
        print(f"  tcpkali                         {theirs:5.1f} us: lean is {base / theirs:.2f} times that")
    if tsung := shutil.which("tsung"):
        theirs = tsung_us(tsung)
        print(f"  Tsung                           {theirs:5.1f} us: lean is {base / theirs:.2f} times that")
    for client in ("websocket embedded", "sse embedded", "sse nchan", "long-polling embedded"):
        transport, server = client.split()
        with suppress(UsageError):  # nginx or nchan is not installed
            cost = cost_us(transport, "lean", server=server)
            print(f"  {f'{transport} ({server}, lean)':31} {cost:5.1f} us: {cost / base:.2f} times MQTT")
    if sockperf := shutil.which("sockperf"):
        bare, one = one_way_us(sockperf), {"subscribers": 1, "repeat": False, "progress": False, "duration": 2}
        print(f"one way over loopback, sockperf: {bare:.0f} us; `arrived`, median, at one subscriber:")
        for transport, more in (("tcp", {}), ("mqtt", {"qos": 0, "server": "mosquitto"})):
            (row,) = rtbench.run(transport, client="lean", trials=TRIALS, **one, **more).summary  # type: ignore[arg-type]
            arrived, lag = 1e3 * row["arrived_p50_ms"], 1e3 * row["lag_mean_ms"]
            print(f"  {transport:5} {arrived:.0f} us, {arrived / bare:.1f} times that, {lag:.0f} us of it lag")
    print("growth with the subscribers (mqtt-qos0, embedded), 10,000 deliveries a second")
    for subscribers in (10, 100, 1000, 10_000):
        cost = cost_us("mqtt", "lean", subscribers, 10_000 / subscribers, qos=0)
        print(f"  {subscribers:>6,}: {cost:.1f} us")
    print("10,000 subscribers in one process")
    all_open_files()
    memory.prepare()
    for transport in ("mqtt", "websocket", "sse", "long-polling", "tcp"):
        with asyncio.Runner(loop_factory=new_loop) as runner:
            print(f"  {transport:13} {runner.run(many(transport, 10_000))}")
        gc.collect()  # sockets of the last one, which are open as long as Python keeps them


if __name__ == "__main__":
    main()
