"""What recording costs: CPU time of a subscriber process a delivery, rtbench's client beside its library alone.

    python benchmarks/recording.py

One server (embedded) and one publisher, each a process of its own, send one message at a time to all subscribers. Two
subscriber processes take turns: one that only counts what its library gives it, and one that is a subscriber of
rtbench: kernel stamps, every delivery with its time, checked and kept. What is printed are medians over the turns, and
the median of the differences of neighbouring turns.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from urllib.parse import urlsplit

import aiomqtt
import websockets

from rtbench import payload, serving, transport
from rtbench.generator import Part, Received, record_deliveries
from rtbench.meter import Meter

TARGET_US = 2.0
TOPIC = "t"
SIZE = 100


async def counted(name: str, url: str, stack: AsyncExitStack) -> AsyncIterator[object]:
    """Return what a library gives to a subscriber that uses nothing else."""
    if name == "websocket":
        return aiter(await stack.enter_async_context(websockets.connect(f"{url}/{TOPIC}", compression=None)))
    address = urlsplit(url)
    client = await stack.enter_async_context(aiomqtt.Client(address.hostname or "", address.port or 0))
    await client.subscribe(TOPIC)
    return aiter(client.messages)


async def count(stream: AsyncIterator[object], wanted: int) -> None:
    """Take as many messages as are wanted."""
    taken = 0
    async for _ in stream:
        taken += 1
        if taken == wanted:
            return


async def subscribe(name: str, url: str, subscribers: int, messages: int, recording: bool) -> int:
    """Receive all messages on all subscriptions; return the CPU time from the first to the last, nanoseconds."""
    async with AsyncExitStack() as stack:
        work = []
        record = Received()
        if recording:
            client, meter = transport.client(name), Meter()
            part = Part(("", 0), "", name, "", {}, [], SIZE, 0.0, "", canaries=[0] * subscribers)
            for i in range(subscribers):
                connection = await stack.enter_async_context(client.connect(url, meter))
                stream = await connection.subscribe(TOPIC)
                work.append(record_deliveries(i, stream, part, record, asyncio.Event()))
        else:
            work = [count(await counted(name, url, stack), messages) for _ in range(subscribers)]
        tasks = [asyncio.create_task(w) for w in work]
        print("ready", flush=True)
        began_ns = time.process_time_ns()
        while not all(task.done() for task in tasks) and len(record.received_ns) < messages * subscribers:
            await asyncio.sleep(0.05)
        spent_ns = time.process_time_ns() - began_ns
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return spent_ns


async def publish(name: str, url: str, messages: int, pause_s: float) -> None:
    """Send one message at a time."""
    async with transport.client(name).connect(url, Meter()) as connection:
        for n in range(messages):
            await connection.publish(TOPIC, payload.build(0, n, 0, SIZE))
            await asyncio.sleep(pause_s)


async def turn(name: str, url: str, recording: bool, given: argparse.Namespace) -> float:
    """Return the subscriber's CPU time a delivery in one turn, microseconds."""
    numbers = map(str, (given.subscribers, given.messages, int(recording)))
    process = subprocess.Popen(
        [sys.executable, __file__, "--as-subscriber", name, url, *numbers], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    await publish(name, url, given.messages, given.pause)
    spent_ns = int(process.stdout.readline())
    process.wait()
    return spent_ns / 1e3 / float(given.messages * given.subscribers)


async def compare(name: str, given: argparse.Namespace) -> bool:
    """Print the figures of one transport; return whether the target is met."""
    async with serving.server_process(name, "embedded") as server:
        alone, recorded = [], []
        for _ in range(given.turns):
            alone.append(await turn(name, server.url, False, given))
            recorded.append(await turn(name, server.url, True, given))
    cost = statistics.median(b - a for a, b in zip(alone, recorded, strict=True))
    print(
        f"{name:<10} library alone {statistics.median(alone):5.1f} us a delivery, "
        f"recorded {statistics.median(recorded):5.1f} us; recording costs {cost:4.1f} us (target {TARGET_US:g})"
    )
    return cost <= TARGET_US


def main() -> int:
    """Compare the transports whose library can be used alone."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subscribers", type=int, default=10)
    parser.add_argument("--messages", type=int, default=1000, help="a turn")
    parser.add_argument("--pause", type=float, default=0.002, help="seconds between two messages")
    parser.add_argument("--turns", type=int, default=7)
    given = parser.parse_args()
    met = [asyncio.run(compare(name, given)) for name in ("websocket", "mqtt")]
    return 0 if all(met) else 3


if __name__ == "__main__":
    if sys.argv[1:2] == ["--as-subscriber"]:
        name, url, subscribers, messages, recording = sys.argv[2:]
        with suppress(KeyboardInterrupt):
            print(asyncio.run(subscribe(name, url, int(subscribers), int(messages), recording == "1")), flush=True)
    else:
        sys.exit(main())
