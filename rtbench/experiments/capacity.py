"""Capacity: the highest load that a server sustains under an objective; one variant is searched after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

from rtbench.analysis.capacity_search import bracket, next_load
from rtbench.errors import UsageError, did_you_mean
from rtbench.experiments import compare
from rtbench.experiments.compare import COMPARISON
from rtbench.experiments.external import check_external
from rtbench.experiments.limits import limits_for
from rtbench.experiments.runner import Note
from rtbench.plan.clients import AUTO
from rtbench.plan.objective import parse_objective
from rtbench.plan.settings import SETTINGS, Given, Setting, make_setting
from rtbench.plan.sweep import Level, settings_at
from rtbench.plan.values import LIMITS
from rtbench.plan.variant import LEAN_CLIENT, Variant
from rtbench.result.capacity import CapacityResult
from rtbench.result.comparison import Comparison
from rtbench.result.result import COMPLETE
from rtbench.units import plain

LOADS = ("rate", "subscribers", "publishers")
_MOST_RATE, _MOST_CLIENTS = 100_000.0, 10_000.0  # to try, unless --most says it
_MOST_SHOWN = "100000 a second, 10000 clients"
_OWN_SETTINGS = {
    s.name: s
    for s in (
        make_setting("slo", str, "p99<100ms, lost=0", "TERMS", "the objective, such as 'p99<50ms, lost=0'"),
        make_setting("of", str, "rate", "|".join(LOADS), "what is raised until the objective is missed"),
        make_setting("first", float, 10.0, "LOAD", "the load to begin with"),
        make_setting(
            "most", float, None, "LOAD", "the highest load to try", shown_default="100000 a second, 10000 clients"
        ),
        make_setting("resolution", "share", 0.15, "SHARE", "how close the load that held is to the one that failed"),
        replace(SETTINGS["duration"], default=2.0, shown_default="2s"),
        replace(SETTINGS["trials"], default=3, shown_default="3", help=f"trials at each load; {LIMITS['trials']}"),
        replace(SETTINGS["client"], default=LEAN_CLIENT, shown_default=LEAN_CLIENT),
    )
}
_LEFT_OUT = ("sparse", "sparse_rate", "sparse_duration", "precision", "most_trials", "control")


@dataclass(frozen=True)
class Step:
    """A step of the comparison at one load."""

    comparison: Comparison
    name: str
    step: compare.Step


class Capacity:
    """The experiment."""

    kind = "capacity"
    result_type = CapacityResult

    def settings(self) -> Mapping[str, Setting]:
        """Return those of a comparison without its sparse part and its precision, and those of this experiment."""
        common = {name: s for name, s in COMPARISON.settings().items() if name not in _LEFT_OUT}
        return {**common, **_OWN_SETTINGS}

    def start(self, settings: Mapping[str, Given]) -> CapacityResult:
        """Return an empty result with the variants that the settings name."""
        parse_objective(settings["slo"].value)
        of = settings["of"].value
        if of not in LOADS:
            raise UsageError(f"--of must be one of {', '.join(LOADS)}: got {of!r}{did_you_mean(of, LOADS)}")
        if settings["client"].value == AUTO:
            raise UsageError("--client auto would change the client during the search; give lean or library")
        first, most = settings["first"].value, _most(settings)
        for flag, load in (("--first", first), ("--most", most)):
            LIMITS[of].check(flag, load)
        if first > most:
            raise UsageError(f"--first must not be above --most: got {plain(first, 6)} and {plain(most, 6)}")
        comparison = self._comparison(settings, first)[1]
        if settings["url"].value is not None:
            highest = {"rate_hz": most} if of == "rate" else {of: int(most)}
            check_external(settings, replace(comparison.workload, **highest))
        planned = len(comparison.variants) * settings["trials"].value
        return CapacityResult.start(self.kind, settings, comparison.variants, planned)

    def _comparison(
        self, settings: Mapping[str, Given], load: float, variant: Variant | None = None
    ) -> tuple[Level, Comparison]:
        """Return an empty comparison at a load, of one variant or of all."""
        of, known = settings["of"].value, COMPARISON.settings()
        text = plain(load, 6)
        if settings[of].value is not None and settings[of].source != "default":
            raise UsageError(f"--{of} is what is varied; give --first and --most, or vary something else with --of")
        usual = {name: Given(setting.default, "default") for name, setting in known.items()}
        off = {"sparse": Given(False, "sweep"), "control": Given(False, "sweep")}
        given = {**usual, **{name: g for name, g in settings.items() if name in known}, **off}
        comparison = COMPARISON.start(settings_at(Level({of: text}, {of: load}), given, known))
        if variant is not None:
            comparison.variants = [variant]
            comparison.planned_trials = settings["trials"].value
        name = f"{variant.name} " if variant is not None else ""
        return Level({of: text}, {of: load}) if not name else _level(name, of, text, load), comparison

    def resume(self, result: CapacityResult) -> None:
        """Refuse a result of which a load was begun under other conditions."""
        compare.check_same_conditions(result)

    def steps(self, result: CapacityResult) -> Iterator[Step]:
        """Yield the trials of each load that the search asks for."""
        settings = {name: given.value for name, given in result.settings.items()}
        for variant in result.variants:
            for level, comparison in zip(list(result.levels), list(result.comparisons), strict=True):
                if comparison.variants[0].name == variant.name and comparison.status != COMPLETE:
                    yield from self._at(level.name, comparison)
            search = settings["first"], _most(result.settings), settings["resolution"], settings["of"] != "rate"
            while (load := next_load(result.probes(variant.name), *search)) is not None:
                level, comparison = self._comparison(result.settings, load, variant)
                rounds = sum(probe.load == load for probe in result.probes(variant.name))
                level = replace(level, texts={**level.texts, "round": str(1 + rounds)}) if rounds else level
                result.begin(level, comparison)
                result.planned_trials = max(result.planned_trials, len(result.trials) + comparison.planned_trials)
                yield from self._at(level.name, comparison)
                if (
                    any(trial.counts.error for trial in comparison.trials)
                    and bracket(result.probes(variant.name)).held is None
                ):
                    break  # it does not work at all

    def _at(self, name: str, comparison: Comparison) -> Iterator[Step]:
        for step in COMPARISON.steps(comparison):
            yield Step(comparison, name, step)
        comparison.finish()

    def name(self, step: Step) -> str:
        """Return variant and load."""
        return step.name

    def expected_s(self, result: CapacityResult, step: Step) -> float:
        """Return about how long a step takes."""
        return COMPARISON.expected_s(step.comparison, step.step)

    def following(self, result: CapacityResult, step: Step) -> Iterator[tuple[Step, int]]:
        """Yield the other trials at this load; how many loads follow is not known."""
        for each, number in COMPARISON.following(step.comparison, step.step):
            yield replace(step, step=each), number

    def most_steps(self, result: CapacityResult) -> int:
        """Return how many trials there are so far."""
        return result.planned_trials

    def limits(self, result: CapacityResult) -> AbstractContextManager[None]:
        """Let this process and those it starts open as many files as the highest load needs."""
        clients = {
            name: result.settings[name].value or usual for name, usual in (("subscribers", 10), ("publishers", 1))
        }
        if result.of in clients:
            clients[result.of] = int(_most(result.settings))
        asked = ", ".join(f"{number} {name}" for name, number in clients.items())
        return limits_for(result.variants, sum(clients.values()), asked)

    async def measure(self, result: CapacityResult, step: Step, executor: Callable[[], Executor], note: Note) -> None:
        """Run a trial at a load."""
        before = len(step.comparison.trials)
        await COMPARISON.measure(step.comparison, step.step, executor, note)
        result.take(step.comparison, before)


def _most(settings: Mapping[str, Given]) -> float:
    """Return the highest load to try."""
    usual = _MOST_RATE if settings["of"].value == "rate" else _MOST_CLIENTS
    return usual if (asked := settings["most"].value) is None else float(asked)


def _level(name: str, of: str, text: str, load: float) -> Level:
    """Return the level of a variant at a load; its name is that of a directory."""
    plain_name = "".join(c if c.isalnum() or c in "-_." else "_" for c in name.strip())
    return Level({"variant": plain_name, of: text}, {of: load})


CAPACITY = Capacity()
EXPERIMENTS = (CAPACITY,)
