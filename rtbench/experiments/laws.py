"""Laws: what is known of the transports beforehand, reproduced over an emulated link.

Each set-up (`rtbench.plan.laws`) is a variant with a workload of its own, and has a trial in every block. A link of
100 ms keeps a machine idle, so a step runs a few trials of one block at once.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager
from dataclasses import replace

from rtbench.analysis.laws import LAWS
from rtbench.errors import ResultError, UsageError, did_you_mean
from rtbench.experiments.runner import Note
from rtbench.experiments.together import trials_of
from rtbench.links.choice import link_kind
from rtbench.links.link import PACKET
from rtbench.links.packet_link import packet_link_missing
from rtbench.plan.laws import SetUp, set_ups
from rtbench.plan.settings import SETTINGS, Given, Setting, make_setting
from rtbench.plan.variant import DEFAULT_CLIENT, DEFAULT_SERVER, Variant
from rtbench.result.laws import LawsResult
from rtbench.system.room import room_for
from rtbench.transports.choice import variants_of
from rtbench.trial.planning import TrialPlan

AT_ONCE = 5  # trials
MOST_IN_VAIN = 2  # repetitions of disturbed trials that are disturbed too, one after the other: the machine is busy
_CONNECTIONS = 200  # of a trial, at most

_OWN_SETTINGS = {
    s.name: s
    for s in (
        make_setting("rtt", "time", 0.1, "TIME", "round-trip time of the link; all times of the laws follow from it"),
        make_setting(
            "law", str, None, "LAW", f"one of {', '.join(LAWS)}", many=True, always_many=True, shown_default="all"
        ),
    )
}


class Laws:
    """The experiment."""

    kind = "laws"
    result_type = LawsResult

    def settings(self) -> Mapping[str, Setting]:
        """Return round-trip time and laws, and of the common settings link, trials and seed."""
        return _OWN_SETTINGS | {name: SETTINGS[name] for name in ("link", "trials", "seed")}

    def start(self, settings: Mapping[str, Given]) -> LawsResult:
        """Return an empty result with the set-ups that the laws need."""
        numbers, rtt_s = _laws(settings["law"].value), settings["rtt"].value
        kind, missing = _link(settings["link"].value, rtt_s)
        chosen = [s for s in set_ups(rtt_s) if set(s.laws) & set(numbers)]
        unmeasured = {number: missing for s in chosen if s.loss and kind != PACKET for number in s.laws}
        chosen = [s for s in chosen if set(s.laws) & (set(numbers) - set(unmeasured))]
        if not chosen:
            raise UsageError(f"--law {', '.join(numbers)} cannot be measured here: {missing}")
        return LawsResult.start(
            self.kind,
            settings,
            [_variant(s, rtt_s, kind) for s in chosen],
            len(chosen) * settings["trials"].value,
            laws=numbers,
            workloads={s.name: s.workload(rtt_s) for s in chosen},
            unmeasured=unmeasured,
        )

    def resume(self, result: LawsResult) -> None:
        """Refuse a result whose set-ups are not those of this rtbench, or whose link is not to be had here."""
        rtt_s = result.settings["rtt"].value
        here = {s.name: s.workload(rtt_s) for s in set_ups(rtt_s)}
        if any(here.get(name) != workload for name, workload in result.workloads.items()):
            raise ResultError("this rtbench measures the laws in other set-ups; measure them anew")
        kind, missing = _link(result.settings["link"].value, rtt_s)
        if kind != result.variants[0].link:
            raise ResultError(f"it was measured over a {result.variants[0].link} link; {missing or 'here is another'}")

    def steps(self, result: LawsResult) -> Iterator[Sequence[TrialPlan]]:
        """Yield the trials that are left, a few at a time, those of one block together; then disturbed ones again."""
        done = {(trial.counts.block, trial.counts.variant) for trial in result.trials}
        for batch in _batches(result):
            left = [plan for plan in batch if (plan.block, plan.variant.name) not in done]
            if left:
                yield _numbered(left, result)
        in_vain = 0
        for batch in _batches(result):
            disturbed = result.disturbed()
            again = [plan for plan in batch if (plan.block, plan.variant.name) in disturbed]
            if again and in_vain < MOST_IN_VAIN:
                yield _numbered(again, result)
                in_vain = in_vain + 1 if disturbed == result.disturbed() else 0

    def name(self, step: Sequence[TrialPlan]) -> str:
        """Return how many trials run at once."""
        return f"{len(step)} at once"

    def expected_s(self, result: LawsResult, step: Sequence[TrialPlan]) -> float:
        """Return about how long a step takes: as long as its longest trial."""
        return max(plan.expected_s for plan in step)

    def following(self, result: LawsResult, step: Sequence[TrialPlan]) -> Iterator[tuple[Sequence[TrialPlan], int]]:
        """Yield the steps after one."""
        done = {(trial.counts.block, trial.counts.variant) for trial in result.trials}
        done |= {(plan.block, plan.variant.name) for plan in step}
        for batch in _batches(result):
            if left := [plan for plan in batch if (plan.block, plan.variant.name) not in done]:
                yield left, 1

    def most_steps(self, result: LawsResult) -> int:
        """Return the number of trials, as far as none has to be repeated."""
        return result.planned_trials + result.repeated

    def limits(self, result: LawsResult) -> AbstractContextManager[None]:
        """Let this process and those it starts open enough files."""
        return room_for(_CONNECTIONS, f"{_CONNECTIONS} connections")

    async def measure(
        self, result: LawsResult, step: Sequence[TrialPlan], executor: Callable[[], Executor], note: Note
    ) -> None:
        """Run the trials of a step at once."""
        result.add_all(await trials_of(step, executor, note, in_turns=True))


ALL_LAWS = Laws()
EXPERIMENTS = (ALL_LAWS,)


def _numbered(plans: Sequence[TrialPlan], result: LawsResult) -> list[TrialPlan]:
    return [replace(plan, index=len(result.trials) + i) for i, plan in enumerate(plans)]


def _laws(asked: list[str] | str | None) -> list[str]:
    """Return the laws that are asked for, in their order; all where none is."""
    asked = [asked] if isinstance(asked, str) else asked
    for number in asked or ():
        if number not in LAWS:
            raise UsageError(f"--law must be one of {', '.join(LAWS)}: got {number!r}{did_you_mean(number, LAWS)}")
    return [number for number in LAWS if asked is None or number in asked]


def _link(asked: str, rtt_s: float) -> tuple[str, str]:
    """Return the kind of link for networks without loss, and why it cannot drop packets, where it cannot."""
    kind = link_kind(asked, [set_ups(rtt_s)[0].network(rtt_s)], ())
    missing = packet_link_missing() if asked != "stream" else "--link stream"
    return kind, f"lost packets need a packet link: {missing}" if missing else ""


def _variant(set_up: SetUp, rtt_s: float, link: str) -> Variant:
    (variant,) = variants_of(set_up.transport, DEFAULT_SERVER, DEFAULT_CLIENT, set_up.options, all_of_them=False)
    return replace(variant, label=set_up.name, network=set_up.network(rtt_s), link=link)


def _batches(result: LawsResult) -> Iterator[list[TrialPlan]]:
    """Yield all trials in the order in which they run, those that run at once together."""
    seed = result.settings["seed"].value
    order = random.Random(f"order {seed}")
    tls = {s.name: s.tls for s in set_ups(result.settings["rtt"].value)}
    for block in range(result.settings["trials"].value):
        shuffled = order.sample(result.variants, len(result.variants))
        for start in range(0, len(shuffled), AT_ONCE):
            yield [
                TrialPlan(0, block, v, result.workloads[v.label], seed, tls=tls[v.label])
                for v in shuffled[start : start + AT_ONCE]
            ]
