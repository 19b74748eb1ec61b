"""Protected servers: what connecting and delivering cost, as multiples of the plain server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rtbench.analysis.security import COSTS, Row
from rtbench.charts import words
from rtbench.charts.bars import name_bars
from rtbench.charts.page import Page
from rtbench.plan.protection import PLAIN, PROTECTIONS

if TYPE_CHECKING:
    from rtbench.analysis.statistics import Estimate
    from rtbench.analysis.view import Secured
    from rtbench.charts.chart import Chart
    from rtbench.charts.style import Preset

_MARKERS = {"tls": "o", "tls-resumed": "^", "password": "s", "access-list": "D"}
_BAND = 0.62  # of the distance between two variants: the protections of one share it
_TICKS = (0.5, 0.7, 1, 1.5, 2, 3, 5, 7, 10, 15, 20, 30, 50, 100, 200, 500, 1000)


def protection_connecting(result: Secured, preset: Preset) -> Chart:
    """Draw how much longer a connection takes with each protection."""
    return _ratios(
        result, preset, "protection-connecting", "connect", "What protection costs: time to connect", "time to connect"
    )


def protection_delivering(result: Secured, preset: Preset) -> Chart:
    """Draw how much more CPU time of the server a delivery takes with each protection."""
    return _ratios(
        result,
        preset,
        "protection-delivering",
        "delivery_cpu",
        "What protection costs: CPU of a delivery",
        "the server's CPU time for a delivery",
    )


def _ratios(result: Secured, preset: Preset, name: str, cost: str, heading: str, what: str) -> Chart:
    from matplotlib.lines import Line2D

    found: dict[str, list[tuple[Row, Estimate]]] = {}
    for row in result.rows:
        if (ratio := row.ratio(COSTS[cost][2])) is not None:
            found.setdefault(row.variant.name, []).append((row, ratio))
    if not found:
        raise words.refuse(name, f"no variant has {what} beside that of a plain server")
    page = Page(result, preset)
    shown = [
        p for p in PROTECTIONS if p != PLAIN and any(row.protection == p for rows in found.values() for row, _ in rows)
    ]
    texts = []
    for at, rows in enumerate(found.values()):
        for row, ratio in rows:
            _draw(page, at + _BAND * ((shown.index(row.protection) + 0.5) / len(shown) - 0.5), row, ratio)
        texts.append(
            f"{rows[0][0].variant.name} "
            + ", ".join(f"{PROTECTIONS[row.protection].title} {ratio.value:.2f}" for row, ratio in rows)
        )
    page.axes.axvline(1, color=preset.ink, linewidth=preset.line_pt / 2, zorder=2)
    page.axes.set_xscale("log")
    name_bars(page, [{"variant": variant} for variant in found], f"{what}, as a multiple of the plain server")
    low, high = page.axes.get_xlim()
    page.axes.set_xticks([tick for tick in _TICKS if low <= tick <= high], minor=False)
    page.axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    page.axes.set_xticks([], minor=True)
    legend = [
        Line2D(
            [],
            [],
            marker=_MARKERS[p],
            linestyle="",
            color=preset.ink,
            markersize=preset.marker_pt,
            label=PROTECTIONS[p].title,
        )
        for p in shown
    ]
    lines = "Lines: 95 % intervals over trials, each with a fresh server."
    notes = [
        *[lines] * any(ratio.low is not None for rows in found.values() for _, ratio in rows),
        *words.missing(result, found, "because they have no ratio"),
    ]
    page.frame(heading, notes, legend)
    alt = words.alternative(
        result,
        f"Dot plot, a row for each variant: {what} with each protection, as a multiple of the plain server.",
        f"{'; '.join(texts)}.",
    )
    return page.chart(name, alt)


def _draw(page: Page, at: float, row: Row, ratio: Estimate) -> None:
    """Draw a ratio as a mark, on the line of its interval."""
    p, look = page.preset, page.look(row.variant)
    if ratio.low is not None and ratio.high is not None:
        page.axes.plot([ratio.low, ratio.high], [at, at], color=look.colour, linewidth=p.line_pt, zorder=4)
    page.axes.plot(
        [ratio.value],
        [at],
        _MARKERS[row.protection],
        color=look.colour,
        markersize=p.marker_pt,
        zorder=5,
        label=row.protection,
    )
