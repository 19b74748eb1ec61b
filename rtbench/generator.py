"""The load-generating clients: what the publisher process and the subscriber process of a trial do.

Both are plain functions of a picklable `Part` that return a picklable record, so that they run on any
`concurrent.futures.Executor`. Nothing here imports numpy: a client process starts with every trial.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import time
from array import array
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from struct import Struct, calcsize
from typing import Any, TypeVar

from rtbench import kernel, malloc, payload, transport
from rtbench.errors import Refused
from rtbench.gate import Gate, GateClosed, through
from rtbench.meter import Meter, Wire
from rtbench.pacer import pace
from rtbench.tls import trusting
from rtbench.transport import Connection, Message

FAILED, INDETERMINATE, ACKED = 0, 1, 2
_TICK_S = 0.05  # between two looks at whether all has come
_TICKS_A_REPORT = 5
_CONNECT_AT_ONCE = 50
_DELAYED_ACK_S = 0.045  # Linux delays an acknowledgement by at most 40 ms on a quiet connection (TCP_DELACK_MIN)
_SETTLE_AT_MOST = 4

_DELIVERY = Struct(f"=qqi{payload.HEADER_BYTES}s")  # a row of `Received`
_TIMES_BYTES = calcsize("=qq")

T = TypeVar("T")


@dataclass(frozen=True)
class Part:
    """What one client process does in a trial.

    `topics[i]` is the topic of the i-th connection; `due_ns[i]`, for publishers, its schedule in nanoseconds after the
    start (array of int64); `expected` and `canaries[i]`, for subscribers, are the number of deliveries in all and of
    canaries on the i-th connection.
    """

    gate: tuple[str, int]
    token: str
    transport: str
    client: str
    options: dict[str, Any]
    topics: list[str]
    payload_bytes: int
    patience_s: float
    seed: str
    due_ns: list[array[int]] = field(default_factory=list)
    expected: int = 0
    canaries: list[int] = field(default_factory=list)


@dataclass
class Usage:
    """What the process itself spent between the start and the end of a trial.

    `setup_wire` is from the first SYN to the start, `run_wire` from there to the end, `closing_wire` from there
    until both ends have closed; None without TCP_INFO.
    """

    setup_wire: Wire | None = None
    run_wire: Wire | None = None
    closing_wire: Wire | None = None
    cpu_ns: int = 0
    waiting_ns: int | None = None  # for a core; None where the system does not tell
    requests: int = 0
    empty_requests: int = 0
    requests_on_wire: int = 0  # made while the bytes were counted, as were `batches` and keep-alives: a little longer
    batches: Counter[int] = field(default_factory=Counter)
    keep_alives: int = 0
    keep_alive_bytes: int = 0
    nagle: int = 0
    errors: list[str] = field(default_factory=list)
    realtime_ahead_ns: tuple[int, int] = (0, 0)  # CLOCK_REALTIME less CLOCK_MONOTONIC, at start and end


@dataclass
class Published:
    """A publisher process's record: one entry a message, in order of due time; times of CLOCK_MONOTONIC."""

    publisher: array[int] = field(default_factory=lambda: array("i"))
    sequence: array[int] = field(default_factory=lambda: array("i"))
    due_ns: array[int] = field(default_factory=lambda: array("q"))
    ready_ns: array[int] = field(default_factory=lambda: array("q"))  # what lies before is the generator's own lag
    sent_ns: array[int] = field(default_factory=lambda: array("q"))  # 0: never sent
    done_ns: array[int] = field(default_factory=lambda: array("q"))  # 0: never done
    status: array[int] = field(default_factory=lambda: array("b"))
    usage: Usage = field(default_factory=Usage)


@dataclass
class Received:
    """A subscriber process's record: one row a delivery, in order of arrival, canaries included.

    A row is when it was received (int64, nanoseconds of CLOCK_MONOTONIC), when it had arrived (int64, nanoseconds of
    CLOCK_REALTIME, 0 where that is not known), the subscription (int32), and what the payload begins with
    (HEADER_BYTES, ended with zeros where it is shorter), in native byte order and without gaps.
    """

    rows: bytearray = field(default_factory=bytearray)
    corrupt: list[int] = field(default_factory=list)  # positions of deliveries whose padding or size is wrong
    missed: int = 0  # messages that servers said they had skipped
    usage: Usage = field(default_factory=Usage)

    def __len__(self) -> int:
        """How many deliveries there are."""
        return len(self.rows) // _DELIVERY.size


def publish(part: Part) -> Published:
    """Be the publisher process of a trial."""
    return asyncio.run(_publish(part))


def subscribe(part: Part) -> Received:
    """Be the subscriber process of a trial."""
    return asyncio.run(_subscribe(part))


async def _publish(part: Part) -> Published:
    record = Published()
    async with (
        through(part.gate, part.token, "publish") as gate,
        _open_connections(part, gate, record.usage) as (meter, connections),
    ):
        gate.say(done="url")
        await gate.step("canary")
        await _at_once(
            connection.publish(topic, payload.build(i, payload.CANARY, 0, part.payload_bytes))
            for i, (connection, topic) in enumerate(zip(connections, part.topics, strict=True))
        )
        gate.say(done="canary")
        start_ns = int((await gate.step("go"))["at_ns"])
        async with _spending(meter, record.usage):
            await _obeying(gate, _follow_schedule(part, gate, connections, start_ns, record))
    return record


async def _follow_schedule(
    part: Part, gate: Gate, connections: list[Connection], start_ns: int, record: Published
) -> None:
    due = sorted((start_ns + t, i, n) for i, times in enumerate(part.due_ns) for n, t in enumerate(times))
    record.due_ns = array("q", (t for t, _, _ in due))
    record.publisher = array("i", (i for _, i, _ in due))
    record.sequence = array("i", (n for _, _, n in due))
    record.ready_ns = array("q", bytes(8 * len(due)))
    record.sent_ns = array("q", bytes(8 * len(due)))
    record.done_ns = array("q", bytes(8 * len(due)))
    record.status = array("b", bytes([INDETERMINATE]) * len(due))
    pending: set[asyncio.Task[None]] = set()
    loop = asyncio.get_running_loop()
    turns = [transport.turns(connection) for connection in connections]

    async def one(position: int, i: int, content: bytes) -> None:
        async with turns[i]:
            record.sent_ns[position] = time.monotonic_ns()
            await hand_over(position, i, content)

    async def hand_over(position: int, i: int, content: bytes) -> None:
        try:
            acked = await connections[i].publish(part.topics[i], content)
            record.status[position] = ACKED if acked else INDETERMINATE
        except Refused as error:
            record.status[position] = FAILED
            _note(record.usage, error)
        except Exception as error:  # of whatever library: the fate of the message is unknown, the run goes on
            _note(record.usage, error)
            return
        record.done_ns[position] = time.monotonic_ns()

    def send(position: int) -> None:
        at_ns, i, sequence = due[position]
        content = payload.build(i, sequence, at_ns, part.payload_bytes)
        record.ready_ns[position] = time.monotonic_ns()
        task = loop.create_task(one(position, i, content))
        pending.add(task)
        task.add_done_callback(pending.discard)

    await pace(record.due_ns, send)
    if pending:
        await asyncio.wait(pending, timeout=part.patience_s)
    gate.say(done="go", unfinished=len(pending))


async def _subscribe(part: Part) -> Received:
    record = Received()
    async with (
        through(part.gate, part.token, "subscribe") as gate,
        _open_connections(part, gate, record.usage) as (meter, connections),
        AsyncExitStack() as stack,
    ):
        streams = await _at_once(c.subscribe(t) for c, t in zip(connections, part.topics, strict=True))
        open_paths = asyncio.Event()
        readers = [
            asyncio.create_task(record_deliveries(i, stream, part, record, open_paths))
            for i, stream in enumerate(streams)
        ]
        stack.push_async_callback(_end, readers)
        gate.say(done="url")
        await _obeying(gate, open_paths.wait(), stop_is_an_error=True)
        gate.say(done="canary")
        await gate.step("go")
        async with _spending(meter, record.usage):
            await _obeying(gate, _report(part, gate, record, len(record)))
        record.usage.errors.extend(repr(t.exception()) for t in readers if t.done() and t.exception())
    return record


async def record_deliveries(
    i: int, stream: AsyncIterator[Message], part: Part, record: Received, open_paths: asyncio.Event
) -> None:
    """Record every delivery of one subscription; what this costs a delivery is in benchmarks/recording.py."""
    size, padding = part.payload_bytes, payload.padding(part.payload_bytes)
    rows, row, canaries, clock = record.rows, _DELIVERY.pack, part.canaries, time.monotonic_ns
    async for _, content, missed, arrived_ns in stream:
        rows += row(clock(), arrived_ns, i, content)
        if len(content) != size or not content.endswith(padding):
            record.corrupt.append(len(record) - 1)
        if missed:
            record.missed += missed
        if canaries[i] > 0 and payload.is_canary(content):
            canaries[i] -= 1
            if not any(canaries):
                open_paths.set()
    raise ConnectionError(f"subscription {i} was ended by the server")


async def _report(part: Part, gate: Gate, record: Received, canaries: int) -> None:
    """Tell how many deliveries there are, until all that can be expected are; a second copy stands for no other."""
    copies = 0
    for tick in itertools.count():
        count = len(record) - canaries
        if count - copies >= part.expected:
            copies = len(record) - _distinct(record)
        if tick % _TICKS_A_REPORT == 0:
            gate.say(count=count)
        if count - copies >= part.expected:
            break
        await asyncio.sleep(_TICK_S)
    gate.say(count=count, done="go")


def _distinct(record: Received) -> int:
    """Count the pairs of message and subscriber; what is corrupt counts as what its header says."""
    size, rows = _DELIVERY.size, bytes(record.rows)
    return len({rows[at + _TIMES_BYTES : at + size] for at in range(0, len(rows), size)})


@asynccontextmanager
async def _open_connections(part: Part, gate: Gate, usage: Usage) -> AsyncIterator[tuple[Meter, list[Connection]]]:
    """Open a connection for each topic once the server is up, and note what closing them takes."""
    malloc.keep_freed()
    server = await gate.step("url")
    url, meter = server["url"], Meter(trusting(server["ca"]))
    random.seed(part.seed)
    client = transport.client(part.transport, part.client)
    async with AsyncExitStack() as stack:
        yield (
            meter,
            [await stack.enter_async_context(client.connect(url, meter, **part.options)) for _ in part.topics],
        )
    await meter.closing()
    total = meter.totals()
    if total is not None and usage.setup_wire is not None and usage.run_wire is not None:
        usage.closing_wire = total - usage.setup_wire - usage.run_wire


async def _at_once(work: Any) -> list[Any]:
    """Await many things, some at a time, and return what they give in order."""
    limit = asyncio.Semaphore(_CONNECT_AT_ONCE)

    async def one(thing: Awaitable[T]) -> T:
        async with limit:
            return await thing

    return list(await asyncio.gather(*map(one, work)))


async def _obeying(gate: Gate, work: Any, stop_is_an_error: bool = False) -> None:
    """Do the work and wait for the word to stop; when the word comes first, drop what is left of the work."""
    task = asyncio.ensure_future(work)
    stop = asyncio.ensure_future(gate.hear())
    try:
        await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
            if stop_is_an_error:
                return
        await stop
        if stop_is_an_error:
            raise GateClosed("the trial was called off")
    finally:
        await _end([task, stop])


async def _end(tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def _spending(meter: Meter, usage: Usage) -> AsyncIterator[None]:
    """Note what the process spends between entry and exit, late acknowledgements of the kernel included."""
    usage.setup_wire = meter.totals()
    ahead_ns, requests, empty, waiting_ns, cpu_ns = (
        realtime_ahead_ns(),
        meter.requests,
        meter.empty_requests,
        kernel.waiting_ns(os.getpid()),
        time.process_time_ns(),
    )
    batches, pings, ping_bytes = meter.batches.copy(), meter.keep_alives, meter.keep_alive_bytes
    yield
    usage.cpu_ns = time.process_time_ns() - cpu_ns
    usage.waiting_ns = kernel.grown(waiting_ns, kernel.waiting_ns(os.getpid()))
    usage.requests = meter.requests - requests
    usage.empty_requests = meter.empty_requests - empty
    usage.nagle = meter.nagle()
    usage.realtime_ahead_ns = ahead_ns, realtime_ahead_ns()
    for _ in range(_SETTLE_AT_MOST):
        before = meter.totals()
        await asyncio.sleep(_DELAYED_ACK_S)
        if meter.totals() == before:
            break
    total = meter.totals()
    usage.requests_on_wire, usage.batches = meter.requests - requests, meter.batches - batches
    usage.keep_alives, usage.keep_alive_bytes = meter.keep_alives - pings, meter.keep_alive_bytes - ping_bytes
    if total is not None and usage.setup_wire is not None:
        usage.run_wire = total - usage.setup_wire


def realtime_ahead_ns() -> int:
    """Return how far CLOCK_REALTIME is ahead of CLOCK_MONOTONIC, from the closest of a few readings."""
    readings = []
    for _ in range(5):
        before, real, after = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
        readings.append((after - before, real - (before + after) // 2))
    return min(readings)[1]


def _note(usage: Usage, error: Exception) -> None:
    text = f"{type(error).__name__}: {error}"
    if text not in usage.errors and len(usage.errors) < 10:
        usage.errors.append(text)
