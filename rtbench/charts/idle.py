"""Idle connections: memory and bytes of each, as bars."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rtbench.charts import words
from rtbench.charts.bars import known, name_bars, names, plain_bar, write_values
from rtbench.charts.page import Page
from rtbench.table import significant

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rtbench.analysis.view import Drawn
    from rtbench.charts.chart import Chart
    from rtbench.charts.style import Preset

    Row = Mapping[str, Any]


def idle_memory(result: Drawn, preset: Preset) -> Chart:
    """Draw the memory of the server for each idle connection, with the range of the two halves."""
    column = "server_memory_bytes_per_connection"
    rows = known(result, column)
    if not rows:
        raise words.refuse("idle-memory", "no variant has the memory of its server")
    page = Page(result, preset)
    values = [float(row[column]) / 1e3 for row in rows]
    _bars(page, rows, values)
    reach = []
    for at, (row, value) in enumerate(zip(rows, values, strict=True)):
        low, high = row["server_memory_low_bytes"], row["server_memory_high_bytes"]
        reach.append(max(value, (high or 0.0) / 1e3))
        if low is not None and high is not None:
            page.axes.plot([low / 1e3, high / 1e3], [at, at], color=preset.ink, linewidth=preset.line_pt, zorder=5)
    name_bars(page, rows, "memory of the server for each connection, kB")
    notes = [
        "Lines: range of the two halves of the connections. Memory of the kernel for a socket is not included.",
        *words.missing(result, names(rows), "because their memory is not known"),
    ]
    headline = words.headline(result, dict(zip(names(rows), values, strict=True)), "takes", "times the memory of")
    page.frame("Server memory for each idle connection", notes, headline=headline)
    write_values(page, reach, [significant(value) for value in values])
    alt = words.alternative(
        result,
        "Bar chart, one bar for each variant: memory of the server for each idle connection.",
        f"{words.each(rows, column, 'bytes')}.",
    )
    return page.chart("idle-memory", alt)


def idle_bytes(result: Drawn, preset: Preset) -> Chart:
    """Draw the bytes on the wire of each idle connection in an hour."""
    column = "wire_bytes_per_connection_hour"
    rows = known(result, column)
    if not rows:
        raise words.refuse("idle-bytes", "no variant has wire bytes")
    page = Page(result, preset)
    values = [float(row[column]) for row in rows]
    _bars(page, rows, values)
    name_bars(page, rows, "bytes at the IP layer for each connection in an hour")
    notes = [
        "Extrapolated from the observed time: keep-alives outside it are not included.",
        *words.missing(result, names(rows), "because their bytes are not known"),
    ]
    headline = words.headline(result, dict(zip(names(rows), values, strict=True)), "takes", "times the bytes of")
    page.frame("Bytes of an idle connection in an hour", notes, headline=headline)
    write_values(page, values, [f"{value:,.0f}" for value in values])
    alt = words.alternative(
        result,
        "Bar chart, one bar for each variant: bytes on the wire of each idle connection in an hour.",
        f"{words.each(rows, column, 'bytes')}.",
    )
    return page.chart("idle-bytes", alt)


def _bars(page: Page, rows: Sequence[Row], values: Sequence[float]) -> None:
    for at, (row, value) in enumerate(zip(rows, values, strict=True)):
        plain_bar(page, at, row, value)
