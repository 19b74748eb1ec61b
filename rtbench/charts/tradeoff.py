"""Tradeoff: latency against bytes on the wire, in one chart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rtbench.charts import words
from rtbench.charts.costs import no_bytes
from rtbench.charts.page import Page
from rtbench.charts.scale import plain_log, span

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from numpy.typing import NDArray

    from rtbench.analysis.view import Comparison
    from rtbench.charts.chart import Chart
    from rtbench.charts.style import Preset
    from rtbench.plan.variant import Variant


def latency_against_bytes(result: Comparison, preset: Preset) -> Chart:
    """Draw one marker for each variant: x is bytes on the wire, y is median latency with its interval."""
    rows = {row["variant"]: row for row in result.summary if row["wire_bytes_per_delivery"] is not None}
    if not rows:
        raise words.refuse("latency-against-bytes", no_bytes(result))
    rows = {name: row for name, row in rows.items() if row["latency_p50_ms"] is not None and row["latency_p50_ms"] > 0}
    if not rows:
        raise words.refuse("latency-against-bytes", "no variant has the 20 deliveries that a median needs")
    page = Page(result, preset)
    plain_log(page.axes, "x", *span((row["wire_bytes_per_delivery"] for row in rows.values()), spare=0.12))
    plain_log(page.axes, "y", *span((y for row in rows.values() for y in _interval(row) if y > 0), spare=0.12))
    variants = [variant for variant in result.variants if variant.name in rows]
    for variant in variants:
        _mark(page, variant, rows[variant.name])
    page.grid("both")
    page.name_axes("bytes on the wire for each delivery (log)", "median latency, ms (log)")
    notes = [
        "Down and to the left is better.",
        *_interval_note(result),
        *words.missing(result, rows, "because a value is not known"),
    ]
    page.frame("Latency against bytes", notes)
    page.label({variant.name: _outline(page, rows[variant.name]) for variant in variants})
    return page.chart("latency-against-bytes", _alt(result, list(rows.values())))


def _interval(row: Mapping[str, Any]) -> tuple[float, float]:
    """Return the interval of the median; (median, median) if there is none because of a single trial."""
    low, high, value = (row[f"latency_p50_{end}ms"] for end in ("low_", "high_", ""))
    return (value, value) if low is None or high is None else (float(low), float(high))


def _interval_note(result: Comparison) -> list[str]:
    trials = result.blocks
    if trials < 2:
        return ["One trial gives no interval."]
    few = ", little more than their range" if trials < 5 else ""
    return [f"Vertical bars: 95 % interval of the median over {trials} trials{few}; some are shorter than the marker."]


def _mark(page: Page, variant: Variant, row: Mapping[str, Any]) -> None:
    p, look = page.preset, page.look(variant)
    x, y = float(row["wire_bytes_per_delivery"]), float(row["latency_p50_ms"])
    low, high = _interval(row)
    page.axes.errorbar(
        [x],
        [y],
        yerr=[[max(y - low, 0.0)], [max(high - y, 0.0)]],
        color=look.colour,
        marker=look.marker,
        markersize=p.marker_pt * 1.25,
        fillstyle=look.fill,
        markerfacecoloralt=p.background,
        markeredgewidth=p.line_pt * 0.6,
        elinewidth=p.line_pt * 0.8,
        capsize=p.marker_pt * 0.5,
        capthick=p.line_pt * 0.8,
        label=variant.name,
        zorder=3,
    )


def _outline(
    page: Page, row: Mapping[str, Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the outline that the name of a point must not cover, its anchors, and the cost of each anchor."""
    x = float(row["wire_bytes_per_delivery"])
    ends = page.to_pixels(np.full(2, x), np.array(_interval(row)))
    centre = page.to_pixels(np.array([x]), np.array([float(row["latency_p50_ms"])]))
    half = page.pixels(page.preset.marker_pt * 0.7)
    around = centre + half * np.array([(-1, -1), (-1, 1), (1, 1), (1, -1), (-1, -1), (0, 0)])
    sides = centre + half * np.array([(1, 0), (-1, 0), (0, 1), (0, -1)])
    return np.concatenate([around, ends]), sides, np.array([0.0, 0.3, 0.6, 0.6])


def _alt(result: Comparison, rows: list[Mapping[str, Any]]) -> str:
    return words.alternative(
        result,
        "Scatter chart, one marker for each variant: median latency in ms against bytes on the wire for each delivery,"
        " both logarithmic.",
        f"Median latency: {words.each(rows, 'latency_p50_ms', 'ms')}.",
        f"Bytes: {words.each(rows, 'wire_bytes_per_delivery', 'bytes')}.",
    )
