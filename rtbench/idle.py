"""Idle: what connections cost while nothing is sent: memory, CPU time, bytes, requests, and the opening of one.

server process   started first, fresh for each variant
client process   opens a warm-up connection, which stays; the server's memory is read
                 opens half of the connections, then the other half, each with one subscription of one topic
go               for the time asked nobody publishes; the server's load is read at both ends
stop             the client returns what each connection put on the wire

Memory is the server's private bytes with N connections less those without, divided by N. The two halves give two
such figures, and their range is how far one of them is to be trusted. What the kernel keeps for a socket is in none.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from rtbench import process
from rtbench.comparison import chosen_variants, loop_is_running, run_in_a_thread
from rtbench.conductor import Conductor
from rtbench.environment import link
from rtbench.errors import Error, Interrupted, TrialError, UsageError
from rtbench.executor import FreshProcesses
from rtbench.gate import GateClosed
from rtbench.holder import ROLE, Held, Part, hold
from rtbench.process import Load
from rtbench.serving import ServerProcess, server_process
from rtbench.settings import SETTINGS, resolve
from rtbench.table import Table
from rtbench.variant import Variant

CONNECTIONS = 100
DURATION = "10s"
TAKES = ("transport", "qos", "server", "client", "option", "tls", "interval", "duration")  # of all settings
BUSY_PERCENT = 80.0  # of one core, by the client process: beyond it, it may be late with what it should do
_OPEN_WITHIN_S = 20.0
_RETURN_WITHIN_S = 10.0
_OTHER_FILES = 64  # descriptors of a server or a client beside its connections
_TICK_S = 0.25

Watch = Callable[["Progress"], None]


@dataclass(frozen=True)
class Progress:
    """Where the measurement stands: the variant under way (from 1), and about how long it all still takes."""

    variant: str
    number: int
    variants: int
    left_s: float


@dataclass
class Loads:
    """The server's load with no connection but the warm-up one, with half of them, and around the time observed."""

    none: Load
    half: Load | None
    before: Load
    after: Load


def measure(
    connections: Any = CONNECTIONS,
    watch: Watch = lambda _: None,
    executor: Callable[[], Executor] = FreshProcesses,
    **settings: Any,
) -> Table:
    """Measure idle connections: `rtbench.idle.measure(connections=500, transport=["sse", "mqtt"], duration="70s")`.

    Returns a row a variant; a variant that could not be measured has the reason as `error`.

    Raises:
        UsageError: a setting that does not exist, or cannot be.
        Interrupted: by Ctrl-C or SIGTERM; the exception has the rows so far as `table`.
    """
    number = _number(connections)
    variants, duration_s, tls = _resolved(settings)
    rows: list[dict[str, Any]] = []
    with files_for(number):
        work = _all(variants, number, duration_s, tls, watch, executor, rows)
        if loop_is_running():
            run_in_a_thread(work)
        else:
            asyncio.run(work)
    if len(rows) < len(variants):
        raise _Stopped(Table(rows))
    return Table(rows)


class _Stopped(Interrupted):
    def __init__(self, table: Table) -> None:
        super().__init__(f"interrupted; {len(table)} variant{'s' if len(table) != 1 else ''} measured")
        self.table = table


def _number(connections: Any) -> int:
    try:
        number = int(connections)
    except (TypeError, ValueError):
        raise UsageError(f"--connections must be a whole number: got {connections!r}") from None
    if number < 1:
        raise UsageError(f"--connections must be 1 or more: got {number}")
    return number


def _resolved(settings: Mapping[str, Any]) -> tuple[list[Variant], float, bool]:
    for name in settings:
        if name not in TAKES:
            raise UsageError(f"unknown option {name!r}; the options are connections, {', '.join(TAKES)}")
    given = {name: (value, "argument") for name, value in settings.items()}
    if settings.get("duration") is None:
        given["duration"] = (DURATION, "default")
    if "control" in SETTINGS:
        given["control"] = (False, "default")
    resolved = resolve(given)
    duration_s = resolved["duration"].value
    if not duration_s > 0:
        raise UsageError(f"--duration must be above 0: got {duration_s:g}s")
    return chosen_variants(resolved, everything=True), duration_s, resolved["tls"].value


@contextmanager
def files_for(connections: int) -> Iterator[None]:
    """Let this process and those it starts open enough files, as far as the hard limit goes.

    Raises:
        UsageError: it does not go so far.
    """
    try:
        import resource
    except ImportError:  # Windows has no such limit
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited, needed = resource.RLIM_INFINITY, connections + _OTHER_FILES
    if hard not in (unlimited, -1) and needed > hard:
        raise UsageError(
            f"--connections {connections} needs {needed} open files, and the hard limit here is {hard} (ulimit -Hn); "
            f"at most {max(hard - _OTHER_FILES, 0)} connections fit"
        )
    raised = soft not in (unlimited, -1) and needed > soft
    if raised:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    try:
        yield
    finally:
        if raised:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def _all(
    variants: list[Variant],
    connections: int,
    duration_s: float,
    tls: bool,
    watch: Watch,
    executor: Callable[[], Executor],
    rows: list[dict[str, Any]],
) -> None:
    """Fill `rows`, until a signal comes."""
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task is not None
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        with suppress(NotImplementedError, RuntimeError, ValueError, AttributeError):
            loop.add_signal_handler(getattr(signal, name), task.cancel)
    each_s = duration_s + 2.0  # two seconds for processes and connections, before any has been seen
    began = time.monotonic()
    with suppress(asyncio.CancelledError):
        for i, variant in enumerate(variants):
            end = time.monotonic() + each_s * (len(variants) - i)

            def tick(i: int = i, variant: Variant = variant, end: float = end) -> None:
                watch(Progress(variant.name, i + 1, len(variants), max(end - time.monotonic(), 0.0)))

            tick()
            rows.append(await _row(variant, connections, duration_s, tls, executor(), tick))
            each_s = (time.monotonic() - began) / (i + 1)


async def _row(
    variant: Variant, connections: int, duration_s: float, tls: bool, executor: Executor, tick: Callable[[], None]
) -> dict[str, Any]:
    held, loads, error = Held(), None, None
    try:
        async with server_process(variant.transport, variant.server, tls=tls) as server:
            held, loads = await _with_server(server, variant, connections, duration_s, executor, tick)
        error = held.errors[0] if held.errors else None
    except UsageError:
        raise
    except (Error, OSError) as failure:
        error = str(failure)
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
    return {
        "variant": variant.name,
        "transport": variant.transport,
        "qos": variant.options.get("qos"),
        "server": variant.server,
        "client": variant.client,
        "link": link(tls),
        "connections": connections,
        "observed_s": held.observed_s,
        **_memory(loads, connections),
        **_per_hour(held, loads, connections),
        "opening_wire_bytes": held.opening.ip_bytes / connections if held.opening else None,
        "error": error,
    }


def _memory(loads: Loads | None, connections: int) -> dict[str, Any]:
    """Return bytes a connection, from private bytes where these are known and RSS elsewhere."""
    names = ("server_memory_bytes_per_connection", "server_memory_low_bytes", "server_memory_high_bytes")
    if loads is None:
        return dict.fromkeys((*names, "server_memory_kind", "server_rss_mb", "server_peak_rss_mb"))
    seen = [load for load in (loads.none, loads.half, loads.after) if load is not None]
    exact = all(load.private_bytes is not None for load in seen)
    used = [(load.private_bytes or 0) if exact else load.rss_bytes for load in seen]
    first = connections // 2
    halves: list[float | None] = [None, None]
    if len(used) == 3:
        halves = [*sorted([(used[1] - used[0]) / first, (used[2] - used[1]) / (connections - first)])]
    peak = loads.after.peak_rss_bytes
    return {
        **dict(zip(names, ((used[-1] - used[0]) / connections, *halves), strict=True)),
        "server_memory_kind": "private" if exact else "rss",
        "server_rss_mb": loads.after.rss_bytes / 1e6,
        "server_peak_rss_mb": None if peak is None else peak / 1e6,
    }


def _per_hour(held: Held, loads: Loads | None, connections: int) -> dict[str, Any]:
    """Return what was observed, scaled to one connection and an hour; the server's CPU time is shared with the
    warm-up connection.
    """
    scale = 3600 / held.observed_s / connections if held.observed_s else None
    cpu_s = waiting = None
    if loads is not None:
        cpu_s = loads.after.cpu_since(loads.before) * 3600 / (connections + 1)
        waiting = loads.after.waiting_since(loads.before)
    return {
        "server_cpu_ms_per_connection_hour": None if cpu_s is None else cpu_s * 1e3,
        "server_waiting_percent": None if waiting is None else waiting * 100,
        "wire_bytes_per_connection_hour": held.wire.ip_bytes * scale if held.wire and scale else None,
        "application_bytes_per_connection_hour": held.wire.carried_bytes * scale if held.wire and scale else None,
        "requests_per_connection_hour": held.requests * scale if scale else None,
        "requests_waiting": held.waiting,
        "active_connections": held.active,
        "client_cpu_percent": held.cpu_s / held.observed_s * 100 if held.observed_s else None,
    }


async def _with_server(
    server: ServerProcess,
    variant: Variant,
    connections: int,
    duration_s: float,
    executor: Executor,
    tick: Callable[[], None],
) -> tuple[Held, Loads]:
    conductor = Conductor(variant.patience_s, lambda _: None)
    conductor.lead_to(server)
    batches = tuple(n for n in (connections // 2, connections - connections // 2) if n)
    async with AsyncExitStack() as stack:
        gate = await asyncio.start_server(conductor.meet, "127.0.0.1", 0)
        stack.push_async_callback(conductor.close)
        stack.callback(gate.close)
        address = gate.sockets[0].getsockname()[:2]
        part = Part(address, conductor.token, variant.transport, variant.client, dict(variant.options), batches)
        record = asyncio.wrap_future(executor.submit(hold, part))
        death = asyncio.create_task(server.died())
        stack.callback(death.cancel)
        steps = asyncio.create_task(_steps(conductor, batches, duration_s, tick))
        stack.callback(steps.cancel)
        waited_for: list[asyncio.Future[Any]] = [steps, record, death]
        for future in waited_for:
            future.add_done_callback(lambda f: f.cancelled() or f.exception())  # read, whether or not we get to it
        await asyncio.wait(waited_for, return_when=asyncio.FIRST_COMPLETED)
        if not death.done():
            await asyncio.wait([record], timeout=_RETURN_WITHIN_S)  # what it has to say explains a step not taken
        if death.done() or not all(process.alive(p) for p in conductor.processes):
            raise TrialError("the server died while the connections were idle")
        return await _outcome(record, steps)


async def _outcome(record: asyncio.Future[Held], steps: asyncio.Future[Loads]) -> tuple[Held, Loads]:
    """Return what both ends of the gate found, or raise what went wrong first."""
    reason = record.exception() if record.done() else TrialError("the client process did not return its record")
    if steps.done() and (not record.done() or isinstance(reason, GateClosed)):
        await steps
    if reason is not None:
        raise TrialError(str(reason) or type(reason).__name__) from reason
    return record.result(), await steps


async def _steps(conductor: Conductor, batches: tuple[int, ...], duration_s: float, tick: Callable[[], None]) -> Loads:
    """Take the client through its part; return the server's load on the way."""
    try:
        await _taken(conductor, "url", 1)
        loads = [process.load(conductor.processes, pages=True)]
        for i, number in enumerate(batches):
            conductor.tell("open")
            await _taken(conductor, f"open {i}", number)
            loads.append(process.load(conductor.processes, pages=True))
        conductor.tell("go")
        before = process.load(conductor.processes)
        end = time.monotonic() + duration_s
        while (left_s := end - time.monotonic()) > 0:
            tick()
            await asyncio.sleep(min(left_s, _TICK_S))
        after = process.load(conductor.processes, pages=True)
        return Loads(loads[0], loads[1] if len(batches) > 1 else None, before, after)
    finally:
        conductor.tell("stop")


async def _taken(conductor: Conductor, step: str, connections: int) -> None:
    if not await conductor.done(ROLE, step, _OPEN_WITHIN_S + 0.02 * connections):
        raise TrialError(f"the client process did not get its connections to {conductor.server.url} open")
