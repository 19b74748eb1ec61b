"""Ratios: marks on a logarithmic axis, a row for each variant, with the lines of their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rtbench.charts import words
from rtbench.charts.bars import name_bars
from rtbench.charts.page import Page

if TYPE_CHECKING:
    from rtbench.analysis.statistics import Estimate
    from rtbench.analysis.view import Drawn
    from rtbench.charts.chart import Chart
    from rtbench.charts.style import Preset

_MARKERS = ("o", "^", "s", "D")
_BAND = 0.62  # of the distance between two rows: the marks of one share it
_TICKS = (0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 7, 10, 15, 20, 30, 50, 100, 200, 500, 1000)


@dataclass(frozen=True)
class Ratios:
    """What a chart of ratios shows: `of` are the ratios by variant and by kind of mark.

    `titles` are those of the kinds, in order; `axis` says what is a multiple of what.
    """

    name: str
    heading: str
    axis: str
    titles: Mapping[str, str]
    of: Mapping[str, Mapping[str, Estimate]]
    notes: Sequence[str] = ()


def draw_ratios(result: Drawn, preset: Preset, ratios: Ratios) -> Chart:
    """Draw the ratios; those of a variant lie below each other within its row."""
    from matplotlib.lines import Line2D

    page = Page(result, preset)
    shown = [kind for kind in ratios.titles if any(kind in mine for mine in ratios.of.values())]
    look = {variant.name: page.look(variant) for variant in result.variants}
    for row, (variant, mine) in enumerate(ratios.of.items()):
        for kind, ratio in mine.items():
            at = row + _BAND * ((shown.index(kind) + 0.5) / len(shown) - 0.5)
            colour = look[variant].colour
            if ratio.low is not None and ratio.high is not None:
                ends = [ratio.low, ratio.high]
                page.axes.plot(ends, [at, at], color=colour, linewidth=preset.line_pt, zorder=4)
            mark = _MARKERS[shown.index(kind)]
            size = preset.marker_pt
            page.axes.plot([ratio.value], [at], mark, color=colour, markersize=size, zorder=5, label=kind)
    page.axes.axvline(1, color=preset.ink, linewidth=preset.line_pt / 2, zorder=2)
    page.axes.set_xscale("log")
    name_bars(page, [{"variant": variant} for variant in ratios.of], ratios.axis)
    low, high = page.axes.get_xlim()
    page.axes.set_xticks([tick for tick in _TICKS if low <= tick <= high], minor=False)
    page.axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    page.axes.set_xticks([], minor=True)
    marks = zip(_MARKERS, (ratios.titles[kind] for kind in shown), strict=False)
    usual: dict[str, Any] = {"linestyle": "", "color": preset.ink, "markersize": preset.marker_pt}
    legend = [Line2D([], [], marker=mark, label=title, **usual) for mark, title in marks]
    has_intervals = any(ratio.low is not None for mine in ratios.of.values() for ratio in mine.values())
    notes = ["Lines: 95 % intervals over trials."] * has_intervals
    page.frame(ratios.heading, [*notes, *ratios.notes], legend)
    each = (
        f"{variant} " + ", ".join(f"{ratios.titles[kind]} {ratio.value:.2f}" for kind, ratio in mine.items())
        for variant, mine in ratios.of.items()
    )
    alt = words.alternative(result, f"Dot plot, a row for each variant: {ratios.axis}.", f"{'; '.join(each)}.")
    return page.chart(ratios.name, alt)
