"""Trial: one variant measured once, with a fresh server, fresh client processes and fresh connections.

server               is started (or answers already); its URL goes to the clients through the control channel
subscriber processes connect and subscribe every subscriber
publisher processes  connect, and send a readiness probe on every topic
...                  once every subscriber has every probe, all paths are open: start
schedule             publishers follow it; subscribers record until all has arrived or nothing comes any more
stop                 every process returns its record; the server's load is read; everything ends
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Executor
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from rtbench.analysis.link_check import LinkMeasured, check
from rtbench.errors import Error, TrialError, UsageError
from rtbench.links.choice import open_link
from rtbench.links.link import HERE, Link
from rtbench.links.measure import measure
from rtbench.plan.faults import RESTARTS, Evidence
from rtbench.plan.records import Deliveries, Outage, Publishes
from rtbench.plan.schedule import due_times
from rtbench.system import kernel, process
from rtbench.system.load import Load
from rtbench.system.process import ServerEnds
from rtbench.transports.records import PublisherPlan, PublisherRecord, SubscriberRecord, Usage
from rtbench.trial import merging, publisher, subscriber
from rtbench.trial.breaking import Breaking, breaking, of_subscribers
from rtbench.trial.bystanders import bystanders
from rtbench.trial.control import ControlClosed
from rtbench.trial.coordinator import ClockOffset, Coordinator
from rtbench.trial.phase import Report, reporting
from rtbench.trial.planning import ProcessPlans, TrialPlan, process_plans
from rtbench.trial.servers import RunningServer, ServerSource, StartedServer

_DEATH_WITHIN_S = 1.0
_LEAD_NS = 20_000_000  # from the word "start" to the start of the schedule
_LEAD_A_CLIENT_NS = 30_000  # so long a process reads the counts of a connection before it

Records = Mapping[str, "asyncio.Future[Any]"]
Gate = Callable[[], Awaitable[None]]


@dataclass(frozen=True)
class Gates:
    """What trials that run at once wait for: before clients connect, once paths are open, and before schedules start.

    The processes that one trial starts, for its clients and to measure its link, would disturb another one.
    """

    connect: Gate
    opened: Gate
    begin: Gate


@dataclass
class Trial:
    """What one trial gave. Times in `publishes`, `deliveries` and `outages` are nanoseconds after its start.

    `error` is None for a trial that ran to its end. `publishers` and `subscribers` are the usages of the client
    processes, `clocks` the offsets of their clocks. `before` and `after` are the server's load at the start and at the
    last delivery, None for a server that is not rtbench's; the wall time is the time between the two.
    """

    plan: TrialPlan
    error: str | None = None
    server_url: str = ""
    publishes: Publishes | None = None
    deliveries: Deliveries | None = None
    outages: list[Outage] = field(default_factory=list)
    missed_told: int = 0
    link: LinkMeasured | None = None
    link_wrong: str | None = None
    evidence: list[Evidence] = field(default_factory=list)
    publishers: list[Usage] = field(default_factory=list)
    subscribers: list[Usage] = field(default_factory=list)
    clocks: dict[str, ClockOffset] = field(default_factory=dict)
    wall_ns: int = 0
    before: Load | None = None
    after: Load | None = None
    system_cpu_ns: int = 0  # used by the whole system, coordinator and link not counted
    server_ends: ServerEnds | None = None
    listen_drops: int | None = None  # of this machine, from before the clients connected
    stolen_ns: int | None = None  # by the hypervisor from all cores, within the wall time
    io_stalled_ns: int | None = None  # for how long this machine waited for a disk, within the wall time


async def conduct(
    plan: TrialPlan,
    executor: Executor,
    report: Report = lambda _: None,
    source: ServerSource | None = None,
    gates: Gates | None = None,
) -> Trial:
    """Run one trial; what goes wrong in it stands in `Trial.error`, beside what was measured until then.

    `source` is where the server comes from; by default one is started. `gates` are passed once all
    processes run, once all paths are open, and once the link is measured.

    Raises:
        UsageError: the server cannot be had as asked for.
    """
    trial = Trial(plan)
    coordinator = Coordinator([*plan.publisher_names, *plan.subscriber_names])
    variant = plan.variant
    restarts = sum(fault.kind in RESTARTS for fault in plan.faults)
    source = source or StartedServer(
        variant.transport, variant.server, variant.server_options, plan.tls, restarts, plan.placement.server
    )
    try:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(coordinator.close)
            address = await coordinator.listen(plan.control_host)
            link = await stack.enter_async_context(
                open_link(variant.link, variant.network, f"{plan.seed} {plan.index}")
            )
            stack.callback(_counting_listen_drops(trial, link))
            namespaces = link.clients.namespaces if link else None
            plans = process_plans(plan, address, coordinator.token, namespaces)
            course = plan.course(plans)
            await stack.enter_async_context(reporting(lambda: course.phase(coordinator.standing()), report))
            records = _submit(plans, executor)
            server = await stack.enter_async_context(source.running(link.server if link else HERE))
            url = await link.reach(server.url) if link else None
            if gates is not None:
                await _all_run(coordinator, records, plan.step_within_s)
                await gates.connect()
            await stack.enter_async_context(bystanders(server, variant.transport, plan.filters))
            coordinator.announce(server, url)
            await _with_server(trial, coordinator, server, link, records, gates)
    except UsageError:
        raise
    except (Error, OSError) as error:
        trial.error = str(error)
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
    return trial


def _counting_listen_drops(trial: Trial, link: Link | None) -> Callable[[], None]:
    """Return a function that notes how many connections were dropped from now on where the server listens."""
    netstat = kernel.NETSTAT if link is None else Path(f"/proc/{link.pid}/net/netstat")
    before = kernel.listen_drops(netstat)

    def count() -> None:
        trial.listen_drops = kernel.grown(before, kernel.listen_drops(netstat))

    return count


def _submit(plans: ProcessPlans, executor: Executor) -> Records:
    """Start the client processes beside the server's, which takes as long to start; return their future records."""
    records = {}
    for name, plan in plans.items():
        run = publisher.publish if isinstance(plan, PublisherPlan) else subscriber.subscribe
        record: asyncio.Future[Any] = asyncio.wrap_future(executor.submit(run, plan))  # type: ignore[arg-type]
        record.add_done_callback(lambda r: r.cancelled() or r.exception())  # retrieved, whether or not it is needed
        records[name] = record
    return records


async def _all_run(coordinator: Coordinator, records: Records, within_s: float) -> None:
    """Wait until all client processes have joined; one that ends before, or does not come, fails a later step."""
    joined = asyncio.create_task(coordinator.joined())
    await asyncio.wait([joined, *records.values()], timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
    joined.cancel()


async def _with_server(
    trial: Trial,
    coordinator: Coordinator,
    server: RunningServer,
    link: Link | None,
    records: Records,
    gates: Gates | None,
) -> None:
    trial.server_url = server.url
    death = asyncio.create_task(server.died())
    steps = asyncio.create_task(_steps(trial, coordinator, server, link, gates))
    try:
        await asyncio.wait([steps, death, *records.values()], return_when=asyncio.FIRST_COMPLETED)
        relayed = await server.relay_log()  # before the clients leave: what fails then concerns no message
        coordinator.tell("stop")
        wrong = await _collect(trial, coordinator, relayed, records)
        if wrong and await server.relay_log() is None:  # the server may be about to end, or may have said more
            await asyncio.wait([death], timeout=_DEATH_WITHIN_S)
        raised = [*server.raised, *wrong[:1]]
        if not server.is_alive:
            how = f" ({death.result()})" if death.done() else ""
            trial.error = "; ".join([f"the server died in mid-trial{how}", *raised])
        elif raised:
            trial.error = "; ".join(raised)
        elif steps.done() and (error := steps.exception()):
            trial.error = str(error)
    finally:
        death.cancel()
        steps.cancel()


async def _steps(
    trial: Trial, coordinator: Coordinator, server: RunningServer, link: Link | None, gates: Gates | None
) -> None:
    """Take all processes through the trial; on return everything that will arrive has arrived."""
    plan = trial.plan
    publishers, subscribers = _named(coordinator, "publisher"), _named(coordinator, "subscriber")
    within_s = plan.step_within_s
    for role, names in (("subscriber", subscribers), ("publisher", publishers)):
        if not await coordinator.reached("connect", names, within_s):
            late = f"within {within_s:.0f} s; the server does not answer, or not in time"
            raise TrialError(f"the {role} process did not get its connections to {server.url} open {late}")
    coordinator.tell("probe", publishers)
    for names in (publishers, subscribers):
        if not await coordinator.reached("probe", names, within_s):
            raise TrialError(
                "a topic does not let messages through: a readiness probe was sent and not received "
                "(an access-control list that denies looks like this)"
            )
    if gates is not None:
        await gates.opened()
    if link is not None:
        trial.link = await measure(link, plan.network)
        trial.link_wrong = check(trial.link, plan.network)
    async with breaking(plan.faults, link, plan.network, server) as broken:
        if gates is not None:
            await gates.begin()
        await _measure(trial, coordinator, server, link, broken)


async def _measure(
    trial: Trial, coordinator: Coordinator, server: RunningServer, link: Link | None, broken: Breaking
) -> None:
    """Let the publishers follow their schedule, and wait until everything that will arrive has arrived."""
    plan = trial.plan
    most = max(
        plan.workload.publishers / plan.publisher_processes, plan.workload.subscribers / plan.subscriber_processes
    )
    start_ns = time.monotonic_ns() + _LEAD_NS + round(_LEAD_A_CLIENT_NS * most)
    coordinator.start(start_ns)
    await broken.begin(start_ns)
    trial.before = server.load()
    system_cpu_ns = process.system_cpu_ns() - _ours_ns(link)
    io_stalled_ns, stolen_ns = kernel.io_stalled_ns(), process.stolen_ns()
    end_ns = start_ns + plan.workload.schedule_ns
    await coordinator.done("start", _named(coordinator, "publisher"), _until(end_ns) + plan.drain_timeout_s + 1.0)
    await asyncio.sleep(_until(end_ns))  # the last message may be due long before
    await coordinator.drained(_named(coordinator, "subscriber"), plan.drain_timeout_s)
    trial.after = server.load()
    trial.wall_ns = (trial.after.at_ns if trial.after else time.monotonic_ns()) - start_ns
    trial.system_cpu_ns = process.system_cpu_ns() - _ours_ns(link) - system_cpu_ns
    trial.stolen_ns = kernel.grown(stolen_ns, process.stolen_ns())
    trial.io_stalled_ns = kernel.grown(io_stalled_ns, kernel.io_stalled_ns())
    trial.server_ends = process.server_ends(server.processes, server.port)
    trial.evidence += await broken.evidence()


def _named(coordinator: Coordinator, role: str) -> list[str]:
    return [name for name in coordinator.names if name.startswith(role)]


def _ours_ns(link: Link | None) -> int:
    """Return the CPU time of this process and of the link, which are no disturbance."""
    return time.process_time_ns() + (process.cpu_ns(psutil.Process(link.pid)) if link else 0)


def _until(at_ns: int) -> float:
    """Return the seconds from now to a time of CLOCK_MONOTONIC, 0 if it has passed."""
    return max(at_ns - time.monotonic_ns(), 0) / 1e9


async def _collect(trial: Trial, coordinator: Coordinator, relayed: bytes | None, records: Records) -> list[str]:
    """Take the records of all processes, and of those that have one where others have none; return what went wrong."""
    await asyncio.wait(records.values(), timeout=trial.plan.return_within_s)
    published: list[tuple[PublisherRecord, ClockOffset]] = []
    received: list[tuple[SubscriberRecord, ClockOffset]] = []
    wrong: list[str] = []
    for name, future in records.items():
        clock = trial.clocks[name] = coordinator.offset(name)
        if not future.done():
            trial.error = "a client process did not return its record"
        elif error := future.exception():
            wrong += [str(error) or type(error).__name__] * (not isinstance(error, ControlClosed))
        elif isinstance(record := future.result(), PublisherRecord):
            published.append((record, clock))
            trial.publishers.append(record.usage)
        else:
            received.append((record, clock))
            trial.subscribers.append(record.usage)
    for usage in (*trial.publishers, *trial.subscribers):
        wrong += [f"a client process raised {text}" for text in usage.errors]
    trial.missed_told = sum(record.missed for record, _ in received)
    schedule = due_times(trial.plan.workload, trial.plan.seed, trial.plan.block)
    if merged := merging.merged(published, received, schedule, relayed):
        trial.publishes, trial.deliveries, trial.outages = merged
        trial.evidence += of_subscribers(trial.plan.faults, trial.outages)
    return wrong
