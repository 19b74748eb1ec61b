"""Costs: what a delivery takes on the wire and on the server, as bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rtbench.charts import words
from rtbench.charts.page import Page
from rtbench.charts.style import mixed
from rtbench.figures import LAYERS
from rtbench.table import significant

if TYPE_CHECKING:
    from matplotlib.patches import Patch

    from rtbench.charts.chart import Chart
    from rtbench.charts.style import Preset
    from rtbench.results import Result

    Row = Mapping[str, Any]

_LAYER_NAMES = {
    "payload": "payload",
    "framing": "framing and headers",
    "ack": "segments that carry only a TCP acknowledgement",
    "tcp_ip": "TCP/IP headers of other segments",
}
# the payload in the variant's full colour, what is furthest from it the palest
_TINTS = dict(zip(LAYERS, (1.0, 0.6, 0.32, 0.1), strict=True))
_BAR = 0.66  # of the distance between two bars
_LEAST_ROOM = 5  # bars for which there is room, so that one alone is no block


def bytes_per_delivery(result: Result, preset: Preset) -> Chart:
    """Draw bytes on the wire for each delivery, stacked by layer."""
    rows = _known(result, "wire_bytes_per_delivery")
    if not rows:
        raise words.refuse("bytes-per-delivery", no_bytes(result))
    page = Page(result, preset)
    for at, row in enumerate(rows):
        _stack(page, at, row)
    _name_bars(page, rows, "bytes at the IP layer for each delivery")
    notes = ["Both hops: publisher to server, server to subscriber; connections were open before."]
    notes += words.missing(result, _names(rows), "their bytes not being known")
    page.frame("Bytes on the wire for each delivery", notes, _legend(page))
    totals = [float(row["wire_bytes_per_delivery"]) for row in rows]
    _write_values(page, totals, [f"{total:,.0f}" for total in totals])
    alt = words.alternative(
        result,
        "Bar chart, a bar a variant: bytes on the wire for each delivery, stacked by layer.",
        f"In all: {words.each(rows, 'wire_bytes_per_delivery', 'bytes')}.",
        *(
            f"Of these, {_LAYER_NAMES[name]}: {words.each(rows, f'{name}_bytes_per_delivery', 'bytes')}."
            for name in _TINTS
        ),
    )
    return page.chart("bytes-per-delivery", alt)


def no_bytes(result: Result) -> str:
    """Return why a result has no bytes."""
    if "wire_bytes_per_delivery" in result.environment.get("missing", []):
        return f"it was measured on {result.environment.get('system')}, which does not count wire bytes"
    return "no variant has wire bytes from a trial that ran to its end"


def _stack(page: Page, at: int, row: Row) -> None:
    look = page.look(_variant(page.result, row))
    left = 0.0
    for layer, tint in _TINTS.items():
        width = float(row[f"{layer}_bytes_per_delivery"])
        page.axes.barh(
            at,
            width,
            _BAR,
            left,
            color=mixed(look.colour, page.preset.background, tint),
            edgecolor=look.colour,
            linewidth=page.preset.line_pt / 3,
            hatch=look.hatch,
            label=layer,
            zorder=3,
        )
        left += width


def _legend(page: Page) -> list[Patch]:
    from matplotlib.patches import Patch

    p = page.preset
    return [
        Patch(
            facecolor=mixed(p.ink, p.background, tint),
            edgecolor=p.ink,
            linewidth=p.line_pt / 3,
            label=_LAYER_NAMES[layer],
        )
        for layer, tint in _TINTS.items()
    ]


def server_cpu(result: Result, preset: Preset) -> Chart:
    """Draw the server's CPU time for each delivery, with each trial as a dot."""
    column = "server_cpu_us_per_delivery"
    rows = _known(result, column)
    if not rows:
        raise words.refuse("server-cpu", "no variant has the server's CPU time from a trial that ran to its end")
    page = Page(result, preset)
    reach = []
    for at, row in enumerate(rows):
        trials = [t[column] for t in result.trial_table if _is_good(t, row["variant"]) and t[column] is not None]
        _bar_with_dots(page, at, row, float(row[column]), trials)
        reach.append(max([float(row[column]), *trials]))
    _name_bars(page, rows, "CPU time of the server for each delivery, µs")
    notes = [
        "Bars: all trials; dots: one trial each.",
        *words.missing(result, _names(rows), "their CPU time not being known"),
    ]
    page.frame("Server CPU for each delivery", notes)
    _write_values(page, reach, [significant(float(row[column])) for row in rows])
    alt = words.alternative(
        result,
        "Bar chart, a bar a variant: CPU time of the server for each delivery, with the trials as dots.",
        f"{words.each(rows, column, 'microseconds')}.",
    )
    return page.chart("server-cpu", alt)


def _is_good(trial: Row, variant: str) -> bool:
    return bool(trial["variant"] == variant and trial["status"] == "ok")


def _bar_with_dots(page: Page, at: int, row: Row, value: float, trials: Sequence[float]) -> None:
    p, look = page.preset, page.look(_variant(page.result, row))
    pale = mixed(look.colour, p.background, 0.25) if look.hatch else look.colour
    page.axes.barh(
        at,
        value,
        _BAR,
        edgecolor=look.colour,
        linewidth=p.line_pt / 3,
        label="cpu",
        color=pale,
        hatch=look.hatch,
        zorder=3,
    )
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


def _known(result: Result, column: str) -> list[Row]:
    return [row for row in result.summary if row[column] is not None]


def _names(rows: Sequence[Row]) -> list[str]:
    return [row["variant"] for row in rows]


def _variant(result: Result, row: Row) -> Any:
    return next(variant for variant in result.variants if variant.name == row["variant"])


def _name_bars(page: Page, rows: Sequence[Row], what: str) -> None:
    """Name the bars on their axis, the first one on top."""
    spare = max(_LEAST_ROOM - len(rows), 0) / 2
    page.axes.set_ylim(len(rows) - 0.5 + spare, -0.5 - spare)
    page.axes.set_yticks(range(len(rows)), _names(rows))
    page.axes.tick_params(axis="y", length=0, pad=page.preset.text_pt * 0.4, labelsize=page.preset.text_pt)
    for label, row in zip(page.axes.get_yticklabels(), rows, strict=True):
        label.set_color(page.look(_variant(page.result, row)).text)
    page.axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
    page.grid("x")
    page.name_axes(what)


def _write_values(page: Page, reach: Sequence[float], texts: Sequence[str]) -> None:
    """Write each value behind what reaches furthest in its row, and lengthen the axis so that all of it is seen."""
    low, high = np.sort(page.axes.get_ylim())
    size = min(page.preset.text_pt, 0.75 * page.row_points(high - low))
    page.axes.tick_params(axis="y", labelsize=size)
    page.fit()
    gap = page.pixels(size * 0.45)
    width = float(page.axes.get_window_extent().width)
    room = [page.text_width(text, size) + 2 * gap for text in texts]
    page.axes.set_xlim(0, max((r / (1 - w / width) for r, w in zip(reach, room, strict=True)), default=1.0) or 1.0)
    page.fit()
    for at, (end, text) in enumerate(zip(reach, texts, strict=True)):
        page.axes.annotate(
            text,
            (end, at),
            (size * 0.45, 0),
            textcoords="offset points",
            va="center_baseline",
            fontsize=size,
            color=page.preset.ink,
            path_effects=page.halo(),
            zorder=6,
        )
