"""Security: what protecting a server costs, as ratios to the plain one; and how often somebody got in. Pure.

Costs of a connection are those until it is subscribed, costs of a delivery those of the messages after that: the
server's share of publishing them is in its CPU time. A ratio has an interval over trials, each with a fresh server.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from rtbench.analysis import statistics
from rtbench.analysis.counts import described
from rtbench.analysis.metric import IDENTITY, Column, Metric, columns_of
from rtbench.analysis.statistics import Estimate, Pooled, pooled_cost
from rtbench.analysis.verdict import INVALID, VALID
from rtbench.plan.protection import ENTRANCES, PLAIN, PROTECTIONS
from rtbench.plan.variant import Variant
from rtbench.system.load import Load
from rtbench.wire.tcp import Wire


@dataclass(frozen=True)
class ProtectionCounts:
    """The counts of a trial: one variant with one protection."""

    index: int = described("Its place in the order of the trials, from 0")
    block: int = described("Its block, from 0: each block has one trial of each variant with each protection")
    variant: str = described("Name of the variant")
    protection: str = described("How the server was protected: plain, tls, tls-resumed, password or access-list")
    error: str | None = described("Why the trial failed; null if it did not fail")
    server_url: str = described("Where the server listened")
    opening_ns: tuple[int, ...] = described("How long each connection took until it was subscribed, in order")
    opening_wire: Wire | None = described("Bytes of the connections until all were subscribed")
    load_before: Load | None = described("The load of the server with only the warm-up connection")
    load_opened: Load | None = described("The load of the server once all connections were open")
    load_heard: Load | None = described("The load of the server once all messages were delivered")
    deliveries: int = described("Deliveries of the messages to the connections")
    delivery_wire: Wire | None = described("Bytes on the connections while the messages were delivered")
    handshakes: int = described("TLS handshakes of the connections, where sessions were to be resumed; else 0")
    resumed: int = described("Handshakes of these that continued an earlier session, as the server confirmed")


@dataclass(frozen=True)
class ProtectedTrial:
    """A trial as a result keeps it."""

    counts: ProtectionCounts
    variant: Variant


@dataclass(frozen=True)
class AttemptCounts:
    """What became of the attempts to get into the server of a variant in one way."""

    variant: str = described("Name of the variant")
    entrance: str = described("How it was tried")
    tried: int = described("Number of attempts")
    let_in: int = described("Number of attempts that were let in: what was published arrived, what was asked for came")
    answers: Mapping[str, int] = described("How many attempts there were with which answer")
    error: str | None = described("Why the attempts could not be made; null if they could")

    @property
    def refused(self) -> int:
        """How many were not let in; what a refused publisher sent is none of the lost messages."""
        return self.tried - self.let_in

    @property
    def holds(self) -> bool:
        """Whether the server let in all that it should, or none that it should not."""
        return self.error is None and self.let_in == (self.tried if ENTRANCES[self.entrance].lets_in else 0)


@dataclass(frozen=True)
class Row:
    """A variant with a protection: its completed trials, and those of the plain server beside it."""

    variant: Variant
    protection: str
    trials: Sequence[ProtectionCounts]
    plain: Sequence[ProtectionCounts] = ()
    failed: Sequence[str] = field(default_factory=tuple)  # the errors of the others

    @property
    def is_plain(self) -> bool:
        """Whether the server is not protected."""
        return self.protection == PLAIN

    def cost(self, of: Cost) -> Estimate | None:
        """Return a cost with its interval over trials."""
        return statistics.estimate(of(self.trials)) if self.trials else None

    def ratio(self, of: Cost) -> Estimate | None:
        """Return a cost as a multiple of that of the plain server, None of the plain server itself."""
        if self.is_plain or not (self.trials and self.plain):
            return None
        return statistics.ratio(of(self.trials), of(self.plain))


Cost = Callable[[Sequence[ProtectionCounts]], Pooled | None]


def rows(variants: Sequence[Variant], trials: Sequence[ProtectedTrial]) -> list[Row]:
    """Return a row for each variant and protection of which there are trials."""
    found = []
    for variant in variants:
        mine = [t.counts for t in trials if t.counts.variant == variant.name]
        done = [counts for counts in mine if counts.error is None]
        plain = [counts for counts in done if counts.protection == PLAIN]
        for protection in PROTECTIONS:
            errors = tuple(c.error for c in mine if c.protection == protection and c.error is not None)
            completed = [counts for counts in done if counts.protection == protection]
            if completed or errors:
                found.append(Row(variant, protection, completed, plain, errors))
    return found


def _connect_ms(trials: Sequence[ProtectionCounts]) -> Pooled | None:
    return pooled_cost([sum(t.opening_ns) / 1e6 for t in trials], [len(t.opening_ns) for t in trials])


def _bytes(wire: str, what: str, per: str) -> Cost:
    def of(trials: Sequence[ProtectionCounts]) -> Pooled | None:
        wires = [getattr(t, wire) for t in trials]
        return pooled_cost([None if w is None else getattr(w, what) for w in wires], [_number(t, per) for t in trials])

    return of


def _cpu_us(before: str, after: str, per: str) -> Cost:
    def of(trials: Sequence[ProtectionCounts]) -> Pooled | None:
        used: list[float | None] = []
        for trial in trials:
            first, last = getattr(trial, before), getattr(trial, after)
            used.append(None if first is None or last is None else (last.cpu_ns - first.cpu_ns) / 1e3)
        return pooled_cost(used, [_number(t, per) for t in trials])

    return of


def _number(trial: ProtectionCounts, per: str) -> int:
    return len(trial.opening_ns) if per == "connection" else trial.deliveries


COSTS: dict[str, tuple[str, str, Cost]] = {  # name: unit, meaning, cost
    "connect": ("ms", "time until a connection is subscribed, mean of all", _connect_ms),
    "connection_bytes": (
        "",
        "IP bytes of a connection, from its SYN until it is subscribed",
        _bytes("opening_wire", "ip_bytes", "connection"),
    ),
    "connection_cpu": (
        "us",
        "CPU time of the server for a connection until it is subscribed",
        _cpu_us("load_before", "load_opened", "connection"),
    ),
    "delivery_bytes": (
        "",
        "bytes that TCP carried for a delivery on its connection, both ways, without headers and acknowledgements",
        _bytes("delivery_wire", "carried_bytes", "delivery"),
    ),
    "delivery_cpu": (
        "us",
        "CPU time of the server for a delivery, its share of the publishing included",
        _cpu_us("load_opened", "load_heard", "delivery"),
    ),
}


def _metrics_of(name: str, unit: str, meaning: str, cost: Cost) -> tuple[Metric, Metric]:
    whole = f"{name}_{unit}" if unit else name
    return (
        Metric(whole, "number", meaning, lambda row: row.cost(cost), interval=True),
        Metric(
            f"{name}_ratio",
            "number",
            f"`{whole}` as a multiple of that of the plain server",
            lambda row: row.ratio(cost),
            interval=True,
        ),
    )


METRICS = (
    *IDENTITY,
    Metric("protection", "text", "how the server is protected", lambda row: row.protection),
    Metric("trials", "integer", "completed trials, each with a fresh server", lambda row: len(row.trials)),
    Metric("failed_trials", "integer", "trials that failed", lambda row: len(row.failed)),
    Metric(
        "connections", "integer", "connections of all trials", lambda row: sum(len(t.opening_ns) for t in row.trials)
    ),
    Metric(
        "handshakes",
        "integer",
        "TLS handshakes of these, where sessions were to be resumed",
        lambda row: sum(t.handshakes for t in row.trials),
    ),
    Metric(
        "resumed",
        "integer",
        "handshakes of these that continued an earlier session",
        lambda row: sum(t.resumed for t in row.trials),
    ),
    Metric("deliveries", "integer", "deliveries of all trials", lambda row: sum(t.deliveries for t in row.trials)),
    *(metric for name, (unit, meaning, cost) in COSTS.items() for metric in _metrics_of(name, unit, meaning, cost)),
    Metric(
        "verdict",
        "text",
        "`valid`, or `invalid`: do not conclude from the row",
        lambda row: INVALID if row.failed else VALID,
    ),
    Metric("reasons", "text", "why the verdict is not `valid`", lambda row: "; ".join(row.failed[:1])),
)
ATTEMPT_METRICS = (
    Metric("variant", "text", "name of the variant", lambda a: a.variant),
    Metric("entrance", "text", "how it was tried to get in", lambda a: a.entrance),
    Metric("attempts", "integer", "number of attempts", lambda a: a.tried),
    Metric("let_in", "integer", "of these let in", lambda a: a.let_in),
    Metric("refused", "integer", "of these not let in", lambda a: a.refused),
    Metric("should_be_let_in", "boolean", "whether they should be let in", lambda a: ENTRANCES[a.entrance].lets_in),
    Metric("answers", "text", "what the server, or the verifying client, answered how often", lambda a: in_words(a)),
    Metric("error", "text", "why they could not be made; empty if they could", lambda a: a.error),
)


def in_words(attempts: AttemptCounts) -> str:
    """Return the answers with their numbers, the most frequent first: `401: 998; connection closed: 2`."""
    found = sorted(attempts.answers.items(), key=lambda item: -item[1])
    return "; ".join(f"{answer}: {number}" for answer, number in found)


def columns() -> list[Column]:
    """Return the columns of summary.csv with their meanings, in order."""
    return [column for metric in METRICS for column in columns_of(metric, intervals=True)]


def attempt_columns() -> list[Column]:
    """Return the columns of attempts.csv with their meanings, in order."""
    return [Column(metric.name, metric.kind, metric.meaning) for metric in ATTEMPT_METRICS]
