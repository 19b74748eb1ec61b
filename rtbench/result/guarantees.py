"""The result of `rtbench guarantees`: what was lost and what came twice, a cell for each variant and fault."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtbench.analysis.episodes import GuaranteeCounts
from rtbench.analysis.guarantees import (
    BROKEN,
    EXACTLY_ONCE,
    HELD,
    METRICS,
    TRIAL_HEAD,
    UNCOUNTED,
    UNPROMISED,
    Cell,
    GuaranteeTrial,
    in_short,
    promise_of,
    short_faults,
    shown_name,
)
from rtbench.analysis.verdict import INVALID, VALID
from rtbench.plan.reconnect import NAIVE, NONE, ROBUST
from rtbench.plan.variant import Variant
from rtbench.result import storage
from rtbench.result.result import COMPLETE, UNFIT, Result
from rtbench.table import LEAST_WIDTH, WIDTH, Table
from rtbench.units import counted, plain

if TYPE_CHECKING:
    from rtbench.charts import Chart

NOT_KEPT = 3  # the exit code of a promise that did not hold
SIGNS = {HELD: "+", BROKEN: "!", UNPROMISED: "-", UNCOUNTED: "?"}
POLICIES = {
    ROBUST: "clients that resume where the connection was lost",
    NAIVE: "clients that connect anew",
    NONE: "clients that do not connect again (one episode)",
}
_LEGEND = (
    "+ the promise held, ! it did not, - nothing is promised, ? not counted. 2/0.4: in each episode, on average, 2 "
    "deliveries were lost and 0.4 came once more. Then the median time until a subscriber had a message again, where "
    "one noticed."
)


@dataclass(repr=False, kw_only=True)
class GuaranteesResult(Result[GuaranteeTrial]):
    """What was lost and what came twice, a cell for each variant and fault."""

    counts = GuaranteeCounts
    charts = ("guarantees",)

    @property
    def faults(self) -> list[str]:
        """The faults, in the order in which they were asked for."""
        value = self.settings["fault"].value
        return [value] if isinstance(value, str) else list(dict.fromkeys(value))

    @cached_property
    def cells(self) -> list[Cell]:
        """Every variant under every fault, measured or not."""
        of_cell: dict[tuple[str, str], list[GuaranteeTrial]] = {}
        for trial in self.trials:
            of_cell.setdefault((trial.counts.variant, trial.counts.fault), []).append(trial)
        return [
            Cell(variant, fault, of_cell.get((variant.name, fault), []))
            for variant in self.variants
            for fault in self.faults
        ]

    @cached_property
    def summary(self) -> Table:
        """One row for each variant and fault that was measured: the columns of summary.csv."""
        return Table([{m.name: m.of(cell) for m in METRICS} for cell in self.cells if cell.trials])

    @cached_property
    def trial_table(self) -> Table:
        """One row a trial, those that are not counted too: the columns of trials.csv."""
        cells = [Cell(trial.variant, trial.counts.fault, [trial]) for trial in self.trials]
        return Table([{m.name: m.of(cell) for m in (*TRIAL_HEAD, *METRICS)} for cell in cells])

    @property
    def problem(self) -> int:
        """0 fine, 1 a trial failed, 3 a promise did not hold, 4 a cell is not counted."""
        if any(cell.error for cell in self.cells):
            return 1
        if any(cell.outcome == BROKEN for cell in self.cells):
            return NOT_KEPT
        return UNFIT if any(cell.not_counted for cell in self.cells) else 0

    @property
    def repeated(self) -> int:
        """How many trials were run once more, since the one before could not be counted."""
        return sum(max(len(cell.trials) - 1, 0) for cell in self.cells)

    @property
    def steps(self) -> tuple[int, int]:
        """How many trials are done, and how many are planned so far."""
        return len(self.trials), self.planned_trials + self.repeated

    @property
    def missing(self) -> str:
        """What an interruption left, in words; empty if the result is complete."""
        if self.status == COMPLETE:
            return ""
        left = sum(not cell.trials for cell in self.cells)
        return f"{self.planned_trials - left} of {self.planned_trials} trials"

    @property
    def conditions(self) -> list[str]:
        """The conditions of the measurement, in phrases."""
        value = {name: given.value for name, given in self.settings.items()}
        return [
            counted(value["episodes"], "episode") + " of each fault",
            f"{counted(value['publishers'], 'publisher')} of {plain(value['rate'])} messages/s each",
            counted(value["subscribers"], "subscriber"),
            f"stream link with {self.variants[0].network}",
            f"{counted(value['at_once'], 'trial')} at once",
        ]

    def cells_of(self, variant: Variant) -> list[Cell]:
        """Return the cells of a variant."""
        return [cell for cell in self.cells if cell.variant == variant]

    def observe(self) -> dict[str, str]:
        """Return one sentence on each variant: what it promises, and what became of it."""
        return {variant.name: sentence(self.cells_of(variant)) for variant in self.variants}

    def about(self, variant: Variant) -> dict[str, Any]:
        """Return the verdict on a variant; one with a cell that is not counted is invalid."""
        reasons = [f"{cell.fault}: {cell.not_counted}" for cell in self.cells_of(variant) if cell.not_counted]
        return {"verdict": INVALID if reasons else VALID, "reasons": "; ".join(reasons)}

    def overview(self) -> Table:
        """Return the table of the report: a row a variant, a column a fault."""
        rows = [self._row(variant) for variant in self.variants]
        return Table([{**row, "reconnect": v.reconnect} for row, v in zip(rows, self.variants, strict=True)])

    def _row(self, variant: Variant) -> dict[str, str]:
        heads = short_faults(self.faults)
        return {"variant": shown_name(variant)} | {heads[c.fault]: in_short(c, SIGNS) for c in self.cells_of(variant)}

    def report(self, width: int = WIDTH) -> str:
        """Return a table for each policy, and sentences, at most `width` columns wide (60 or more)."""
        width = max(width, LEAST_WIDTH)
        if not self.trials:
            return "nothing was measured"
        blocks = []
        for policy, who in POLICIES.items():
            if own := [self._row(variant) for variant in self.variants if variant.reconnect == policy]:
                table, _ = Table(own).fitted(width, ())
                blocks.append(f"{who}:\n{table.text(left=table.columns)}")
        blocks.append(textwrap.fill(f"{_LEGEND} {'; '.join(self.conditions)}.", width))
        blocks += ["\n".join(_wrapped(line, width) for line in part) for part in self._sentences() if part]
        return "\n\n".join(blocks)

    def _sentences(self) -> Iterator[list[str]]:
        """Yield the promises, those that did not hold, what was announced, and what is not counted."""
        promises = {v.label: promise_of(v).words for v in self.variants if v.reconnect == ROBUST}
        yield [f"{label} promises {words}" for label, words in promises.items()]
        yield [f"not kept: {_named(cell)}: {breach(cell)}" for cell in self.cells if cell.outcome == BROKEN]
        yield [
            f"announced: {_named(cell)}: the server said that {cell.missed_told} deliveries are gone"
            for cell in self.cells
            if cell.missed_told
        ]
        yield [f"not counted: {_named(cell)}: {cell.not_counted}" for cell in self.cells if cell.not_counted]

    def draw(self, name: str, preset: str, notes: bool) -> Chart:
        """Draw one chart; see `rtbench.charts.GUARANTEE_CHARTS`."""
        from rtbench.charts import GUARANTEE_CHARTS, draw

        return draw(GUARANTEE_CHARTS, self, name, preset, notes)

    @classmethod
    def load(cls, content: Mapping[str, Any], path: Path) -> GuaranteesResult:
        """Make a result of the content of its result.json."""
        result = cls(**cls.common_of(content), path=path)
        by_name = {variant.name: variant for variant in result.variants}
        for trial in content["trials"]:
            counts = storage.made(GuaranteeCounts, trial)
            result.trials.append(GuaranteeTrial(counts, by_name[counts.variant]))
        return result


def _named(cell: Cell) -> str:
    return f"{shown_name(cell.variant)} ({cell.variant.reconnect}), {cell.fault}"


def sentence(cells: Sequence[Cell]) -> str:
    """Say what a variant promises, and for each fault what became of it."""
    found = []
    for cell in cells:
        if cell.not_counted:
            found.append(f"{cell.fault}: not counted ({cell.not_counted})")
        else:
            counts = f"{cell.total('lost')} lost and {cell.total('duplicated')} duplicated"
            found.append(f"{cell.fault}: {cell.outcome}, {counts} in {counted(len(cell.episodes), 'episode')}")
    return f"promises {promise_of(cells[0].variant).words}; {'; '.join(found)}"


def breach(cell: Cell) -> str:
    """Say how a promise was not kept."""
    promise = cell.promise
    lost, twice = cell.total(promise.lost), cell.total("duplicated")
    found = [f"{lost} {promise.counted} deliveries lost"] * bool(lost)
    found += [f"{twice} duplicated"] * bool(twice and promise.delivery == EXACTLY_ONCE)
    text = f"{' and '.join(found)} in {counted(len(cell.episodes), 'episode')}"
    noticed, resumed = cell.total("noticed") or 0, cell.total("resumed") or 0
    if resumed < noticed and promise.over_restart:
        text += f"; {noticed - resumed} of {noticed} sessions were gone: this configuration did not keep them"
    return text


def _wrapped(text: str, width: int) -> str:
    return textwrap.fill(text, width, subsequent_indent="  ")
