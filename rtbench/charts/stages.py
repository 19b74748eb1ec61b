"""Stages: the share of each stage in the latency of a delivery, from due to received."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rtbench.analysis.measured import STAGES
from rtbench.charts import words
from rtbench.charts.bars import known, legend, name_bars, names, stack, write_values
from rtbench.charts.page import Page
from rtbench.table import significant

if TYPE_CHECKING:
    from rtbench.analysis.view import Comparison
    from rtbench.charts.chart import Chart
    from rtbench.charts.style import Preset

    Row = Mapping[str, Any]

_NAMES = {
    "lag": "lag of the publisher",
    "publish_hop": "publish hop",
    "network_server": "both hops together",
    "delivery_hop": "delivery hop",
    "client": "client library and its process",
}
_TINTS = dict(zip(_NAMES, (0.1, 0.55, 0.78, 1.0, 0.3), strict=True))


def latency_breakdown(result: Comparison, preset: Preset) -> Chart:
    """Draw the share of each stage in the mean latency of each variant."""
    rows = known(result, "client_mean_ms")
    if not rows:
        raise words.refuse("latency-breakdown", "no variant has receive stamps of the kernel")
    page = Page(result, preset)
    bars = [_parts(row) for row in rows]
    tints = {part: tint for part, tint in _TINTS.items() if any(part in bar for bar in bars)}
    totals = [sum(bar.values()) for bar in bars]
    for at, (row, bar, total) in enumerate(zip(rows, bars, totals, strict=True)):
        stack(page, at, row, {part: 100 * bar.get(part, 0.0) / total for part in tints}, tints)
    name_bars(page, rows, "share of the mean latency, %")
    notes = [
        "From due to sent, to relayed by the server, to the receive stamp of the kernel, to the application. "
        "Right of the bars: mean latency.",
        *words.missing(result, names(rows), "because their receive stamps are not known"),
    ]
    if "network_server" in tints:
        notes.append("Both hops together: the server does not tell when it relays a message.")
    page.frame("Where the time of a delivery goes", notes, legend(page, _NAMES, tints))
    write_values(page, [100.0] * len(rows), [f"{significant(total)} ms" for total in totals])
    alt = words.alternative(
        result,
        "Bar chart, one bar for each variant: the share of each stage in the mean latency.",
        *(f"{_NAMES[part]}: {words.each(_with(rows, part), f'{part}_mean_ms', 'ms')}." for part in tints),
    )
    return page.chart("latency-breakdown", alt)


def _parts(row: Row) -> dict[str, float]:
    """Return the stages of a bar, milliseconds; a mean below zero, by the resolution of a clock, has no width."""
    hops = STAGES[1:3] if row["publish_hop_mean_ms"] is not None else ("network_server",)
    return {stage: max(float(row[f"{stage}_mean_ms"]), 0.0) for stage in (STAGES[0], *hops, STAGES[3])}


def _with(rows: Sequence[Row], part: str) -> list[Row]:
    return [row for row in rows if part in _parts(row)]
