"""Sweep: a comparison at each level of one or two parameters, one level after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

from rtbench.errors import UsageError
from rtbench.experiments import compare
from rtbench.experiments.compare import COMPARISON
from rtbench.experiments.runner import Note
from rtbench.plan.clients import AUTO, usual_client
from rtbench.plan.settings import Given, Setting, make_setting, workload_of
from rtbench.plan.sweep import levels, parse_axis, settings_at
from rtbench.plan.variant import DEFAULT_CLIENT, LEAN_CLIENT
from rtbench.result.comparison import Comparison
from rtbench.result.result import COMPLETE
from rtbench.result.sweep import SweepResult

_VARY = make_setting(
    "vary",
    str,
    None,
    "NAME=VALUES",
    "what to vary: subscribers=1,10,100 or rate=10..50+10 or payload=100..1e6*10; give it once or twice",
    many=True,
    always_many=True,
)


@dataclass(frozen=True)
class Step:
    """A step of the comparison at one level."""

    level: Comparison
    name: str
    step: compare.Step


class Sweep:
    """The experiment."""

    kind = "sweep"
    result_type = SweepResult

    def settings(self) -> Mapping[str, Setting]:
        """Return what to vary, and the settings of a comparison without its sparse part."""
        return {"vary": _VARY, **COMPARISON.settings()}

    def start(self, settings: Mapping[str, Given]) -> SweepResult:
        """Return an empty result with an empty comparison for each level."""
        asked = settings["vary"].value
        if asked is None:
            raise UsageError("--vary is missing: say what to vary, such as --vary subscribers=1,10,100")
        axes = [parse_axis(text) for text in ([asked] if isinstance(asked, str) else asked)]
        known = COMPARISON.settings()
        found = levels(axes, known)
        settings = {**settings, "sparse": Given(False, "sweep")}
        each = [settings_at(level, settings, known) for level in found]
        each = [_with_fewer_workers(one) for one in _with_one_client(each)]
        comparisons = [COMPARISON.start(one) for one in each]
        variants = list({v.name: v for comparison in comparisons for v in comparison.variants}.values())
        planned = sum(comparison.planned_trials for comparison in comparisons)
        return SweepResult.start(self.kind, settings, variants, planned, levels=found, comparisons=comparisons)

    def resume(self, result: SweepResult) -> None:
        """Refuse a result of which a level would not be measured the same way here and now."""
        for comparison in result.comparisons:
            if comparison.status != COMPLETE:
                COMPARISON.resume(comparison)

    def steps(self, result: SweepResult) -> Iterator[Step]:
        """Yield the steps that are left of each level."""
        for level, comparison in zip(result.levels, result.comparisons, strict=True):
            if comparison.status == COMPLETE:
                continue
            for step in COMPARISON.steps(comparison):
                yield Step(comparison, level.name, step)
            comparison.finish()

    def name(self, step: Step) -> str:
        """Return level and variant."""
        return f"{step.name} {COMPARISON.name(step.step)}"

    def expected_s(self, result: SweepResult, step: Step) -> float:
        """Return about how long a step takes."""
        return COMPARISON.expected_s(step.level, step.step)

    def following(self, result: SweepResult, step: Step) -> Iterator[tuple[Step, int]]:
        """Yield the steps that follow at this level, and those of the levels after it."""
        at = result.comparisons.index(step.level)
        for each, number in COMPARISON.following(step.level, step.step):
            yield replace(step, step=each), number
        for level, comparison in zip(result.levels[at + 1 :], result.comparisons[at + 1 :], strict=True):
            for plan in compare.plans(comparison.variants, comparison.workload, 1, comparison.settings):
                yield Step(comparison, level.name, plan), comparison.blocks

    def most_steps(self, result: SweepResult) -> int:
        """Return how many steps there are at most, as far as no trial has to be repeated."""
        return sum(COMPARISON.most_steps(comparison) for comparison in result.comparisons)

    def limits(self, result: SweepResult) -> AbstractContextManager[None]:
        """Let this process and those it starts open as many files as the largest level needs."""
        largest = max(result.comparisons, key=lambda c: c.workload.publishers + c.workload.subscribers)
        return COMPARISON.limits(largest)

    async def measure(self, result: SweepResult, step: Step, executor: Callable[[], Executor], note: Note) -> None:
        """Run a step of a level."""
        before = len(step.level.trials)
        await COMPARISON.measure(step.level, step.step, executor, note)
        result.take(step.level, before)


def _with_one_client(each: list[dict[str, Given]]) -> list[dict[str, Given]]:
    """Let all levels have the same kind of client where `auto` would choose different ones."""
    if any(settings["client"].value != AUTO for settings in each):
        return each
    usual = {usual_client(settings) for settings in each}
    client = LEAN_CLIENT if LEAN_CLIENT in usual else DEFAULT_CLIENT
    return [{**settings, "client": Given(client, "sweep")} for settings in each]


def _with_fewer_workers(settings: dict[str, Given]) -> dict[str, Given]:
    """Let a level with fewer clients than workers have as many workers as clients."""
    workload = workload_of(settings)
    found = dict(settings)
    for name, clients in (("workers", workload.subscribers), ("publisher_workers", workload.publishers)):
        if settings[name].value > clients:
            found[name] = Given(clients, "sweep")
    return found


SWEEP = Sweep()
EXPERIMENTS = (SWEEP,)
