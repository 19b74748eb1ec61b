"""Idle connections: what a trial of them counted, and every column that is computed from it. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from rtbench.analysis.counts import described
from rtbench.analysis.metrics import IDENTITY, Column, Metric
from rtbench.analysis.verdict import INVALID, VALID
from rtbench.plan.variant import Variant
from rtbench.system.load import Load
from rtbench.wire.tcp import Wire

BUSY_PERCENT = 80.0  # of one core, by the client process: beyond it, it may be late with what it should do


@dataclass(frozen=True)
class IdleCounts:
    """What the connections of one variant counted. None stands for what this platform, or a failure, did not give."""

    index: int = described("Its place in the order of the trials, from 0")
    variant: str = described("Name of the variant")
    error: str | None = described("Why the trial failed; null if it did not")
    server_url: str = described("Where the server listened")
    observed_s: float = described("The time observed by the client process")
    load_without: Load | None = described("The server's load with no connection but the warm-up one")
    load_half: Load | None = described("The server's load with half of the connections; null with a single one")
    load_before: Load | None = described("The server's load with all connections, before the time observed")
    load_after: Load | None = described("The server's load after it")
    opening_wire: Wire | None = described("What opening the connections put on the wire, until all were subscribed")
    idle_wire: Wire | None = described("What went over the connections in the time observed")
    requests: int = described("Requests for messages in the time observed")
    requests_waiting: int = described("Requests made after the opening and before the time observed")
    active_connections: int | None = described("How many connections sent or received anything in the time observed")
    client_cpu_s: float = described("CPU time of the client process in the time observed")


@dataclass(frozen=True)
class IdleTrial:
    """One variant, measured."""

    counts: IdleCounts
    variant: Variant
    connections: int
    link: str

    @cached_property
    def memory_bytes(self) -> tuple[float, float | None, float | None] | None:
        """Server memory a connection: of all connections, and the lower and the higher of the two halves."""
        c = self.counts
        if c.load_without is None or c.load_after is None:
            return None
        seen = [load for load in (c.load_without, c.load_half, c.load_after) if load is not None]
        used = [(load.private_bytes or 0) if self.memory_is_private else load.rss_bytes for load in seen]
        whole = (used[-1] - used[0]) / self.connections
        if len(used) < 3:
            return whole, None, None
        first = self.connections // 2
        low, high = sorted([(used[1] - used[0]) / first, (used[2] - used[1]) / (self.connections - first)])
        return whole, low, high

    @property
    def memory_is_private(self) -> bool:
        """Whether private bytes are known; else memory is RSS."""
        loads = (self.counts.load_without, self.counts.load_half, self.counts.load_after)
        return all(load.private_bytes is not None for load in loads if load is not None)

    def per_hour(self, value: float | None) -> float | None:
        """Scale what all connections did in the time observed to one connection and an hour."""
        if value is None or not self.counts.observed_s:
            return None
        return value * (3600 / self.counts.observed_s / self.connections)


def _memory(part: int) -> Callable[[IdleTrial], float | None]:
    return lambda t: None if t.memory_bytes is None else t.memory_bytes[part]


def _after(name: str, scale: float = 1.0) -> Callable[[IdleTrial], float | None]:
    def of(trial: IdleTrial) -> float | None:
        value = getattr(trial.counts.load_after, name, None)
        return None if value is None else value / scale

    return of


def _server_cpu_ms(t: IdleTrial) -> float | None:
    before, after = t.counts.load_before, t.counts.load_after
    if before is None or after is None:
        return None
    return after.cpu_since(before) * 3600 / (t.connections + 1) * 1e3  # the warm-up connection is served too


def _server_waiting_percent(t: IdleTrial) -> float | None:
    before, after = t.counts.load_before, t.counts.load_after
    share = after.waiting_since(before) if before is not None and after is not None else None
    return None if share is None else share * 100


def _client_cpu_percent(t: IdleTrial) -> float | None:
    return t.counts.client_cpu_s / t.counts.observed_s * 100 if t.counts.observed_s else None


def _wire(part: str) -> Callable[[IdleTrial], float | None]:
    return lambda t: t.per_hour(getattr(t.counts.idle_wire, part) if t.counts.idle_wire else None)


def _opening(t: IdleTrial) -> float | None:
    return t.counts.opening_wire.ip_bytes / t.connections if t.counts.opening_wire else None


def _reason(t: IdleTrial) -> str:
    if t.counts.error:
        return f"was not measured: {t.counts.error}"
    percent = _client_cpu_percent(t) or 0.0
    return f"the client process was busy for {percent:.0f} % of the time" if percent > BUSY_PERCENT else ""


METRICS = (
    *IDENTITY,
    Metric("link", "text", "`loopback`, or `loopback, TLS 1.3`", lambda t: t.link),
    Metric("connections", "integer", "connections held at a time", lambda t: t.connections),
    Metric("observed_s", "number", "the time observed by the client process", lambda t: t.counts.observed_s),
    Metric(
        "server_memory_bytes_per_connection",
        "number",
        "memory of the server with all connections less that without, divided by their number",
        _memory(0),
    ),
    Metric("server_memory_low_bytes", "number", "the lower of the same figures of the two halves", _memory(1)),
    Metric("server_memory_high_bytes", "number", "the higher of them", _memory(2)),
    Metric(
        "server_memory_kind",
        "text",
        "`private`, or `rss` where private memory is not known (macOS, Windows)",
        lambda t: None if t.memory_bytes is None else "private" if t.memory_is_private else "rss",
    ),
    Metric(
        "server_rss_mb",
        "number",
        "resident memory of the server with all connections, MB of 10^6 bytes",
        _after("rss_bytes", 1e6),
    ),
    Metric(
        "server_peak_rss_mb",
        "number",
        "the highest resident memory of the server so far, MB of 10^6 bytes",
        _after("peak_rss_bytes", 1e6),
    ),
    Metric(
        "server_cpu_ms_per_connection_hour",
        "number",
        "CPU time of the server, divided among the connections (the warm-up connection is served too)",
        _server_cpu_ms,
    ),
    Metric(
        "server_waiting_percent",
        "number",
        "share of the time in which the server could have run that it waited for a core",
        _server_waiting_percent,
    ),
    Metric(
        "wire_bytes_per_connection_hour",
        "number",
        "IP bytes both ways: what TCP carried, and TCP/IP headers of all segments",
        _wire("ip_bytes"),
    ),
    Metric("application_bytes_per_connection_hour", "number", "the part that TCP carried", _wire("carried_bytes")),
    Metric(
        "requests_per_connection_hour",
        "number",
        "requests for messages; N clients at an interval P make N/P a second",
        lambda t: t.per_hour(t.counts.requests),
    ),
    Metric(
        "requests_waiting",
        "integer",
        "requests made after the opening and before the time observed: a long-poll that waits is one",
        lambda t: t.counts.requests_waiting,
    ),
    Metric(
        "active_connections",
        "integer",
        "how many sent or received anything in the time observed",
        lambda t: t.counts.active_connections,
    ),
    Metric("client_cpu_percent", "number", "of one core, by the client process", _client_cpu_percent),
    Metric(
        "opening_wire_bytes",
        "number",
        "IP bytes of opening one connection, from its SYN until it is subscribed",
        _opening,
    ),
    Metric(
        "verdict", "text", "`valid`, or `invalid`: not fit to conclude from", lambda t: INVALID if _reason(t) else VALID
    ),
    Metric("reasons", "text", "why it is not valid", _reason),
    Metric("error", "text", "why a variant has no figures", lambda t: t.counts.error),
)
TRIAL_HEAD = (
    Metric("trial", "integer", "its place in the order of the trials, from 0", lambda t: t.counts.index),
    Metric("server_url", "text", "where the server listened", lambda t: t.counts.server_url),
)


def columns() -> list[Column]:
    """Return the columns of summary.csv with their meanings, in order."""
    return [Column(metric.name, metric.kind, metric.meaning) for metric in METRICS]
