"""The lab: when the messages of a session had come, and what Pong felt like."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rtbench.charts import words
from rtbench.charts.latency import at_shares, ecdf, for_label, linear_room, lines, mark, with_room_on_the_left
from rtbench.charts.page import Page
from rtbench.charts.scale import plain_log
from rtbench.table import significant
from rtbench.units import plain

if TYPE_CHECKING:
    from rtbench.analysis.view import Session
    from rtbench.charts.chart import Chart
    from rtbench.charts.style import Preset


def lab_latency(result: Session, preset: Preset) -> Chart:
    """Draw the share of deliveries that had come, over time since due."""
    curves = {t.variant.name: ecdf(t.latency_ms) for t in result.trials if len(t.latency_ms)}
    if not curves:
        raise words.refuse("lab-latency", "no lane has a delivery")
    page = Page(result, preset)
    lines(page, curves, drawstyle="steps-post")
    plain_log(page.axes, "x", *with_room_on_the_left(page, curves, curves))
    page.axes.set_ylim(0, 1.015)
    page.axes.set_yticks(np.linspace(0, 1, 5), [f"{100 * share:g} %" for share in np.linspace(0, 1, 5)])
    page.grid("both")
    page.name_axes("from due until the page had it, ms (log)", "deliveries that had come")
    medians = {name: float(np.interp(0.5, y, x)) for name, (x, y) in curves.items()}
    page.frame("A session of the lab", words.missing(result, curves, "because they have no delivery"))
    anchors = {name: at_shares(curve) for name, curve in curves.items()}
    mark(page, anchors)
    page.label({name: for_label(page, curve, anchors[name]) for name, curve in curves.items()})
    said = "; ".join(f"{name} {significant(value)} ms" for name, value in medians.items())
    what = "Line chart: share of deliveries that had come after a time, one line a lane."
    return page.chart("lab-latency", words.alternative(result, what, f"Medians: {said}."))


def lab_pong(result: Session, preset: Preset) -> Chart:
    """Draw how far the ball on the screen was from the real one, against the round-trip time, a line a lane."""
    of_lanes = {
        variant.name: [felt for felt in result.felt if felt.lane == variant.label] for variant in result.variants
    }
    of_lanes = {name: points for name, points in of_lanes.items() if points}
    if not of_lanes:
        raise words.refuse("lab-pong", "no Pong was played for long enough in this session")
    page = Page(result, preset)
    for variant in result.variants:
        points, look = of_lanes.get(variant.name, []), page.look(variant)
        x = [felt.rtt_ms for felt in points]
        page.axes.plot(
            x,
            [felt.distance_p50_px for felt in points],
            color=look.colour,
            linestyle=look.dash,
            marker=look.marker,
            markersize=preset.marker_pt,
            linewidth=look.line_pt,
        )
        for felt in points:
            page.axes.plot(
                [felt.rtt_ms] * 2,
                [felt.distance_p50_px, felt.distance_p90_px],
                color=look.colour,
                linewidth=preset.line_pt / 3,
            )
    page.axes.set_ylim(bottom=0)
    times_ms = [felt.rtt_ms for points in of_lanes.values() for felt in points]
    page.grid("both")
    page.name_axes("round-trip time, ms", "distance, px of 600")
    page.frame(
        "What Pong feels like",
        [
            "How far the ball on the screen was from the real one. Marks: median of all frames.",
            "Thin lines: up to the 90th percentile.",
        ],
    )
    linear_room(page, min(times_ms), max(times_ms), list(of_lanes))
    page.label_ends(
        {
            name: page.to_pixels(np.array([points[-1].rtt_ms]), np.array([points[-1].distance_p50_px]))[0]
            for name, points in of_lanes.items()
        }
    )
    said = "; ".join(
        f"{name} " + ", ".join(f"{significant(f.distance_p50_px)} px at {plain(f.rtt_ms)} ms" for f in points)
        for name, points in of_lanes.items()
    )
    what = (
        "Line chart: median distance of the drawn ball from the real one against the round-trip time, one line a lane."
    )
    return page.chart("lab-pong", words.alternative(result, what, f"{said}."))
