"""The result of `rtbench security`: what protecting a server costs, and what became of the attempts to get in."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtbench.analysis.security import (
    ATTEMPT_METRICS,
    COSTS,
    METRICS,
    AttemptCounts,
    ProtectedTrial,
    ProtectionCounts,
    Row,
    rows,
)
from rtbench.analysis.statistics import Estimate
from rtbench.analysis.verdict import INVALID, VALID
from rtbench.plan.protection import ENTRANCES, PROTECTIONS
from rtbench.plan.variant import Variant
from rtbench.result import storage
from rtbench.result.result import COMPLETE, Result
from rtbench.table import LEAST_WIDTH, WIDTH, Table, significant
from rtbench.units import counted, format_seconds, plain

if TYPE_CHECKING:
    from rtbench.charts import Chart

NOT_HELD = 3  # the exit code where somebody was let in who should not be, or the other way round
_DROPPED = ("B/msg", "open B")  # in this order, if the terminal is narrow
_NO_WIDTH = 0.005  # of the value: such an interval says nothing more than the value
_HEADS = {
    "connect": "connect",
    "connection_bytes": "open B",
    "connection_cpu": "open CPU",
    "delivery_bytes": "B/msg",
    "delivery_cpu": "CPU/msg",
}


@dataclass(repr=False, kw_only=True)
class SecurityResult(Result[ProtectedTrial]):
    """What protecting a server costs, a row for each variant and protection, and what became of the attempts."""

    counts = ProtectionCounts
    other_counts = (AttemptCounts,)
    charts = ("protection-connecting", "protection-delivering")
    own_fields = ("attempts",)

    attempts: list[AttemptCounts] = field(default_factory=list)

    @property
    def connections(self) -> int:
        """How many are opened in a trial."""
        number: int = self.settings["connections"].value
        return number

    def add_attempts(self, attempts: AttemptCounts) -> None:
        """Take in the attempts of one way, and save them."""
        self.attempts.append(attempts)
        self.forget_tables()
        self.save()

    @property
    def planned_attempts(self) -> int:
        """How many ways to get in there are, of all variants."""
        return len(self.variants) * len(ENTRANCES) if self.settings["attempts"].value else 0

    @property
    def steps(self) -> tuple[int, int]:
        """How many trials and ways in are done, and how many are planned."""
        return len(self.trials) + len(self.attempts), self.planned_trials + self.planned_attempts

    @property
    def missing(self) -> str:
        """What an interruption left, in words; empty if the result is complete."""
        if self.status == COMPLETE:
            return ""
        done, planned = self.steps
        return f"{done} of {planned} steps ({len(self.trials)} of {self.planned_trials} trials)"

    @cached_property
    def rows(self) -> list[Row]:
        """One for each variant and protection."""
        return rows(self.variants, self.trials)

    @cached_property
    def summary(self) -> Table:
        """One row for each variant and protection: the columns of summary.csv."""
        return Table([_columns(row, intervals=True) for row in self.rows])

    @cached_property
    def trial_table(self) -> Table:
        """One row a trial: the columns of trials.csv."""
        table = []
        for trial in self.trials:
            counts, error = trial.counts, trial.counts.error
            row = Row(trial.variant, counts.protection, [] if error else [counts], failed=(error,) if error else ())
            table.append({"trial": counts.index, "block": counts.block, **_columns(row, intervals=False)})
        return Table(table)

    @property
    def attempt_table(self) -> Table:
        """One row for each variant and way in: the columns of attempts.csv."""
        return Table([{m.name: m.of(attempts) for m in ATTEMPT_METRICS} for attempts in self.attempts])

    def tables(self) -> dict[str, Table]:
        """Return what is derived from the result, by the name of the file."""
        return {**super().tables(), "attempts.csv": self.attempt_table}

    @property
    def problem(self) -> int:
        """0 fine, 1 a trial failed or attempts could not be made, 3 somebody was let in who should not be."""
        if any(trial.counts.error for trial in self.trials) or any(a.error for a in self.attempts):
            return 1
        return 0 if all(attempts.holds for attempts in self.attempts) else NOT_HELD

    @property
    def conditions(self) -> list[str]:
        """The conditions of the measurement, in phrases."""
        value = {name: given.value for name, given in self.settings.items()}
        return [
            f"{counted(value['trials'], 'trial')} of {counted(self.connections, 'connection')}",
            f"{counted(value['messages'], 'message')} of {value['payload']} bytes",
            f"published in {format_seconds(value['duration'])}",
            "loopback",
        ]

    def observe(self) -> dict[str, str]:
        """Return one sentence on each variant: what TLS and an access list cost, and whether they held."""
        return {variant.name: self._sentence(variant) for variant in self.variants}

    def _sentence(self, variant: Variant) -> str:
        parts = []
        for row in self.rows:
            connect, delivery = (row.ratio(COSTS[name][2]) for name in ("connect", "delivery_cpu"))
            if row.variant == variant and connect is not None:
                cpu = f", CPU of a delivery {_times(delivery)}" if delivery is not None else ""
                parts.append(f"{PROTECTIONS[row.protection].title}: to connect {_times(connect)}{cpu}")
        tried = [attempts for attempts in self.attempts if attempts.variant == variant.name]
        if broken := [ENTRANCES[a.entrance].title for a in tried if not a.holds]:
            parts.append(f"did not hold: {', '.join(broken)}")
        elif tried:
            forbidden = [a for a in tried if not ENTRANCES[a.entrance].lets_in]
            parts.append(f"{sum(a.let_in for a in forbidden)} of {sum(a.tried for a in forbidden):,} let in")
        return "; ".join(parts) or "was not measured"

    def about(self, variant: Variant) -> dict[str, Any]:
        """Return the verdict on a variant; one with a trial that failed is invalid."""
        failed = [error for row in self.rows if row.variant == variant for error in row.failed[:1]]
        failed += [a.error for a in self.attempts if a.variant == variant.name and a.error]
        done = any(row.variant == variant for row in self.rows)
        reasons = failed or ([] if done else ["was not measured"])
        return {"verdict": INVALID if reasons else VALID, "reasons": "; ".join(reasons)}

    def overview(self) -> Table:
        """Return the table of the report: the plain server in units, its protections as multiples of it."""
        return Table([_shown(row) for row in self.rows])

    def report(self, width: int = WIDTH) -> str:
        """Return the costs and what became of the attempts, at most `width` columns wide (60 or more)."""
        width = max(width, LEAST_WIDTH)
        if not self.rows:
            return "no variant was measured"
        shown, lost = self.overview().fitted(width, _DROPPED)
        note = (
            f"{', '.join(self.conditions)}. A plain server: in ms, bytes and us; a protected one: as a multiple of it, "
            "with the 95 % interval over trials. connect, open: a connection until it is subscribed; msg: a delivery. "
            "CPU is that of the server."
        ) + (f" Left out, because the terminal is narrow: {', '.join(lost)}." if lost else "")
        lines = [shown.text(left=["variant", "protection"]), "", textwrap.fill(note, width)]
        resumed = [row for row in self.rows if PROTECTIONS[row.protection].resumed and row.trials]
        for row in resumed:
            done, of = sum(t.resumed for t in row.trials), sum(t.handshakes for t in row.trials)
            if done < of:
                lines += [f"{row.variant.name}: only {done:,} of {of:,} handshakes resumed a TLS session"]
        lines += [f"{row.variant.name}, {row.protection}: {row.failed[0]}" for row in self.rows if row.failed]
        if self.attempts:
            lines += ["", *_attempt_lines(self.attempts, width)]
        return "\n".join(lines)

    def draw(self, name: str, preset: str, notes: bool) -> Chart:
        """Draw one chart; see `rtbench.charts.SECURITY_CHARTS`."""
        from rtbench.charts import SECURITY_CHARTS, draw

        return draw(SECURITY_CHARTS, self, name, preset, notes)

    def more(self) -> dict[str, Any]:
        """Return the attempts."""
        return {"attempts": [asdict(attempts) for attempts in self.attempts]}

    @classmethod
    def load(cls, content: Mapping[str, Any], path: Path) -> SecurityResult:
        """Make a result of the content of its result.json."""
        result = cls(**cls.common_of(content), path=path)
        by_name = {variant.name: variant for variant in result.variants}
        for trial in content["trials"]:
            counts = storage.made(ProtectionCounts, trial)
            result.trials.append(ProtectedTrial(counts, by_name[counts.variant]))
        result.attempts = [AttemptCounts(**attempts) for attempts in content["attempts"]]
        return result


def _columns(row: Row, intervals: bool) -> dict[str, Any]:
    return {name: value for metric in METRICS for name, value in metric.columns(row, intervals).items()}


def _shown(row: Row) -> dict[str, Any]:
    cells = {"variant": row.variant.name, "protection": PROTECTIONS[row.protection].title}
    for name, head in _HEADS.items():
        unit, _, cost = COSTS[name]
        estimate = row.cost(cost) if row.is_plain else row.ratio(cost)
        if estimate is None:
            cells[head] = "-"
        elif row.is_plain:
            cells[head] = f"{significant(estimate.value)} {unit}".rstrip()
        else:
            cells[head] = _times(estimate)
    return cells


def _times(ratio: Estimate) -> str:
    """Return a ratio as `2.31 (2.2–2.4)`; an interval without width is left out."""
    value = f"{ratio.value:.2f}" if ratio.value < 10 else significant(ratio.value)
    if ratio.low is None or ratio.high is None or ratio.high - ratio.low < _NO_WIDTH * ratio.value:
        return value
    return f"{value} ({significant(ratio.low, 2)}–{significant(ratio.high, 2)})"


def _attempt_lines(attempts: Sequence[AttemptCounts], width: int) -> Iterator[str]:
    """Yield what was tried to get in, and below each what became of it, for all variants together."""
    rows = []
    for name, entrance in ENTRANCES.items():
        mine = [a for a in attempts if a.entrance == name]
        tried, let_in = sum(a.tried for a in mine), sum(a.let_in for a in mine)
        held = "yes" if all(a.holds for a in mine) else "NO"
        rows.append({"tried": entrance.title, "attempts": f"{tried:,}", "let in": f"{let_in:,}", "as it should": held})
    lines = Table(rows).text(left=["tried"]).splitlines()
    yield lines[0]
    for line, name in zip(lines[1:], ENTRANCES, strict=True):
        yield line
        yield textwrap.fill(
            _answers([a for a in attempts if a.entrance == name]), width, initial_indent="  ", subsequent_indent="  "
        )


def _answers(attempts: Sequence[AttemptCounts]) -> str:
    """Say which answers there were, each with the variants that gave it: `401: polling, sse; CONNACK 5: mqtt-qos0`."""
    of: dict[str, list[str]] = {}
    for one in attempts:
        if one.error:
            of.setdefault(f"could not be tried ({one.error})", []).append(one.variant)
        for answer, number in one.answers.items():
            share = "" if number == one.tried else f" ({plain(number / one.tried * 100)} %)"
            of.setdefault(answer, []).append(one.variant + share)
    return "; ".join(f"{answer}: {', '.join(variants)}" for answer, variants in of.items())
