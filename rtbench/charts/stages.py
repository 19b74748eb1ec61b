"""Stages: the share of each stage in the latency of a delivery, from due to received."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rtbench.analysis.measured import STAGES
from rtbench.charts import words
from rtbench.charts.bars import known, legend, name_bars, names, stack, write_values
from rtbench.charts.page import Page
from rtbench.table import significant

if TYPE_CHECKING:
    from rtbench.analysis.view import Comparison
    from rtbench.charts.chart import Chart
    from rtbench.charts.style import Preset

_STAGE_NAMES = {
    "lag": "lag of the publisher",
    "network_server": "network and server",
    "client": "client library and its process",
}
_TINTS = dict(zip(STAGES, (0.12, 1.0, 0.45), strict=True))


def latency_breakdown(result: Comparison, preset: Preset) -> Chart:
    """Draw the share of each stage in the mean latency of each variant."""
    rows = known(result, "client_mean_ms")
    if not rows:
        raise words.refuse("latency-breakdown", "no variant has receive stamps of the kernel")
    page = Page(result, preset)
    totals = []
    for at, row in enumerate(rows):
        stages = {stage: max(float(row[f"{stage}_mean_ms"]), 0.0) for stage in STAGES}
        totals.append(sum(stages.values()))
        stack(page, at, row, {stage: 100 * part / totals[-1] for stage, part in stages.items()}, _TINTS)
    name_bars(page, rows, "share of the mean latency, %")
    notes = [
        "From due to sent, to the receive stamp of the kernel, to the application. Right of the bars: mean latency.",
        *words.missing(result, names(rows), "because their receive stamps are not known"),
    ]
    page.frame("Where the time of a delivery goes", notes, legend(page, _STAGE_NAMES, _TINTS))
    write_values(page, [100.0] * len(rows), [f"{significant(total)} ms" for total in totals])
    alt = words.alternative(
        result,
        "Bar chart, one bar for each variant: the share of each stage in the mean latency.",
        *(f"{_STAGE_NAMES[stage]}: {words.each(rows, f'{stage}_mean_ms', 'ms')}." for stage in STAGES),
    )
    return page.chart("latency-breakdown", alt)
