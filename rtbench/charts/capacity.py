"""Capacity: latency against load for each variant, with the objective and the loads that held and failed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rtbench.charts import words
from rtbench.charts.latency import room_on_the_right
from rtbench.charts.page import Page
from rtbench.charts.scale import plain_log, span
from rtbench.units import plain

if TYPE_CHECKING:
    from rtbench.analysis.view import Capacity
    from rtbench.charts.chart import Chart
    from rtbench.charts.style import Preset

_TIMES = ("latency_p99_ms", "latency_p90_ms", "latency_p50_ms", "latency_mean_ms", "arrived_p50_ms")
_SAID = {
    "latency_p99_ms": "99th percentile",
    "latency_p90_ms": "90th percentile",
    "latency_p50_ms": "median",
    "latency_mean_ms": "mean",
    "arrived_p50_ms": "median until it arrived",
}


def capacity(result: Capacity, preset: Preset) -> Chart:
    """Draw the latency of the objective against the load; a hollow point is a trial that missed the objective."""
    limits = {term.column: term.limit for term in result.objective.terms if term.column in _TIMES}
    column = next((name for name in _TIMES if name in limits), "latency_p99_ms")
    points: dict[str, list[tuple[float, dict[str, Any]]]] = {}
    for row in result.trial_table:
        if row.get(column):
            points.setdefault(row["variant"], []).append((row["load"], dict(row)))
    if not points:
        raise words.refuse("capacity", "nothing was delivered")
    page = Page(result, preset)
    loads = [load for each in points.values() for load, _ in each]
    limit = limits.get(column)
    plain_log(
        page.axes,
        "y",
        *span([*(row[column] for each in points.values() for _, row in each), *([limit] if limit else [])]),
    )
    low, high = span(loads, 0.03)
    plain_log(page.axes, "x", low, high)
    room_on_the_right(page, low, high, list(points))
    page.grid("y")
    if limit:
        page.axes.axhline(limit, color=page.preset.warning, linewidth=page.preset.line_pt / 2, zorder=2)
    ends = {}
    for name, each in points.items():
        _draw(page, result, name, sorted(each, key=lambda p: p[0]), column)
    page.name_axes(f"{result.of} (log)", f"{_SAID[column]} of latency, ms (log)")
    held = {row["variant"]: row for row in result.summary}
    notes = [
        f"A point is a trial: full, it kept to {result.objective}; hollow, it did not. "
        "The band is between the highest load that held and the lowest that failed.",
        *(
            f"{name}: what ran out first is {row['ran_out_first']}."
            for name, row in held.items()
            if row["ran_out_first"]
        ),
    ]
    known = {name: float(row["held"]) for name, row in held.items() if row["held"]}
    headline = words.headline(result, known, "sustains", "times the load of")
    page.frame(f"Capacity under {result.objective}", notes, headline=headline)
    for name, each in points.items():
        load = max(load for load, _ in each)
        middle = float(np.median([row[column] for at, row in each if at == load]))
        ends[name] = page.to_pixels(np.array([load]), np.array([middle]))[0]
    page.label_ends(ends)
    said = [f"{name} holds {plain(load, 4)}" for name, load in known.items()]
    what = f"Line chart: {_SAID[column]} of latency against {result.of}, both logarithmic, one line a variant."
    return page.chart("capacity", words.alternative(result, what, f"{'; '.join(said)}." if said else ""))


def _draw(page: Page, result: Capacity, name: str, each: list[tuple[float, dict[str, Any]]], column: str) -> None:
    p = page.preset
    variant = next(variant for variant in result.variants if variant.name == name)
    row = next(row for row in result.summary if row["variant"] == name)
    look = page.look(variant)
    loads = sorted({load for load, _ in each})
    middles = [float(np.median([r[column] for load, r in each if load == at])) for at in loads]
    page.axes.plot(loads, middles, color=look.colour, linestyle=look.dash, linewidth=look.line_pt * 0.8, zorder=5)
    if row["held"] and row["failed"]:
        page.axes.axvspan(row["held"], row["failed"], color=look.colour, alpha=0.15, zorder=1)
    for load, one in each:
        page.axes.plot(
            [load],
            [one[column]],
            color=look.colour,
            marker=look.marker,
            markersize=p.marker_pt * 0.7,
            markerfacecolor=p.background if one["broken"] else look.colour,
            zorder=6,
        )
