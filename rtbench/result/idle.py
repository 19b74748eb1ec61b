"""The result of `rtbench idle`: what connections cost while nothing is sent, one trial a variant."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtbench.analysis.idle import METRICS, TRIAL_HEAD, IdleCounts, IdleTrial
from rtbench.analysis.verdict import INVALID
from rtbench.plan.variant import Variant
from rtbench.result import storage
from rtbench.result.result import UNFIT, Result
from rtbench.table import LEAST_WIDTH, WIDTH, Table
from rtbench.units import counted, format_seconds, plain

if TYPE_CHECKING:
    from rtbench.charts import Chart

CONTENDED_PERCENT = 5.0  # of the time in which the server could run: beyond it, its CPU figure is contention too
_DROPPED = ("opening B", "requests/h", "range kB", "active")  # in this order, if the terminal is narrow


@dataclass(repr=False, kw_only=True)
class IdleResult(Result[IdleTrial]):
    """What idle connections cost, one trial a variant."""

    counts = IdleCounts
    charts = ("idle-memory", "idle-bytes")

    @property
    def connections(self) -> int:
        """How many were held at a time."""
        number: int = self.settings["connections"].value
        return number

    @cached_property
    def summary(self) -> Table:
        """One row a variant that was measured: the columns of summary.csv."""
        return Table([{m.name: m.of(trial) for m in METRICS} for trial in self.trials])

    @cached_property
    def trial_table(self) -> Table:
        """One row a trial: the columns of trials.csv."""
        return Table([{m.name: m.of(trial) for m in (*TRIAL_HEAD, *METRICS)} for trial in self.trials])

    @property
    def problem(self) -> int:
        """0 fine, 1 a variant could not be measured, 4 a client process was too busy to conclude."""
        if any(trial.counts.error for trial in self.trials):
            return 1
        return UNFIT if INVALID in self.summary.column("verdict") else 0

    @property
    def conditions(self) -> list[str]:
        """The conditions of the measurement, in phrases."""
        observed = format_seconds(self.settings["duration"].value)
        return [counted(self.connections, "connection"), f"{observed} observed", str(self.environment["link"])]

    def observe(self) -> dict[str, str]:
        """Return one sentence on each variant that was measured."""
        return {row["variant"]: sentence(row) for row in self.summary}

    def about(self, variant: Variant) -> dict[str, Any]:
        """Return the verdict on a variant; one that was not measured is invalid."""
        rows = [row for row in self.summary if row["variant"] == variant.name]
        return {
            "verdict": rows[0]["verdict"] if rows else INVALID,
            "reasons": rows[0]["reasons"] if rows else "was not measured",
        }

    def report(self, width: int = WIDTH) -> str:
        """Return the table and a sentence a variant, at most `width` columns wide (60 or more)."""
        return report(self.summary, width)

    def overview(self) -> Table:
        """Return the table of the report."""
        return overview(self.summary)

    def draw(self, name: str, preset: str, notes: bool) -> Chart:
        """Draw one chart; see `rtbench.charts.IDLE_CHARTS`."""
        from rtbench.charts import IDLE_CHARTS, draw

        return draw(IDLE_CHARTS, self, name, preset, notes)

    @classmethod
    def load(cls, content: Mapping[str, Any], path: Path) -> IdleResult:
        """Make a result of the content of its result.json."""
        result = cls(**cls.common_of(content), path=path)
        by_name = {variant.name: variant for variant in result.variants}
        for trial in content["trials"]:
            counts = storage.made(IdleCounts, trial)
            link = str(result.environment["link"])
            result.trials.append(IdleTrial(counts, by_name[counts.variant], result.connections, link))
        return result


def overview(table: Table) -> Table:
    """Return the most important columns of summary.csv, with short names."""
    return Table([_shown(row) for row in table])


def report(table: Table, width: int = WIDTH) -> str:
    """Return the table and a sentence a variant."""
    width = max(width, LEAST_WIDTH)
    if not len(table):
        return "no variant was measured"
    shown, lost = overview(table).fitted(width, _DROPPED)
    lines = [shown.text(left=["variant"]), ""]
    observed_s = max((row["observed_s"] for row in table), default=0.0)
    first = table.rows[0]
    lines.append(
        textwrap.fill(
            f"Each figure is of one connection, of {first['connections']}; {first['link']}. Figures per hour (/h) are "
            f"extrapolated from {plain(observed_s)} s observed. Memory and CPU are the server's; the range of memory "
            "is that of the first and the second half of the connections."
            + (f" Left out, because the terminal is narrow: {', '.join(lost)}." if lost else ""),
            width,
        )
    )
    lines.append("")
    longest = max(len(row["variant"]) for row in table)
    for row in table:
        head = row["variant"].ljust(longest) + "  "
        lines.append(textwrap.fill(head + sentence(row), width, subsequent_indent=" " * len(head)))
    return "\n".join(lines)


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    low, high = _kb(row["server_memory_low_bytes"]), _kb(row["server_memory_high_bytes"])
    active = row["active_connections"]
    return {
        "variant": row["variant"],
        "memory kB": _kb(row["server_memory_bytes_per_connection"]),
        "range kB": None if low is None or high is None else f"{low:.1f}–{high:.1f}",
        "CPU ms/h": row["server_cpu_ms_per_connection_hour"],
        "bytes/h": _whole(row["wire_bytes_per_connection_hour"]),
        "requests/h": _whole(row["requests_per_connection_hour"]),
        "opening B": _whole(row["opening_wire_bytes"]),
        "active": None if active is None else f"{active}/{row['connections']}",
    }


def _kb(value: float | None) -> float | None:
    return None if value is None else value / 1e3


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)


def sentence(row: Mapping[str, Any]) -> str:
    """Say in one sentence what a variant's idle connections did, and what is to be doubted."""
    if row["error"]:
        return f"was not measured: {row['error']}"
    text = _what_it_did(row)
    low, high = row["server_memory_low_bytes"], row["server_memory_high_bytes"]
    if low is not None and high > 2 * max(low, 0):
        text += "; its memory is uncertain, more --connections make it sharper"
    if row["server_memory_kind"] != "private":
        text += "; its memory is RSS, shared pages included"
    waiting = row["server_waiting_percent"]
    if waiting is not None and waiting > CONTENDED_PERCENT and row["server_cpu_ms_per_connection_hour"]:
        text += f"; the server waited for a core for {waiting:.0f} % of the time in which it could have run"
    if row["verdict"] == INVALID:
        text += f"; not fit to conclude from: the client was busy for {row['client_cpu_percent']:.0f} % of the time"
    return text


def _what_it_did(row: Mapping[str, Any]) -> str:
    observed, wire = f"{plain(row['observed_s'])} s observed", row["wire_bytes_per_connection_hour"]
    if row["requests_per_connection_hour"]:
        each = row["requests_per_connection_hour"] * row["observed_s"] / 3600
        size = f", {wire / row['requests_per_connection_hour']:.0f} bytes each" if wire else ""
        return f"asks though there is nothing new: {plain(each)} requests a connection in the {observed}{size}"
    if wire is None:
        return f"made no request in the {observed}; bytes are not counted on this system"
    if wire == 0:
        waits = "has a request waiting and " if row["requests_waiting"] >= row["connections"] else ""
        return (
            f"{waits}was silent for the {observed}: no keep-alive fell into them, and rarer ones are not in the figures"
        )
    carried = row["application_bytes_per_connection_hour"] * row["observed_s"] / 3600
    total = wire * row["observed_s"] / 3600
    return (
        f"kept alive: in the {observed} {row['active_connections']} of {row['connections']} connections exchanged "
        f"something, on average {plain(carried)} bytes above TCP and {plain(total)} on the wire"
    )
