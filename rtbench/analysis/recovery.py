"""Metrics of faults: how soon subscribers noticed, how soon they had messages again, and how often they tried. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rtbench.analysis.metric import Group, Metric
from rtbench.analysis.outages import Recovery, recoveries

if TYPE_CHECKING:
    from rtbench.analysis.measured import Measured


def recoveries_of(trial: Measured) -> list[Recovery]:
    """Return what each subscriber did about each fault of a trial that was seen."""
    began_ns = sorted(evidence.began_ns for evidence in trial.counts.faults if evidence.began_ns is not None)
    ends_ns = [*began_ns[1:], np.iinfo(np.int64).max][: len(began_ns)]
    outages = trial.counts.outages
    return [
        recovery
        for begin_ns, next_ns in zip(began_ns, ends_ns, strict=True)
        for recovery in recoveries(outages, trial.deliveries, begin_ns, int(next_ns))
    ]


def _of_group(group: Group) -> list[Recovery]:
    return [recovery for trial in group.trials for recovery in recoveries_of(trial)]


def _median_ms(times_ns: list[int]) -> float | None:
    return float(np.median(times_ns)) / 1e6 if times_ns else None


def _detect_ms(group: Group) -> float | None:
    return _median_ms([recovery.detect_ns for recovery in _of_group(group)])


def _recover_ns(group: Group) -> list[int]:
    return [recovery.recover_ns for recovery in _of_group(group) if recovery.recover_ns is not None]


def _slowest_ms(group: Group) -> float | None:
    return max(_recover_ns(group), default=0) / 1e6 or None


def _reconnect_bytes(group: Group) -> int | None:
    spent = [outage.wire_bytes for trial in group.trials for outage in trial.counts.outages]
    return None if None in spent else sum(each for each in spent if each is not None)


RECOVERY = (
    Metric(
        "outages",
        "integer",
        "connections that a publisher or a subscriber noticed to be lost, those that it left on purpose included",
        lambda g: sum(len(trial.counts.outages) for trial in g.trials),
    ),
    Metric(
        "detect_p50_ms",
        "number",
        "median time from the begin of a fault until a subscriber noticed that its connection was lost; empty if none "
        "was",
        _detect_ms,
    ),
    Metric(
        "recover_p50_ms",
        "number",
        "median time from the begin of a fault until a subscriber received a message over its next connection; empty "
        "if none did",
        lambda g: _median_ms(_recover_ns(g)),
    ),
    Metric("recover_max_ms", "number", "the longest of these times", _slowest_ms),
    Metric(
        "unrecovered",
        "integer",
        "subscribers that lost their connection to a fault and received nothing after it",
        lambda g: sum(recovery.recover_ns is None for recovery in _of_group(g)),
    ),
    Metric(
        "attempts",
        "integer",
        "attempts to connect again",
        lambda g: sum(outage.attempts for trial in g.trials for outage in trial.counts.outages),
    ),
    Metric(
        "reconnect_wire_bytes",
        "integer",
        "IP bytes of these attempts, until the client was connected and subscribed again; those of polling and "
        "long-polling are part of the next request",
        _reconnect_bytes,
    ),
)
