"""Charts: a saved result as pictures for a slide, a paper, a page or a notebook.

    chart.py       Chart: a picture with its title and its alternative text, and how it is saved
    style.py       presets, and how a variant looks: its colour, dash and marker, the same for ever
    words.py       title, conditions, notes and warnings: what a picture says in words
    page.py        one picture being made: title above, caption below, axes in between, labels at the lines
    scale.py       ticks of a logarithmic axis as plain numbers
    placement.py   labels beside their lines, none on top of another
    latency.py     latency-ecdf, latency-percentiles
    bars.py        bars named on their axis, stacked or plain
    costs.py       bytes-per-delivery, server-cpu
    stages.py      latency-breakdown
    tradeoff.py    latency-against-bytes
    idle.py        idle-memory, idle-bytes

This is the only package that knows matplotlib, which is imported when a chart is drawn, not before, and whose global
state is left as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

from rtbench.charts.chart import FORMATS, Chart
from rtbench.charts.costs import bytes_per_delivery, server_cpu
from rtbench.charts.idle import idle_bytes, idle_memory
from rtbench.charts.latency import latency_ecdf, latency_percentiles
from rtbench.charts.stages import latency_breakdown
from rtbench.charts.style import PRESETS, Preset, settings
from rtbench.charts.tradeoff import latency_against_bytes
from rtbench.errors import UsageError

if TYPE_CHECKING:
    from rtbench.analysis.view import Comparison, Drawn

__all__ = ["CHARTS", "FORMATS", "IDLE_CHARTS", "PRESETS", "Chart", "draw"]

CHARTS: dict[str, Callable[[Comparison, Preset], Chart]] = {  # of a run or a comparison
    "latency-ecdf": latency_ecdf,
    "latency-percentiles": latency_percentiles,
    "latency-breakdown": latency_breakdown,
    "bytes-per-delivery": bytes_per_delivery,
    "server-cpu": server_cpu,
    "latency-against-bytes": latency_against_bytes,
}
IDLE_CHARTS: dict[str, Callable[[Drawn, Preset], Chart]] = {  # of idle connections
    "idle-memory": idle_memory,
    "idle-bytes": idle_bytes,
}
AnyResult = TypeVar("AnyResult")


def draw(
    charts: Mapping[str, Callable[[AnyResult, Preset], Chart]], result: AnyResult, name: str, preset: str = "slides"
) -> Chart:
    """Draw one of some charts of a result.

    Raises:
        UsageError: no such chart or preset, or the result has nothing to draw in it.
    """
    if name not in charts:
        raise UsageError(f"no chart {name!r}; the charts are {', '.join(charts)}")
    if preset not in PRESETS:
        raise UsageError(f"no preset {preset!r}; the presets are {', '.join(PRESETS)}")
    with settings():
        return charts[name](result, PRESETS[preset])
