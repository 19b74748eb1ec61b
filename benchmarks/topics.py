"""Server CPU of one message against the number of filters, of topics and of levels: embedded broker and mosquitto.

    python benchmarks/topics.py [--most 100000]

A few connections hold filters that match no message (`devices/N/+/temperature` and so on), one subscriber has the topic
of the messages. What is printed is the CPU time of the broker for one message, published and delivered once at QoS 0,
with the topics of a fleet of devices: `devices/ID/state/temperature`. Linux only.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from broker import MOSQUITTO, free_port, running  # type: ignore[import-not-found]

from rtbench.wire import mqtt

MESSAGES, TURNS = 2000, 5
PATTERNS = {
    "exact": "devices/{}/state/voltage",
    "+": "devices/{}/+/voltage",
    "#": "fleet/{}/#",
    "+ first": "+/{}/state/voltage",
}
A_CLIENT, A_PACKET = 4000, 500  # filters: more than the embedded broker keeps for one client would be refused


def client(port: int) -> socket.socket:
    """Return a connected client."""
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.sendall(mqtt.encode(mqtt.Connect("", True, 0)))
    sock.recv(4)
    return sock


def hold(port: int, filters: Sequence[str]) -> Iterator[socket.socket]:
    """Subscribe to all of these, on as many connections as it takes."""
    for first in range(0, len(filters), A_CLIENT):
        sock = client(port)
        mine = filters[first : first + A_CLIENT]
        for start in range(0, len(mine), A_PACKET):
            some = mine[start : start + A_PACKET]
            sock.sendall(mqtt.encode(mqtt.Subscribe(1, tuple((each, 0) for each in some))))
            reader, codes = mqtt.Reader(), 0
            while codes < len(some):
                for head, body in reader.feed(sock.recv(65536)):
                    packet = mqtt.decode(head, body)
                    assert isinstance(packet, mqtt.Suback)
                    assert set(packet.return_codes) == {0}
                    codes += len(packet.return_codes)
        yield sock


def cost_us(pid: int, port: int, topics: Sequence[str], listen: str) -> float:
    """Return the CPU time of a message, microseconds: the median of some turns."""
    subscriber, publisher = client(port), client(port)
    subscriber.sendall(mqtt.encode(mqtt.Subscribe(1, ((listen, 0),))))
    subscriber.recv(5)
    clock, found = ((~pid) << 3) | 2, []
    packets = itertools.cycle([mqtt.encode(mqtt.Publish(topic, b"x" * 100)) for topic in topics])
    for _ in range(TURNS):
        before = time.clock_gettime_ns(clock)
        for packet in itertools.islice(packets, MESSAGES):
            publisher.sendall(packet)
            left = len(packet)
            while left:
                left -= len(subscriber.recv(left))
        found.append((time.clock_gettime_ns(clock) - before) / MESSAGES / 1e3)
    subscriber.close()
    publisher.close()
    return statistics.median(found)


def brokers(directory: str) -> dict[str, tuple[list[str], int]]:
    """Return the commands and ports of the brokers that are here."""
    ours, theirs = free_port(), free_port()
    found = {"embedded": ([sys.executable, str(Path(__file__).with_name("broker.py")), "--embedded", str(ours)], ours)}
    if program := shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin"):
        config = Path(directory, "mosquitto.conf")
        config.write_text(MOSQUITTO.format(port=theirs))
        found["mosquitto"] = ([program, "-c", str(config)], theirs)
    return found


def main() -> None:
    """Print a table for each question."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--most", type=int, default=100_000, help="filters, and topics")
    most = parser.parse_args().most
    numbers = [10**power for power in range(1, 7) if 10**power <= most]
    topic = "devices/5/state/temperature"
    with tempfile.TemporaryDirectory() as directory:
        for name, (command, port) in brokers(directory).items():
            print(f"{name}, us of CPU a message")
            for pattern, text in PATTERNS.items():
                costs = []
                for number in numbers:
                    with running(command, port) as pid:
                        held = list(hold(port, [text.format(i) for i in range(number)]))
                        costs.append(f"{number:,}: {cost_us(pid, port, [topic], topic):.1f}")
                        for sock in held:
                            sock.close()
                print(f"  filters {pattern:8} {'   '.join(costs)}")
            costs = []
            for number in (n for n in numbers if n <= MESSAGES * TURNS):
                with running(command, port) as pid:
                    topics = [f"devices/{i}/state/temperature" for i in range(number)]
                    costs.append(f"{number:,}: {cost_us(pid, port, topics, 'devices/+/state/temperature'):.1f}")
            print(f"  topics           {'   '.join(costs)}")
            costs = []
            for depth in (1, 2, 4, 8, 16):
                with running(command, port) as pid:
                    deep = "/".join(f"level{i}" for i in range(depth))
                    others = ["/".join([*deep.split("/")[:-1], f"other{i}"]) for i in range(1000)]
                    held = list(hold(port, others))
                    costs.append(f"{depth}: {cost_us(pid, port, [deep], deep):.1f}")
                    for sock in held:
                        sock.close()
            print(f"  levels           {'   '.join(costs)}")


if __name__ == "__main__":
    main()
