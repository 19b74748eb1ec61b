"""Charts: pictures of a saved result for a slide, a paper, a web page or a notebook.

    chart.py       Chart: a figure with its title and its alternative text; saving
    style.py       presets, and the colour, dash and marker of each variant, the same in every chart
    words.py       the texts of a chart: title, conditions, notes and warnings
    page.py        the layout of a chart: title, axes, caption, labels at the lines
    scale.py       ticks of a logarithmic axis, written as plain numbers
    placement.py   positions of labels beside their lines, without overlap
    latency.py     latency-ecdf, latency-percentiles
    bars.py        the common parts of the bar charts
    costs.py       bytes-per-delivery, server-cpu
    stages.py      latency-breakdown
    tradeoff.py    latency-against-bytes
    rates.py       bytes-against-rate, age-against-rate
    course.py      latency-through-fault, messages-through-fault
    networks.py    latency-by-network
    idle.py        idle-memory, idle-bytes
    security.py    protection-connecting, protection-delivering
    tiers.py       tier-ratios
    ratios.py      what these three share: marks on a logarithmic axis
    guarantees.py  guarantees
    lab.py         lab-latency, lab-pong
    forecast.py    cores-forecast, scaling-law
    sweep.py       sweep-latency, sweep-bytes, sweep-requests, sweep-server-cpu, sweep-server-memory, sweep-hockey-stick
    capacity.py    capacity
    laws.py        laws-knee, laws-polling, laws-qos

Only this package imports matplotlib. It does so when a chart is drawn, and leaves the global state of matplotlib
unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from rtbench.charts.capacity import capacity
from rtbench.charts.chart import FORMATS, Chart
from rtbench.charts.costs import bytes_per_delivery, server_cpu
from rtbench.charts.course import latency_through_fault, messages_through_fault
from rtbench.charts.forecast import cores_forecast, scaling_law
from rtbench.charts.guarantees import guarantees
from rtbench.charts.idle import idle_bytes, idle_memory
from rtbench.charts.lab import lab_latency, lab_pong
from rtbench.charts.latency import latency_ecdf, latency_percentiles
from rtbench.charts.laws import laws_knee, laws_polling, laws_qos
from rtbench.charts.networks import latency_by_network
from rtbench.charts.rates import age_against_rate, bytes_against_rate
from rtbench.charts.security import protection_connecting, protection_delivering
from rtbench.charts.stages import latency_breakdown
from rtbench.charts.style import PRESETS, Preset, settings
from rtbench.charts.sweep import hockey_stick, sweep_charts
from rtbench.charts.tiers import tier_ratios
from rtbench.charts.tradeoff import latency_against_bytes
from rtbench.errors import UsageError

if TYPE_CHECKING:
    from rtbench.analysis.view import Capacity, Comparison, Drawn, Guarantees, Laws, Secured, Session, Sweep

__all__ = [
    "CAPACITY_CHARTS",
    "CHARTS",
    "FORECAST_CHARTS",
    "FORMATS",
    "GUARANTEE_CHARTS",
    "IDLE_CHARTS",
    "LAB_CHARTS",
    "LAWS_CHARTS",
    "PRESETS",
    "SECURITY_CHARTS",
    "SWEEP_CHARTS",
    "Chart",
    "draw",
]

CHARTS: dict[str, Callable[[Comparison, Preset], Chart]] = {  # of a run or a comparison
    "latency-ecdf": latency_ecdf,
    "latency-percentiles": latency_percentiles,
    "latency-breakdown": latency_breakdown,
    "bytes-per-delivery": bytes_per_delivery,
    "server-cpu": server_cpu,
    "latency-against-bytes": latency_against_bytes,
    "bytes-against-rate": bytes_against_rate,
    "age-against-rate": age_against_rate,
    "latency-by-network": latency_by_network,
    "latency-through-fault": latency_through_fault,
    "messages-through-fault": messages_through_fault,
    "tier-ratios": tier_ratios,
}
IDLE_CHARTS: dict[str, Callable[[Drawn, Preset], Chart]] = {  # of idle connections
    "idle-memory": idle_memory,
    "idle-bytes": idle_bytes,
}
SECURITY_CHARTS: dict[str, Callable[[Secured, Preset], Chart]] = {
    "protection-connecting": protection_connecting,
    "protection-delivering": protection_delivering,
}
LAB_CHARTS: dict[str, Callable[[Session, Preset], Chart]] = {"lab-latency": lab_latency, "lab-pong": lab_pong}
GUARANTEE_CHARTS: dict[str, Callable[[Guarantees, Preset], Chart]] = {"guarantees": guarantees}
FORECAST_CHARTS: dict[str, Callable[[Drawn, Preset], Chart]] = {  # of a sweep over subscribers
    "cores-forecast": cores_forecast,
    "scaling-law": scaling_law,
}
SWEEP_CHARTS: dict[str, Callable[[Sweep, Preset], Chart]] = {
    **sweep_charts(),
    "sweep-hockey-stick": hockey_stick,
    **FORECAST_CHARTS,
}
CAPACITY_CHARTS: dict[str, Callable[[Capacity, Preset], Chart]] = {"capacity": capacity}
LAWS_CHARTS: dict[str, Callable[[Laws, Preset], Chart]] = {
    "laws-knee": laws_knee,
    "laws-polling": laws_polling,
    "laws-qos": laws_qos,
}
AnyResult = TypeVar("AnyResult")


def draw(
    charts: Mapping[str, Callable[[AnyResult, Preset], Chart]],
    result: AnyResult,
    name: str,
    preset: str = "slides",
    notes: bool = True,
) -> Chart:
    """Draw the chart `name`, one of `charts`, of a result, with notes below it or without.

    Raises:
        UsageError: there is no such chart or preset, or the result has no data for this chart.
    """
    if name not in charts:
        raise UsageError(f"no chart {name!r}; the charts are {', '.join(charts)}")
    if preset not in PRESETS:
        raise UsageError(f"no preset {preset!r}; the presets are {', '.join(PRESETS)}")
    with settings():
        return charts[name](result, replace(PRESETS[preset], notes=notes))
