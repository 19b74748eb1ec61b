"""Capacity: the loads that were tried for each variant, each a comparison of its own, and what they tell."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rtbench.analysis.capacity_search import Bracket, Probe, bracket
from rtbench.analysis.counts import TrialCounts
from rtbench.analysis.limiting import GENERATOR, GROWS, latency_grows, ran_out_first
from rtbench.analysis.measured import Measured
from rtbench.analysis.verdict import INVALID, VALID
from rtbench.plan.objective import Objective, parse_objective
from rtbench.plan.sweep import Level
from rtbench.plan.variant import Variant
from rtbench.result import storage
from rtbench.result.comparison import Comparison
from rtbench.result.result import COMPLETE, UNFIT, Result
from rtbench.result.sweep import LEVELS
from rtbench.table import LEAST_WIDTH, WIDTH, Table, significant
from rtbench.units import plain

if TYPE_CHECKING:
    from rtbench.charts import Chart

_PERCENTILES = {"latency_p50_ms": 50, "latency_p90_ms": 90, "latency_p99_ms": 99}


@dataclass(repr=False, kw_only=True)
class CapacityResult(Result[Measured]):
    """A comparison of one variant for each load that was tried, in the order of the trials."""

    levels: list[Level] = field(default_factory=list)
    comparisons: list[Comparison] = field(default_factory=list)
    _rows: dict[int, list[dict[str, Any]]] = field(default_factory=dict)  # of `rows_of`

    counts = TrialCounts
    sampled = True  # the samples are in the results of the loads
    own_fields = ("levels",)
    charts = ("capacity",)

    @property
    def objective(self) -> Objective:
        """What the server must keep to."""
        return parse_objective(self.settings["slo"].value)

    @property
    def of(self) -> str:
        """What is varied."""
        return str(self.settings["of"].value)

    def probes(self, variant: str) -> list[Probe]:
        """Return the rounds of trials of a variant, in the order in which they were measured."""
        found = []
        for level, comparison in zip(self.levels, self.comparisons, strict=True):
            if comparison.variants[0].name == variant and comparison.trials:
                found.append(self._probe(level.numbers[self.of], comparison))
        return found

    def rows_of(self, comparison: Comparison) -> list[dict[str, Any]]:
        """Return a row a trial: percentiles of all its deliveries, and the terms of the objective that are `broken`.

        A percentile decides about a load even where a table would leave it empty, because few messages are beyond it.
        """
        known = self._rows.get(id(comparison), [])
        if len(known) == len(comparison.trials):
            return known
        rows = self._rows[id(comparison)] = []
        for trial, row in zip(comparison.trials, comparison.trial_table, strict=True):
            latency_ms = trial.latency_ms
            ranks = {c: float(np.percentile(latency_ms, p)) for c, p in _PERCENTILES.items() if len(latency_ms)}
            full = {**row, **ranks}
            grows = [GROWS] if latency_grows(trial.due_s, latency_ms) else []
            rows.append({**full, "broken": self.objective.broken(full) + grows})
        return rows

    def _middle(self, comparison: Comparison) -> dict[str, Any]:
        """Return the median of each figure over the trials of a load."""
        rows = self.rows_of(comparison)
        found = {}
        for name in rows[0]:
            values = [row[name] for row in rows if isinstance(row[name], int | float)]
            found[name] = float(np.median(values)) if values else None
        return {**found, "expected": int(found["expected"] or 0), "lost": int(found["lost"] or 0)}

    def _mostly_broken(self, comparison: Comparison) -> list[str]:
        """Return the terms that most of the trials at a load did not keep to."""
        rows = self.rows_of(comparison)
        terms = [*(term.text for term in self.objective.terms), GROWS]
        return [term for term in terms if 2 * sum(term in row["broken"] for row in rows) >= len(rows)]

    def at(self, variant: str, load: float | None, held: bool) -> Comparison | None:
        """Return the last round of a variant at a load that held, or failed; None without one."""
        rounds = zip(self.levels, self.comparisons, strict=True)
        found = [
            comparison
            for level, comparison in rounds
            if comparison.variants[0].name == variant and level.numbers[self.of] == load and comparison.trials
        ]
        as_asked = [comparison for comparison in found if self._probe(load or 0.0, comparison).held == held]
        return as_asked[-1] if as_asked else None

    def _probe(self, load: float, comparison: Comparison) -> Probe:
        rows = self.rows_of(comparison)
        return Probe(load, sum(not row["broken"] for row in rows), len(rows))

    @cached_property
    def summary(self) -> Table:
        """One row a variant: its capacity with the bracket, the figures there, and what ran out first."""
        return Table([self._row(variant) for variant in self.variants])

    def _row(self, variant: Variant) -> dict[str, Any]:
        found = bracket(self.probes(variant.name))
        best, worst = self.at(variant.name, found.held, True), self.at(variant.name, found.failed, False)
        there = self._middle(best) if best else {}
        failing = self._middle(worst) if worst else {}
        first, shown = ran_out_first(failing) if worst else ("", "")
        workload = best.workload if best else None
        return {
            "variant": variant.name,
            "transport": variant.transport,
            "server": variant.server,
            "client": variant.client,
            "of": self.of,
            "objective": str(self.objective),
            "held": found.held,
            "failed": found.failed,
            "messages_per_s": workload.publishers * workload.rate_hz if workload else None,
            "deliveries_per_s": workload.deliveries_of(workload.rate_hz) if workload else None,
            "subscribers": workload.subscribers if workload else None,
            **{c: there.get(c) for c in (*_PERCENTILES, "lost", "server_cpu_percent", "server_rss_mb")},
            "client_cpu_percent": there.get("client_cpu_percent"),
            "ran_out_first": first,
            "shown_by": shown,
            "broken": ", ".join(self._mostly_broken(worst)) if worst else "",
            "verdict": INVALID if self._doubt(found, first) else VALID,
            "reasons": self._doubt(found, first),
        }

    @staticmethod
    def _doubt(found: Bracket, first: str) -> str:
        if found.held is None:
            return "no load held"
        if first == GENERATOR:
            return "the load generator ran out first: the server can do more"
        return "" if found.monotonic else "a load failed below one that held: not the same twice"

    @cached_property
    def trial_table(self) -> Table:
        """One row a trial: the load, whether it held, and the columns of a comparison's trials.csv."""
        rows = []
        for level, comparison in zip(self.levels, self.comparisons, strict=True):
            for row in self.rows_of(comparison) if comparison.trials else ():
                broken = ", ".join(row["broken"])
                rows.append({"load": level.numbers[self.of], **row, "broken": broken})
        return Table(rows)

    @property
    def problem(self) -> int:
        """1 a trial failed, 4 a capacity is not fit to conclude from."""
        if any(trial.counts.error for trial in self.trials):
            return 1
        return UNFIT if any(row["verdict"] == INVALID for row in self.summary) else 0

    @property
    def conditions(self) -> list[str]:
        """The conditions of the measurement, in phrases: those that all loads share."""
        first, last = (comparison.conditions for comparison in (self.comparisons[0], self.comparisons[-1]))
        return [f"objective {self.objective}", *(phrase for phrase in first if phrase in last)]

    @property
    def missing(self) -> str:
        """What an interruption left, in words; empty if the result is complete."""
        return "" if self.status == COMPLETE else "the search has not ended"

    # how it grows

    def begin(self, level: Level, comparison: Comparison) -> None:
        """Add a load that will be tried."""
        self.levels.append(level)
        self.comparisons.append(comparison)
        if self.path is not None:
            comparison.save_in(self.path / LEVELS / level.name)

    def take(self, comparison: Comparison, before: int) -> None:
        """Take in the trials that a load has gained."""
        self.trials += comparison.trials[before:]
        self.forget_tables()
        self.save()

    def sample_files(self) -> Iterator[tuple[str, Measured]]:
        """Yield nothing: the result of each load has its own."""
        yield from ()

    def observe(self) -> dict[str, str]:
        """Return one sentence on each variant."""
        return {row["variant"]: self.sentence(row) for row in self.summary}

    def sentence(self, row: Mapping[str, Any]) -> str:
        """Say what a variant sustains, and what ran out first."""
        if row["held"] is None:
            return f"keeps to {row['objective']} at no load that was tried"
        load = f"{self.of} {plain(row['held'], 4)}"
        much = f"{row['deliveries_per_s']:,.0f} deliveries a second to {row['subscribers']:,} subscribers"
        if row["failed"] is None:
            return f"holds {load} ({much}), the highest load that was tried"
        beyond = f"fails at {plain(row['failed'], 4)} ({row['broken'] or 'a trial failed'})"
        at_least = "at least " if row["ran_out_first"] == GENERATOR else ""
        why = f"what ran out first is {row['ran_out_first']}: {row['shown_by']}"
        return f"holds {at_least}{load} ({much}), {beyond}; {why}"

    def about(self, variant: Variant) -> dict[str, Any]:
        """Return the verdict on a variant."""
        row = self.summary[variant.name]
        return {"verdict": row["verdict"], "reasons": row["reasons"]}

    def overview(self) -> Table:
        """Return the table of the report."""
        rows = []
        for row in self.summary:
            load = "–" if row["held"] is None else plain(row["held"], 4)
            cells = {
                f"{self.of} held": load,
                "failed": "–" if row["failed"] is None else plain(row["failed"], 4),
                "deliveries/s": "–" if row["deliveries_per_s"] is None else f"{row['deliveries_per_s']:,.0f}",
                "p99 ms": "–" if row["latency_p99_ms"] is None else significant(row["latency_p99_ms"]),
                "server %": "–" if row["server_cpu_percent"] is None else significant(row["server_cpu_percent"]),
                "client %": "–" if row["client_cpu_percent"] is None else significant(row["client_cpu_percent"]),
            }
            rows.append({"variant": row["variant"], **cells, "first ran out": row["ran_out_first"] or "–"})
        return Table(rows)

    def report(self, width: int = WIDTH) -> str:
        """Return the table and a sentence on each variant, at most `width` columns wide (60 or more)."""
        width = max(width, LEAST_WIDTH)
        if not self.trials:
            return "nothing was measured"
        table, _ = self.overview().fitted(width, ("client %", "server %", "p99 ms"))
        said = [f"{row['variant']} {self.sentence(row)}" for row in self.summary]
        said += [f"not fit to conclude from: {r['variant']}: {r['reasons']}" for r in self.summary if r["reasons"]]
        blocks = [
            table.text(left=("variant", "first ran out")),
            textwrap.fill(
                f"Figures at the highest load that held, medians of trials; {'; '.join(self.conditions)}.", width
            ),
            "\n".join(textwrap.fill(line, width, subsequent_indent="  ") for line in said),
        ]
        return "\n\n".join(blocks)

    def draw(self, name: str, preset: str, notes: bool) -> Chart:
        """Draw the chart; see `rtbench.charts.CAPACITY_CHARTS`."""
        from rtbench.charts import CAPACITY_CHARTS, draw

        return draw(CAPACITY_CHARTS, self, name, preset, notes)

    # on disk

    def more(self) -> dict[str, Any]:
        """Return the loads; each is saved in `levels/NAME`."""
        return {"levels": [asdict(level) for level in self.levels]}

    def description(self) -> dict[str, Any]:
        """Return the content of result.json; the trials are in the results of the loads."""
        return {**super().description(), "trials": []}

    @classmethod
    def load(cls, content: Mapping[str, Any], path: Path) -> CapacityResult:
        """Make a result of the content of its result.json, and of the results of its loads."""
        levels = [Level(**level) for level in content["levels"]]
        comparisons = []
        for level in levels:
            directory = path / LEVELS / level.name
            comparisons.append(Comparison.load(storage.read_description(directory), directory))
        trials = [trial for comparison in comparisons for trial in comparison.trials]
        return cls(**cls.common_of(content), levels=levels, comparisons=comparisons, trials=trials, path=path)
