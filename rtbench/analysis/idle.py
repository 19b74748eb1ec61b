"""Idle connections: the counts of a trial, and every metric that is computed from them. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from rtbench.analysis.counts import described
from rtbench.analysis.metric import IDENTITY, Column, Metric
from rtbench.analysis.verdict import INVALID, VALID
from rtbench.plan.variant import Variant
from rtbench.system.load import Load
from rtbench.wire.tcp import Wire

BUSY_PERCENT = 80.0  # of one core; above it the client process may poll or ping late


@dataclass(frozen=True)
class IdleCounts:
    """The counts of one variant. None: the platform does not provide the value, or the trial failed before it."""

    index: int = described("Its place in the order of the trials, from 0")
    variant: str = described("Name of the variant")
    error: str | None = described("Why the trial failed; null if it did not fail")
    server_url: str = described("Where the server listened")
    observed_s: float = described("Length of the observed time, measured by the client process")
    load_without: Load | None = described("The load of the server with only the warm-up connection")
    load_half: Load | None = described("The load of the server with half of the connections; null if there is only one")
    load_before: Load | None = described("The load of the server with all connections, before the observed time")
    load_after: Load | None = described("The load of the server after the observed time")
    opening_wire: Wire | None = described("Bytes of opening the connections, until all were subscribed")
    idle_wire: Wire | None = described("Bytes on the connections in the observed time")
    requests: int = described("Requests for messages in the observed time")
    requests_waiting: int = described("Requests made after the opening and before the observed time")
    active_connections: int | None = described(
        "Number of connections that sent or received anything in the observed time"
    )
    client_cpu_s: float = described("CPU time of the client process in the observed time")


@dataclass(frozen=True)
class IdleTrial:
    """The trial of one variant: its counts, and the number of connections and the link that they belong to."""

    counts: IdleCounts
    variant: Variant
    connections: int
    link: str

    @cached_property
    def memory_bytes(self) -> tuple[float, float | None, float | None] | None:
        """Server memory per connection: over all connections, and the lower and the higher value of the two halves.

        The two halves are None if there is only one connection; all is None if the trial failed before that.
        """
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
        """Whether memory is private bytes; if these are not known, it is RSS."""
        loads = (self.counts.load_without, self.counts.load_half, self.counts.load_after)
        return all(load.private_bytes is not None for load in loads if load is not None)

    def per_hour(self, value: float | None) -> float | None:
        """Scale a total over all connections in the observed time to one connection and one hour."""
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
    Metric("connections", "integer", "number of connections open at the same time", lambda t: t.connections),
    Metric(
        "observed_s",
        "number",
        "length of the observed time, measured by the client process",
        lambda t: t.counts.observed_s,
    ),
    Metric(
        "server_memory_bytes_per_connection",
        "number",
        "memory of the server with all connections minus that with only the warm-up connection, per connection",
        _memory(0),
    ),
    Metric(
        "server_memory_low_bytes",
        "number",
        "the same for the first and for the second half of the connections: the lower value",
        _memory(1),
    ),
    Metric("server_memory_high_bytes", "number", "the higher value of the two halves", _memory(2)),
    Metric(
        "server_memory_kind",
        "text",
        "`private`, or `rss` if private memory is not known (macOS, Windows)",
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
        "CPU time of the server in an hour, divided by the number of connections, warm-up connection included",
        _server_cpu_ms,
    ),
    Metric(
        "server_waiting_percent",
        "number",
        "of the time in which the server was running or ready to run, the share in which it waited for a core",
        _server_waiting_percent,
    ),
    Metric(
        "wire_bytes_per_connection_hour",
        "number",
        "IP bytes in both directions: the bytes that TCP carried, and the TCP/IP headers of all segments",
        _wire("ip_bytes"),
    ),
    Metric(
        "application_bytes_per_connection_hour",
        "number",
        "the bytes that TCP carried, without headers",
        _wire("carried_bytes"),
    ),
    Metric(
        "requests_per_connection_hour",
        "number",
        "requests for messages; N clients with a polling interval P make N/P requests per second",
        lambda t: t.per_hour(t.counts.requests),
    ),
    Metric(
        "requests_waiting",
        "integer",
        "requests made after the opening and before the observed time; a waiting long-poll is one",
        lambda t: t.counts.requests_waiting,
    ),
    Metric(
        "active_connections",
        "integer",
        "number of connections that sent or received anything in the observed time",
        lambda t: t.counts.active_connections,
    ),
    Metric(
        "client_cpu_percent", "number", "CPU time of the client process, in percent of one core", _client_cpu_percent
    ),
    Metric(
        "opening_wire_bytes",
        "number",
        "IP bytes of opening one connection, from its SYN until it is subscribed",
        _opening,
    ),
    Metric(
        "verdict",
        "text",
        "`valid`, or `invalid`: do not conclude from the row",
        lambda t: INVALID if _reason(t) else VALID,
    ),
    Metric("reasons", "text", "why the verdict is not `valid`", _reason),
    Metric("error", "text", "why the measurement failed; empty if it did not fail", lambda t: t.counts.error),
)
TRIAL_HEAD = (
    Metric("trial", "integer", "its position in the order of the trials, from 0", lambda t: t.counts.index),
    Metric("server_url", "text", "where the server listened", lambda t: t.counts.server_url),
)


def columns() -> list[Column]:
    """Return the columns of summary.csv with their meanings, in order."""
    return [Column(metric.name, metric.kind, metric.meaning) for metric in METRICS]
