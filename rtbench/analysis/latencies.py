"""Metrics of time: latency, its stages, the age of information. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from rtbench.analysis import statistics, verdict
from rtbench.analysis.metric import Group, Metric, Trials
from rtbench.analysis.statistics import Estimate, Pooled

if TYPE_CHECKING:
    from numpy.typing import NDArray


MEDIAN = 50

# Latency


def _values(trials: Trials, name: str) -> list[NDArray[np.float64]]:
    return [getattr(trial, name) for trial in trials]


def _percentile_of_deliveries(values: str, percent: float) -> Callable[[Trials], Pooled | None]:
    """Return the statistic of a percentile of a value of each delivery; it needs enough messages."""

    def pooled(trials: Trials) -> Pooled | None:
        return statistics.pooled_percentile(_values(trials, values), percent, sum(trial.messages for trial in trials))

    return pooled


def _latency(percent: float, name: str, meaning: str, first: bool) -> Metric:
    """Return the metric of a percentile of the latency; only the median has an interval.

    The interval of an upper percentile would cover the truth in 54 to 98 % of cases, depending on how trials differ
    (benchmarks/coverage.py).
    """
    pooled = _percentile_of_deliveries("latency_ms", percent)

    def of(group: Group) -> Estimate | None:
        found = pooled(group.trials)
        return statistics.estimate(found) if percent == MEDIAN or found is None else Estimate(found.value)

    return Metric(name, "number", meaning, of, first, pooled, interval=True)


def _mean_latency(trials: Trials) -> Pooled | None:
    return statistics.pooled_mean(_values(trials, "latency_ms"))


def _percentile(name: str, pooled: Callable[[Trials], Pooled | None], meaning: str) -> Metric:
    """Return the metric of a percentile without an interval; it is empty if too few messages lie beyond it."""

    def of(group: Group) -> float | None:
        found = pooled(group.trials)
        return found.value if found else None

    return Metric(name, "number", meaning, of)


def _acknowledged_median(trials: Trials) -> Pooled | None:
    return statistics.pooled_percentile(_values(trials, "acknowledged_ms"), MEDIAN)


def _p99_of_all(name: str, values: str, meaning: str, first: bool = False) -> Metric:
    """Return the metric of the 99th percentile of any number of values."""

    def of(group: Group) -> float | None:
        pooled = np.concatenate(_values(group.trials, values)) if group.trials else np.empty(0)
        return float(np.percentile(pooled, 99, method="inverted_cdf")) if len(pooled) else None

    return Metric(name, "number", meaning, of, first)


_arrived_median = _percentile_of_deliveries("arrived_ms", MEDIAN)
_BEYOND = "empty if fewer than ten messages lie beyond it (p50 needs 20 messages, p90 100, p99 1,000)"
LATENCY = (
    *(
        _latency(
            percent,
            f"latency_p{percent}_ms",
            f"percentile {percent} of `received - due`, first deliveries pooled; {_BEYOND}",
            first=True,
        )
        for percent in verdict.PERCENTILES
    ),
    Metric(
        "latency_mean_ms",
        "number",
        "mean of `received - due` of first deliveries",
        lambda g: statistics.estimate(_mean_latency(g.trials)),
        first=True,
        pooled=_mean_latency,
        interval=True,
    ),
    Metric(
        "arrived_p50_ms",
        "number",
        "median time from due to the receive stamp of the kernel (lag, network and server), which variants are ranked "
        "by; empty without stamps",
        lambda g: statistics.estimate(_arrived_median(g.trials)),
        first=True,
        pooled=_arrived_median,
        interval=True,
    ),
    _p99_of_all("lag_p99_ms", "lag_ms", "99th percentile of `sent - due`: how late the publisher was", first=True),
)


# The stages of a delivery


def _stage_mean(stage: str) -> Callable[[Group], float | None]:
    def of(group: Group) -> float | None:
        stages = [t.stages_ms for t in group.trials]
        if not stages or None in stages:
            return None
        weights = [len(t.latency_ms) for t in group.trials]
        means = [s.get(stage) for s in stages if s is not None]
        return None if None in means else float(np.average(np.array(means, dtype=float), weights=weights))

    return of


def _age_mean(group: Group) -> float | None:
    ages = [t.age_ms for t in group.trials if t.age_ms is not None]
    return float(np.mean(ages)) if ages else None


_STAGE_MEANINGS = {
    "lag": "mean time from due to sent",
    "network_server": "mean time from sent to arrived: the sum of the next two",
    "publish_hop": "mean time from sent to relayed, when the server has the message whole; empty for a server that "
    "does not tell (mosquitto, a server at a URL)",
    "delivery_hop": "mean time from relayed to arrived; empty where `publish_hop_mean_ms` is",
    "client": "mean time from arrived to received; lag, both hops and this add up to `latency_mean_ms`",
}

TIMELINE = (
    _latency(99.9, "latency_p99_9_ms", "as the other percentiles; needs 10,000 messages", first=False),
    _p99_of_all(
        "generator_lag_p99_ms",
        "generator_lag_ms",
        "99th percentile from due to ready: the part of the lag that the publisher process causes; in the rest the "
        "message waits because its connection has reached its in-flight limit (HTTP: 1; MQTT at QoS 1 and 2: 20)",
    ),
    _percentile(
        "latency_from_sent_p99_ms",
        _percentile_of_deliveries("from_sent_ms", 99),
        "99th percentile of `received - sent`, as a closed-loop tool would report it; for comparison only",
    ),
    _percentile(
        "network_server_p50_ms",
        _percentile_of_deliveries("network_server_ms", MEDIAN),
        "median time from sent to the receive stamp of the kernel",
    ),
    *(Metric(f"{stage}_mean_ms", "number", _STAGE_MEANINGS[stage], _stage_mean(stage)) for stage in _STAGE_MEANINGS),
    Metric(
        "age_mean_ms",
        "number",
        "age of information: the age of the newest message of a subscriber, mean over time",
        _age_mean,
    ),
    _percentile(
        "publish_ack_p50_ms",
        _acknowledged_median,
        "median time from sent to acknowledged, of the acknowledged publishes",
    ),
)
