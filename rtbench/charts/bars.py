"""Bars: the common parts of the bar charts: one bar for each variant, with its name on the axis and its value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rtbench.charts.page import Page
from rtbench.charts.style import mixed

if TYPE_CHECKING:
    from matplotlib.patches import Patch

    from rtbench.analysis.view import Drawn

    Row = Mapping[str, Any]

BAR = 0.66  # of the distance between two bars
_LEAST_ROOM = 5  # the axis has room for at least so many bars, so that a single bar is not too thick


def stack(page: Page, at: int, row: Row, widths: Mapping[str, float], tints: Mapping[str, float]) -> None:
    """Draw a stacked bar; each part has its own tint of the colour of the variant."""
    look = page.look(variant_of(page.result, row))
    left = 0.0
    for part, tint in tints.items():
        page.axes.barh(
            at,
            widths[part],
            BAR,
            left,
            color=mixed(look.colour, page.preset.background, tint),
            edgecolor=look.colour,
            linewidth=page.preset.line_pt / 3,
            hatch=look.hatch,
            label=part,
            zorder=3,
        )
        left += widths[part]


def plain_bar(page: Page, at: int, row: Row, value: float) -> None:
    """Draw one bar in the variant's colour."""
    p, look = page.preset, page.look(variant_of(page.result, row))
    page.axes.barh(
        at,
        value,
        BAR,
        edgecolor=look.colour,
        linewidth=p.line_pt / 3,
        label="bar",
        color=mixed(look.colour, p.background, 0.25) if look.hatch else look.colour,
        hatch=look.hatch,
        zorder=3,
    )


def mark(page: Page, at: int, value: float) -> None:
    """Draw a line across one bar."""
    p = page.preset
    page.axes.plot([value] * 2, [at - BAR * 0.65, at + BAR * 0.65], color=p.ink, linewidth=p.line_pt, zorder=5)


def legend(page: Page, names: Mapping[str, str], tints: Mapping[str, float]) -> list[Patch]:
    """Return the legend entries of the parts, in tints of the text colour."""
    from matplotlib.patches import Patch

    p = page.preset
    return [
        Patch(facecolor=mixed(p.ink, p.background, tint), edgecolor=p.ink, linewidth=p.line_pt / 3, label=names[part])
        for part, tint in tints.items()
    ]


def known(result: Drawn, column: str) -> list[Row]:
    """Return the rows in which the value of a column is known."""
    return [row for row in result.summary if row[column] is not None]


def names(rows: Sequence[Row]) -> list[str]:
    """Return the names of the variants of rows."""
    return [row["variant"] for row in rows]


def variant_of(result: Drawn, row: Row) -> Any:
    """Return the variant of a row."""
    return next(variant for variant in result.variants if variant.name == row["variant"])


def name_bars(page: Page, rows: Sequence[Row], what: str) -> None:
    """Write the names of the bars on their axis, the first one at the top, and `what` on the other axis."""
    spare = max(_LEAST_ROOM - len(rows), 0) / 2
    page.axes.set_ylim(len(rows) - 0.5 + spare, -0.5 - spare)
    page.axes.set_yticks(range(len(rows)), names(rows))
    page.axes.tick_params(axis="y", length=0, pad=page.preset.text_pt * 0.4, labelsize=page.preset.text_pt)
    for label, row in zip(page.axes.get_yticklabels(), rows, strict=True):
        label.set_color(page.look(variant_of(page.result, row)).text)
    page.axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
    page.grid("x")
    page.name_axes(what)


def write_values(page: Page, reach: Sequence[float], texts: Sequence[str]) -> None:
    """Write a text at the end of each row (`reach`), and lengthen the axis so that all texts fit."""
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
