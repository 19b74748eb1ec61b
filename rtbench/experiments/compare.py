"""Run and compare: which trials are run, and in which order.

The trials of a comparison come in blocks, one trial of each variant a block, in an order drawn from the seed: what
changes on the machine over the minutes affects all variants alike. A run is a comparison of one variant. With a
precision, blocks are added until it is reached or known to be out of reach; they continue the same order.

A trial that something outside disturbed (`rtbench.analysis.disturbance`) is run again after the planned ones, at most
as often as there are trials. A comparison ends with its sparse part: all variants at once at a low rate, which takes
long and costs little; it gives bytes, requests and the age of information, not latencies.
"""

from __future__ import annotations

import random
import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from rtbench.analysis import conditions
from rtbench.errors import ResultError, UsageError
from rtbench.experiments import load
from rtbench.experiments.external import check_external, login_of
from rtbench.experiments.limits import limits_for
from rtbench.experiments.runner import Note
from rtbench.experiments.together import trial_of, trials_of
from rtbench.links.choice import link_kind
from rtbench.links.link import PACKET, STREAM
from rtbench.plan.faults import LINK, SERVER
from rtbench.plan.login import Login
from rtbench.plan.network import LOOPBACK
from rtbench.plan.settings import Given, Setting, faults_of, reconnect_of, resolve, sparse_workloads, workload_of
from rtbench.plan.variant import EXTERNAL_SERVER, Variant
from rtbench.plan.workload import Workload
from rtbench.result.comparison import Comparison
from rtbench.result.result import Result
from rtbench.system.environment import describe
from rtbench.system.placement import check_placement, cores_here
from rtbench.transports import registry
from rtbench.transports.choice import chosen_variants
from rtbench.trial.bystanders import can_hold_filters, filters_of
from rtbench.trial.planning import TrialPlan

_LEAST_IN_VAIN = 3


@dataclass(frozen=True)
class SparsePart:
    """The trials of all variants at a low rate, which are run at once."""

    trials: Sequence[TrialPlan]


Step: TypeAlias = TrialPlan | SparsePart


@dataclass(frozen=True)
class Compare:
    """The experiment of one variant (`run`), or of several (`comparison`)."""

    kind: str
    result_type = Comparison

    def settings(self) -> Mapping[str, Setting]:
        """Return the settings of every transport, and the options of the installed ones."""
        return registry.settings()

    def start(self, settings: Mapping[str, Given]) -> Comparison:
        """Return an empty result with the variants that the settings name, all without any in a comparison."""
        variants = _over_links(chosen_variants(settings, everything=self.kind == "comparison"), settings)
        workload = workload_of(settings)
        check_external(settings, workload)
        if settings["url"].value is not None:
            _refuse_to_break(settings)
        check_placement(settings["cores"].value, cores_here())
        plans(variants[:1], workload, 1, settings)  # refuses more workers than there are clients
        _refuse_filters_in_vain(variants, settings)
        for sparse in sparse_workloads(settings) if self.kind == "comparison" else []:
            check_external(settings, sparse, max(Counter(urlsplit(v.url).hostname for v in variants).values()))
        planned = len(variants) * settings["trials"].value
        return Comparison.start(self.kind, settings, variants, planned, workload=workload)

    def resume(self, result: Comparison) -> None:
        """Refuse a result that would not be measured the same way here and now."""
        check_same(result, settings_again(result))
        check_same_conditions(result)

    def steps(self, result: Comparison) -> Iterator[Step]:
        """Yield the trials that are left, and the sparse parts; more trials are planned as they turn out to be needed.

        These are the repetitions of disturbed trials, and those that a precision asks for.
        """
        planned = plans(result.variants, result.workload, self.most_blocks(result), result.settings)
        measured_before = {(trial.counts.block, trial.counts.variant) for trial in result.trials}
        for number, plan in enumerate(planned):
            if number == result.planned_trials:
                yield from self._repetitions(result, planned)
                if not result.extend():
                    break
            if (plan.block, plan.variant.name) not in measured_before:
                yield replace(plan, index=len(result.trials))
        else:
            yield from self._repetitions(result, planned)
        measured_rates = {trial.workload.rate_hz for trial in result.sparse}
        for workload in result.sparse_workloads:
            if workload.rate_hz not in measured_rates:
                together = plans(result.variants, workload, 1, result.settings)
                yield SparsePart([replace(p, index=len(result.sparse) + i) for i, p in enumerate(together)])

    def _repetitions(self, result: Comparison, planned: Sequence[TrialPlan]) -> Iterator[TrialPlan]:
        """Yield disturbed trials again, until each was undisturbed once or it makes no sense to go on.

        Go on for at most as many trials as were planned, and not if a block of repetitions was disturbed without
        exception: then the machine is busy all the time.
        """
        plan_of = {(plan.block, plan.variant.name): plan for plan in planned}
        in_vain = 0
        while result.settings["repeat"].value and (disturbed := result.disturbed()):
            for place in disturbed:
                if result.repeated >= result.planned_trials or in_vain >= max(len(result.variants), _LEAST_IN_VAIN):
                    return
                yield replace(plan_of[place], index=len(result.trials))
                in_vain = in_vain + 1 if place in result.disturbed() else 0

    def most_blocks(self, result: Comparison) -> int:
        """Return how many trials of each variant there are at most."""
        asked = result.settings["most_trials"].value if result.precision is not None else None
        return asked or result.blocks

    def most_steps(self, result: Comparison) -> int:
        """Return how many steps there are at most, as far as no trial has to be repeated."""
        return self.most_blocks(result) * len(result.variants) + result.repeated + len(result.sparse_workloads)

    def name(self, step: Step) -> str:
        """Return the variant of a trial, or the rate of a sparse part."""
        if isinstance(step, SparsePart):
            return f"all at {step.trials[0].workload.rate_hz:g}/s"
        return step.variant.name

    def expected_s(self, result: Comparison, step: Step) -> float:
        """Return about how long a step takes; a sparse part as long as its longest trial."""
        return max(plan.expected_s for plan in (step.trials if isinstance(step, SparsePart) else [step]))

    def following(self, result: Comparison, step: Step) -> Iterator[tuple[Step, int]]:
        """Yield the trials of each variant that are planned after a step, and each sparse part."""
        places = {(trial.counts.block, trial.counts.variant) for trial in result.trials}
        rates = {trial.workload.rate_hz for trial in result.sparse}
        if isinstance(step, SparsePart):
            rates.add(step.trials[0].workload.rate_hz)
        else:
            places.add((step.block, step.variant.name))
        measured = Counter(name for _, name in places)
        for plan in plans(result.variants, result.workload, 1, result.settings):
            yield plan, result.blocks - measured[plan.variant.name]
        for workload in result.sparse_workloads:
            if workload.rate_hz not in rates:
                yield SparsePart(plans(result.variants, workload, 1, result.settings)), 1

    def limits(self, result: Comparison) -> AbstractContextManager[None]:
        """Let this process and those it starts open enough files."""
        publishers, subscribers = result.workload.publishers, result.workload.subscribers
        return limits_for(
            result.variants, publishers + subscribers, f"{publishers} --publishers and {subscribers} --subscribers"
        )

    async def measure(self, result: Comparison, step: Step, executor: Callable[[], Executor], note: Note) -> None:
        """Run a trial, or those of a sparse part all at once."""
        if isinstance(step, SparsePart):
            result.add_sparse(await trials_of(step.trials, executor, note))
        else:
            result.add(await trial_of(step, executor(), note))


def _refuse_to_break(settings: Mapping[str, Given]) -> None:
    """Refuse faults of a server that rtbench did not start."""
    for fault in faults_of(settings):
        if fault.breaks == SERVER:
            raise UsageError(f"--fault '{fault}' breaks a server that rtbench starts; leave out --url")


def _over_links(variants: Sequence[Variant], settings: Mapping[str, Given]) -> list[Variant]:
    """Return the variants with the kind of link that each is measured over.

    Raises:
        UsageError: no link does what is asked for.
    """
    faults, asked, networks = faults_of(settings), settings["link"].value, [v.network for v in variants]
    kind = link_kind(asked, networks, faults)
    if kind == PACKET and settings["url"].value is not None:  # its server is in no namespace of ours
        if asked == PACKET:
            raise UsageError("--link packet needs a server that rtbench starts; leave out --url, or give --link stream")
        kind = link_kind(STREAM, networks, faults)
    broken = any(fault.breaks == LINK for fault in faults)
    return [replace(v, link=kind if broken or v.network != LOOPBACK else LOOPBACK) for v in variants]


RUN, COMPARISON = Compare("run"), Compare("comparison")
EXPERIMENTS = (RUN, COMPARISON)


def load_comparison(path: str | Path) -> Comparison:
    """Read a saved run or comparison.

    Raises:
        ResultError: there is none, it is damaged, or it is of another experiment.
    """
    result = load(path)
    if not isinstance(result, Comparison):
        raise ResultError(f"{path} is of the kind {result.kind!r}; this takes a run or a comparison")
    return result


def plans(
    variants: Sequence[Variant], workload: Workload, blocks: int, settings: Mapping[str, Given]
) -> list[TrialPlan]:
    """Return all trials in the order in which they run."""
    value = {name: given.value for name, given in settings.items()}
    order = random.Random(f"order {value['seed']}")
    filters = tuple(filters_of(value["filter"], value["filters"], workload.publisher_topics))
    login = login_of(settings)
    planned: list[TrialPlan] = []
    for block in range(blocks):
        for variant in order.sample(variants, len(variants)):
            external = variant.server == EXTERNAL_SERVER
            plan = TrialPlan(
                len(planned),
                block,
                variant,
                workload,
                value["seed"],
                value["tls"],
                variant.url if external else None,
                value["drain"],
                faults=tuple(faults_of(settings)),
                reconnect=reconnect_of(variant.reconnect, settings),
                publisher_processes=value["publisher_workers"],
                subscriber_processes=value["workers"],
                cores=value["cores"],
                filters=filters,
                login=login if external else Login(),
                prefix=f"rtbench-{secrets.token_hex(4)}/" if external else "",
            )
            planned.append(plan)
    return planned


def _refuse_filters_in_vain(variants: Sequence[Variant], settings: Mapping[str, Given]) -> None:
    if not settings["filters"].value:
        return
    if not any(can_hold_filters(v.transport) for v in variants):
        raise UsageError("--filters is for transports whose subscribers ask for topic filters: give --transport mqtt")
    if settings["url"].value is not None:
        raise UsageError("--filters is for a broker that rtbench starts; leave out --url")
    if any(v.link != LOOPBACK for v in variants):
        raise UsageError("--filters is for servers without a network in front; leave out --network and --fault")


def settings_again(result: Comparison) -> dict[str, Given]:
    """Return the settings that measure the variants of a result again, their source being the result.

    A comparison of "all installed" becomes one of the transports that it had: others may be installed by now.

    Raises:
        ResultError: this rtbench does not have them.
    """
    try:
        values = {name: (given.value, "result") for name, given in result.settings.items()}
        settings = resolve(values, registry.settings())
    except UsageError as error:
        raise ResultError(f"this rtbench cannot measure the same: {error}") from error
    if result.kind == "comparison" and result.settings["transport"].value is None:
        others = [v.transport for v in result.variants if not v.control]
        settings["transport"] = Given(list(dict.fromkeys(others)), "result")
        settings["control"] = Given(any(v.control for v in result.variants), "result")
    return {name: Given(given.value, "result") for name, given in settings.items()}


def check_same_conditions(result: Result[Any]) -> None:
    """Refuse to go on with a result that was begun on another machine, or with other software.

    Raises:
        ResultError: it was.
    """
    here = conditions.conditions(describe(result.settings["tls"].value))
    changed = [
        f"{name} was {value}, is {here.get(name)}"
        for name, value in conditions.conditions(result.environment).items()
        if here.get(name) != value
    ]
    if changed:
        raise ResultError(f"its trials were measured under other conditions: {'; '.join(changed)}; measure it anew")


def check_same(result: Comparison, settings: Mapping[str, Given]) -> None:
    """Refuse settings with which this rtbench would measure something else than a result has.

    Raises:
        ResultError: it would.
    """
    try:
        variants = chosen_variants(settings, everything=result.kind == "comparison")
        asked = asdict(workload_of(settings))
    except UsageError as error:
        raise ResultError(f"this rtbench cannot measure the same: {error}") from error
    now = {v.name: dict(v.options) for v in variants}
    before = {v.name: dict(v.options) for v in result.variants}
    defaults = {v.name: registry.client(v.transport, v.client).defaults for v in variants}
    differing = (
        [] if list(now) == list(before) else [f"the result has {', '.join(before)}, measured would be {', '.join(now)}"]
    )
    for name, options in before.items():
        if name in now and not _agree(options, now[name], defaults[name]):
            differing.append(f"{name} had the options {options}, measured would be {now[name]}")
    for name, value in asdict(result.workload).items():
        if asked[name] != value:
            differing.append(f"the result has {name} {value}, measured would be {asked[name]}")
    if differing:
        raise ResultError(f"this rtbench cannot measure the same: {differing[0]}")


def _agree(before: Mapping[str, Any], now: Mapping[str, Any], defaults: Mapping[str, Any]) -> bool:
    """Whether options are the same; one that a result does not have, since it is newer, counts with its default."""
    return {**defaults, **before} == now if before.keys() <= now.keys() else False
