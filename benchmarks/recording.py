"""What recording costs: CPU time of a subscriber a delivery, rtbench's client beside its library alone.

    python benchmarks/recording.py

Two parts, and their sum:

- the stamp: a read that brings the kernel's receive stamp beside one that does not, of one message on a connection;
- the record: a subscriber process that takes many messages which wait for it already, once only counting what its
  library gives it, once as a subscriber of rtbench: each delivery with its time, checked and kept. They take turns.

The two are measured apart because a process that wakes for each message spends several times as much in the kernel,
and how much depends on TCP's acknowledgements, not on recording. Medians over the turns are printed. paho reads each
message by itself, so for MQTT the record has the stamp in it already.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from urllib.parse import urlsplit

import aiomqtt
import websockets

from rtbench.plan import payload
from rtbench.system import memory
from rtbench.system.meter import Meter, MeteredSocket
from rtbench.transports import Connection, registry
from rtbench.transports.records import SubscriberPlan, SubscriberRecord
from rtbench.trial.server_process import server_process
from rtbench.trial.subscriber import Readiness, record_deliveries

TARGET_US = 2.0
TOPIC = "t"
SIZE = 100


def connection_to(name: str, url: str) -> AbstractAsyncContextManager[Connection]:
    """Return a connection of rtbench's client."""
    connect = registry.client(name).connect
    assert connect is not None
    return connect(url, Meter())


async def counted(name: str, url: str, stack: AsyncExitStack) -> AsyncIterator[object]:
    """Return what a library gives to a subscriber that uses nothing else."""
    if name == "websocket":
        return aiter(
            await stack.enter_async_context(websockets.connect(f"{url}/{TOPIC}", compression=None, max_queue=None))
        )
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


async def subscribe(name: str, url: str, messages: int, recording: bool) -> int:
    """Say that all is open, wait for a line, receive all messages; return the CPU time of that in nanoseconds."""
    async with AsyncExitStack() as stack:
        record = SubscriberRecord()
        if recording:
            connection = await stack.enter_async_context(connection_to(name, url))
            plan = SubscriberPlan(
                name="subscriber-0", control=("", 0), token="", transport=name, client="library", options={},
                subscribers=[0], topics=[TOPIC], probes=[0], expected=messages, payload_bytes=SIZE,
            )  # fmt: skip
            work = record_deliveries(0, await connection.subscribe(TOPIC), plan, record, Readiness(plan.probes))
        else:
            work = count(await counted(name, url, stack), messages)
        print("ready", flush=True)
        sys.stdin.readline()
        began_ns = time.process_time_ns()
        task = asyncio.create_task(work)
        while not task.done() and len(record) < messages:
            await asyncio.sleep(0.01)
        spent_ns = time.process_time_ns() - began_ns
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return spent_ns


async def turn(name: str, url: str, recording: bool, messages: int) -> float:
    """Return the subscriber's CPU time a delivery in one turn, microseconds."""
    command = [sys.executable, __file__, "--as-subscriber", name, url, str(messages), str(int(recording))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        async with connection_to(name, url) as connection:
            for n in range(messages):
                await connection.publish(TOPIC, payload.build(0, n, 0, SIZE))
        out, _ = process.communicate("go\n")
    return int(out) / 1e3 / messages


def read_us(kind: type[socket.socket], reads: int) -> float:
    """Return the CPU time of reading one message, microseconds."""
    with socket.create_server(("127.0.0.1", 0)) as listener, kind(socket.AF_INET, socket.SOCK_STREAM) as reader:
        reader.connect(listener.getsockname())
        if isinstance(reader, MeteredSocket):
            reader.stamp()
        writer, _ = listener.accept()
        spent_ns, message = 0, b"." * SIZE
        with writer:
            for _ in range(reads):
                writer.send(message)
                began_ns = time.thread_time_ns()
                reader.recv(2**18)
                spent_ns += time.thread_time_ns() - began_ns
    return spent_ns / 1e3 / reads


async def compare(name: str, stamp_us: float, given: argparse.Namespace) -> bool:
    """Print what recording costs with one transport; return whether the target is met."""
    async with server_process(name, "embedded", {"capacity": 10**6} if name == "websocket" else {}) as server:
        alone, recorded = [], []
        for _ in range(given.turns):
            alone.append(await turn(name, server.url, False, given.messages))
            recorded.append(await turn(name, server.url, True, given.messages))
    record_us = statistics.median(b - a for a, b in zip(alone, recorded, strict=True))
    print(
        f"{name:<10} library alone {statistics.median(alone):5.1f} us a delivery; the record {record_us:4.2f} us, "
        f"the stamp {stamp_us:4.2f} us; together {record_us + stamp_us:4.2f} us (target {TARGET_US:g})"
    )
    return record_us + stamp_us <= TARGET_US


def main() -> int:
    """Compare the transports whose library can be used alone."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=20_000, help="a turn")
    parser.add_argument("--turns", type=int, default=7)
    given = parser.parse_args()
    memory.prepare()
    turns = [
        (read_us(socket.socket, given.messages), read_us(MeteredSocket, given.messages)) for _ in range(given.turns)
    ]
    stamp_us = statistics.median(stamped - plain for plain, stamped in turns)
    met = [asyncio.run(compare(n, us, given)) for n, us in (("websocket", stamp_us), ("mqtt", 0.0))]
    return 0 if all(met) else 3


if __name__ == "__main__":
    if sys.argv[1:2] == ["--as-subscriber"]:
        name, url, messages, recording = sys.argv[2:]
        print(asyncio.run(subscribe(name, url, int(messages), recording == "1")), flush=True)
    else:
        sys.exit(main())
