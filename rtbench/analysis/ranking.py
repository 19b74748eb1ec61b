"""Ranking: the variants of a comparison in order of what their transports cause. Pure.

Variants are ranked by network and server, the median of `arrived - due`. What the application saw (`received - due`)
also contains the client library and its event loop, which all subscribers of a process share: with ten subscribers it
can be most of the difference between two variants. So the ranking says where the order of the application is another
one, and which stage makes up most of a difference. If a variant has no receive stamps of the kernel, all are ranked by
`received - due`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import TYPE_CHECKING, Any

from rtbench.analysis import statistics
from rtbench.analysis.disturbance import counted
from rtbench.analysis.metrics import COMPUTED
from rtbench.table import significant

if TYPE_CHECKING:
    from rtbench.analysis.view import Comparison

NETWORK, APPLICATION = "arrived_p50_ms", "latency_p50_ms"
MOST_OF_A_GAP = 0.5
_STAGES = {  # columns of summary.csv; a difference is said to be made up of one of these, not of the delivery itself
    "lag_mean_ms": "the lag of the publisher",
    "publish_hop_mean_ms": "the way from the publisher to the server",
    "client_mean_ms": "the client stage (library and event loop)",
}
_METRICS = {metric.name: metric for metric in COMPUTED if metric.name in (NETWORK, APPLICATION)}

Row = Mapping[str, Any]


def column(rows: Sequence[Row]) -> str:
    """Return the column that ranks: `arrived_p50_ms`, or `latency_p50_ms` if it is not known for all that have one."""
    measured = [row for row in rows if row[APPLICATION] is not None]
    return NETWORK if measured and all(row[NETWORK] is not None for row in measured) else APPLICATION


def ranked(rows: Sequence[Row], by: str | None = None) -> list[Row]:
    """Return the rows of summary.csv in order, fastest first; rows without a median come last, in their order."""
    by = by or column(rows)
    return sorted(rows, key=lambda row: (row[by] is None, row[by] or 0.0))


@dataclass(frozen=True)
class Gap:
    """The difference between two variants in what the application saw, and the stage that makes up most of it."""

    faster: str
    slower: str
    ms: float
    stage: str
    share: float


def sentences(result: Comparison) -> list[str]:
    """Return the order of the variants, where the application saw another one, and what makes up the differences."""
    rows = [row for row in result.summary if row[APPLICATION] is not None]
    if len(rows) < 2:
        return []
    by = column(rows)
    said = [f"{_NAMES[by]}: {_order(result, ranked(rows, by), by)} (≈: no difference shown)."]
    if by == APPLICATION:
        return [*said, "Receive stamps of the kernel are not known for all, so this contains the client library."]
    swapped = _swapped(result, rows)
    if swapped:
        said.append(f"The application saw another order: {'; '.join(swapped)}.")
    gaps = [gap for gap in _gaps(result, rows) if gap.share >= MOST_OF_A_GAP and gap.stage in _STAGES]
    by_stage: dict[str, list[Gap]] = {}
    for gap in gaps:
        by_stage.setdefault(gap.stage, []).append(gap)
    for stage, found in by_stage.items():
        of = ", ".join(f"{_share(gap)} {gap.slower} − {gap.faster} ({significant(gap.ms, 2)} ms)" for gap in found)
        said.append(f"Of the differences that the application saw, {_STAGES[stage]} makes up {of}.")
    return said


def _share(gap: Gap) -> str:
    return f"{gap.share:.0%} of" if gap.share <= 1 else "more than all of"


_NAMES = {
    NETWORK: "By network and server (from due to arrived, median in ms)",
    APPLICATION: "By latency (from due to received, median in ms)",
}


def _order(result: Comparison, rows: Sequence[Row], by: str) -> str:
    text = f"{rows[0]['variant']} {significant(rows[0][by], 2)}"
    for before, row in pairwise(rows):
        sign = "<" if _differ(result, before, row, by) else "≈"
        text += f" {sign} {row['variant']} {significant(row[by], 2)}"
    return text


def _differ(result: Comparison, a: Row, b: Row, by: str) -> bool:
    """Return whether two variants show a difference: the interval of their ratio does not contain 1."""
    pooled = _METRICS[by].pooled
    assert pooled is not None
    slower, faster = (pooled(counted(result.trials_of(row["variant"]))) for row in (b, a))
    return statistics.differs(statistics.ratio(slower, faster))


def _swapped(result: Comparison, rows: Sequence[Row]) -> list[str]:
    """Return the pairs whose order the application saw the other way round, where it saw a difference."""
    found = []
    for a, b in combinations(ranked(rows, NETWORK), 2):
        if a[APPLICATION] > b[APPLICATION] and _differ(result, b, a, APPLICATION):
            times = f"{significant(b[APPLICATION])} and {significant(a[APPLICATION])} ms"
            found.append(f"{b['variant']} before {a['variant']} ({times})")
    return found


def _gaps(result: Comparison, rows: Sequence[Row]) -> list[Gap]:
    """Return the differences between neighbours, in the order of tables and in that of the application."""
    in_order = ranked(rows, APPLICATION)
    place = {row["variant"]: i for i, row in enumerate(in_order)}
    pairs = {
        tuple(sorted((a["variant"], b["variant"]), key=place.__getitem__)): None
        for a, b in [*pairwise(rows), *pairwise(in_order)]
    }
    row_of = {row["variant"]: row for row in rows}
    found = []
    for faster, slower in pairs:
        a, b = row_of[faster], row_of[slower]
        if (gap := _gap(a, b)) is not None and _differ(result, a, b, APPLICATION):
            found.append(gap)
    return found


def _gap(faster: Row, slower: Row) -> Gap | None:
    total = slower["latency_mean_ms"] - faster["latency_mean_ms"]
    hops = ("publish_hop_mean_ms", "delivery_hop_mean_ms")
    known = all(row[hop] is not None for row in (faster, slower) for hop in hops)
    stages = ("lag_mean_ms", *(hops if known else ("network_server_mean_ms",)), "client_mean_ms")
    if total <= 0 or any(row[stage] is None for row in (faster, slower) for stage in stages):
        return None
    parts = {stage: slower[stage] - faster[stage] for stage in stages}
    stage = max(parts, key=parts.__getitem__)
    return Gap(faster["variant"], slower["variant"], total, stage, parts[stage] / total)


def bytes_sentences(result: Comparison) -> list[str]:
    """Return the order of the variants by bytes for each delivery, at the busy and at the lowest sparse rate."""
    said = []
    for name, rate, prefix in (("busy", result.workload.rate_hz, ""), ("sparse", None, "sparse_")):
        key = f"{prefix}data_bytes_per_delivery"
        rows = sorted((row for row in result.summary if row[key] is not None), key=lambda row: row[key])
        if not rows or (len(rows) < 2 and not prefix):
            continue
        rate_hz = rate if rate is not None else rows[0]["sparse_rate_hz"]
        order = ", ".join(f"{row['variant']} {row[key]:,.0f}{_empty(row, prefix)}" for row in rows)
        said.append(f"Bytes for each delivery, {name} ({rate_hz:g} messages/s): {order}.")
    return said


def _empty(row: Row, prefix: str) -> str:
    share = row[f"{prefix}empty_request_share"]
    return f" ({share:.0%} of its requests fetch nothing)" if share and share >= 0.1 else ""
