"""Figures: the numbers of one trial (a row of trials.csv) and of one variant (a row of summary.csv). Pure.

A `Measured` is a trial with its samples; everything here is derived from it, so that a saved result gives the same
figures again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from rtbench import stats, verdict
from rtbench.ledger import Deliveries, Ledger, Publishes, account
from rtbench.meter import Wire

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rtbench.trial import Trial
    from rtbench.variant import Variant
    from rtbench.workload import Workload

LAYERS = ("payload", "framing", "ack", "tcp_ip")
PERCENTILES = (50, 90, 99)


@dataclass(frozen=True)
class TrialFigures:
    """What a trial cost, as counted; None stands for what this platform, or a trial cut short, does not give.

    `deliveries` and the costs span the warm-up too: they are what the processes did between start and last delivery.
    `run_*` is the wire of publishers and subscribers from start to end, `setup_*` that of opening their connections.
    """

    index: int
    block: int
    variant: str
    server_url: str
    error: str | None
    offered: int
    unfinished: int
    lost_in_warmup: int
    published_in_all: int
    deliveries: int
    missed_told: int
    requests: int
    nagle_sockets: int
    nagle_seen: bool
    wall_s: float
    client_cpu: float
    client_cpu_ns: int
    server_cpu_ns: int | None
    server_rss_bytes: int | None
    publisher_setup_wire: Wire | None
    publisher_run_wire: Wire | None
    subscriber_setup_wire: Wire | None
    subscriber_run_wire: Wire | None

    @property
    def setup_wire(self) -> Wire | None:
        """What opening the connections put on the wire."""
        return _sum(self.publisher_setup_wire, self.subscriber_setup_wire)

    @property
    def run_wire(self) -> Wire | None:
        """What the messages put on the wire, both hops."""
        return _sum(self.publisher_run_wire, self.subscriber_run_wire)


def _sum(a: Wire | None, b: Wire | None) -> Wire | None:
    return None if a is None or b is None else a + b


@dataclass
class Measured:
    """A trial: its figures, its samples, and the workload that says which of them count."""

    figures: TrialFigures
    workload: Workload
    publishes: Publishes
    deliveries: Deliveries

    @cached_property
    def _accounted(self) -> tuple[Ledger, NDArray[np.int64]]:
        return account_for(self.workload, self.publishes, self.deliveries, self._since_ns)

    @property
    def _since_ns(self) -> int:
        return round(self.workload.warmup_s * 1e9)

    @property
    def ledger(self) -> Ledger:
        """The fate of every message due after the warm-up."""
        return self._accounted[0]

    @cached_property
    def latency_ms(self) -> NDArray[np.float64]:
        """`received - due` of each first delivery after the warm-up, milliseconds, shape (delivered,)."""
        first = self._accounted[1]
        return (self.deliveries.received_ns[first] - self.deliveries.due_ns[first]) / 1e6

    @cached_property
    def lag_ms(self) -> NDArray[np.float64]:
        """`sent - due` of each message after the warm-up, milliseconds, shape (published,)."""
        p = self.publishes
        counted = (p.sent_ns > 0) & (p.due_ns >= self._since_ns)
        return (p.sent_ns[counted] - p.due_ns[counted]) / 1e6


def account_for(
    workload: Workload, publishes: Publishes, deliveries: Deliveries, since_ns: int
) -> tuple[Ledger, NDArray[np.int64]]:
    """Apply the ledger to the topics of a workload."""
    return account(publishes, deliveries, workload.publisher_topics, workload.subscriber_topics, since_ns)


def _empty(cls: type[Any]) -> Any:
    return cls(*(np.zeros(0, dtype=bool if f.name == "intact" else np.int64) for f in fields(cls)))


def measured(trial: Trial) -> Measured:
    """Return the figures of a trial that was just run."""
    plan = trial.plan
    publishes = trial.publishes if trial.publishes is not None else _empty(Publishes)
    deliveries = trial.deliveries if trial.deliveries is not None else _empty(Deliveries)
    since_ns = round(plan.workload.warmup_s * 1e9)
    everything = account_for(plan.workload, publishes, deliveries, 0)[0]
    ledger = account_for(plan.workload, publishes, deliveries, since_ns)[0]
    wall_s = trial.wall_ns / 1e9
    parts = (trial.publisher, trial.subscriber)
    end_ns = round((plan.workload.warmup_s + plan.workload.duration_s) * 1e9)
    late = (publishes.sent_ns == 0) | (publishes.sent_ns > end_ns + 0.02 * end_ns)
    figures = TrialFigures(
        index=plan.index,
        block=plan.block,
        variant=plan.variant.name,
        server_url=trial.server_url,
        error=trial.error,
        offered=len(publishes.due_ns),
        unfinished=int((late | (publishes.done_ns == 0)).sum()),
        lost_in_warmup=everything.lost - ledger.lost,
        published_in_all=everything.published,
        deliveries=len(deliveries.due_ns),
        missed_told=trial.missed_told,
        requests=trial.subscriber.requests,
        nagle_sockets=sum(part.nagle for part in parts) + (trial.server_nagle or 0),
        nagle_seen=trial.server_nagle is not None,
        wall_s=wall_s,
        client_cpu=max(part.cpu_ns for part in parts) / 1e9 / wall_s if wall_s else 0.0,
        client_cpu_ns=trial.subscriber.cpu_ns,
        server_cpu_ns=trial.server_cpu_ns,
        server_rss_bytes=trial.server_rss_bytes,
        publisher_setup_wire=trial.publisher.setup_wire,
        publisher_run_wire=trial.publisher.run_wire,
        subscriber_setup_wire=trial.subscriber.setup_wire,
        subscriber_run_wire=trial.subscriber.run_wire,
    )
    return Measured(figures, plan.workload, publishes, deliveries)


def _ratio(trials: Sequence[Measured], top: Callable[[TrialFigures], float | None], scale: float = 1.0) -> float | None:
    """Return the sum of `top` over the deliveries of all trials; None when a trial lacks it."""
    values = [top(t.figures) for t in trials]
    deliveries = sum(t.figures.deliveries for t in trials)
    if not deliveries or any(value is None for value in values):
        return None
    return scale * sum(value for value in values if value is not None) / deliveries


def layers_of(figures: TrialFigures, payload_bytes: int) -> dict[str, int] | None:
    """Return the bytes of both hops by layer; together they are all bytes at the IP layer.

    payload: what the application handed over or got. framing: everything else that TCP carried (headers, framing,
    the protocol's own acknowledgements). ack: the headers of segments that carried nothing, TCP's acknowledgements.
    tcp_ip: the TCP and IP headers of all other segments.
    """
    wire = figures.run_wire
    if wire is None:
        return None
    carried = (figures.published_in_all + figures.deliveries) * payload_bytes
    return {
        "payload": carried,
        "framing": wire.application_bytes - carried,
        "ack": wire.ack_header_bytes,
        "tcp_ip": wire.header_bytes - wire.ack_header_bytes,
    }


def _layer_per_delivery(trials: Sequence[Measured], layer: str, payload_bytes: int) -> float | None:
    return _ratio(trials, lambda figures: (layers_of(figures, payload_bytes) or {}).get(layer))


def costs(trials: Sequence[Measured], payload_bytes: int) -> dict[str, Any]:
    """Return what deliveries cost, over some trials: bytes, requests, CPU, memory."""
    layers = {f"{layer}_bytes_per_delivery": _layer_per_delivery(trials, layer, payload_bytes) for layer in LAYERS}
    wire = _ratio(trials, lambda f: f.run_wire.ip_bytes if f.run_wire else None)
    connections = sum(t.figures.setup_wire.connections for t in trials if t.figures.setup_wire)
    setup = sum(t.figures.setup_wire.ip_bytes for t in trials if t.figures.setup_wire)
    wall_s = sum(t.figures.wall_s for t in trials)
    cpu = [t.figures.server_cpu_ns for t in trials]
    memory = [t.figures.server_rss_bytes for t in trials if t.figures.server_rss_bytes is not None]
    cpu_known = wall_s > 0 and None not in cpu
    return {
        "wire_bytes_per_delivery": wire,
        "payload_share": layers["payload_bytes_per_delivery"] / wire
        if wire and layers["payload_bytes_per_delivery"]
        else None,
        "requests_per_delivery": _ratio(trials, lambda f: f.requests),
        "server_cpu_us_per_delivery": _ratio(trials, lambda f: f.server_cpu_ns, 1e-3),
        "server_cpu_percent": 100 * sum(c for c in cpu if c is not None) / 1e9 / wall_s if cpu_known else None,
        "server_rss_mb": max(memory) / 1e6 if memory else None,
        "client_cpu_us_per_delivery": _ratio(trials, lambda f: f.client_cpu_ns, 1e-3),
        **layers,
        "setup_bytes_per_connection": setup / connections if connections else None,
    }


def latencies(trials: Sequence[Measured], intervals: bool) -> dict[str, Any]:
    """Return the latency columns."""
    values = [t.latency_ms for t in trials]
    row: dict[str, Any] = {}
    for percent in PERCENTILES:
        estimate = stats.percentile(values, percent)
        row[f"latency_p{percent}_ms"] = estimate.value if estimate else None
        if intervals:
            row[f"latency_p{percent}_low_ms"] = estimate.low if estimate else None
            row[f"latency_p{percent}_high_ms"] = estimate.high if estimate else None
    average = stats.mean(values)
    row["latency_mean_ms"] = average.value if average else None
    if intervals:
        row["latency_mean_low_ms"] = average.low if average else None
        row["latency_mean_high_ms"] = average.high if average else None
    row["arrived_p50_ms"] = None
    lags = np.concatenate([t.lag_ms for t in trials]) if trials else np.empty(0)
    row["lag_p99_ms"] = float(np.percentile(lags, 99, method="inverted_cdf")) if len(lags) else None
    return row


def trial_row(trial: Measured, variant: Variant) -> dict[str, Any]:
    """Return a row of trials.csv."""
    f = trial.figures
    return {
        "trial": f.index,
        "block": f.block,
        "variant": f.variant,
        **_identity(variant),
        "status": "failed" if f.error else "ok",
        "error": f.error,
        "server_url": f.server_url,
        **asdict(trial.ledger),
        **latencies([trial], intervals=False),
        **costs([trial], trial.workload.payload_bytes),
        "deliveries_with_warmup": f.deliveries,
        "missed_told": f.missed_told,
        "requests": f.requests,
        "wall_s": f.wall_s,
        "publisher_wire_bytes": f.publisher_run_wire.ip_bytes if f.publisher_run_wire else None,
        "subscriber_wire_bytes": f.subscriber_run_wire.ip_bytes if f.subscriber_run_wire else None,
        "setup_wire_bytes": f.setup_wire.ip_bytes if f.setup_wire else None,
        "retransmitted_bytes": f.run_wire.retransmitted_bytes if f.run_wire else None,
        "sockets_without_nodelay": f.nagle_sockets,
        "server_sockets_checked": f.nagle_seen,
    }


def summary_row(variant: Variant, trials: Sequence[Measured], workload: Workload) -> dict[str, Any]:
    """Return a row of summary.csv: figures from the trials that ran to their end, the verdict from all."""
    good = [t for t in trials if not t.figures.error]
    ledger = sum((t.ledger for t in good), start=Ledger())
    counts = asdict(ledger)
    main = ("published", "expected", "delivered", "lost", "duplicated", "reordered")
    cost = costs(good, workload.payload_bytes)
    main_costs = list(cost)[: list(cost).index("client_cpu_us_per_delivery") + 1]
    row: dict[str, Any] = {
        "variant": variant.name,
        **_identity(variant),
        "trials": len(good),
        "publishers": workload.publishers,
        "subscribers": workload.subscribers,
        "rate_hz": workload.rate_hz,
        "payload_bytes": workload.payload_bytes,
        **{name: counts.pop(name) for name in main},
        **latencies(good, intervals=True),
        **{name: cost.pop(name) for name in main_costs},
    }
    row["verdict"], reasons = verdict.judge(row, [t.figures for t in trials])
    row["reasons"] = "; ".join(reasons)
    return {**row, **counts, **cost, "failed_trials": len(trials) - len(good)}


def _identity(variant: Variant) -> dict[str, Any]:
    return {
        "transport": variant.transport,
        "qos": variant.options.get("qos"),
        "server": variant.server,
        "client": variant.client,
    }


def observation(variant: Variant, row: Mapping[str, Any], own_words: Callable[[Mapping[str, Any]], str] | None) -> str:
    """Return a sentence on what was seen: the client module's own, or a plain one."""
    if row["latency_mean_ms"] is None or row["latency_p50_ms"] is None:
        return "gave too few deliveries to say anything"
    if own_words is not None:
        return own_words({**row, **variant.options})
    return f"delivered {row['delivered']} of {row['expected']}, {row['latency_p50_ms']:.2g} ms at the median"
