"""Server CPU of one delivery: the embedded MQTT broker beside mosquitto, in one run on one machine.

    python benchmarks/broker.py

Each broker is a process of its own, with as many subscribers, all held by this process. One message at a time
goes to all of them, at a rate that neither broker finds hard; the brokers take turns, in changing order. What is
printed are medians over the turns, and the median of the ratios of neighbouring turns. Linux only: it reads the
CPU clock of another process.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import selectors
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from rtbench.transports import registry
from rtbench.wire import mqtt

TARGETS = {0: 2.0, 2: 4.0}  # by QoS: times mosquitto's CPU time a delivery, at most
PAYLOAD = b"x" * 100
GIVE_UP = 5.0  # seconds
MOSQUITTO = """\
listener {port} 127.0.0.1
allow_anonymous true
set_tcp_nodelay true
max_inflight_messages 20
max_queued_messages 1000000
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


async def embedded(port: int) -> None:
    """Be the embedded broker, until SIGTERM."""
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    listener = socket.create_server(("127.0.0.1", port))
    async with registry.server("mqtt").serve(listener):
        await stopped.wait()


@contextlib.contextmanager
def running(command: list[str], port: int) -> Iterator[int]:
    """Run a broker, and yield its process id once it answers."""
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.05)
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def cpu_ns(pid: int) -> int:
    """CPU time of a process in ns: clock_getcpuclockid(3), whose id is this arithmetic on Linux."""
    return time.clock_gettime_ns((~pid << 3) | 2)


class Client:
    """A connection that answers at once what MQTT wants answered, and counts."""

    def __init__(self, port: int, name: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.name = name
        self.reader = mqtt.Reader()
        self.finished = 0  # messages received, and at QoS 2 released
        self.acknowledged = 0  # answers other than messages
        self.socket.sendall(mqtt.encode(mqtt.Connect(name)))

    def read(self) -> None:
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionResetError(f"the broker on port {self.socket.getpeername()[1]} closed {self.name}")
        for first, body in self.reader.feed(data):
            if first == 0x30:
                self.finished += 1
            elif first == 0x34:
                at = 2 + (body[0] << 8 | body[1])
                self.socket.sendall(b"\x50\x02" + body[at : at + 2])
            elif first == 0x62:
                self.finished += 1
                self.socket.sendall(b"\x70\x02" + body)
            elif first == 0x50:
                self.socket.sendall(b"\x62\x02" + body)
            else:
                self.acknowledged += 1


class Load:
    """The subscribers of one broker, and the publisher."""

    def __init__(self, port: int, subscribers: int) -> None:
        self.selector = selectors.DefaultSelector()
        self.clients = [Client(port, f"subscriber-{n}") for n in range(subscribers)]
        self.publisher = Client(port, "publisher")
        for client in (*self.clients, self.publisher):
            self.selector.register(client.socket, selectors.EVENT_READ, client)
        for client in self.clients:
            wanted = mqtt.Subscribe(1, tuple((f"bench/{qos}", qos) for qos in TARGETS))
            client.socket.sendall(mqtt.encode(wanted))
        self.answer_while(lambda: any(client.acknowledged < 2 for client in self.clients))

    def answer_until(self, moment: float) -> None:
        """Answer the broker until a moment of time.perf_counter()."""
        while (wait := moment - time.perf_counter()) > 0:
            self._answer(wait)

    def answer_while(self, missing: Callable[[], bool]) -> None:
        """Answer the broker while something is missing."""
        while missing():
            self._answer(GIVE_UP)

    def _answer(self, wait: float) -> None:
        ready = self.selector.select(wait)
        if not ready and wait >= GIVE_UP:
            raise TimeoutError("a broker has fallen silent")
        for key, _ in ready:
            key.data.read()

    def finished(self) -> int:
        return sum(client.finished for client in self.clients)

    def run(self, qos: int, messages: int, rate: float) -> int:
        """Publish, and return the number of deliveries once all are finished."""
        before = self.finished()
        expected = messages * len(self.clients)
        due = time.perf_counter()
        for number in range(messages):
            self.answer_until(due)
            packet = mqtt.Publish(f"bench/{qos}", PAYLOAD, qos, packet_id=number + 1 if qos else None)
            self.publisher.socket.sendall(mqtt.encode(packet))
            due += 1 / rate
        self.answer_while(lambda: self.finished() - before < expected)
        self.answer_until(time.perf_counter() + 0.1)  # the last PUBCOMP are still on their way
        assert self.finished() - before == expected
        return expected


def measure(args: argparse.Namespace, pids: dict[str, int], ports: dict[str, int]) -> bool:
    """Print what a delivery costs, and return whether the targets hold."""
    loads = {name: Load(port, args.subscribers) for name, port in ports.items()}
    held = True
    for qos, target in TARGETS.items():
        for load in loads.values():
            load.run(qos, 3, args.rate)  # warm-up
        costs: dict[str, list[float]] = {name: [] for name in loads}
        for repeat in range(args.repeats):
            for name in list(loads)[:: 1 if repeat % 2 else -1]:
                start = cpu_ns(pids[name])
                deliveries = loads[name].run(qos, args.messages, args.rate)
                costs[name].append((cpu_ns(pids[name]) - start) / 1000 / deliveries)
        ratios = [ours / theirs for ours, theirs in zip(*costs.values(), strict=True)]
        ratio = statistics.median(ratios)
        held = held and ratio <= target
        costs_us = ", ".join(f"{name} {statistics.median(values):.1f} us" for name, values in costs.items())
        print(
            f"QoS {qos}, {args.subscribers} subscribers: {costs_us} a delivery; ratio {ratio:.2f} "
            f"({min(ratios):.2f} to {max(ratios):.2f}), at most {target:.0f} wanted",
            flush=True,
        )
    return held


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--subscribers", type=int, default=500)
    parser.add_argument("--messages", type=int, default=15, help="in one turn of one broker")
    parser.add_argument("--rate", type=float, default=5.0, help="messages a second")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--embedded", type=int, metavar="PORT", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.embedded:
        asyncio.run(embedded(args.embedded))
        return 0
    mosquitto = shutil.which("mosquitto")
    if mosquitto is None:
        print("mosquitto is not on PATH", file=sys.stderr)
        return 2
    ports = {"embedded": free_port(), "mosquitto": free_port()}
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        config = Path(folder) / "mosquitto.conf"
        config.write_text(MOSQUITTO.format(port=ports["mosquitto"]))
        commands = {
            "embedded": [sys.executable, __file__, "--embedded", str(ports["embedded"])],
            "mosquitto": [mosquitto, "-c", str(config)],
        }
        pids = {name: stack.enter_context(running(commands[name], ports[name])) for name in ports}
        return 0 if measure(args, pids, ports) else 3


if __name__ == "__main__":
    sys.exit(main())
