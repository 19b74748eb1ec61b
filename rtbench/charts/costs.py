"""Costs: bytes on the wire and CPU time of the server for each delivery, as bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rtbench.charts import words
from rtbench.charts.bars import known, legend, mark, name_bars, names, plain_bar, stack, write_values
from rtbench.charts.page import Page
from rtbench.table import significant

if TYPE_CHECKING:
    from rtbench.analysis.view import Comparison
    from rtbench.charts.chart import Chart
    from rtbench.charts.style import Preset

    Row = Mapping[str, Any]

_PARTS = {  # of a bar, from left to right: its column and its name
    "publish": ("publish_bytes_per_delivery", "publish hop"),
    "payload": ("delivery_payload_bytes_per_delivery", "delivery hop: payload"),
    "framing": ("delivery_framing_bytes_per_delivery", "framing and headers"),
    "tls": ("delivery_tls_bytes_per_delivery", "TLS"),
    "tcp_ip": ("delivery_tcp_ip_bytes_per_delivery", "TCP/IP headers"),
    "ack": ("ack_bytes_per_delivery", "both hops: segments that carry only a TCP acknowledgement"),
}
# the payload has the full colour of the variant
_TINTS = dict(zip(_PARTS, (0.5, 1.0, 0.72, 0.42, 0.22, 0.05), strict=True))


def bytes_per_delivery(result: Comparison, preset: Preset) -> Chart:
    """Draw bytes on the wire for each delivery: the publish hop, the layers of the delivery hop, acknowledgements."""
    rows = known(result, "wire_bytes_per_delivery")
    if not rows:
        raise words.refuse("bytes-per-delivery", no_bytes(result))
    page = Page(result, preset)
    encrypted = any(row["tls_bytes_per_delivery"] for row in rows)
    tints = {part: tint for part, tint in _TINTS.items() if part != "tls" or encrypted}
    for at, row in enumerate(rows):
        stack(page, at, row, {part: float(row[_PARTS[part][0]]) for part in tints}, tints)
    predicted = {at: end for at, row in enumerate(rows) if (end := _predicted_end(row)) is not None}
    for at, end in predicted.items():
        mark(page, at, end)
    name_bars(page, rows, "bytes at the IP layer for each delivery")
    notes = [
        "Publish hop: publisher to server, shared by the deliveries of a message; delivery hop: server to subscriber. "
        "Without opening the connections."
    ]
    if predicted:
        above = "framing and TLS" if encrypted else "framing"
        notes.append(f"The line across a bar shows where {above} should end according to the wire format.")
    notes += words.missing(result, names(rows), "because their bytes are not known")
    part_names = {part: name for part, (_, name) in _PARTS.items()}
    totals = [float(row["wire_bytes_per_delivery"]) for row in rows]
    headline = words.headline(result, dict(zip(names(rows), totals, strict=True)), "takes", "times the bytes of")
    headline += f" at {result.workload.rate_hz:g} messages/s" if headline else ""
    page.frame("Bytes on the wire for each delivery", notes, legend(page, part_names, tints), headline)
    write_values(page, totals, [f"{total:,.0f}" for total in totals])
    alt = words.alternative(
        result,
        "Bar chart, one bar for each variant: bytes on the wire for each delivery, stacked by hop and layer.",
        f"In all: {words.each(rows, 'wire_bytes_per_delivery', 'bytes')}.",
        *(f"Of these, {_PARTS[part][1]}: {words.each(rows, _PARTS[part][0], 'bytes')}." for part in tints),
    )
    return page.chart("bytes-per-delivery", alt)


def _predicted_end(row: Row) -> float | None:
    """Return where framing and TLS of the delivery hop end by the prediction; None if there is no prediction."""
    columns = ("publish", "delivery_payload", "predicted_delivery_framing", "predicted_delivery_tls")
    values = [row[f"{column}_bytes_per_delivery"] for column in columns]
    return None if None in values else float(sum(values))


def no_bytes(result: Comparison) -> str:
    """Return the reason why a result has no bytes on the wire."""
    if "wire_bytes_per_delivery" in result.environment.get("missing", []):
        return f"it was measured on {result.environment.get('system')}, which does not count wire bytes"
    return "no variant has wire bytes from a completed trial"


def server_cpu(result: Comparison, preset: Preset) -> Chart:
    """Draw the CPU time of the server for each delivery, with each trial as a dot."""
    column = "server_cpu_us_per_delivery"
    rows = known(result, column)
    if not rows:
        raise words.refuse("server-cpu", "no variant has the CPU time of the server from a completed trial")
    page = Page(result, preset)
    reach = []
    for at, row in enumerate(rows):
        trials = [t[column] for t in result.trial_table if _is_good(t, row["variant"]) and t[column] is not None]
        _bar_with_dots(page, at, row, float(row[column]), trials)
        reach.append(max([float(row[column]), *trials]))
    name_bars(page, rows, "CPU time of the server for each delivery, µs")
    notes = [
        "Bars: all trials together; dots: single trials.",
        *words.missing(result, names(rows), "because their CPU time is not known"),
    ]
    headline = words.headline(result, {row["variant"]: row[column] for row in rows}, "takes", "times the CPU time of")
    page.frame("Server CPU for each delivery", notes, headline=headline)
    write_values(page, reach, [significant(float(row[column])) for row in rows])
    alt = words.alternative(
        result,
        "Bar chart, one bar for each variant: CPU time of the server for each delivery, with the trials as dots.",
        f"{words.each(rows, column, 'microseconds')}.",
    )
    return page.chart("server-cpu", alt)


def _is_good(trial: Row, variant: str) -> bool:
    return bool(trial["variant"] == variant and trial["status"] == "ok")


def _bar_with_dots(page: Page, at: int, row: Row, value: float, trials: Sequence[float]) -> None:
    p = page.preset
    plain_bar(page, at, row, value)
    spread = np.linspace(-0.2, 0.2, len(trials)) if len(trials) > 1 else np.zeros(len(trials))
    page.axes.plot(
        trials,
        at + spread,
        linestyle="none",
        marker="o",
        markersize=p.marker_pt * 0.5,
        color=p.ink,
        markeredgecolor=p.background,
        markeredgewidth=p.line_pt / 4,
        label=row["variant"],
        zorder=4,
    )
