"""Tradeoff: latency against bytes on the wire, in one chart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rtbench.analysis import ranking
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


_BYTES = "data_bytes_per_delivery"
_APPLICATION = ranking.APPLICATION
_AXES = {ranking.NETWORK: "median time, ms (log)", _APPLICATION: "median latency, ms (log)"}


def latency_against_bytes(result: Comparison, preset: Preset) -> Chart:
    """Draw one marker for each variant: x is bytes on the wire, y is the median time in network and server.

    A thin line leads up to what the application saw, and a dotted one to the bytes at the sparse rate.
    """
    by = ranking.column(list(result.summary))
    rows = {row["variant"]: row for row in result.summary if row[_BYTES] is not None}
    if not rows:
        raise words.refuse("latency-against-bytes", no_bytes(result))
    rows = {name: row for name, row in rows.items() if row[by] is not None and row[by] > 0}
    if not rows:
        raise words.refuse("latency-against-bytes", "no variant has the 20 messages that a median needs")
    page = Page(result, preset)
    plain_log(page.axes, "x", *span((x for row in rows.values() for x in _bytes(row)), spare=0.12))
    heights = (y for row in rows.values() for y in (*_interval(row, by), row[_APPLICATION]) if y > 0)
    plain_log(page.axes, "y", *span(heights, spare=0.12))
    variants = [variant for variant in result.variants if variant.name in rows]
    for variant in variants:
        _mark(page, variant, rows[variant.name], by)
    page.grid("both")
    page.name_axes("bytes on the wire for each delivery (log)", _AXES[by])
    notes = [
        "Down and to the left is better.",
        *_line_notes(result, by),
        *_interval_note(result),
        *words.missing(result, rows, "because a value is not known"),
    ]
    headline = words.headline(result, {name: row[by] for name, row in rows.items()}, "takes", "times as long as")
    page.frame("Latency against bytes", notes, headline=headline)
    page.label({variant.name: _outline(page, rows[variant.name], by) for variant in variants})
    return page.chart("latency-against-bytes", _alt(result, list(rows.values()), by))


def _bytes(row: Mapping[str, Any]) -> list[float]:
    """Return the bytes at the busy rate, and at the sparse rate if that was measured."""
    return [float(row[column]) for column in (_BYTES, f"sparse_{_BYTES}") if row[column] is not None]


def _line_notes(result: Comparison, by: str) -> list[str]:
    notes = []
    if by != _APPLICATION:
        notes.append("Markers: until the kernel of the subscriber had it; line upwards: until the application had it.")
    if rates := {row["sparse_rate_hz"] for row in result.summary} - {None}:
        notes.append(f"Dotted line: bytes at {min(rates):g} messages/s in place of {result.workload.rate_hz:g}.")
    return [*notes, "Bytes are without segments that carry only a TCP acknowledgement."]


def _interval(row: Mapping[str, Any], by: str) -> tuple[float, float]:
    """Return the interval of the median; (median, median) if there is none because of a single trial."""
    stem = by.removesuffix("_ms")
    low, high, value = (row[f"{stem}_{end}ms"] for end in ("low_", "high_", ""))
    return (value, value) if low is None or high is None else (float(low), float(high))


def _interval_note(result: Comparison) -> list[str]:
    trials = result.blocks
    if trials < 2:
        return ["One trial gives no interval."]
    return [f"Bars with ends: 95 % interval of the median over {trials} trials; some are shorter than the marker."]


def _mark(page: Page, variant: Variant, row: Mapping[str, Any], by: str) -> None:
    p, look = page.preset, page.look(variant)
    x, y = float(row[_BYTES]), float(row[by])
    low, high = _interval(row, by)
    thin: dict[str, Any] = {"color": look.colour, "linewidth": p.line_pt / 3, "zorder": 2}
    page.axes.plot([x, x], [y, row[_APPLICATION]], marker="_", markevery=[1], markersize=p.marker_pt, **thin)
    page.axes.plot(_bytes(row), [y] * len(_bytes(row)), linestyle=":", marker="|", markevery=[-1], **thin)
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
    page: Page, row: Mapping[str, Any], by: str
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the outline that the name of a point must not cover, its anchors, and the cost of each anchor."""
    x = float(row[_BYTES])
    ends = page.to_pixels(np.full(2, x), np.array([_interval(row, by)[0], row[_APPLICATION]]))
    centre = page.to_pixels(np.array([x]), np.array([float(row[by])]))
    half = page.pixels(page.preset.marker_pt * 0.7)
    around = centre + half * np.array([(-1, -1), (-1, 1), (1, 1), (1, -1), (-1, -1), (0, 0)])
    sides = centre + half * np.array([(1, 0), (-1, 0), (0, 1), (0, -1)])
    return np.concatenate([around, ends]), sides, np.array([0.0, 0.3, 0.6, 0.6])


def _alt(result: Comparison, rows: list[Mapping[str, Any]], by: str) -> str:
    sparse = words.each([row for row in rows if row[f"sparse_{_BYTES}"] is not None], f"sparse_{_BYTES}", "bytes")
    return words.alternative(
        result,
        "Scatter chart, one marker for each variant: median time in ms against bytes on the wire for each delivery,"
        " both logarithmic.",
        f"Median until the kernel of the subscriber had it: {words.each(rows, by, 'ms')}."
        if by != _APPLICATION
        else "",
        f"Median until the application had it: {words.each(rows, _APPLICATION, 'ms')}.",
        f"Bytes: {words.each(rows, _BYTES, 'bytes')}.",
        f"Bytes at the sparse rate: {sparse}." if sparse else "",
    )
