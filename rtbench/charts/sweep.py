"""Sweep: a figure of each variant against a parameter, with crossovers; and latency against load."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from rtbench.analysis.verdict import INVALID
from rtbench.charts import words
from rtbench.charts.latency import linear_room, room_on_the_right
from rtbench.charts.page import Page
from rtbench.charts.scale import plain_log, span
from rtbench.table import significant
from rtbench.units import plain

if TYPE_CHECKING:
    from rtbench.analysis.view import Sweep
    from rtbench.charts.chart import Chart
    from rtbench.charts.style import Preset
    from rtbench.plan.variant import Variant

    Row = Mapping[str, Any]
    Lines = dict[str, list[tuple[float, Row]]]

_LOG_FROM = 10.0  # the largest value of a parameter over the smallest, from which its axis is logarithmic
_LEAST_FOR_SLOPE = 3  # levels
_DRAWN = {  # name: column, title, axis, and what the variant with the largest figure does
    "sweep-latency": ("latency_p50_ms", "Latency", "median latency, ms (log)", "takes", "times as long as"),
    "sweep-bytes": (
        "wire_bytes_per_delivery",
        "Bytes",
        "bytes a delivery (log)",
        "needs",
        "times the bytes of",
    ),
    "sweep-requests": (
        "requests_per_delivery",
        "Requests",
        "requests a delivery (log)",
        "makes",
        "times the requests of",
    ),
    "sweep-server-cpu": (
        "server_cpu_percent",
        "CPU of the server",
        "server CPU, % (log)",
        "needs",
        "times the CPU of",
    ),
    "sweep-server-memory": (
        "server_rss_mb",
        "Memory of the server",
        "server memory, MB (log)",
        "needs",
        "times the memory of",
    ),
}


def sweep_charts() -> dict[str, Callable[[Sweep, Preset], Chart]]:
    """Return the charts of a figure against the first parameter, by name."""
    return {name: partial(_figure, name) for name in _DRAWN}


def _figure(name: str, result: Sweep, preset: Preset) -> Chart:
    column, title, y_name, takes, than = _DRAWN[name]
    axis, others = result.axes[0], result.fixed
    *thin, lines = [_lines(result, column, fixed) for fixed in others]
    if not lines:
        raise words.refuse(name, f"no variant has {y_name.removesuffix(' (log)')} above zero at two levels")
    page = Page(result, preset)
    every = [point for each in (*thin, lines) for points in each.values() for point in points]
    is_log = _axes(page, [x for x, _ in every], [row[column] for _, row in every], list(lines))
    for each in thin:
        for variant, points in each.items():
            _thin(page, _variant(result, variant), points, column)
    for variant, points in lines.items():
        _line(page, _variant(result, variant), points, column)
    page.name_axes(f"{axis.name.replace('_', ' ')}{' (log)' if is_log else ''}", y_name)
    ends = {variant: float(points[-1][1][column]) for variant, points in lines.items()}
    largest = max(x for points in lines.values() for x, _ in points)
    headline = words.headline(result, ends, takes, than)
    marked = _mark_crossovers(page, result, column, lines, others[-1])
    slopes = _slopes(lines, column) if is_log else ""
    notes = [
        "A bar at a point is its 95 % interval; a hollow point is not fit to conclude from.",
        *([f"Slope on these axes: {slopes}."] if slopes else []),
        *marked,
        *_second(others),
        *words.missing(result, lines, "because fewer than two levels have the figure"),
    ]
    where = f"At {axis.name.replace('_', ' ')} {plain(largest, 4)}, "
    page.frame(f"{title} against {axis.name}", notes, headline=f"{where}{headline}" if headline else "")
    _label(page, lines, column)
    said = [
        f"{variant} " + ", ".join(f"{significant(row[column])} at {plain(x, 4)}" for x, row in points)
        for variant, points in lines.items()
    ]
    what = f"Line chart: {y_name} against {axis.name}, one line a variant."
    return page.chart(name, words.alternative(result, what, f"{'; '.join(said)}.", *marked))


def hockey_stick(result: Sweep, preset: Preset) -> Chart:
    """Draw the median and the 99th percentile of latency against the messages that are offered each second."""
    name = "sweep-hockey-stick"
    axis, fixed = result.axes[0], result.fixed[-1]
    if axis.name not in ("rate", "publishers"):
        raise words.refuse(name, "the load does not vary; `rtbench sweep --vary rate=10,100,1000` varies it")
    lines = _by_load(_lines(result, "latency_p50_ms", fixed))
    tails = _by_load(_lines(result, "latency_p99_ms", fixed))
    if not lines:
        raise words.refuse(name, "no variant has a median at two levels")
    page = Page(result, preset)
    every = [*((x, row["latency_p50_ms"]) for points in lines.values() for x, row in points)]
    every += [(x, row["latency_p99_ms"]) for points in tails.values() for x, row in points]
    is_log = _axes(page, [x for x, _ in every], [y for _, y in every], list(lines))
    for variant, points in tails.items():
        _thin(page, _variant(result, variant), points, "latency_p99_ms")
    for variant, points in lines.items():
        _line(page, _variant(result, variant), points, "latency_p50_ms")
    page.name_axes(f"messages offered a second{' (log)' if is_log else ''}", "latency, ms (log)")
    notes = [
        "Thick: median. Thin: 99th percentile. A hollow point is not fit to conclude from: there the server or the "
        "load generator did not keep up.",
        *_second(result.fixed),
        *words.missing(result, lines, "because fewer than two levels have a median"),
    ]
    ends = {variant: float(points[-1][1]["latency_p50_ms"]) for variant, points in lines.items()}
    headline = words.headline(result, ends, "takes", "times as long as")
    page.frame("Latency against load", notes, headline=f"At the highest load, {headline}" if headline else "")
    _label(page, lines, "latency_p50_ms")
    said = [
        f"{variant} " + ", ".join(f"{significant(row['latency_p50_ms'])} ms at {plain(x, 4)}/s" for x, row in points)
        for variant, points in lines.items()
    ]
    what = "Line chart: median and 99th percentile of latency against messages offered a second."
    return page.chart(name, words.alternative(result, what, f"{'; '.join(said)}."))


def _lines(result: Sweep, column: str, fixed: Mapping[str, float]) -> Lines:
    """Return the points of each variant with two positive figures or more, in order of the first parameter."""
    first, columns = result.axes[0].column, {axis.name: axis.column for axis in result.axes}
    found: Lines = {}
    for row in result.summary:
        if all(row[columns[name]] == value for name, value in fixed.items()) and row[column]:
            found.setdefault(row["variant"], []).append((float(row[first]), row))
    return {name: sorted(points, key=lambda p: p[0]) for name, points in found.items() if len(points) > 1}


def _by_load(lines: Lines) -> Lines:
    return {
        name: sorted(((row["rate_hz"] * row["publishers"], row) for _, row in points), key=lambda p: p[0])
        for name, points in lines.items()
    }


def _variant(result: Sweep, name: str) -> Variant:
    return next(variant for variant in result.variants if variant.name == name)


def _axes(page: Page, x: Sequence[float], y: Sequence[float], names: list[str]) -> bool:
    """Set both axes; return whether that of the parameter is logarithmic."""
    plain_log(page.axes, "y", *span(y))
    page.grid("y")
    low, high = min(x), max(x)
    if low <= 0 or high / low < _LOG_FROM:
        linear_room(page, low, high, names)
        return False
    low, high = span(x, 0.03)
    plain_log(page.axes, "x", low, high)
    room_on_the_right(page, low, high, names)
    return True


def _line(page: Page, variant: Variant, points: list[tuple[float, Row]], column: str) -> None:
    p, look = page.preset, page.look(variant)
    x, y = [x for x, _ in points], [row[column] for _, row in points]
    page.axes.plot(x, y, color=look.colour, linestyle=look.dash, linewidth=look.line_pt * 0.8, zorder=5)
    low_name, high_name = (column.replace("_ms", f"_{end}_ms") for end in ("low", "high"))
    for at, row in points:
        fill = p.background if row["verdict"] == INVALID else look.colour
        marks: dict[str, Any] = {"marker": look.marker, "markersize": p.marker_pt * 0.8, "markerfacecolor": fill}
        page.axes.plot([at], [row[column]], color=look.colour, zorder=6, **marks)
        low, high = row.get(low_name), row.get(high_name)
        if low_name != column and low is not None and high is not None:
            page.axes.plot([at, at], [low, high], color=look.colour, linewidth=p.line_pt / 2, zorder=4)


def _thin(page: Page, variant: Variant, points: list[tuple[float, Row]], column: str) -> None:
    look = page.look(variant)
    x, y = [x for x, _ in points], [row[column] for _, row in points]
    page.axes.plot(x, y, color=look.colour, linestyle=look.dash, linewidth=page.preset.line_pt / 3, zorder=3)


def _mark_crossovers(page: Page, result: Sweep, column: str, lines: Lines, fixed: Mapping[str, float]) -> list[str]:
    """Mark where two lines meet, with the interval; return a sentence on each."""
    said, p = [], page.preset
    for where, place in result.crossovers:
        if place.figure != column or where != fixed or not {place.below, place.above} <= lines.keys():
            continue
        points = lines[place.below]
        x, y = (
            np.log([float(value) for value in values])
            for values in zip(*((x, r[column]) for x, r in points), strict=True)
        )
        height = float(np.exp(np.interp(np.log(place.at), x, y)))
        page.axes.plot([place.low, place.high], [height, height], color=p.ink, linewidth=p.line_pt / 2, zorder=7)
        page.axes.plot(
            [place.at],
            [height],
            color=p.ink,
            marker="o",
            markersize=p.marker_pt,
            markerfacecolor="none",
            zorder=7,
        )
        at, low, high = (plain(value, 3) for value in (place.at, place.low, place.high))
        said.append(f"Circle: {place.below} costs less than {place.above} up to {at} ({low} to {high}).")
    return said


def _slopes(lines: Lines, column: str) -> str:
    """Return by which power of the parameter the figure of each variant grows, by least squares."""
    found = []
    for variant, points in lines.items():
        if len(points) >= _LEAST_FOR_SLOPE:
            x, y = (np.log(values) for values in zip(*((x, float(row[column])) for x, row in points), strict=True))
            found.append(f"{variant} {plain(float(np.polyfit(x, y, 1)[0]), 2)}")
    return ", ".join(found)


def _second(others: Sequence[Mapping[str, float]]) -> list[str]:
    """Say which value of the second parameter the lines are of."""
    if len(others) < 2:
        return []
    name = next(iter(others[0]))
    values = [plain(each[name], 4) for each in others]
    return [f"Thick: {name} {values[-1]}. Thin: {name} {words.joined(values[:-1])}."]


def _label(page: Page, lines: Lines, column: str) -> None:
    ends = {}
    for variant, points in lines.items():
        x, row = points[-1]
        ends[variant] = page.to_pixels(np.array([x]), np.array([float(row[column])]))[0]
    page.label_ends(ends)
