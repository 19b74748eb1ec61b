"""Three laws in pictures: the knee of long-polling, the even wait of polling, and the handshakes of MQTT."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from rtbench.analysis.law_check import HOLDS, NotMeasuredError
from rtbench.analysis.laws import qos_ways, uniform_distance
from rtbench.charts import words
from rtbench.charts.bars import mark, name_bars, plain_bar, write_values
from rtbench.charts.latency import ecdf
from rtbench.charts.page import Page
from rtbench.plan.laws import INTERVAL, KNEE, at_knee, slow
from rtbench.plan.network import LOOPBACK
from rtbench.table import Table, significant

if TYPE_CHECKING:
    from rtbench.analysis.view import Laws
    from rtbench.charts.chart import Chart
    from rtbench.charts.style import Preset
    from rtbench.plan.variant import Variant

    Row = Mapping[str, Any]


@dataclass
class _Part:
    """The set-ups of a result that a chart shows, for the texts of the chart."""

    variants: list[Variant]
    environment: Mapping[str, Any]
    status: str
    missing: str
    conditions: list[str]
    summary: Table


def laws_knee(result: Laws, preset: Preset) -> Chart:
    """Draw how much longer long-polling takes than WebSocket, against the delay of the link."""
    name = "laws-knee"
    rows = _measured(result, name, "L5")
    part = _part(result, rows, {at_knee(rate): "long-polling" for rate in KNEE} | {"websocket": "websocket"})
    page = Page(part, preset)
    _predicted(page, [0, 1, 1, 2], [1, 1, 2, 2])
    variant = next(v for v in part.variants if v.transport == "long-polling")
    look = page.look(variant)
    rates = [rate for rate in KNEE for row in rows if row["variant"] == at_knee(rate)]
    for rate, row in zip(rates, rows, strict=True):
        if row["measured_low"] is not None:
            ends = [row["measured_low"], row["measured_high"]]
            page.axes.plot([rate, rate], ends, color=look.colour, linewidth=preset.line_pt, zorder=4)
    points = [row["measured"] for row in rows]
    page.axes.plot(
        rates, points, look.marker, color=look.colour, markersize=preset.marker_pt, label="measured", zorder=5
    )
    page.axes.set_xlim(0, 2)
    page.axes.set_ylim(0, 2.5)
    page.grid("y")
    page.name_axes("delay d of one way, in units of T/2", "mean, WebSocket = 1")
    notes = ["Line: predicted. T is the time between two messages. Bars: 95 % intervals over trials."]
    page.frame(
        "The knee of long-polling",
        notes,
        headline=_if_it_holds(rows, "Long-polling is as fast as WebSocket while d < T/2"),
    )
    said = ", ".join(f"{significant(value)} at d = {rate:g} T/2" for rate, value in zip(rates, points, strict=True))
    return page.chart(name, words.alternative(part, "Points beside a line that steps from 1 to 2 at 1.", f"{said}."))


def laws_polling(result: Laws, preset: Preset) -> Chart:
    """Draw which share of the messages had arrived after which time, beside the uniform distribution."""
    name = "laws-polling"
    rows = _measured(result, name, "L3")
    try:
        hops_ms = result.seen.delivery_hop_ms("polling")
    except NotMeasuredError as error:
        raise words.refuse(name, str(error)) from error
    part = _part(result, rows, {"polling": "polling"})
    page = Page(part, preset)
    low, high = result.seen.one_way_ms, result.seen.one_way_ms + INTERVAL * result.seen.rtt_ms
    _predicted(page, [0, low, high, 1.1 * high], [0, 0, 1, 1])
    look = page.look(part.variants[0])
    x, share = ecdf(np.concatenate(hops_ms))
    page.axes.plot(x, share, color=look.colour, linewidth=look.line_pt, drawstyle="steps-post", label="polling")
    page.axes.set_xlim(0, 1.1 * high)
    page.axes.set_ylim(0, 1.015)
    page.axes.set_yticks(np.linspace(0, 1, 5), [f"{100 * at:g} %" for at in np.linspace(0, 1, 5)])
    page.grid("both")
    page.name_axes("from relayed to arrived, ms", "messages that had arrived")
    notes = [f"Dashed: predicted, uniform from d = {low:g} ms to interval + d = {high:g} ms."]
    page.frame("The wait of polling", notes, headline=_if_it_holds(rows, "Waits for a poll are spread evenly"))
    distance, bound = uniform_distance(hops_ms, low, high)
    said = f"The two differ by at most {100 * distance:.1f} %; chance alone exceeds {100 * bound:.1f} % once in 100."
    return page.chart(name, words.alternative(part, "Two lines, measured and predicted, share against time.", said))


def laws_qos(result: Laws, preset: Preset) -> Chart:
    """Draw the time from end to end of MQTT at each QoS, in delays of one way."""
    name = "laws-qos"
    rows = _measured(result, name, "L6")
    part = _part(result, rows, {slow(qos): slow(qos) for qos in (0, 1, 2)})
    page = Page(part, preset)
    d = result.seen.one_way_ms
    values = [row["measured"] / d for row in rows]
    ways = {slow(qos): qos_ways(qos) for qos in (0, 1, 2)}
    for at, (row, value) in enumerate(zip(rows, values, strict=True)):
        plain_bar(page, at, row, value)
        mark(page, at, ways[row["variant"]])
    name_bars(page, rows, "from sent to arrived, in delays d of one way")
    notes = [f"Lines: predicted. d = {d:g} ms; publisher and subscriber are each d from the broker."]
    page.frame(
        "MQTT from end to end", notes, headline=_if_it_holds(rows, "QoS 2 takes three times as long as QoS 0 and 1")
    )
    write_values(page, [max(v, ways[r["variant"]]) for v, r in zip(values, rows, strict=True)], list(map(_d, values)))
    said = ", ".join(f"{row['variant']} {_d(value)}" for row, value in zip(rows, values, strict=True))
    return page.chart(name, words.alternative(part, "Bar chart, one bar for each QoS.", f"{said}."))


def _if_it_holds(rows: Sequence[Row], headline: str) -> str:
    """Return a headline that says what a law says; none where a check of it does not hold."""
    return headline if all(row["verdict"] == HOLDS for row in rows) else ""


def _d(value: float) -> str:
    return f"{value:.2f} d"


def _measured(result: Laws, chart: str, law: str) -> list[Row]:
    """Return the rows of a law with a measured value.

    Raises:
        UsageError: there is none.
    """
    rows = [row for row in result.summary if row["law"] == law and row["measured"] is not None]
    if not rows:
        raise words.refuse(chart, f"{law} was not measured")
    return rows


def _part(result: Laws, rows: Sequence[Row], labels: Mapping[str, str]) -> _Part:
    """Return the set-ups of a chart, labelled as it names them; the link stands in the conditions."""
    shown = [replace(v, label=labels[v.label], network=LOOPBACK) for v in result.variants if v.label in labels]
    once = list({variant.label: variant for variant in shown}.values())
    return _Part(once, result.environment, result.status, result.missing, result.conditions, Table(list(rows)))


def _predicted(page: Page, x: Sequence[float], y: Sequence[float]) -> None:
    p = page.preset
    page.axes.plot(x, y, color=p.ink, linewidth=p.line_pt / 2, linestyle="--", label="predicted", zorder=3)
