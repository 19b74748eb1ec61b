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


# Latency


def _values(trials: Trials, name: str) -> list[NDArray[np.float64]]:
    return [getattr(trial, name) for trial in trials]


def percentile_of(trials: Trials, values: str, percent: float) -> Pooled | None:
    """Return a percentile of a value of all deliveries, such as `latency_ms`, pooled over the trials.

    Only trials that have such values count. None if too few messages lie beyond the percentile.
    """
    known = [trial for trial in trials if len(getattr(trial, values))]
    return statistics.pooled_percentile(_values(known, values), percent, sum(trial.messages for trial in known))


def _of_deliveries(name: str, values: str, percent: float, meaning: str, first: bool = False) -> Metric:
    """Return the metric of a percentile of all deliveries, with its interval."""

    def pooled(trials: Trials) -> Pooled | None:
        return percentile_of(trials, values, percent)

    def of(group: Group) -> Estimate | None:
        return statistics.estimate(pooled(group.trials))

    return Metric(name, "number", meaning, of, first, pooled, interval=True)


def _mean_latency(trials: Trials) -> Pooled | None:
    return statistics.pooled_mean(_values(trials, "latency_ms"))


def _of_deliveries_alone(name: str, values: str, percent: float, meaning: str) -> Metric:
    """Return the metric of a percentile of all deliveries, without an interval."""

    def of(group: Group) -> float | None:
        pooled = percentile_of(group.trials, values, percent)
        return pooled.value if pooled else None

    return Metric(name, "number", meaning, of)


def _median_of_messages(name: str, values: str, meaning: str) -> Metric:
    """Return the metric of the median of a value that each message has once."""

    def of(group: Group) -> float | None:
        pooled = _values(group.trials, values)
        found = statistics.pooled_percentile(pooled, 50, sum(map(len, pooled)))
        return found.value if found else None

    return Metric(name, "number", meaning, of)


def _p99_of_all(name: str, values: str, meaning: str, first: bool = False) -> Metric:
    """Return the metric of the 99th percentile of any number of values."""

    def of(group: Group) -> float | None:
        pooled = np.concatenate(_values(group.trials, values)) if group.trials else np.empty(0)
        return float(np.percentile(pooled, 99, method="inverted_cdf")) if len(pooled) else None

    return Metric(name, "number", meaning, of, first)


_BEYOND = "empty if fewer than ten messages lie beyond it"
LATENCY = (
    *(
        _of_deliveries(
            f"latency_p{percent}_ms",
            "latency_ms",
            percent,
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
    _of_deliveries(
        "arrived_p50_ms",
        "arrived_ms",
        50,
        "median time from due to the receive stamp of the kernel, which variants are ranked by; empty without stamps",
        first=True,
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


def _connect_p50(group: Group) -> float | None:
    opened = [values for t in group.trials if len(values := t.connect_ms)]
    return float(np.median(np.concatenate(opened))) if opened else None


_STAGE_MEANINGS = {
    "lag": "mean time from due to sent",
    "network_server": "mean time from sent to arrived: the sum of the next two",
    "publish_hop": "mean time from sent to relayed, when the server has the message whole; empty for a server that "
    "does not tell (mosquitto, a server at a URL)",
    "delivery_hop": "mean time from relayed to arrived; empty where `publish_hop_mean_ms` is",
    "client": "mean time from arrived to received; lag, both hops and this add up to `latency_mean_ms`",
}

TIMELINE = (
    _of_deliveries("latency_p99_9_ms", "latency_ms", 99.9, "as the other percentiles; needs 10,000 messages"),
    _p99_of_all(
        "generator_lag_p99_ms",
        "generator_lag_ms",
        "99th percentile from due to ready: the part of the lag that the publisher process causes; in the rest the "
        "message waits because its connection has reached its in-flight limit (HTTP: 1; MQTT at QoS 1 and 2: 20)",
    ),
    _of_deliveries_alone(
        "latency_from_sent_p99_ms",
        "from_sent_ms",
        99,
        "99th percentile of `received - sent`, as a closed-loop tool would report it; for comparison only",
    ),
    _of_deliveries_alone(
        "network_server_p50_ms",
        "network_server_ms",
        50,
        "median time from sent to the receive stamp of the kernel",
    ),
    *(Metric(f"{stage}_mean_ms", "number", _STAGE_MEANINGS[stage], _stage_mean(stage)) for stage in _STAGE_MEANINGS),
    Metric(
        "age_mean_ms",
        "number",
        "age of information: the age of the newest message of a subscriber, mean over time",
        _age_mean,
    ),
    _median_of_messages(
        "publish_ack_p50_ms",
        "acknowledged_ms",
        "median time from sent to acknowledged, of the acknowledged publishes",
    ),
    Metric(
        "connect_p50_ms",
        "number",
        "median time to open a connection and to subscribe; empty if the client does not tell",
        _connect_p50,
    ),
)
