"""Idle: what connections cost while nothing is sent: memory, CPU time, bytes, requests, and the opening of one.

server process   started first, fresh for each variant
client process   opens a warm-up connection, which stays; the server's memory is read
                 opens half of the connections, then the other half, each with one subscription of one topic
start            for the time asked nobody publishes; the server's load is read at both ends
stop             the client returns what each connection put on the wire

Memory is the server's private bytes with N connections less those without, divided by N. Each half of the connections
gives such a value too; the range of the two shows how uncertain one is. What the kernel keeps for a socket is in none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial

from rtbench.analysis.idle import IdleCounts, IdleTrial
from rtbench.errors import Error, ResultError, TrialError, UsageError
from rtbench.experiments.limits import limits_for
from rtbench.experiments.runner import Note
from rtbench.plan.settings import SETTINGS, Given, Setting, make_setting
from rtbench.plan.values import LIMITS
from rtbench.plan.variant import Variant
from rtbench.result.idle import IdleResult
from rtbench.system import process
from rtbench.system.load import Load
from rtbench.transports import registry
from rtbench.transports.choice import chosen_variants
from rtbench.transports.records import IdlePlan, IdleRecord
from rtbench.trial import idle_client
from rtbench.trial.coordinator import Coordinator
from rtbench.trial.one_client import record_of
from rtbench.trial.phase import STARTING_S, Phase, closing_s, connecting_s, left_s, reporting
from rtbench.trial.servers import RunningServer, StartedServer

_NAME = "idle-client"
_TOPIC = "idle"
_OPEN_WITHIN_S = 20.0
_SETTLING_S = 1.5  # the pauses of the client process after each batch of connections

_OWN_SETTINGS = {
    s.name: s
    for s in (
        make_setting("connections", int, 100, "N", "held at a time"),
        replace(SETTINGS["duration"], default=10.0, shown_default="10s", help=f"time observed; {LIMITS['duration']}"),
    )
}


class Idle:
    """The experiment."""

    kind = "idle"
    result_type = IdleResult

    def settings(self) -> Mapping[str, Setting]:
        """Return the settings that choose the variants, and the two of this experiment."""
        chosen = (
            "transport",
            *registry.client_settings(),
            "server",
            "tier",
            "client",
            "option",
            "server_option",
            "tls",
        )
        return {name: registry.settings()[name] for name in chosen} | _OWN_SETTINGS

    def start(self, settings: Mapping[str, Given]) -> IdleResult:
        """Return an empty result with the variants that the settings name, all without any."""
        variants = chosen_variants(settings, everything=True)
        for variant in variants:
            idle_client.check_can_hold(registry.client(variant.transport, variant.client))
        return IdleResult.start(self.kind, settings, variants, len(variants))

    def resume(self, result: IdleResult) -> None:
        """Variants are measured apart from each other, so the rest can be measured wherever they are installed."""
        here = {v.name for v in chosen_variants(result.settings, everything=True)}
        if gone := [v.name for v in result.variants if v.name not in here]:
            raise ResultError(f"not installed here: {', '.join(gone)}")

    def steps(self, result: IdleResult) -> Iterator[Variant]:
        """Yield the variants that are left."""
        yield from result.variants[len(result.trials) :]

    def name(self, step: Variant) -> str:
        """Return the variant."""
        return step.name

    def expected_s(self, result: IdleResult, step: Variant) -> float:
        """Return about how long a variant takes: its processes, its connections, and the time observed."""
        observed_s: float = result.settings["duration"].value
        processes_s = STARTING_S + connecting_s(result.connections) + _SETTLING_S + closing_s(result.connections)
        return processes_s + observed_s

    def following(self, result: IdleResult, step: Variant) -> Iterator[tuple[Variant, int]]:
        """Yield the variants after one."""
        yield from ((variant, 1) for variant in result.variants[len(result.trials) + 1 :])

    def most_steps(self, result: IdleResult) -> int:
        """Return the number of variants."""
        return result.planned_trials

    def limits(self, result: IdleResult) -> AbstractContextManager[None]:
        """Let this process and those it starts open enough files."""
        return limits_for(result.variants, result.connections, f"--connections {result.connections}")

    async def measure(self, result: IdleResult, step: Variant, executor: Callable[[], Executor], note: Note) -> None:
        """Measure a variant; what goes wrong stands in `IdleCounts.error`."""
        result.add(await self._trial(result, step, executor(), note))

    async def _trial(self, result: IdleResult, step: Variant, executor: Executor, note: Note) -> IdleTrial:
        duration_s, tls = result.settings["duration"].value, result.settings["tls"].value
        record, loads, error, url = IdleRecord(), Loads(), None, ""
        try:
            coordinator = Coordinator([_NAME])
            source = StartedServer(step.transport, step.server, step.server_options, tls)
            phase = partial(_phase, coordinator, result.connections, duration_s)
            async with reporting(phase, note), source.running() as server:
                url = server.url
                record = await _with_server(server, step, coordinator, result.connections, duration_s, executor, loads)
            error = record.errors[0] if record.errors else None
        except UsageError:
            raise
        except (Error, OSError) as failure:
            error = str(failure)
        finally:
            executor.shutdown(wait=False, cancel_futures=True)
        counts = IdleCounts(
            index=len(result.trials),
            variant=step.name,
            error=error,
            server_url=url,
            observed_s=record.observed_s,
            load_without=loads.without if error is None else None,
            load_half=loads.half,
            load_before=loads.before,
            load_after=loads.after if error is None else None,
            opening_wire=record.opening,
            idle_wire=record.wire,
            requests=record.requests,
            requests_waiting=record.waiting,
            active_connections=record.active,
            client_cpu_s=record.cpu_s,
        )
        return IdleTrial(counts, step, result.connections, str(result.environment["link"]))


IDLE = Idle()
EXPERIMENTS = (IDLE,)


@dataclass
class Loads:
    """The server's load with no connection but the warm-up one, with half of them, and around the time observed."""

    without: Load | None = None
    half: Load | None = None
    before: Load | None = None
    after: Load | None = None


def _open_within_s(connections: int) -> float:
    return _OPEN_WITHIN_S + 0.02 * connections


def _phase(coordinator: Coordinator, connections: int, duration_s: float) -> Phase:
    at, ending_s = coordinator.standing(), closing_s(connections)
    if at.step == "stop":
        return Phase("closing", max(ending_s - at.elapsed_s, 0.0))
    if at.step == "start":
        return Phase(f"observing {connections:,} connections", max(duration_s - at.elapsed_s, 0.0) + ending_s)
    last_s = duration_s + ending_s
    opening_s, limit_s = connecting_s(connections) + _SETTLING_S, _open_within_s(connections)
    if at.step == "":
        return Phase("starting", left_s(STARTING_S, at, limit_s) + opening_s + last_s)
    return Phase("connecting", left_s(opening_s, at, limit_s, connections) + last_s, at.count, connections)


async def _with_server(
    server: RunningServer,
    variant: Variant,
    coordinator: Coordinator,
    connections: int,
    duration_s: float,
    executor: Executor,
    loads: Loads,
) -> IdleRecord:
    batches = tuple(n for n in (connections // 2, connections - connections // 2) if n)

    def start(control: tuple[str, int]) -> Future[IdleRecord]:
        plan = IdlePlan(
            name=_NAME,
            control=control,
            token=coordinator.token,
            transport=variant.transport,
            client=variant.client,
            options=dict(variant.options),
            topic=_TOPIC,
            batches=batches,
        )
        return executor.submit(idle_client.hold, plan)

    steps = _steps(coordinator, server, batches, duration_s, loads)
    return await record_of(server, coordinator, start, steps, connections, "the connections were idle")


async def _steps(
    coordinator: Coordinator, server: RunningServer, batches: tuple[int, ...], duration_s: float, loads: Loads
) -> None:
    """Take the client through the trial; note the server's load on the way."""

    async def taken(step: str, connections: int) -> None:
        if not await coordinator.done(step, [_NAME], _open_within_s(connections)):
            raise TrialError(f"the client process did not get its connections to {server.url} open")

    try:
        await taken("connect", 1)
        loads.without = process.load(server.processes, pages=True)
        for i, number in enumerate(batches):
            loads.half = process.load(server.processes, pages=True) if i else None
            coordinator.tell("open")
            await taken(f"open {i}", number)
        coordinator.tell("start")
        loads.before = process.load(server.processes)
        await asyncio.sleep(duration_s)
        loads.after = process.load(server.processes, pages=True)
    finally:
        coordinator.tell("stop")
