"""Comparison: which trials are run, in which order, and what is kept while they run.

The trials of a comparison come in blocks, one trial of each variant a block, in an order drawn from the seed: what
changes on the machine over the minutes falls on all variants alike. A run is a comparison of one. With a precision,
blocks are added until it is reached or known to be out of reach; they continue the same order.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import signal
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rtbench import transport
from rtbench.errors import Interrupted, UsageError
from rtbench.executor import FreshProcesses
from rtbench.results import INCOMPLETE, Result
from rtbench.settings import CLIENT_OPTIONS, Given, workload_of
from rtbench.trial import Plan, conduct
from rtbench.variant import Variant, in_order, variants_of
from rtbench.workload import Workload


@dataclass(frozen=True)
class Progress:
    """Where a comparison stands: the trial under way (from 1), its deliveries so far, and the time left in seconds.

    `trials` are planned so far; a precision may raise them to `most_trials`, and the time left with them.
    """

    variant: str
    trial: int
    trials: int
    most_trials: int
    deliveries: int
    left_s: float


Watch = Callable[[Progress], None]


def chosen_variants(settings: Mapping[str, Given], everything: bool) -> list[Variant]:
    """Return the variants that the settings name; in a comparison (`everything`) all where they name none.

    An option or a server that a transport does not have is an error in a run; in a comparison, where others have it, it
    does not concern that transport.

    Raises:
        UsageError: something unknown, or an option or a server that none of the transports has.
    """
    names, servers = _listed(settings["transport"].value), _listed(settings["server"].value)
    client = settings["client"].value
    if not (names or everything):
        raise UsageError(f"--transport is missing; installed: {', '.join(installed())}")
    given = {option: _listed(settings[name].value) for name, option in CLIENT_OPTIONS.items()}
    given = {option: values for option, values in given.items() if values}
    for text in _listed(settings["option"].value):
        option, separator, value = text.partition("=")
        if not separator:
            raise UsageError(f"--option must be NAME=VALUE: got {text!r}")
        given.setdefault(option, []).append(value)
    found: list[Variant] = []
    for name in dict.fromkeys(names or (name for name in installed() if not transport.client(name).control)):
        has = transport.client(name, client).options
        concerned = {option: values for option, values in given.items() if option in has or not everything}
        for server in servers or [transport.DEFAULT_SERVER]:
            if everything and server != transport.DEFAULT_SERVER and (name, server) not in transport.server_names():
                continue
            for choice in itertools.product(*concerned.values()):
                options = dict(zip(concerned, choice, strict=True))
                found += variants_of(name, server, client, options, all_of_them=everything)
    if not found:
        raise UsageError(f"no transport has the server {', '.join(servers)}; `rtbench transports` lists the installed")
    for option, values in given.items():
        if not any(option in variant.options for variant in found):
            variants_of(found[0].transport, found[0].server, client, {option: values[0]})
    if everything and settings["control"].value:
        found += _controls()
    if settings["tls"].value:
        _check_tls(found)
    return in_order(list({variant.name: variant for variant in found}.values()))


def _check_tls(variants: Sequence[Variant]) -> None:
    for v in variants:
        if not {"tls_cert", "tls_key"} <= set(transport.server(v.transport, v.server).options):
            raise UsageError(f"--tls: the server {v.server} of {v.transport} has no options tls_cert and tls_key")


def _controls() -> list[Variant]:
    controls = [name for name in installed() if transport.client(name).control]
    return [v for name in controls for v in variants_of(name, transport.DEFAULT_SERVER, transport.DEFAULT_CLIENT, {})]


def installed() -> list[str]:
    """Return the transports that have both a server and a client."""
    clients = {name for name, _ in transport.client_names()}
    return [n for n in dict.fromkeys(name for name, _ in transport.server_names()) if n in clients]


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list) else [value]


def plans(variants: Sequence[Variant], workload: Workload, trials: int, seed: int, tls: bool = False) -> list[Plan]:
    """Return all trials in the order in which they run."""
    order = random.Random(f"order {seed}")
    planned: list[Plan] = []
    for block in range(trials):
        for variant in order.sample(variants, len(variants)):
            planned.append(Plan(len(planned), block, variant, workload, seed, tls))
    return planned


def measure(
    settings: Mapping[str, Given],
    kind: str,
    out: Path | None = None,
    watch: Watch = lambda _: None,
    executor: Callable[[], Executor] = FreshProcesses,
) -> Result:
    """Run all trials that the settings ask for and return the result, saved in `out` after each trial.

    Raises:
        UsageError: the settings cannot be measured, or `out` cannot be written.
        Interrupted: by Ctrl-C or SIGTERM, after saving what there is as incomplete; the exception has it as `result`.
    """
    variants = chosen_variants(settings, everything=kind == "comparison")
    workload = workload_of(settings)
    value = {name: given.value for name, given in settings.items()}
    most = value["most_trials"] or value["trials"]
    planned = plans(variants, workload, most, value["seed"], value["tls"])
    result = Result.start(kind, settings, workload, variants, out)
    work = _all(planned, result, watch, executor)
    if loop_is_running():
        run_in_a_thread(work)
    else:
        asyncio.run(work)
    if result.status != "complete":
        raise _Stopped(result)
    return result


class _Stopped(Interrupted):
    def __init__(self, result: Result) -> None:
        done, where = len(result.trials), f", saved in {result.path} as incomplete" if result.path else ""
        super().__init__(f"interrupted; {done} trial{'s' if done != 1 else ''} measured{where}")
        self.result = result


def loop_is_running() -> bool:
    """Whether the caller is inside an event loop already, as a notebook's cell is."""
    with suppress(RuntimeError):
        asyncio.get_running_loop()
        return True
    return False


def run_in_a_thread(work: Coroutine[Any, Any, None]) -> None:
    """Run beside the event loop of a notebook; Ctrl-C there ends the work here."""
    running: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any] | None]] = []

    async def noted() -> None:
        running.append((asyncio.get_running_loop(), asyncio.current_task()))
        await work

    with ThreadPoolExecutor(1) as thread:
        future = thread.submit(asyncio.run, noted())
        try:
            future.result()
        except KeyboardInterrupt:
            for loop, task in running:
                if task is not None:
                    loop.call_soon_threadsafe(task.cancel)
            future.result()


async def _all(planned: list[Plan], result: Result, watch: Watch, executor: Callable[[], Executor]) -> None:
    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        with suppress(NotImplementedError, RuntimeError, ValueError, AttributeError):
            loop.add_signal_handler(getattr(signal, name), task.cancel)
    try:
        began = time.monotonic()
        for plan in planned:
            if plan.index == result.planned_trials and not result.extend():
                break
            started = time.monotonic()
            per_trial = (started - began) / plan.index if plan.index else _guess_s(plan)

            def report(count: int, plan: Plan = plan, started: float = started, each: float = per_trial) -> None:
                trials = result.planned_trials
                left = each * (trials - plan.index) - (time.monotonic() - started)
                watch(Progress(plan.variant.name, plan.index + 1, trials, len(planned), count, max(left, 0.0)))

            report(0)
            result.add(await conduct(plan, executor(), report))
        result.finish()
    except asyncio.CancelledError:
        result.finish(INCOMPLETE)


def _guess_s(plan: Plan) -> float:
    """Return how long a trial takes before any has been seen: its schedule, and a second for its processes."""
    return plan.workload.warmup_s + plan.workload.duration_s + 1.0
