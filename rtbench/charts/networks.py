"""Networks: the median latency of each variant over each network, beside what the course guide says."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from rtbench.charts import words
from rtbench.charts.page import Page
from rtbench.charts.scale import plain_log, span
from rtbench.plan.network import LOOPBACK, NETWORKS, network_of
from rtbench.table import significant

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rtbench.analysis.view import Comparison
    from rtbench.charts.chart import Chart
    from rtbench.charts.style import Preset
    from rtbench.plan.variant import Variant

GUIDE_MS = {"long-polling": (50, 200), "websocket": (10, 50), "mqtt": (20, 100)}  # docs/course-guide.md, "Latency"
_GUIDE = "the guide"


def latency_by_network(result: Comparison, preset: Preset) -> Chart:
    """Draw the median latency over each network; the first column has the ranges of the guide."""
    name = "latency-by-network"
    networks = sorted({v.network for v in result.variants}, key=_rtt_s)
    if len(networks) < 2:
        raise words.refuse(name, "it has one network; `rtbench compare --network lan --network 3g` measures two")
    rows = {row["variant"]: row for row in result.summary if row["latency_p50_ms"] is not None}
    lines: dict[str, list[tuple[int, Mapping[str, Any]]]] = {}
    look_of: dict[str, Variant] = {}
    for variant in result.variants:
        if variant.name in rows:
            line = replace(variant, network=LOOPBACK).name
            look_of.setdefault(line, replace(variant, network=LOOPBACK))
            lines.setdefault(line, []).append((networks.index(variant.network) + 1, rows[variant.name]))
    if not lines:
        raise words.refuse(name, "no variant has the 20 messages that a median needs")
    page = Page(result, preset)
    medians = [row["latency_p50_ms"] for points in lines.values() for _, row in points]
    plain_log(page.axes, "y", *span([*medians, *(end for ends in GUIDE_MS.values() for end in ends)]))
    _guide(page, list(look_of.values()))
    ends = {}
    for line, points in lines.items():
        points.sort(key=lambda point: point[0])
        _line(page, look_of[line], points)
    page.axes.set_xlim(-0.6, len(networks) + 0.4 + 0.22 * (len(networks) + 1))
    labels = [_GUIDE, *(f"{text}\n{1e3 * _rtt_s(text):g} ms" if text in NETWORKS else text for text in networks)]
    page.axes.set_xticks(range(len(labels)), labels)
    page.grid("y")
    page.name_axes("network, with its round-trip time", "median latency, ms (log)")
    notes = ["A range of the first column is what the course guide says; a bar at a point is its 95 % interval."]
    slowest = {
        line: row["latency_p50_ms"] for line, points in lines.items() for at, row in points if at == len(networks)
    }
    headline = words.headline(result, slowest, "takes", "times as long as")
    page.frame("Latency over networks", notes, headline=f"Over {networks[-1]} {headline}" if headline else "")
    for line, points in lines.items():
        at, row = points[-1]
        ends[line] = page.to_pixels(np.array([float(at)]), np.array([row["latency_p50_ms"]]))[0]
    page.label_ends(ends)
    said = [
        f"{line} " + ", ".join(f"{significant(row['latency_p50_ms'])} ms over {networks[at - 1]}" for at, row in points)
        for line, points in lines.items()
    ]
    what = "Line chart: median latency in ms, logarithmic, one column a network, one line a variant."
    return page.chart(name, words.alternative(result, what, f"{'; '.join(said)}."))


def _rtt_s(text: str) -> float:
    network = network_of(text)
    return network.rtt_s if network is not None else 0.0


def _guide(page: Page, variants: list[Variant]) -> None:
    """Draw the ranges of the guide in the first column, one bar a transport."""
    drawn = {v.transport: v for v in reversed(variants) if v.transport in GUIDE_MS}
    for number, (transport, variant) in enumerate(sorted(drawn.items())):
        low, high = GUIDE_MS[transport]
        x = 0.22 * (number - (len(drawn) - 1) / 2)
        colour = page.look(variant).colour
        page.axes.plot([x, x], [low, high], color=colour, linewidth=page.preset.line_pt * 2.5, solid_capstyle="butt")


def _line(page: Page, variant: Variant, points: list[tuple[int, Mapping[str, Any]]]) -> None:
    p, look = page.preset, page.look(variant)
    x = [at for at, _ in points]
    page.axes.plot(
        x,
        [row["latency_p50_ms"] for _, row in points],
        color=look.colour,
        linestyle=look.dash,
        linewidth=look.line_pt * 0.8,
        marker=look.marker,
        markersize=p.marker_pt * 0.8,
        fillstyle=look.fill,
        markerfacecoloralt=p.background,
        label=variant.name,
        zorder=5,
    )
    for at, row in points:
        low, high = row["latency_p50_low_ms"], row["latency_p50_high_ms"]
        if low is not None and high is not None:
            page.axes.plot([at, at], [low, high], color=look.colour, linewidth=p.line_pt / 2, zorder=4)
