"""Guarantees: what is lost and what comes twice when a connection or the server is lost, beside what was promised.

A trial is one variant under one fault, which comes several times. Several trials run at once; they begin when all of
them are set up, and each sends a few messages a second. What is counted does not depend on how fast anything is:
whether a message arrives, and how often, is a matter of protocol, and a fault that comes late still comes. The times
until a subscriber has a message again do depend on it, by milliseconds beside the delays of the policy.

All trials run over a link with a round trip, so that messages and acknowledgements are under way when a fault comes. A
trial in which a fault left no evidence is run once more after the others, and not counted if that fails, too.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

from rtbench.analysis.episodes import counts_of
from rtbench.analysis.guarantees import Cell, GuaranteeTrial
from rtbench.errors import MissingProgram, ResultError, UsageError
from rtbench.experiments.runner import Note
from rtbench.experiments.together import trials_of
from rtbench.links.link import STREAM
from rtbench.plan.episodes import NETWORK, episodes, parse_episode, schedule_s
from rtbench.plan.reconnect import NAIVE, NONE, ROBUST, Reconnect
from rtbench.plan.settings import SETTINGS, Given, Setting, make_setting
from rtbench.plan.values import parser
from rtbench.plan.variant import DEFAULT_SERVER, Variant, in_order
from rtbench.plan.workload import Workload
from rtbench.result.guarantees import GuaranteesResult
from rtbench.transports import registry
from rtbench.transports.choice import chosen_variants
from rtbench.trial.planning import TrialPlan

_CONFIGURATIONS = {"mosquitto": ("stock=yes", "durable=yes")}  # of other servers, measured side by side
_PACKET_ONLY = "blackhole"
_OF_VARIANTS = ("transport", "server", "client", "option", "server_option", "tls")
_OF_CLIENTS = ("offline", "keep_alive", "payload", "seed")


def _parse_fault(value: Any) -> str:
    text = parse_episode(parser("fault", str)(value))
    if text.startswith(_PACKET_ONLY):
        raise UsageError(f"--fault {_PACKET_ONLY} needs a packet link, and this has a stream link: use discard")
    return text


_OWN_SETTINGS = {
    s.name: s
    for s in (
        replace(
            SETTINGS["fault"],
            parse=_parse_fault,
            default=["cut", "discard for 300ms", "kill-server for 300ms"],
            shown_default="cut, discard, kill-server",
            help="what is broken in every episode: a kind, and how long: cut, 'kill-server for 0.3s'",
        ),
        replace(SETTINGS["reconnect"], default=[NAIVE, ROBUST], shown_default="naive, robust"),
        replace(SETTINGS["server"], shown_default="embedded; and mosquitto, stock and durable, where it is installed"),
        make_setting("episodes", int, 4, "N", "how often the fault comes in a trial"),
        make_setting("at_once", int, 8, "N", "trials that run at the same time"),
        replace(SETTINGS["publishers"], default=5, shown_default="5"),
        replace(SETTINGS["subscribers"], default=10, shown_default="10"),
        replace(SETTINGS["rate"], default=10.0, shown_default="10"),
    )
}


@dataclass(frozen=True)
class Batch:
    """Trials that run at once, each with its fault."""

    trials: Sequence[tuple[TrialPlan, str]]


class Guarantees:
    """The experiment."""

    kind = "guarantees"
    result_type = GuaranteesResult

    def settings(self) -> Mapping[str, Setting]:
        """Return the settings that choose the variants and their clients, and those of this experiment."""
        chosen = (*_OF_VARIANTS, *registry.client_settings(), *_OF_CLIENTS)
        return {name: registry.settings()[name] for name in chosen} | _OWN_SETTINGS

    def start(self, settings: Mapping[str, Given]) -> GuaranteesResult:
        """Return an empty result with a variant for each transport, QoS, server and policy."""
        variants = [replace(v, network=NETWORK, link=STREAM) for v in _variants(settings)]
        faults = settings["fault"].value
        planned = len(variants) * (1 if isinstance(faults, str) else len(set(faults)))
        _workload(settings, 1.0)
        return GuaranteesResult.start(self.kind, settings, variants, planned)

    def resume(self, result: GuaranteesResult) -> None:
        """Cells are measured apart from each other, so the rest can be measured wherever they are installed."""
        for variant in result.variants:
            try:
                registry.client(variant.transport, variant.client)
                _ = registry.server(variant.transport, variant.server).software
            except UsageError as error:
                raise ResultError(f"{variant.name} cannot be measured here: {error}") from error

    def steps(self, result: GuaranteesResult) -> Iterator[Batch]:
        """Yield the cells that are left, several at once, then once more those that could not be counted."""
        yield from _batches(result, _left(result))
        yield from _batches(result, [c for c in result.cells if c.not_counted and len(c.trials) == 1])

    def name(self, step: Batch) -> str:
        """Return the faults of the trials."""
        kinds = dict.fromkeys(fault.split()[0] for _, fault in step.trials)
        return f"{len(step.trials)} at once: {', '.join(kinds)}"

    def expected_s(self, result: GuaranteesResult, step: Batch) -> float:
        """Return about how long a step takes: as long as its longest trial, which may wait for messages in vain."""
        return max(plan.expected_s + plan.drain_timeout_s for plan, _ in step.trials)

    def following(self, result: GuaranteesResult, step: Batch) -> Iterator[tuple[Batch, int]]:
        """Yield the batches after one."""
        now = {(plan.variant.name, fault) for plan, fault in step.trials}
        left = [cell for cell in _left(result) if (cell.variant.name, cell.fault) not in now]
        yield from ((batch, 1) for batch in _batches(result, left))

    def most_steps(self, result: GuaranteesResult) -> int:
        """Return the number of trials, as far as none has to be repeated."""
        return result.steps[1]

    def limits(self, result: GuaranteesResult) -> AbstractContextManager[None]:
        """Nothing here needs more files than a process may open."""
        return nullcontext()

    async def measure(
        self, result: GuaranteesResult, step: Batch, executor: Callable[[], Executor], note: Note
    ) -> None:
        """Run the trials of a batch at once."""
        trials = await trials_of([plan for plan, _ in step.trials], executor, note)
        for (plan, fault), trial in zip(step.trials, trials, strict=True):
            result.add(GuaranteeTrial(counts_of(trial, fault), plan.variant))


GUARANTEES = Guarantees()
EXPERIMENTS = (GUARANTEES,)


def _variants(settings: Mapping[str, Given]) -> list[Variant]:
    """Return the variants that the settings name; without a server, those of other installed servers too."""
    given, transports = settings["server"].value, settings["transport"].value or registry.installed()
    servers = given if isinstance(given, list) else [given] if given else [DEFAULT_SERVER]
    if given:
        return _of_servers(settings, servers)
    known = registry.server_names()
    names = [transports] if isinstance(transports, str) else transports
    others = [server for server in _CONFIGURATIONS if any((name, server) in known for name in names)]
    try:
        return _of_servers(settings, [*servers, *others])
    except MissingProgram as error:
        warnings.warn(f"{', '.join(others)} is left out: {error}", stacklevel=2)
        return _of_servers(settings, servers)


def _of_servers(settings: Mapping[str, Given], servers: Sequence[str]) -> list[Variant]:
    """Return the variants of servers, in each of the configurations that are measured side by side."""
    options = [option for server in servers for option in _CONFIGURATIONS.get(server, ())]
    settings = {**settings, "server": Given(list(servers), "default")}
    if settings["server_option"].value is not None or not options:
        return chosen_variants(settings, everything=True)
    found: dict[str, Variant] = {}
    for option in options:
        of_option = chosen_variants({**settings, "server_option": Given([option], "default")}, everything=True)
        found |= {variant.name: variant for variant in of_option}
    return in_order(list(found.values()))


def _left(result: GuaranteesResult) -> list[Cell]:
    return [cell for cell in result.cells if not cell.trials]


def _batches(result: GuaranteesResult, cells: Sequence[Cell]) -> Iterator[Batch]:
    """Divide cells into batches; those of one fault come together, since they take about as long."""
    at_once: int = result.settings["at_once"].value
    ordered = sorted(cells, key=lambda cell: (result.faults.index(cell.fault), cell.variant.reconnect))
    for start in range(0, len(ordered), at_once):
        first, batch = len(result.trials), ordered[start : start + at_once]
        yield Batch([(_plan(result.settings, cell, first + i), cell.fault) for i, cell in enumerate(batch)])


def _plan(settings: Mapping[str, Given], cell: Cell, index: int) -> TrialPlan:
    policy = cell.variant.reconnect
    count = 1 if policy == NONE else settings["episodes"].value  # nobody is there any more after the first
    return TrialPlan(
        index,
        0,  # the same schedule for all
        cell.variant,
        _workload(settings, schedule_s(cell.fault, count)),
        settings["seed"].value,
        settings["tls"].value,
        faults=episodes(cell.fault, count),
        reconnect=Reconnect(policy, settings["offline"].value, settings["keep_alive"].value),
    )


def _workload(settings: Mapping[str, Given], duration_s: float) -> Workload:
    """Return the workload: messages at random times, so that some are under way whenever a fault comes."""
    return Workload(
        publishers=settings["publishers"].value,
        subscribers=settings["subscribers"].value,
        rate_hz=settings["rate"].value,
        arrivals="poisson",
        payload_bytes=settings["payload"].value,
        duration_s=duration_s,
        warmup_s=0.0,
    )
