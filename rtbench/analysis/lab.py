"""A session of the lab: what the page recorded of each lane, and every metric that is computed from it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtbench.analysis.counts import described
from rtbench.analysis.metric import IDENTITY, Column, Metric
from rtbench.plan.variant import Variant

OF_MESSAGES = ("due_ms", "sent_ms", "acked_ms")
OF_DELIVERIES = ("got_ms", "was_hidden")


@dataclass(frozen=True)
class LaneCounts:
    """What the page counted on one lane from Start on."""

    index: int = described("Its place in the order of the lanes, from 0")
    variant: str = described("Name of the variant")
    error: str | None = described("Why the lane was not measured; null if it was")
    subscribers: int = described("Subscriptions that the page held")
    published: int = described("Messages that the page published")
    acked: int = described("Messages of these that were acknowledged")
    failed: int = described("Messages of these that could not be sent, or whose answer did not come")
    delivered: int = described("Deliveries, without further copies")
    duplicated: int = described("Further copies")
    lost: int = described("Deliveries that did not come")
    hidden: int = described("Deliveries whose time does not count, since the page was hidden")
    requests: int = described("Requests and connections of the subscribers")
    missed_told: int = described("Messages that the server reported as dropped")
    disconnections: int = described("How often a subscription lost its connection")
    relayed: int | None = described("Messages that the server says it relayed; null where it does not say")
    wire_up_bytes: int | None = described("Bytes on the wire to the server, at the IP layer; null where not known")
    wire_down_bytes: int | None = described("Bytes on the wire to the page, at the IP layer; null where not known")


@dataclass(frozen=True)
class LaneTrial:
    """A lane of a session. The samples are of the last messages: the page keeps no more.

    `times_ms` has `due_ms`, `sent_ms` and `acked_ms`, each of shape (messages,), and `got_ms` of shape
    (subscribers, messages), in ms of the page's clock since the session began; NaN: it did not happen. `was_hidden` has
    the same shape as `got_ms`, and is 1 where the page was hidden.
    """

    counts: LaneCounts
    variant: Variant
    times_ms: dict[str, NDArray[np.float64]]

    @cached_property
    def latency_ms(self) -> NDArray[np.float64]:
        """`got - due` of all deliveries that are kept and were not hidden, shape (deliveries,)."""
        latency = self.times_ms["got_ms"] - self.times_ms["due_ms"][None, :]
        shown = self.times_ms["was_hidden"] == 0
        return np.asarray(latency[~np.isnan(latency) & shown], dtype=np.float64)

    def percentile_ms(self, percent: float) -> float | None:
        """Return a percentile of the latency, None without deliveries."""
        if not len(self.latency_ms):
            return None
        return float(np.percentile(self.latency_ms, percent, method="inverted_cdf"))


def _count(name: str, meaning: str) -> Metric:
    return Metric(name, "integer", meaning, lambda trial: getattr(trial.counts, name))


METRICS: tuple[Metric, ...] = (
    *IDENTITY,
    _count("subscribers", "subscriptions of the page"),
    _count("published", "messages that the page published"),
    Metric(
        "expected", "integer", "deliveries that there should be", lambda t: t.counts.published * t.counts.subscribers
    ),
    _count("delivered", "deliveries, without further copies"),
    _count("lost", "deliveries that did not come"),
    _count("duplicated", "further copies"),
    Metric(
        "latency_p50_ms",
        "number",
        "median of `received - due`, of the messages that the page kept",
        lambda t: t.percentile_ms(50),
    ),
    Metric("latency_p90_ms", "number", "90th percentile of it", lambda t: t.percentile_ms(90)),
    Metric("latency_p99_ms", "number", "99th percentile of it", lambda t: t.percentile_ms(99)),
    _count("requests", "requests and connections of the subscribers"),
    _count("disconnections", "lost connections of the subscribers"),
    _count("relayed", "messages that the server says it relayed"),
    _count("wire_up_bytes", "bytes at the IP layer to the server, publishing and subscribing"),
    _count("wire_down_bytes", "bytes at the IP layer to the page"),
    Metric(
        "verdict",
        "text",
        "`suspect`: a session shows and teaches; figures to cite come from `rtbench compare`",
        lambda _: "suspect",
    ),
    Metric("reasons", "text", "why", lambda _: "a session of the lab: one trial, whose conditions a person changed"),
)


def columns() -> list[Column]:
    """Return the columns of summary.csv of a session."""
    return [Column(metric.name, metric.kind, metric.meaning) for metric in METRICS]


@dataclass(frozen=True)
class Felt:
    """What Pong felt like over a lane at a round-trip time: how far the ball on the screen was from the real one."""

    lane: str
    rtt_ms: float
    frames: int
    distance_p50_px: float
    distance_p90_px: float
    age_p50_ms: float
    age_p90_ms: float


def felt_of(rows: list[dict[str, Any]]) -> list[Felt]:
    """Return the rows of a session as objects, by round-trip time."""
    found = [Felt(**{name: row[name] for name in Felt.__dataclass_fields__}) for row in rows]
    return sorted(found, key=lambda felt: felt.rtt_ms)
