"""Steady state: the bytes and the age of information that the formats and the laws predict at any update rate. Pure.

bytes   `predict` of the client gives the bytes above TCP for the traffic of a steady state; each write of it is one
        segment with 52 bytes of headers (IPv4 20, TCP 20, time stamps 12). Segments that carry only an acknowledgement
        are not in it: whether one is needed depends on timing.
age     the mean age of the newest message that a subscriber has. Messages every T seconds that each wait W give
        T/2 + W; with independent gaps (Poisson) the first term is T (Kaul, Yates & Gruteser 2012).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from rtbench.plan.workload import Workload
from rtbench.wire.tls import RECORD_OVERHEAD_BYTES
from rtbench.wire.traffic import Flow, Predicted, Steady, Traffic

SEGMENT_HEADER_BYTES = 52
_MESSAGES = 1000  # of each publisher; enough that a batch with a fraction of the messages is counted as often as it is

SteadyOf = Callable[..., Steady]
_GRID_HZ = tuple(10 ** (exponent / 10) for exponent in range(-10, 21))  # 0.1 to 100


@dataclass(frozen=True)
class Law:
    """What to expect of a variant at update rates: three lists of the same length, `rate_hz` rising."""

    rate_hz: list[float]
    data_bytes_per_delivery: list[float]
    age_ms: list[float]

    def at(self, rate_hz: float) -> dict[str, float | None]:
        """Return what is expected at a rate, as the last columns of rates.csv; None for a rate that is not listed."""
        place = self.rate_hz.index(rate_hz) if rate_hz in self.rate_hz else None
        return {
            "expected_data_bytes_per_delivery": None if place is None else self.data_bytes_per_delivery[place],
            "expected_age_mean_ms": None if place is None else self.age_ms[place],
        }


NO_LAW = Law([], [], [])


def law(
    workload: Workload,
    rates_hz: Iterable[float],
    predict: Callable[..., Predicted],
    steady: SteadyOf,
    options: Mapping[str, Any],
    server_url: str,
    encrypted: bool,
) -> Law:
    """Return what to expect at 0.1 to 100 messages per second of each publisher, and at some rates exactly."""
    rates = sorted({*_GRID_HZ, *rates_hz})
    workloads = [at_rate(workload, rate_hz) for rate_hz in rates]
    return Law(
        rates,
        [data_bytes_per_delivery(w, predict, steady, options, server_url, encrypted) for w in workloads],
        [age_ms(w, steady, options) for w in workloads],
    )


def at_rate(workload: Workload, rate_hz: float) -> Workload:
    """Return a workload with another rate, and a duration of 1,000 messages of each publisher."""
    return replace(workload, rate_hz=rate_hz, duration_s=_MESSAGES / rate_hz, warmup_s=0.0)


def data_bytes_per_delivery(
    workload: Workload,
    predict: Callable[..., Predicted],
    steady: SteadyOf,
    options: Mapping[str, Any],
    server_url: str,
    encrypted: bool,
) -> float:
    """Return the IP bytes of a delivery on both hops, without segments that carry only an acknowledgement."""
    duration_s = workload.duration_s
    messages = Counter(dict.fromkeys(workload.subscriber_topics, 0))
    for topic in workload.publisher_topics:
        messages[topic] += round(workload.rate_hz * duration_s)
    requests, batches = 0.0, Counter[int]()
    delivered: Counter[str] = Counter()
    for topic in workload.subscriber_topics:
        of_one = steady(messages[topic] / duration_s, **options)
        requests += of_one.requests_hz * duration_s
        for size, hz in of_one.batches_hz.items():
            batches[size] += round(hz * duration_s)
        delivered[topic] += messages[topic]
    traffic = Traffic(
        server_url=server_url,
        payload_bytes=workload.payload_bytes,
        publishers=Counter(workload.publisher_topics),
        subscribers=Counter(workload.subscriber_topics),
        published={topic: messages[topic] for topic in workload.publisher_topics},
        delivered=delivered,
        requests=round(requests),
        batches=+batches,
        publisher_keep_alives=0,
        subscriber_keep_alives=0,
    )
    predicted = predict(traffic, **options)
    total = sum(_ip_bytes(flow, encrypted) for flow in (predicted.up, predicted.down))
    return total / sum(delivered.values())


def _ip_bytes(flow: Flow, encrypted: bool) -> int:
    return flow.bytes + flow.units * (SEGMENT_HEADER_BYTES + (RECORD_OVERHEAD_BYTES if encrypted else 0))


def age_ms(workload: Workload, steady: SteadyOf, options: Mapping[str, Any]) -> float:
    """Return the mean age of information of a subscriber without network or processing delay, milliseconds."""
    between_ms = 1e3 / workload.rate_hz
    wait_ms = 1e3 * steady(workload.rate_hz, **options).wait_s
    return wait_ms + (between_ms if workload.arrivals == "poisson" else between_ms / 2)
