"""Rates: bytes for each delivery, and the age of information, against the update rate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rtbench.charts import words
from rtbench.charts.latency import room_on_the_right
from rtbench.charts.page import Page
from rtbench.charts.scale import plain_log, span
from rtbench.table import significant

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rtbench.analysis.view import Comparison
    from rtbench.charts.chart import Chart
    from rtbench.charts.style import Preset
    from rtbench.plan.variant import Variant

_SHOWN = 1.6  # a line goes on beyond the lowest and the highest measured rate by this factor


def bytes_against_rate(result: Comparison, preset: Preset) -> Chart:
    """Draw bytes for each delivery against the update rate: measured points on the line of the wire format."""
    return _draw(
        result,
        preset,
        "bytes-against-rate",
        "data_bytes_per_delivery",
        "data_bytes_per_delivery",
        "bytes for each delivery (log)",
        "Bytes on the wire against update rate",
    )


def age_against_rate(result: Comparison, preset: Preset) -> Chart:
    """Draw the age of information against the update rate: measured points on the line of the law."""
    return _draw(
        result,
        preset,
        "age-against-rate",
        "age_mean_ms",
        "age_ms",
        "mean age, ms (log)",
        "Age of information against update rate",
    )


_HEADLINES = {  # before and after the factor
    "bytes-against-rate": ("takes", "times the bytes of"),
    "age-against-rate": ("has", "times the age of"),
}
_NOTES = {
    "bytes-against-rate": "Lines: what the wire format needs in a steady state; points: measured. Both without "
    "segments that carry only a TCP acknowledgement, whose number depends on timing.",
    "age-against-rate": "Lines: half the time between two messages, and half the polling interval for polling; points: "
    "measured. The age is how old the newest message of a subscriber is, averaged over time.",
}


def _draw(result: Comparison, preset: Preset, name: str, column: str, of_law: str, axis: str, heading: str) -> Chart:
    rows = [row for row in result.rate_table if row[column] is not None]
    points = {v.name: [row for row in rows if row["variant"] == v.name] for v in result.variants}
    points = {variant: found for variant, found in points.items() if found}
    if not points:
        raise words.refuse(name, "no variant has a value from a completed trial")
    rates = [row["rate_hz"] for row in rows]
    if len(set(rates)) < 2:
        raise words.refuse(name, "it has one update rate; a comparison with a sparse part has two or more")
    low, high = min(rates) / _SHOWN, max(rates) * _SHOWN
    lines = {variant: _line(result, variant, of_law, low, high) for variant in points}
    page = Page(result, preset)
    values = [row[column] for row in rows] + [float(y) for _, ys in lines.values() for y in ys]
    plain_log(page.axes, "x", low, high)
    plain_log(page.axes, "y", *span([value for value in values if value > 0]))
    for variant in result.variants:
        if variant.name in points:
            _draw_variant(page, variant, lines[variant.name], points[variant.name], column)
    page.grid("both")
    page.name_axes("messages per second of each publisher (log)", axis)
    notes = [_NOTES[name], *words.missing(result, points, "because the value is not known")]
    lowest = min(rates)
    at_lowest = {row["variant"]: row[column] for row in rows if row["rate_hz"] == lowest}
    headline = words.headline(result, at_lowest, *_HEADLINES[name])
    page.frame(heading, notes, headline=f"{headline} at {lowest:g} messages/s" if headline else "")
    room_on_the_right(page, low, high, list(points))
    ends = {}
    for variant_name, found in points.items():
        x, y = lines[variant_name]
        if not len(x):
            x, y = (np.array([row[key] for row in found]) for key in ("rate_hz", column))
        rightmost = [int(np.argmax(x))]
        ends[variant_name] = page.to_pixels(x[rightmost], y[rightmost])[0]
    page.label_ends(ends)
    return page.chart(name, _alt(result, heading, points, column))


def _line(
    result: Comparison, variant: str, of_law: str, low: float, high: float
) -> tuple[np.ndarray[Any, np.dtype[np.float64]], np.ndarray[Any, np.dtype[np.float64]]]:
    law = result.laws.get(variant)
    if law is None:
        return np.empty(0), np.empty(0)
    x, y = np.array(law.rate_hz), np.array(getattr(law, of_law))
    inside = (x >= low) & (x <= high)
    return x[inside], y[inside]


def _draw_variant(page: Page, variant: Variant, line: Any, rows: Sequence[Mapping[str, Any]], column: str) -> None:
    p, look = page.preset, page.look(variant)
    page.axes.plot(*line, color=look.colour, linestyle=look.dash, linewidth=look.line_pt * 0.8, zorder=3)
    page.axes.plot(
        [row["rate_hz"] for row in rows],
        [row[column] for row in rows],
        linestyle="none",
        marker=look.marker,
        markersize=p.marker_pt,
        fillstyle=look.fill,
        color=look.colour,
        markerfacecoloralt=p.background,
        markeredgewidth=p.line_pt / 2,
        label=variant.name,
        zorder=5,
    )


def _alt(result: Comparison, heading: str, points: Mapping[str, Sequence[Mapping[str, Any]]], column: str) -> str:
    unit = "bytes" if "bytes" in column else "ms"
    said = [
        f"{variant} " + ", ".join(f"{significant(row[column])} {unit} at {row['rate_hz']:g}/s" for row in rows)
        for variant, rows in points.items()
    ]
    what = f"Line chart: {heading.lower()}, both axes logarithmic, one line for each variant."
    return words.alternative(result, what, f"{'; '.join(said)}.")
