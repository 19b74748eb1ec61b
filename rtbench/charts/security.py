"""Protected servers: what connecting and delivering cost, as multiples of the plain server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rtbench.analysis.security import COSTS
from rtbench.charts import words
from rtbench.charts.ratios import Ratios, draw_ratios
from rtbench.plan.protection import PLAIN, PROTECTIONS

if TYPE_CHECKING:
    from rtbench.analysis.statistics import Estimate
    from rtbench.analysis.view import Secured
    from rtbench.charts.chart import Chart
    from rtbench.charts.style import Preset

_TITLES = {name: protection.title for name, protection in PROTECTIONS.items() if name != PLAIN}


def protection_connecting(result: Secured, preset: Preset) -> Chart:
    """Draw how much longer a connection takes with each protection."""
    heading = "What protection costs: time to connect"
    return _ratios(result, preset, "protection-connecting", "connect", heading, "time to connect")


def protection_delivering(result: Secured, preset: Preset) -> Chart:
    """Draw how much more CPU time of the server a delivery takes with each protection."""
    heading, what = "What protection costs: CPU of a delivery", "the server's CPU time for a delivery"
    return _ratios(result, preset, "protection-delivering", "delivery_cpu", heading, what)


def _ratios(result: Secured, preset: Preset, name: str, cost: str, heading: str, what: str) -> Chart:
    found: dict[str, dict[str, Estimate]] = {}
    for row in result.rows:
        if (ratio := row.ratio(COSTS[cost][2])) is not None:
            found.setdefault(row.variant.name, {})[row.protection] = ratio
    if not found:
        raise words.refuse(name, f"no variant has {what} beside that of a plain server")
    missing = words.missing(result, found, "because they have no ratio")
    axis = f"{what}, as a multiple of the plain server"
    return draw_ratios(result, preset, Ratios(name, heading, axis, _TITLES, found, missing))
