"""Bytes, requests and age at a busy and at sparse update rates: the rows of rates.csv. Pure.

Which transport takes the fewest bytes depends on the update rate: a poll brings many messages or none, a push brings
one. So a comparison measures both, and says both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rtbench.analysis.costs import COSTS
from rtbench.analysis.latencies import TIMELINE
from rtbench.analysis.metric import IDENTITY, Group, Metric

if TYPE_CHECKING:
    from rtbench.analysis.measured import Measured
    from rtbench.plan.variant import Variant

BUSY, SPARSE = "busy", "sparse"
_KNOWN = {metric.name: metric for metric in (*COSTS, *TIMELINE)}


AT_A_RATE = (
    Metric("rate_hz", "number", "messages per second of each publisher", lambda g: g.workload.rate_hz),
    Metric("delivered", "integer", "(message, subscriber) pairs that were delivered", lambda g: g.ledger.delivered),
    Metric("lost", "integer", "pairs that were not delivered", lambda g: g.ledger.lost),
    _KNOWN["data_bytes_per_delivery"],
    _KNOWN["wire_bytes_per_delivery"],
    _KNOWN["requests_per_delivery"],
    _KNOWN["empty_request_share"],
    _KNOWN["age_mean_ms"],
)
EXPECTED = (
    Metric(
        "expected_data_bytes_per_delivery",
        "number",
        "`data_bytes_per_delivery` according to the wire format, in a steady state (methodology.md)",
        lambda _: None,
    ),
    Metric(
        "expected_age_mean_ms",
        "number",
        "`age_mean_ms` according to the law, without network and processing",
        lambda _: None,
    ),
)
PART = Metric(
    "part", "text", "`busy`: the trials that latencies are from; `sparse`: all variants at once", lambda _: None
)
OF_A_RATE = (*IDENTITY, PART, *AT_A_RATE, *EXPECTED)  # rates.csv


def rate_row(group: Group, part: str, expected: Mapping[str, float | None]) -> dict[str, Any]:
    """Return a row of rates.csv: a variant at one update rate."""
    row: dict[str, Any] = {}
    for metric in OF_A_RATE:
        row |= metric.columns(group, intervals=False)
    return row | {PART.name: part} | dict(expected)


def _of_sparse(metric: Metric) -> Callable[[Group], Any]:
    def of(group: Group) -> Any:
        return metric.columns(group.sparse, intervals=False)[metric.name] if group.sparse is not None else None

    return of


SPARSE_METRICS = tuple(  # of summary.csv
    Metric(f"sparse_{m.name}", m.kind, f"at the lowest rate of the sparse part: {m.meaning}", _of_sparse(m))
    for m in AT_A_RATE
)


def sparse_groups(variant: Variant, trials: Sequence[Measured]) -> list[Group]:
    """Return the completed trials of a variant in the sparse part, a group for each rate, in their order."""
    return [Group(variant, trial.workload, [trial]) for trial in trials if not trial.counts.error]


def lowest_rate(groups: Sequence[Group]) -> Group | None:
    """Return the group with the lowest rate, None without any."""
    return min(groups, key=lambda group: group.workload.rate_hz, default=None)
