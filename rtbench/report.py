"""Report: the table and the sentences that end a run, for a terminal of 100 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rtbench.table import Table, significant
from rtbench.verdict import VALID

if TYPE_CHECKING:
    from rtbench.results import Result

WIDTH = 100
_WAITED = 2.0  # times as long from due as from sent, to be worth a remark


def overview(result: Result) -> Table:
    """Return the columns of the summary that fit a terminal, with short names."""
    rows = [_overview_row(row) for row in result.summary]
    excess = max(map(len, Table(rows).text(left=["variant"]).splitlines()), default=0) - WIDTH
    if excess > 0:
        longest = max(len(row["variant"]) for row in rows) - excess
        rows = [{**row, "variant": textwrap.shorten(row["variant"], longest, placeholder="…")} for row in rows]
    return Table(rows)


def _overview_row(row: Mapping[str, Any]) -> dict[str, Any]:
    low, high = row["latency_p50_low_ms"], row["latency_p50_high_ms"]
    return {
        "variant": row["variant"],
        "p50 ms": row["latency_p50_ms"],
        "interval": f"{significant(low, 2)}–{significant(high, 2)}" if low is not None else "–",
        "net+srv": row["network_server_p50_ms"],
        "p99 ms": row["latency_p99_ms"],
        "B/msg": _rounded(row["wire_bytes_per_delivery"]),
        "req/msg": significant(row["requests_per_delivery"], 2) if row["requests_per_delivery"] else "0",
        "CPU us": row["server_cpu_us_per_delivery"],
        "lost": f"{row['lost']}, {row['duplicated']} twice" if row["duplicated"] else row["lost"],
        "verdict": row["verdict"],
    }


def _rounded(value: float | None) -> int | None:
    return None if value is None else round(value)


def report(result: Result) -> str:
    """Return everything that is printed at the end."""
    lines = [overview(result).text(left=["variant"]), "", *_conditions(result), ""]
    width = max(len(variant.name) for variant in result.variants)
    for variant, row in zip(result.variants, result.summary, strict=True):
        sentence = result.observations.get(variant.name) or "was not measured to its end"
        lines.append(_hanging(variant.name.ljust(width), sentence))
        for remark in _remarks(row):
            lines.append(_hanging(" " * width, remark))
        if row["verdict"] != VALID:
            lines.append(_hanging(" " * width, f"{row['verdict']}: {row['reasons']}"))
    if result.precision is not None:
        lines += ["", *(textwrap.fill(text, WIDTH, subsequent_indent="  ") for text in result.precision.sentences())]
    return "\n".join(lines)


def _remarks(row: Mapping[str, Any]) -> list[str]:
    """Return what else is to be said of a variant."""
    due, sent = row["latency_p99_ms"], row["latency_from_sent_p99_ms"]
    if due is None or sent is None or due < _WAITED * sent:
        return []
    return [
        f"messages waited for their turn to be sent: p99 is {significant(due)} ms from when they were due, and "
        f"{significant(sent)} ms from when they were sent, which is what a tool would see that waits for each answer"
    ]


def _hanging(head: str, text: str) -> str:
    return textwrap.fill(text, WIDTH, initial_indent=f"{head}  ", subsequent_indent=" " * (len(head) + 2))


def _conditions(result: Result) -> list[str]:
    w = result.workload
    trials = result.blocks
    text = (
        f"{w.pattern}, {w.publishers} publisher{'s' * (w.publishers > 1)}, {w.subscribers} subscriber"
        f"{'s' * (w.subscribers > 1)}, {w.rate_hz:g} messages/s each ({w.arrivals}), {w.payload_bytes} bytes, "
        f"{w.duration_s:g} s after {w.warmup_s:g} s of warm-up; {trials} trial{'s' * (trials > 1)}; "
        f"{result.environment['link']}; {_implementations(result)}."
    )
    text += " net+srv: from sent to the kernel's receive stamp; CPU us: the server's, for each delivery."
    if 1 < trials < 5:
        text += f" The 95 % interval of {trials} trials is little more than their range; --trials 5 makes it one."
    if result.status != "complete":
        text = f"INCOMPLETE: {len(result.trials)} of {result.planned_trials} trials. {text}"
    return [textwrap.fill(text, WIDTH)]


def _implementations(result: Result) -> str:
    servers: dict[str, list[str]] = {}
    for variant in result.variants:
        servers.setdefault(f"{variant.server} ({variant.server_software})", []).append(variant.transport)
    clients = sorted({f"{variant.client} ({variant.client_software})" for variant in result.variants})
    return f"servers {', '.join(servers)}; clients {', '.join(clients)}"
