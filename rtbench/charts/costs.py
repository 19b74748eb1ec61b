"""Costs: bytes on the wire and CPU time of the server for each delivery, as bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rtbench.analysis.layers import LAYERS
from rtbench.charts import words
from rtbench.charts.bars import known, legend, mark, name_bars, names, plain_bar, stack, write_values
from rtbench.charts.page import Page
from rtbench.table import significant

if TYPE_CHECKING:
    from rtbench.analysis.view import Comparison
    from rtbench.charts.chart import Chart
    from rtbench.charts.style import Preset

    Row = Mapping[str, Any]

_LAYER_NAMES = {
    "payload": "payload",
    "framing": "framing and headers",
    "tls": "TLS",
    "ack": "segments that carry only a TCP acknowledgement",
    "tcp_ip": "TCP/IP headers of other segments",
}
# the payload has the full colour of the variant; each further layer is paler
_TINTS = {4: (1.0, 0.6, 0.32, 0.1), 5: (1.0, 0.66, 0.42, 0.2, 0.06)}


def bytes_per_delivery(result: Comparison, preset: Preset) -> Chart:
    """Draw bytes on the wire for each delivery, stacked by layer."""
    rows = known(result, "wire_bytes_per_delivery")
    if not rows:
        raise words.refuse("bytes-per-delivery", no_bytes(result))
    page = Page(result, preset)
    layers = [layer for layer in LAYERS if layer != "tls" or any(row["tls_bytes_per_delivery"] for row in rows)]
    tints = dict(zip(layers, _TINTS[len(layers)], strict=True))
    for at, row in enumerate(rows):
        stack(page, at, row, {layer: float(row[f"{layer}_bytes_per_delivery"]) for layer in tints}, tints)
    predicted = {at: end for at, row in enumerate(rows) if (end := _predicted_end(row)) is not None}
    for at, end in predicted.items():
        mark(page, at, end)
    name_bars(page, rows, "bytes at the IP layer for each delivery")
    notes = ["Both hops: publisher to server, server to subscriber; without opening the connections."]
    if predicted:
        above = "framing and TLS" if "tls" in layers else "framing"
        notes.append(f"The line across a bar shows where {above} should end according to the wire format.")
    notes += words.missing(result, names(rows), "because their bytes are not known")
    page.frame("Bytes on the wire for each delivery", notes, legend(page, _LAYER_NAMES, tints))
    totals = [float(row["wire_bytes_per_delivery"]) for row in rows]
    write_values(page, totals, [f"{total:,.0f}" for total in totals])
    alt = words.alternative(
        result,
        "Bar chart, one bar for each variant: bytes on the wire for each delivery, stacked by layer.",
        f"In all: {words.each(rows, 'wire_bytes_per_delivery', 'bytes')}.",
        *(
            f"Of these, {_LAYER_NAMES[name]}: {words.each(rows, f'{name}_bytes_per_delivery', 'bytes')}."
            for name in tints
        ),
    )
    return page.chart("bytes-per-delivery", alt)


def _predicted_end(row: Row) -> float | None:
    """Return the sum of payload and predicted framing and TLS; None if there is no prediction."""
    names = ("payload_bytes_per_delivery", "predicted_framing_bytes_per_delivery", "predicted_tls_bytes_per_delivery")
    values = [row[name] for name in names]
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
    page.frame("Server CPU for each delivery", notes)
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
