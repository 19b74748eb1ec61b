"""Trial: one variant measured once, with a fresh server process, fresh client processes and fresh connections.

server process      says its URL, which goes to the clients through the gate
subscriber process  connects and subscribes every subscriber
publisher process   connects, and sends a canary on every topic
...                 once every subscriber has every canary, all paths are open: go
schedule            the publisher follows it; the subscriber records until all has arrived or nothing comes any more
stop                both return their records; the server's load is read; everything ends
"""

from __future__ import annotations

import asyncio
import time
from array import array
from collections import Counter
from concurrent.futures import Executor
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rtbench import generator, kernel, payload, process
from rtbench.conductor import Conductor, Report
from rtbench.errors import Error, TrialError, UsageError
from rtbench.generator import Part, Published, Received, Usage
from rtbench.ledger import Deliveries, Publishes
from rtbench.process import Load, ServerEnds
from rtbench.schedule import due_times
from rtbench.serving import server_process
from rtbench.variant import Variant
from rtbench.workload import Workload

CLOCK_STEP_NS = 1_000_000  # by which the two clocks may part in a trial; slewing keeps them together
_SET_UP_WITHIN_S = 20.0
_RETURN_WITHIN_S = 10.0
_LEAD_NS = 20_000_000  # from the word "go" to the start of the schedule
_DELIVERY = np.dtype(  # a row of `Received`
    [
        ("received_ns", np.int64),
        ("arrived_ns", np.int64),
        ("subscriber", np.int32),
        ("header", np.uint8, payload.HEADER_BYTES),
    ]
)


@dataclass(frozen=True)
class Plan:
    """Which variant is measured, under which workload, in which round (`block`) of the comparison, and whether
    over TLS."""

    index: int
    block: int
    variant: Variant
    workload: Workload
    seed: int
    tls: bool = False


@dataclass
class Trial:
    """What one trial gave. Times in `publishes` and `deliveries` are nanoseconds after its start.

    `error` is None for a trial that ran to its end. Usages are those of the client processes; `before` and `after` are
    the server's load at the start and at the last delivery, and the wall time spans from one to the other.
    """

    plan: Plan
    error: str | None = None
    server_url: str = ""
    publishes: Publishes | None = None
    deliveries: Deliveries | None = None
    missed_told: int = 0
    publisher: Usage = field(default_factory=Usage)
    subscriber: Usage = field(default_factory=Usage)
    wall_ns: int = 0
    before: Load | None = None
    after: Load | None = None
    system_cpu_ns: int = 0  # used by the whole system, this conductor not counted
    server_ends: ServerEnds | None = None
    listen_drops: int | None = None  # of this machine, from before the clients connected
    io_stalled_ns: int | None = None  # this machine waited for a disk, within the wall time


async def conduct(plan: Plan, executor: Executor, report: Report = lambda _: None) -> Trial:
    """Run one trial; what goes wrong in it stands in `Trial.error`, beside what was measured until then.

    Raises:
        UsageError: the server cannot be started as asked.
    """
    trial = Trial(plan)
    conductor = Conductor(plan.variant.patience_s, report)
    listen_drops = kernel.listen_drops()
    try:
        async with AsyncExitStack() as stack:
            gate = await asyncio.start_server(conductor.meet, "127.0.0.1", 0)
            stack.push_async_callback(conductor.close)
            stack.callback(gate.close)
            records = _records(plan, executor, gate.sockets[0].getsockname()[:2], conductor.token)
            server = server_process(plan.variant.transport, plan.variant.server, tls=plan.tls)
            conductor.lead_to(await stack.enter_async_context(server))
            await _with_server(trial, conductor, records)
    except UsageError:
        raise
    except (Error, OSError) as error:
        trial.error = trial.error or str(error)
    finally:
        trial.listen_drops = kernel.grown(listen_drops, kernel.listen_drops())
        executor.shutdown(wait=False, cancel_futures=True)
    return trial


Records = tuple[asyncio.Future[Any], asyncio.Future[Any]]


def _records(plan: Plan, executor: Executor, address: tuple[str, int], token: str) -> Records:
    """Start both client processes, beside the server's, which takes as long to start; return what they will return."""
    publisher, subscriber = _parts(plan, address, token)
    records = (
        asyncio.wrap_future(executor.submit(generator.publish, publisher)),
        asyncio.wrap_future(executor.submit(generator.subscribe, subscriber)),
    )
    for record in records:
        record.add_done_callback(lambda r: r.cancelled() or r.exception())  # read, whether or not we get to it
    return records


async def _with_server(trial: Trial, conductor: Conductor, records: Records) -> None:
    trial.server_url = conductor.server.url
    death = asyncio.create_task(conductor.server.died())
    steps = asyncio.create_task(_steps(trial, conductor))
    try:
        await asyncio.wait([steps, death, *records], return_when=asyncio.FIRST_COMPLETED)
        if death.done():
            trial.error = f"the server died in mid-trial ({death.result()})"
        conductor.tell("stop")
        if steps.done() and not steps.cancelled() and (error := steps.exception()):
            trial.error = trial.error or str(error)
        await _collect(trial, records)
        if not all(process.alive(p) for p in conductor.processes):
            trial.error = "the server died in mid-trial"
    finally:
        death.cancel()
        steps.cancel()


async def _steps(trial: Trial, conductor: Conductor) -> None:
    """Take both clients through the trial; on return all that will arrive has arrived."""
    plan, url = trial.plan, conductor.server.url
    within_s = _SET_UP_WITHIN_S + plan.variant.patience_s + 0.02 * len(plan.workload.subscriber_topics)
    for role, step in (("subscribe", "url"), ("publish", "url")):
        if not await conductor.done(role, step, within_s):
            raise TrialError(f"the {role}r process did not get its connections to {url} open")
    conductor.tell("canary", "publish")
    for role in ("publish", "subscribe"):
        if not await conductor.done(role, "canary", within_s):
            raise TrialError(
                "a topic does not let messages through: a canary was sent and not received "
                "(an access-control list that denies looks like this)"
            )
    processes = conductor.processes
    start_ns = time.monotonic_ns() + _LEAD_NS
    conductor.tell("go", at_ns=start_ns)
    trial.before = process.load(processes)
    system_cpu_ns = process.system_cpu_ns() - time.process_time_ns()
    io_stalled_ns = kernel.io_stalled_ns()
    workload = plan.workload
    span_s = _LEAD_NS / 1e9 + workload.warmup_s + workload.duration_s
    await conductor.done("publish", "go", span_s + plan.variant.patience_s + 1.0)
    await conductor.drained()
    trial.after = process.load(processes)
    trial.system_cpu_ns = process.system_cpu_ns() - time.process_time_ns() - system_cpu_ns
    trial.io_stalled_ns = kernel.grown(io_stalled_ns, kernel.io_stalled_ns())
    trial.wall_ns = trial.after.at_ns - start_ns
    trial.server_ends = process.server_ends(processes, conductor.server.port)


async def _collect(trial: Trial, records: Records) -> None:
    """Take the records of both processes, and of one when the other has none."""
    await asyncio.wait(records, timeout=_RETURN_WITHIN_S)
    published, received = (r.result() if r.done() and not r.exception() else None for r in records)
    for record in records:
        if record.done() and (error := record.exception()):
            trial.error = trial.error or str(error) or type(error).__name__
        elif not record.done():
            trial.error = trial.error or "a client process did not return its record"
    if isinstance(published, Published):
        trial.publisher = published.usage
        trial.publishes = _publishes(published)
    if isinstance(received, Received):
        trial.subscriber = received.usage
        trial.missed_told = received.missed
        trial.deliveries = _deliveries(received)
        if received.usage.errors:
            trial.error = trial.error or f"a subscription broke: {received.usage.errors[0]}"
    _count_from_start(trial)


def _parts(plan: Plan, address: tuple[str, int], token: str) -> tuple[Part, Part]:
    workload, variant = plan.workload, plan.variant
    due = [array("q", times.tobytes()) for times in due_times(workload, plan.seed, plan.block)]
    publishers, subscribers = workload.publisher_topics, workload.subscriber_topics
    listeners, speakers = Counter(subscribers), Counter(publishers)
    common: dict[str, Any] = {
        "gate": address,
        "token": token,
        "transport": variant.transport,
        "client": variant.client,
        "options": dict(variant.options),
        "payload_bytes": workload.payload_bytes,
        "patience_s": variant.patience_s,
    }
    return (
        Part(**common, topics=publishers, due_ns=due, seed=f"{plan.seed} {plan.index} publish"),
        Part(
            **common,
            topics=subscribers,
            seed=f"{plan.seed} {plan.index} subscribe",
            expected=sum(len(times) * listeners[topic] for times, topic in zip(due, publishers, strict=True)),
            canaries=[speakers[topic] for topic in subscribers],
        ),
    )


def _int64(values: array[int]) -> Any:
    return np.array(values, dtype=np.int64)


def _publishes(record: Published) -> Publishes:
    return Publishes(
        _int64(record.publisher),
        _int64(record.sequence),
        _int64(record.due_ns),
        _int64(record.ready_ns),
        _int64(record.sent_ns),
        _int64(record.done_ns),
        _int64(record.status),
    )


def _deliveries(record: Received) -> Deliveries:
    rows = np.frombuffer(record.rows, dtype=_DELIVERY)
    publisher, sequence, due_ns, well_formed = payload.parse(rows["header"])
    intact = well_formed.copy()
    intact[record.corrupt] = False
    kept = ~(well_formed & (sequence == payload.CANARY))
    return Deliveries(
        publisher[kept],
        sequence[kept],
        due_ns[kept],
        rows["subscriber"][kept].astype(np.int64),
        rows["received_ns"][kept],
        intact[kept],
        _arrivals(rows["arrived_ns"][kept], record.usage),
    )


def _arrivals(stamps: Any, usage: Usage) -> Any:
    """Return the kernel's stamps on CLOCK_MONOTONIC; 0 where the clock they were taken from was stepped meanwhile.

    Where there are none at all, the shape is (0,). Both clocks run at the same rate (adjtimex(2) slews both); only a
    step parts them.
    """
    if not stamps.any():
        return np.zeros(0, dtype=np.int64)
    before_ns, after_ns = usage.realtime_ahead_ns
    if abs(after_ns - before_ns) > CLOCK_STEP_NS:
        return np.zeros_like(stamps)
    return np.where(stamps > 0, stamps - (before_ns + after_ns) // 2, 0)


def _count_from_start(trial: Trial) -> None:
    """Turn clock readings into nanoseconds after the start; 0 stays 0, for what never happened."""
    schedule = due_times(trial.plan.workload, trial.plan.seed, trial.plan.block)
    if trial.publishes is None or not len(trial.publishes.due_ns):
        trial.publishes = trial.deliveries = None
        return
    p = trial.publishes
    start_ns = int(p.due_ns[0]) - min(int(times[0]) for times in schedule if len(times))

    def relative(times: Any) -> Any:
        return np.where(times > 0, times - start_ns, 0)

    trial.publishes = Publishes(
        p.publisher,
        p.sequence,
        relative(p.due_ns),
        relative(p.ready_ns),
        relative(p.sent_ns),
        relative(p.done_ns),
        p.status,
    )
    if (d := trial.deliveries) is not None:
        trial.deliveries = Deliveries(
            d.publisher,
            d.sequence,
            d.due_ns - start_ns,
            d.subscriber,
            d.received_ns - start_ns,
            d.intact,
            relative(d.arrived_ns),
        )
