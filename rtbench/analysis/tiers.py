"""Tiers: is it the protocol or the program? The same variant over a server of ours and over one in C, as ratios. Pure.

A ratio above 1 is what our server in Python costs beside the other, with its interval over trials (statistics.ratio).
What differs between protocols over both servers alike is the protocol's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from rtbench.analysis import statistics
from rtbench.analysis.disturbance import counted
from rtbench.analysis.metrics import COMPUTED
from rtbench.plan.variant import DEFAULT_SERVER, EXTERNAL_SERVER
from rtbench.table import significant

if TYPE_CHECKING:
    from rtbench.analysis.statistics import Estimate
    from rtbench.analysis.view import Comparison
    from rtbench.plan.variant import Variant

FIGURES = {"arrived_p50_ms": "network and server", "server_cpu_us_per_delivery": "server CPU a delivery"}
_METRICS = {metric.name: metric for metric in COMPUTED if metric.name in FIGURES}


def pairs(result: Comparison) -> Iterator[tuple[Variant, Variant]]:
    """Yield each variant over another server, after the same variant over the embedded one."""
    ours = {_without_server(v): v for v in result.variants if v.server == DEFAULT_SERVER}
    for variant in result.variants:
        same = ours.get(_without_server(variant))
        if same is not None and variant.server not in (DEFAULT_SERVER, EXTERNAL_SERVER):
            yield same, variant


def _without_server(variant: Variant) -> str:
    return replace(variant, server=DEFAULT_SERVER, server_options={}).name


def ratio(result: Comparison, figure: str, ours: Variant, other: Variant) -> Estimate | None:
    """Return a figure over our server as a multiple of that over the other; None where a side has none."""
    metric = _METRICS[figure]
    if metric.pooled is None:
        return None
    a, b = (metric.pooled(counted(result.trials_of(variant.name))) for variant in (ours, other))
    return statistics.ratio(a, b)


def sentences(result: Comparison) -> list[str]:
    """Return one sentence for each figure: how many times that of the other server it is over ours."""
    found = []
    for figure, words in FIGURES.items():
        said = [
            f"{ours.label} {_shown(estimate)} times that of {other.server}"
            for ours, other in pairs(result)
            if (estimate := ratio(result, figure, ours, other)) is not None
        ]
        if said:
            found.append(f"Protocol or program? {words[0].upper() + words[1:]}, embedded: {'; '.join(said)}.")
    return found


def _shown(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return significant(estimate.value)
    return f"{significant(estimate.value)} ({significant(estimate.low)} to {significant(estimate.high)})"
