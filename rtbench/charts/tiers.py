"""Tiers: what the embedded servers cost as multiples of the programs that users run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rtbench.analysis.tiers import FIGURES, pairs, ratio
from rtbench.charts import words
from rtbench.charts.ratios import Ratios, draw_ratios

if TYPE_CHECKING:
    from rtbench.analysis.statistics import Estimate
    from rtbench.analysis.view import Comparison
    from rtbench.charts.chart import Chart
    from rtbench.charts.style import Preset


def tier_ratios(result: Comparison, preset: Preset) -> Chart:
    """Draw latency and CPU time over the embedded server as multiples of those over another one."""
    name = "tier-ratios"
    found: dict[str, dict[str, Estimate]] = {}
    for ours, other in pairs(result):
        both = {figure: ratio(result, figure, ours, other) for figure in FIGURES}
        if known := {figure: estimate for figure, estimate in both.items() if estimate is not None}:
            found[other.name] = known
    if not found:
        raise words.refuse(name, "no variant was measured over the embedded server and another one")
    heading = "Protocol or program?"
    axis = "embedded server, as a multiple of the server in brackets"
    notes = ["At 1 both servers are equal: what differs between the rows' protocols is then the protocol's."]
    return draw_ratios(result, preset, Ratios(name, heading, axis, FIGURES, found, notes))
