"""Report: the table and the sentences that end a run, for a terminal of 100 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rtbench.prediction import WORTH_A_WORD_PERCENT
from rtbench.table import Table, significant
from rtbench.verdict import VALID

if TYPE_CHECKING:
    from rtbench.results import Result

WIDTH = 100


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
        if row["verdict"] != VALID:
            lines.append(_hanging(" " * width, f"{row['verdict']}: {row['reasons']}"))
        if apart := _apart_from_prediction(row):
            lines.append(_hanging(" " * width, apart))
    return "\n".join(lines)


def _apart_from_prediction(row: Mapping[str, Any]) -> str | None:
    """Return what to know where bytes above TCP are not those of the wire format; None where they are, or unknown."""
    percent = row["above_tcp_difference_percent"]
    if percent is None or abs(percent) <= WORTH_A_WORD_PERCENT:
        return None
    figures = {
        words: (row[f"above_tcp_{way}_bytes_per_delivery"], row[f"predicted_above_tcp_{way}_bytes_per_delivery"])
        for way, words in (("up", "client to server"), ("down", "server to client"))
    }
    way = max(figures, key=lambda way: abs(figures[way][0] / figures[way][1] - 1) if figures[way][1] else 0.0)
    measured, predicted = figures[way]
    meaning = (
        "server or library write what the format does not need, or more messages went over the wire than were counted"
        if percent > 0
        else "server or library write less than the format says, or messages did not get onto the wire"
    )
    return (
        f"bytes above TCP, {way}: {measured:.5g} a delivery measured, {predicted:.5g} predicted from the wire format "
        f"({percent:+.1f} %): {meaning}"
    )


def _hanging(head: str, text: str) -> str:
    return textwrap.fill(text, WIDTH, initial_indent=f"{head}  ", subsequent_indent=" " * (len(head) + 2))


def _conditions(result: Result) -> list[str]:
    w = result.workload
    trials = result.settings["trials"].value
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
