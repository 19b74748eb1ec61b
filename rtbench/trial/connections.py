"""What the asyncio client processes share: their connections, and the accounting of what they spend."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from typing import Any, TypeVar

from rtbench.errors import TrialError
from rtbench.plan.login import Login
from rtbench.system import kernel, memory
from rtbench.system.clock import realtime_offset_ns
from rtbench.system.direct import new_loop
from rtbench.system.meter import Meter
from rtbench.system.tls import context_for
from rtbench.transports import registry
from rtbench.transports.contract import Client, Connection
from rtbench.transports.records import PublisherPlan, PublisherRecord, SubscriberPlan, SubscriberRecord, Usage
from rtbench.trial.control import ControlChannel, ControlClosed
from rtbench.trial.reconnecting import lasting
from rtbench.trial.uncaught import note, take_from_tasks, taken

SETTLE_S = 0.15  # three times the longest delay of an acknowledgement on Linux (TCP_DELACK_MIN, 40 ms)
_CONCURRENT_CONNECTS = 50
_DELAYED_ACK_S = 0.045  # Linux delays an acknowledgement by at most 40 ms on a quiet connection (TCP_DELACK_MIN)
_SETTLE_ROUNDS = 4
_TELL_EVERY_S = 0.2

T = TypeVar("T")


def run_on_its_loop(client: Client, work: Coroutine[Any, Any, T]) -> T:
    """Run the work of a client process on the loop that its connections are made for; return the result."""
    with asyncio.Runner(loop_factory=new_loop if client.direct else None) as runner:
        return runner.run(work)


@asynccontextmanager
async def open_connections(
    plan: PublisherPlan | SubscriberPlan, channel: ControlChannel, record: PublisherRecord | SubscriberRecord
) -> AsyncIterator[tuple[Meter, list[Connection]]]:
    """Open a connection for each topic once the server is up; note in the record what closing them takes."""
    usage = record.usage
    memory.prepare()
    server = await channel.step("connect")
    url, login = server["url"], Login(**server["login"])
    meter = Meter(context_for(url, server["ca"], login), login)
    random.seed(plan.seed)
    connect = registry.client(plan.transport, plan.client).connect
    assert connect is not None
    connecting = partial(connect, url, meter, **plan.options)
    async with AsyncExitStack() as stack:
        with uncaught_in(usage.errors):
            forget = registry.client(plan.transport, plan.client).forget if plan.forgets else None
            forgetting = None if forget is None else partial(forget, url, meter)
            lasts = lasting(plan, record.outages, connecting, forgetting)
            yield meter, [await stack.enter_async_context(connection) for connection in lasts]
    await meter.closing()
    total = meter.totals()
    if total is not None and usage.setup_wire is not None and usage.run_wire is not None:
        usage.closing_wire = total - usage.setup_wire - usage.run_wire


@contextmanager
def uncaught_in(errors: list[str]) -> Iterator[None]:
    """Note in `errors` what nobody catches in this process; it is the reason for a trial that is called off meanwhile.

    Raises:
        TrialError: the trial was called off, and there is such a reason.
    """
    take = partial(note, errors)
    with taken(take):
        try:
            yield
        except ControlClosed:
            take_from_tasks(take)
            if errors:
                raise TrialError(f"a client process raised {errors[0]}") from None
            raise
        take_from_tasks(take)


class Tally:
    """Counts what is done of a step, and tells the coordinator a few times a second."""

    def __init__(self, channel: ControlChannel, step: str) -> None:
        self._channel, self._step = channel, step
        self._count, self._told_s = 0, 0.0

    def one(self) -> None:
        """Count one more."""
        self._count += 1
        now_s = time.monotonic()
        if now_s - self._told_s > _TELL_EVERY_S:
            self._told_s = now_s
            self._channel.say(count=self._count, of=self._step)


async def gather_some(work: Iterable[Awaitable[T]], done: Callable[[], None] = lambda: None) -> list[T]:
    """Await many things, some at a time; call `done` after each; return their results in order."""
    limit = asyncio.Semaphore(_CONCURRENT_CONNECTS)

    async def one(thing: Awaitable[T]) -> T:
        async with limit:
            result = await thing
            done()
            return result

    return list(await asyncio.gather(*map(one, work)))


async def until_told_to_stop(channel: ControlChannel, work: Coroutine[Any, Any, Any]) -> None:
    """Do the work and wait for the step `stop`; when that comes first, cancel the rest of the work."""
    task, stop = asyncio.ensure_future(work), asyncio.ensure_future(channel.hear())
    try:
        await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        await stop
    finally:
        await end([task, stop])


async def unless_called_off(channel: ControlChannel, work: Coroutine[Any, Any, T]) -> T:
    """Do the work, return its result; a message of the coordinator before means that the trial was called off.

    Raises:
        ControlClosed: it was.
    """
    task, message = asyncio.ensure_future(work), asyncio.ensure_future(channel.hear())
    try:
        await asyncio.wait({task, message}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            await message
            raise ControlClosed("the trial was called off")
        return task.result()
    finally:
        await end([task, message])


async def end(tasks: Iterable[asyncio.Future[Any]]) -> None:
    """Cancel tasks and wait until they have ended."""
    tasks = list(tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def accounting(meter: Meter, usage: Usage, schedule_end_ns: int) -> AsyncIterator[None]:
    """Note in `usage` what the process spends between entry and exit, late acknowledgements of the kernel included.

    Requests count only until `schedule_end_ns` (CLOCK_MONOTONIC): those that fetch the last messages after it would
    make a short trial look as if its clients asked more often.
    """
    usage.setup_wire = meter.totals()
    offset_ns, requests, empty, waiting_ns, cpu_ns = (
        realtime_offset_ns(),
        meter.requests,
        meter.empty_requests,
        kernel.waiting_ns(os.getpid()),
        time.process_time_ns(),
    )
    batches, pings, ping_bytes = meter.batches.copy(), meter.keep_alives, meter.keep_alive_bytes

    def count_requests() -> None:
        usage.requests, usage.empty_requests = meter.requests - requests, meter.empty_requests - empty

    end = asyncio.get_running_loop().call_later((schedule_end_ns - time.monotonic_ns()) / 1e9, count_requests)
    yield
    if end.when() > asyncio.get_running_loop().time():  # the trial ended before its schedule
        end.cancel()
        count_requests()
    usage.cpu_ns = time.process_time_ns() - cpu_ns - usage.checking_cpu_ns
    usage.waiting_ns = kernel.grown(waiting_ns, kernel.waiting_ns(os.getpid()))
    usage.nagle = meter.nagle()
    usage.realtime_offset_ns = offset_ns, realtime_offset_ns()
    for _ in range(_SETTLE_ROUNDS):
        before = meter.totals()
        await asyncio.sleep(_DELAYED_ACK_S)
        if meter.totals() == before:
            break
    total = meter.totals()
    usage.requests_on_wire, usage.batches = meter.requests - requests, meter.batches - batches
    usage.keep_alives, usage.keep_alive_bytes = meter.keep_alives - pings, meter.keep_alive_bytes - ping_bytes
    if total is not None and usage.setup_wire is not None:
        usage.run_wire = total - usage.setup_wire
