"""Sweep: comparisons at several levels of a parameter, each saved as a result of its own within this one."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtbench.analysis.counts import TrialCounts
from rtbench.analysis.crossover import Crossover, Curve, crossover
from rtbench.analysis.measured import Measured
from rtbench.analysis.verdict import INVALID, VALID
from rtbench.plan.sweep import Axis, Level, parse_axis
from rtbench.plan.variant import Variant
from rtbench.result import storage
from rtbench.result.comparison import Comparison
from rtbench.result.result import COMPLETE, UNFIT, Result
from rtbench.table import LEAST_WIDTH, WIDTH, Table, significant
from rtbench.units import plain

if TYPE_CHECKING:
    from rtbench.charts import Chart

LEVELS = "levels"  # the directory of the results of the levels
FIGURES = {  # column: how a table names it
    "latency_p50_ms": "median latency, ms",
    "arrived_p50_ms": "median until it arrived, ms",
    "wire_bytes_per_delivery": "bytes on the wire for each delivery",
    "requests_per_delivery": "requests for each delivery",
    "server_cpu_us_per_delivery": "CPU time of the server for each delivery, us",
    "server_cpu_percent": "CPU of the server, % of a core",
    "server_rss_mb": "memory of the server, MB",
}
_CROSSING = ("latency_p50_ms", "wire_bytes_per_delivery", "server_cpu_us_per_delivery")


@dataclass(repr=False, kw_only=True)
class SweepResult(Result[Measured]):
    """A comparison at each level. `trials` are those of all levels, in the order in which they were measured."""

    levels: list[Level] = field(default_factory=list)
    comparisons: list[Comparison] = field(default_factory=list)

    counts = TrialCounts
    sampled = True  # the samples are in the results of the levels
    own_fields = ("levels",)
    charts = (
        "sweep-latency",
        "sweep-bytes",
        "sweep-requests",
        "sweep-server-cpu",
        "sweep-server-memory",
        "sweep-hockey-stick",
        "cores-forecast",
        "scaling-law",
    )

    @property
    def axes(self) -> list[Axis]:
        """The parameters that are varied."""
        value = self.settings["vary"].value
        return [parse_axis(text) for text in ([value] if isinstance(value, str) else value)]

    @cached_property
    def summary(self) -> Table:
        """One row a level and variant: the level, the parameters, and the columns of a comparison's summary.csv."""
        return Table([row for at in zip(self.levels, self.comparisons, strict=True) for row in self._rows(*at)])

    def _rows(self, level: Level, comparison: Comparison) -> Iterator[dict[str, Any]]:
        varied = {axis.column: level.numbers[axis.name] for axis in self.axes}
        for row in comparison.summary if comparison.trials else ():
            yield {"level": level.name, **varied, **row}

    @cached_property
    def trial_table(self) -> Table:
        """One row a trial of any level: the level, and the columns of a comparison's trials.csv."""
        return Table(
            [
                {"level": level.name, **row}
                for level, comparison in zip(self.levels, self.comparisons, strict=True)
                for row in (comparison.trial_table if comparison.trials else ())
            ]
        )

    @property
    def problem(self) -> int:
        """The worst of any level: 1 a trial failed, 4 a variant is not fit to conclude from at some level."""
        found = {comparison.problem for comparison in self.comparisons if comparison.trials}
        return 1 if 1 in found else max(found, default=0)

    @property
    def conditions(self) -> list[str]:
        """The conditions of the measurement: what is varied, and those of the first level."""
        varied = [f"{axis.name} {axis.values[0]} to {axis.values[-1]}" for axis in self.axes]
        first, last = (comparison.conditions for comparison in (self.comparisons[0], self.comparisons[-1]))
        return [*varied, *(phrase for phrase in first if phrase in last)]

    @property
    def missing(self) -> str:
        """What an interruption left, in words; empty if the result is complete."""
        if self.status == COMPLETE:
            return ""
        done = sum(comparison.status == COMPLETE for comparison in self.comparisons)
        return f"{done} of {len(self.levels)} levels, {len(self.trials)} of {self.planned_trials} trials"

    def curve(self, figure: str, variant: str, fixed: Mapping[str, float]) -> Curve:
        """Return a figure of each trial of a variant by the first parameter, the second one being `fixed`."""
        axis, found = self.axes[0], {}
        for level, comparison in zip(self.levels, self.comparisons, strict=True):
            if any(level.numbers[name] != value for name, value in fixed.items()) or not comparison.trials:
                continue
            rows = [row for row in comparison.trial_table if row["variant"] == variant and row.get(figure) is not None]
            if variant in {row["variant"] for row in comparison.summary if row["verdict"] != INVALID}:
                found[level.numbers[axis.name]] = [float(row[figure]) for row in rows]
        return found

    @property
    def fixed(self) -> list[dict[str, float]]:
        """The values of the second parameter, one after the other; one empty mapping without a second one."""
        if len(self.axes) == 1:
            return [{}]
        name = self.axes[1].name
        return [{name: value} for value in dict.fromkeys(level.numbers[name] for level in self.levels)]

    @cached_property
    def crossovers(self) -> list[tuple[dict[str, float], Crossover]]:
        """Where two variants cost the same, for each figure, with the value of the second parameter."""
        names, found = [v.name for v in self.variants if not v.control], []
        for fixed, figure, pair in itertools.product(self.fixed, _CROSSING, itertools.combinations(names, 2)):
            one, other = (self.curve(figure, name, fixed) for name in pair)
            if (place := crossover(figure, pair, one, other)) is not None:
                found.append((fixed, place))
        return found

    # how it grows

    def save_in(self, path: Path) -> None:
        """Save it, and each level in a directory of its own within it."""
        super().save_in(path)
        for level, comparison in zip(self.levels, self.comparisons, strict=True):
            comparison.save_in(path / LEVELS / level.name)

    def sample_files(self) -> Iterator[tuple[str, Measured]]:
        """Yield nothing: the result of each level has its own."""
        yield from ()

    def take(self, comparison: Comparison, before: int) -> None:
        """Take in the trials that a level has gained."""
        self.trials += comparison.trials[before:]
        self.forget_tables()
        self.save()

    def observe(self) -> dict[str, str]:
        """Return one sentence on each variant: how its median latency, bytes and CPU time changed."""
        return {variant.name: self._sentence(variant.name) for variant in self.variants}

    def _sentence(self, variant: str) -> str:
        rows = [row for row in self.summary if row["variant"] == variant]
        said = []
        for figure in ("latency_p50_ms", "wire_bytes_per_delivery", "server_cpu_us_per_delivery"):
            known = [row for row in rows if row[figure] is not None]
            if len(known) > 1:
                first, last = known[0], known[-1]
                ends = [f"{significant(row[figure])} ({row['level']})" for row in (first, last)]
                said.append(f"{FIGURES[figure]}: from {ends[0]} to {ends[1]}")
        return "; ".join(said) or "too few levels were measured"

    def about(self, variant: Variant) -> dict[str, Any]:
        """Return the verdict: invalid where it is at some level."""
        wrong = [
            f"{row['level']}: {row['reasons']}"
            for row in self.summary
            if row["variant"] == variant.name and row["verdict"] == INVALID
        ]
        return {"verdict": INVALID if wrong else VALID, "reasons": "; ".join(wrong)}

    def overview(self) -> Table:
        """Return the table of median latency, a row a level, a column a variant."""
        return self._table("latency_p50_ms")

    def _table(self, figure: str) -> Table:
        rows = []
        for level in self.levels:
            of_level = {row["variant"]: row for row in self.summary if row["level"] == level.name}
            cells = {v.name: _cell(of_level.get(v.name), figure) for v in self.variants}
            rows.append({"level": level.name, **cells})
        return Table(rows)

    def report(self, width: int = WIDTH) -> str:
        """Return a table for each figure, and where variants cross, at most `width` columns wide (60 or more)."""
        width = max(width, LEAST_WIDTH)
        if not self.trials:
            return "nothing was measured"
        blocks = []
        for figure, words in FIGURES.items():
            if any(row[figure] for row in self.summary):
                table, left_out = self._table(figure).fitted(width, tuple(v.name for v in reversed(self.variants)))
                note = f"\nleft out, because the terminal is narrow: {', '.join(left_out)}" if left_out else ""
                blocks.append(f"{words}:\n{table.text(left=('level',))}{note}")
        legend = "*: not fit to conclude from (docs/methodology.md). " if self.problem == UNFIT else ""
        blocks.append(textwrap.fill(f"{legend}{'; '.join(self.conditions)}.", width))
        if said := [crossover_sentence(self.axes[0], fixed, place) for fixed, place in self.crossovers]:
            blocks.append("\n".join(textwrap.fill(line, width, subsequent_indent="  ") for line in said))
        return "\n\n".join(blocks)

    def draw(self, name: str, preset: str, notes: bool) -> Chart:
        """Draw one chart; see `rtbench.charts.SWEEP_CHARTS`."""
        from rtbench.charts import SWEEP_CHARTS, draw

        return draw(SWEEP_CHARTS, self, name, preset, notes)

    # on disk

    def more(self) -> dict[str, Any]:
        """Return the levels; each is saved in `levels/NAME`."""
        return {"levels": [asdict(level) for level in self.levels]}

    def description(self) -> dict[str, Any]:
        """Return the content of result.json; the trials are in the results of the levels."""
        return {**super().description(), "trials": []}

    @classmethod
    def load(cls, content: Mapping[str, Any], path: Path) -> SweepResult:
        """Make a result of the content of its result.json, and of the results of its levels."""
        levels = [Level(**level) for level in content["levels"]]
        comparisons = []
        for level in levels:
            directory = path / LEVELS / level.name
            comparisons.append(Comparison.load(storage.read_description(directory), directory))
        trials = [trial for comparison in comparisons for trial in comparison.trials]
        return cls(**cls.common_of(content), levels=levels, comparisons=comparisons, trials=trials, path=path)


def _cell(row: Mapping[str, Any] | None, figure: str) -> str:
    if row is None or row[figure] is None:
        return "–"
    return f"{significant(row[figure])}{'*' if row['verdict'] == INVALID else ''}"


def crossover_sentence(axis: Axis, fixed: Mapping[str, float], place: Crossover) -> str:
    """Say where two variants cost the same."""
    at, low, high = (plain(value, 3) for value in (place.at, place.low, place.high))
    where = "".join(f", at {name} {plain(value, 3)}" for name, value in fixed.items())
    return (
        f"{FIGURES[place.figure]}{where}: {place.below} needs less up to {axis.name} {at} ({low} to {high}), "
        f"{place.above} beyond"
    )
