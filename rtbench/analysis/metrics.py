"""Metrics: every column of summary.csv and trials.csv, each in one place: name, type, meaning, and how it is computed.

A metric is added here and nowhere else. Its name ends in its unit. Its meaning is the one in the data dictionary
(docs/results.md, written by `make dictionary`). `HEAD` names what was measured; `COUNTS` to `TIMELINE` are computed for
a variant and for a single trial alike; `OF_A_TRIAL` makes sense for a single trial only. In summary.csv the metrics that
are marked `first` come before the verdict, the others after it. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from rtbench.analysis import statistics, verdict
from rtbench.analysis.layers import ABOVE_TCP, LAYERS, WAYS, layers_of, predicted_layers
from rtbench.analysis.ledger import Ledger
from rtbench.analysis.measured import STAGES, Measured
from rtbench.analysis.statistics import Estimate, Pooled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rtbench.analysis.counts import TrialCounts
    from rtbench.plan.variant import Variant
    from rtbench.plan.workload import Workload

Trials = Sequence[Measured]
Kind = Literal["text", "integer", "number", "boolean"]


@dataclass(frozen=True)
class Group:
    """The trials that a row is computed from, all of one variant: one of them, or all that ran to their end."""

    variant: Variant
    workload: Workload
    trials: Trials
    failed: int = 0

    @cached_property
    def ledger(self) -> Ledger:
        """The fate of the messages of all trials."""
        return sum((trial.ledger for trial in self.trials), start=Ledger())

    def per_delivery(self, total: Callable[[TrialCounts], float | None], scale: float = 1.0) -> float | None:
        """Return the sum of `total` over the deliveries of all trials; None when a trial lacks it."""
        values = [total(t.counts) for t in self.trials]
        deliveries = sum(t.counts.deliveries for t in self.trials)
        if not deliveries or any(value is None for value in values):
            return None
        return scale * sum(value for value in values if value is not None) / deliveries

    @property
    def only(self) -> Measured:
        """The trial of a group of one."""
        (trial,) = self.trials
        return trial


@dataclass(frozen=True)
class Metric:
    """A column. `of` computes it from a `Group` (or a trial of another experiment); None: the value is not known.

    With `pooled` it can be compared between groups of trials (`rtbench.analysis.difference`). With `interval`, its value
    is an `Estimate`, and summary.csv has two columns more for the ends of its 95 % interval.
    """

    name: str
    kind: Kind
    meaning: str
    of: Callable[[Any], Any]
    first: bool = False
    pooled: Callable[[Trials], Pooled | None] | None = None
    interval: bool = False

    def columns(self, group: Any, intervals: bool) -> dict[str, Any]:
        """Return the value with its column name, and the ends of its interval if they are asked for."""
        value = self.of(group)
        if not self.interval:
            return {self.name: value}
        found = {self.name: value.value if value else None}
        if intervals:
            low, high = self.interval_names
            found |= {low: value.low if value else None, high: value.high if value else None}
        return found

    @property
    def interval_names(self) -> tuple[str, str]:
        """The names of the columns with the ends of its interval: `latency_p50_low_ms` and `latency_p50_high_ms`."""
        stem, _, unit = self.name.rpartition("_")
        return f"{stem}_low_{unit}", f"{stem}_high_{unit}"


# What was measured

IDENTITY = (
    Metric(
        "variant", "text", "what was measured: the transport, and what else makes the variant", lambda g: g.variant.name
    ),
    Metric("transport", "text", "how a message gets from publisher to subscriber", lambda g: g.variant.transport),
    Metric(
        "qos", "integer", "MQTT quality of service; empty where there is none", lambda g: g.variant.options.get("qos")
    ),
    Metric("server", "text", "the implementation that serves the transport", lambda g: g.variant.server),
    Metric("client", "text", "the implementation that speaks the transport", lambda g: g.variant.client),
)

WORKLOAD = (
    Metric("trials", "integer", "trials that ran to their end", lambda g: len(g.trials)),
    Metric("publishers", "integer", "the workload: number of publishers", lambda g: g.workload.publishers),
    Metric("subscribers", "integer", "the workload: number of subscribers", lambda g: g.workload.subscribers),
    Metric("rate_hz", "number", "the workload: messages a second and publisher", lambda g: g.workload.rate_hz),
    Metric(
        "payload_bytes",
        "integer",
        "the workload: size of a message, its header included",
        lambda g: g.workload.payload_bytes,
    ),
)


# The fate of the messages


def _count(name: str, meaning: str, first: bool = False) -> Metric:
    return Metric(name, "integer", meaning, lambda g: getattr(g.ledger, name), first)


COUNTS = (
    _count("published", "messages handed to the client library; = `acked` + `failed` + `indeterminate`", first=True),
    _count("acked", "publishes that the server acknowledged"),
    _count("failed", "publishes that the server refused"),
    _count(
        "indeterminate",
        "publishes without an answer; all of them where the transport has no acknowledgement (websocket, mqtt-qos0)",
    ),
    _count("expected", "(message, subscriber) pairs that should be; = `delivered` + `lost`", first=True),
    _count("delivered", "pairs that came at least once", first=True),
    _count("lost", "pairs that did not come", first=True),
    _count("duplicated", "deliveries beyond the first of a pair", first=True),
    _count("reordered", "first deliveries that came after a later message of the same publisher", first=True),
    _count("unexpected", "deliveries that belong to no message, or came to the wrong subscriber"),
    _count("corrupt", "deliveries with a wrong size, header or padding"),
    _count("recovered", "of the indeterminate, those that nevertheless reached every subscriber of their topic"),
)


# Latency


def _values(trials: Trials, name: str) -> list[NDArray[np.float64]]:
    return [getattr(trial, name) for trial in trials]


def _latency(percent: float, name: str, meaning: str, first: bool) -> Metric:
    def pooled(trials: Trials) -> Pooled | None:
        return statistics.pooled_percentile(_values(trials, "latency_ms"), percent)

    def of(group: Group) -> Estimate | None:
        return statistics.estimate(pooled(group.trials))

    return Metric(name, "number", meaning, of, first, pooled, interval=True)


def _mean_latency(trials: Trials) -> Pooled | None:
    return statistics.pooled_mean(_values(trials, "latency_ms"))


def _median(name: str, values: str, meaning: str, first: bool = False) -> Metric:
    return _percentile(name, values, 50, meaning, first)


def _percentile(name: str, values: str, percent: float, meaning: str, first: bool = False) -> Metric:
    """Return the metric of a percentile that is empty where too few values lie beyond it."""

    def of(group: Group) -> float | None:
        found = statistics.percentile(_values(group.trials, values), percent)
        return found.value if found else None

    return Metric(name, "number", meaning, of, first)


def _p99_of_all(name: str, values: str, meaning: str, first: bool = False) -> Metric:
    """Return the metric of the 99th percentile of any number of values."""

    def of(group: Group) -> float | None:
        pooled = np.concatenate(_values(group.trials, values)) if group.trials else np.empty(0)
        return float(np.percentile(pooled, 99, method="inverted_cdf")) if len(pooled) else None

    return Metric(name, "number", meaning, of, first)


_BEYOND = "empty with fewer than ten deliveries beyond it"
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
    _median(
        "arrived_p50_ms",
        "arrived_ms",
        "median from due to the kernel's receive stamp; empty without stamps",
        first=True,
    ),
    _p99_of_all("lag_p99_ms", "lag_ms", "99th percentile of `sent - due`: how late the publisher was", first=True),
)


# What a delivery costs


def _cost(
    name: str, meaning: str, total: Callable[[TrialCounts], float | None], scale: float = 1.0, first: bool = False
) -> Metric:
    """Return a metric that is a sum over all deliveries, warm-up included."""

    def scaled(counts: TrialCounts) -> float | None:
        value = total(counts)
        return None if value is None else value * scale

    def pooled(trials: Trials) -> Pooled | None:
        return statistics.pooled_cost([scaled(t.counts) for t in trials], [t.counts.deliveries for t in trials])

    return Metric(name, "number", meaning, lambda g: g.per_delivery(total, scale), first, pooled)


_wire_bytes = _cost(
    "wire_bytes_per_delivery",
    "bytes at the IP layer, both directions of publishers' and subscribers' connections, without opening them",
    lambda c: c.run_wire.ip_bytes if c.run_wire else None,
    first=True,
)


def _layer(layer: str, ways: Iterable[str], predicted: bool = False) -> Callable[[Group], float | None]:
    def of(group: Group) -> float | None:
        def total(counts: TrialCounts) -> float | None:
            found = (predicted_layers if predicted else layers_of)(counts, group.workload.payload_bytes)
            return None if found is None else sum(found[layer][way] for way in ways)

        return group.per_delivery(total)

    return of


_payload_bytes = _layer("payload", WAYS)


def _payload_share(group: Group) -> float | None:
    wire, payload = _wire_bytes.of(group), _payload_bytes(group)
    return payload / wire if wire and payload else None


def _server_cpu_percent(group: Group) -> float | None:
    wall_s = sum(t.counts.wall_s for t in group.trials)
    cpu_ns = [t.counts.server_cpu_ns for t in group.trials]
    return 100 * sum(c for c in cpu_ns if c is not None) / 1e9 / wall_s if wall_s > 0 and None not in cpu_ns else None


def _server_rss_mb(group: Group) -> float | None:
    known = [t.counts.server_rss_bytes for t in group.trials if t.counts.server_rss_bytes is not None]
    return max(known) / 1e6 if known else None


def _per_connection(bytes_of: Callable[[Any], int]) -> Callable[[Group], float | None]:
    def of(group: Group) -> float | None:
        wires = [t.counts.setup_wire for t in group.trials if t.counts.setup_wire]
        connections = sum(wire.connections for wire in wires)
        total = sum(map(bytes_of, wires))
        return total / connections if connections and total is not None else None

    return of


def _handshake_bytes(group: Group) -> float | None:
    return _per_connection(lambda wire: wire.tls_handshake_bytes)(group)


def _empty_request_share(group: Group) -> float | None:
    requests = sum(t.counts.requests or 0 for t in group.trials)
    return sum(t.counts.empty_requests or 0 for t in group.trials) / requests if requests else None


def _above_tcp_difference(group: Group) -> float | None:
    def above_tcp(way: str, predicted: bool) -> float | None:
        def total(counts: TrialCounts) -> float | None:
            found = (predicted_layers if predicted else layers_of)(counts, group.workload.payload_bytes)
            return None if found is None else sum(found[layer][way] for layer in ABOVE_TCP)

        return group.per_delivery(total)

    apart = []
    for way in WAYS:
        measured, predicted = above_tcp(way, predicted=False), above_tcp(way, predicted=True)
        if measured is not None and predicted:
            apart.append(100 * (measured / predicted - 1))
    return max(apart, key=abs, default=None)


_DIRECTIONS: Mapping[str, tuple[tuple[str, ...], str]] = {
    "": (WAYS, ""),
    "_up": (("up",), ", from client to server"),
    "_down": (("down",), ", from server to client"),
}
_LAYER_MEANINGS = {
    "payload": "payload on the wire, published and delivered",
    "framing": "what else the protocol put into TCP: headers, framing, its own acknowledgements",
    "tls": "what TLS added to both: 22 bytes a record; 0 without `--tls`",
    "ack": "headers of segments that carry nothing: TCP's acknowledgements",
    "tcp_ip": "TCP and IP headers of all other segments, and what clients sent again; the five layers add up to "
    "`wire_bytes_per_delivery`",
}
_PREDICTED_MEANINGS = {
    "framing": "what the framing should be by the wire format (see methodology.md); empty where the client does not say",
    "tls": "what TLS should add: 22 bytes for each thing that is written at once; 0 without `--tls`",
}

COSTS = (
    _wire_bytes,
    Metric("payload_share", "number", "share of payload bytes in it, 0 to 1", _payload_share, first=True),
    _cost(
        "requests_per_delivery",
        "requests that subscribers made to ask for messages",
        lambda c: c.requests,
        first=True,
    ),
    _cost(
        "server_cpu_us_per_delivery",
        "CPU time of the server's process tree",
        lambda c: c.server_cpu_ns,
        1e-3,
        first=True,
    ),
    Metric("server_cpu_percent", "number", "the same, in percent of one core", _server_cpu_percent, first=True),
    Metric(
        "server_rss_mb",
        "number",
        "resident memory of the tree at the end of a trial, the largest of the trials, MB of 10^6 bytes",
        _server_rss_mb,
        first=True,
    ),
    _cost(
        "client_cpu_us_per_delivery",
        "CPU time of the subscriber processes",
        lambda c: c.client_cpu_ns,
        1e-3,
        first=True,
    ),
    *(
        Metric(
            f"{layer}{suffix}_bytes_per_delivery",
            "number",
            f"{_LAYER_MEANINGS[layer]}{words}",
            _layer(layer, ways),
        )
        for suffix, (ways, words) in _DIRECTIONS.items()
        for layer in LAYERS
    ),
    *(
        Metric(
            f"predicted_{layer}{suffix}_bytes_per_delivery",
            "number",
            f"{_PREDICTED_MEANINGS[layer]}{words}",
            _layer(layer, ways, predicted=True),
        )
        for layer in _PREDICTED_MEANINGS
        for suffix, (ways, words) in _DIRECTIONS.items()
    ),
    Metric(
        "above_tcp_difference_percent",
        "number",
        "how far payload, framing and TLS measured are from those predicted, percent of the predicted, in the direction "
        "where they are further; beyond 1 % the report says so",
        _above_tcp_difference,
    ),
    Metric(
        "keep_alive_bytes",
        "integer",
        "bytes above TCP of pings and their answers in all trials; they are in the framing, measured and predicted",
        lambda g: sum(t.counts.keep_alive_bytes for t in g.trials),
    ),
    Metric(
        "empty_request_share",
        "number",
        "share of subscribers' requests that were answered with nothing new, 0 to 1; empty where there are no requests",
        _empty_request_share,
    ),
    Metric(
        "setup_bytes_per_connection",
        "number",
        "opening a connection, from SYN through subscription and readiness probe",
        _per_connection(lambda wire: wire.ip_bytes),
    ),
    Metric(
        "tls_handshake_bytes_per_connection",
        "number",
        "of these, the TLS handshake: both directions, up to the client's Finished; 0 without `--tls`",
        _handshake_bytes,
    ),
    _cost(
        "server_waiting_us_per_delivery",
        "time in which the server could have run and had no core",
        lambda c: c.server_waiting_ns,
        1e-3,
    ),
    _cost(
        "server_voluntary_switches_per_delivery",
        "context switches of the server's threads to wait for something",
        lambda c: c.server_voluntary_switches,
    ),
    _cost(
        "server_involuntary_switches_per_delivery",
        "context switches of the server's threads because the kernel took the core",
        lambda c: c.server_involuntary_switches,
    ),
)


# The stages of a delivery


def _stage_mean(stage: str) -> Callable[[Group], float | None]:
    def of(group: Group) -> float | None:
        stages = [t.stages_ms for t in group.trials]
        if not stages or None in stages:
            return None
        weights = [len(t.latency_ms) for t in group.trials]
        return float(np.average([s[stage] for s in stages if s is not None], weights=weights))

    return of


def _age_mean(group: Group) -> float | None:
    ages = [t.age_ms for t in group.trials if t.age_ms is not None]
    return float(np.mean(ages)) if ages else None


_STAGE_MEANINGS = {
    "lag": "mean time from due to sent",
    "network_server": "mean time from sent to arrived",
    "client": "mean time from arrived to received; the three stages add up to `latency_mean_ms`",
}

TIMELINE = (
    _latency(99.9, "latency_p99_9_ms", "as the other percentiles; needs 10,000 deliveries", first=False),
    _p99_of_all(
        "generator_lag_p99_ms",
        "generator_lag_ms",
        "99th percentile from due to ready: the generator's own part of the lag; in the rest the message waits because "
        "its connection has reached its in-flight limit (HTTP 1, MQTT at QoS 1 and 2 20)",
    ),
    _percentile(
        "latency_from_sent_p99_ms",
        "from_sent_ms",
        99,
        "99th percentile of `received - sent`: what a tool would report that counts from sending; for comparison only",
    ),
    _median("network_server_p50_ms", "network_server_ms", "median from sent to the kernel's receive stamp"),
    *(Metric(f"{stage}_mean_ms", "number", _STAGE_MEANINGS[stage], _stage_mean(stage)) for stage in STAGES),
    Metric(
        "age_mean_ms",
        "number",
        "age of information: how old the newest message that a subscriber has is, mean over time",
        _age_mean,
    ),
    _median(
        "publish_ack_p50_ms",
        "acknowledged_ms",
        "median from sent to acknowledged, of the publishes that were acknowledged",
    ),
)


# What only a single trial has


def _wire_total(part: str) -> Callable[[Group], int | None]:
    def of(group: Group) -> int | None:
        wire = getattr(group.only.counts, part)
        return wire.ip_bytes if wire else None

    return of


def _of_counts(name: str) -> Callable[[Group], Any]:
    return lambda g: getattr(g.only.counts, name)


TRIAL_HEAD = (
    Metric(
        "trial",
        "integer",
        "its place in the order in which trials ran, from 0; the number of its file in `samples/`",
        _of_counts("index"),
    ),
    Metric(
        "block",
        "integer",
        "its block, from 0: each has one trial of each variant, in random order",
        _of_counts("block"),
    ),
)
TRIAL_STATE = (
    Metric("status", "text", "`ok` or `failed`", lambda g: "failed" if g.only.counts.error else "ok"),
    Metric("error", "text", "why it failed", _of_counts("error")),
    Metric(
        "server_url", "text", "where the server listened, to find its packets in a capture", _of_counts("server_url")
    ),
)


def _io_stall_share(group: Group) -> float | None:
    c = group.only.counts
    return c.io_stalled_ns / 1e9 / c.wall_s if c.io_stalled_ns is not None and c.wall_s else None


OF_A_TRIAL = (
    Metric("deliveries_with_warmup", "integer", "what costs are divided by", _of_counts("deliveries")),
    Metric(
        "missed_told",
        "integer",
        "messages that the server said it had skipped for a slow subscriber",
        _of_counts("missed_told"),
    ),
    Metric("requests", "integer", "requests of all subscribers", _of_counts("requests")),
    Metric("wall_s", "number", "time from the start to the last delivery", _of_counts("wall_s")),
    Metric(
        "publisher_wire_bytes",
        "integer",
        "IP bytes of the publishers' connections after they were open",
        _wire_total("publisher_run_wire"),
    ),
    Metric(
        "subscriber_wire_bytes",
        "integer",
        "IP bytes of the subscribers' connections after they were open",
        _wire_total("subscriber_run_wire"),
    ),
    Metric("setup_wire_bytes", "integer", "IP bytes before that, from the first SYN", _wire_total("setup_wire")),
    Metric(
        "closing_wire_bytes",
        "integer",
        "IP bytes after the end, until both ends had closed: a packet capture shows the sum of the four, and "
        "`server_retransmitted_bytes`",
        _wire_total("closing_wire"),
    ),
    Metric(
        "retransmitted_bytes",
        "integer",
        "TCP payload that clients sent again",
        lambda g: g.only.counts.run_wire.retransmitted_bytes if g.only.counts.run_wire else None,
    ),
    Metric(
        "server_retransmitted_bytes",
        "integer",
        "TCP payload that the server sent again since the connections were opened; its headers are in the segments above, "
        "its payload in no other column; empty where the server's sockets cannot be read",
        _of_counts("server_retransmitted_bytes"),
    ),
    Metric(
        "sockets_without_nodelay",
        "integer",
        "sockets on either end with Nagle's algorithm on",
        _of_counts("nagle_sockets"),
    ),
    Metric(
        "server_sockets_checked",
        "boolean",
        "whether the server's sockets could be read: `True` or `False`",
        lambda g: g.only.counts.server_retransmitted_bytes is not None,
    ),
    Metric(
        "achieved_share",
        "number",
        "rate at which publishes were finished and deliveries arrived, of the rate offered, the smaller of both, 0 to 1",
        lambda g: g.only.achieved,
    ),
    Metric(
        "client_cpu_percent",
        "number",
        "CPU time of the client process that used most, in percent of one core",
        lambda g: 100 * g.only.counts.client_cpu,
    ),
    Metric(
        "others_cpu_percent",
        "number",
        "CPU time of everything that is not part of the trial, in percent of one core",
        lambda g: 100 * g.only.counts.others_cpu,
    ),
    Metric(
        "client_waiting_us_per_delivery",
        "number",
        "time in which the client process that waited longest could have run and had no core",
        lambda g: g.per_delivery(lambda c: c.client_waiting_ns, 1e-3),
    ),
    Metric(
        "clock_step_ms",
        "number",
        "by how much CLOCK_REALTIME, the clock of the kernel's stamps, was set during the trial",
        lambda g: g.only.counts.clock_step_ns / 1e6,
    ),
    Metric(
        "listen_drops",
        "integer",
        "connections that a listener of this machine had no room for",
        _of_counts("listen_drops"),
    ),
    Metric(
        "io_stall_share",
        "number",
        "share of the time in which something on this machine waited for a disk, 0 to 1",
        _io_stall_share,
    ),
)

COMPUTED = (*COUNTS, *LATENCY, *COSTS, *TIMELINE)
OF_TRIALS = (*TRIAL_HEAD, *IDENTITY, *TRIAL_STATE, *COMPUTED, *OF_A_TRIAL)  # trials.csv
_BEFORE = (*IDENTITY, *WORKLOAD, *(metric for metric in COMPUTED if metric.first))
_AFTER = tuple(metric for metric in COMPUTED if not metric.first)
VERDICT = (
    Metric("verdict", "text", "`valid`, `suspect` or `invalid`", lambda _: None),
    Metric("reasons", "text", "why it is not valid", lambda _: None),
)
FAILED = Metric(
    "failed_trials",
    "integer",
    "trials that did not run to their end; they are in no other column",
    lambda g: g.failed,
)


def trial_row(trial: Measured, variant: Variant) -> dict[str, Any]:
    """Return a row of trials.csv."""
    return _row(OF_TRIALS, Group(variant, trial.workload, [trial]), intervals=False)


def summary_row(variant: Variant, trials: Trials, workload: Workload) -> dict[str, Any]:
    """Return a row of summary.csv: metrics of the trials that ran to their end, and the verdict of all."""
    good = [t for t in trials if not t.counts.error]
    group = Group(variant, workload, good, failed=len(trials) - len(good))
    row, rest = _row(_BEFORE, group, intervals=True), _row(_AFTER, group, intervals=True)
    row["verdict"], reasons = verdict.judge({**row, **rest}, trials)
    row["reasons"] = "; ".join(reasons)
    return {**row, **rest, FAILED.name: group.failed}


def _row(metrics: Iterable[Metric], group: Group, intervals: bool) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for metric in metrics:
        row |= metric.columns(group, intervals)
    return row


@dataclass(frozen=True)
class Column:
    """A line of the data dictionary."""

    name: str
    kind: Kind
    meaning: str


def summary_columns() -> list[Column]:
    """Return the columns of summary.csv with their meanings, in order."""
    return [column for metric in (*_BEFORE, *VERDICT, *_AFTER, FAILED) for column in _columns(metric, intervals=True)]


def trial_columns() -> list[Column]:
    """Return the columns of trials.csv with their meanings, in order."""
    return [column for metric in OF_TRIALS for column in _columns(metric, intervals=False)]


def _columns(metric: Metric, intervals: bool) -> list[Column]:
    found = [Column(metric.name, metric.kind, metric.meaning)]
    if metric.interval and intervals:
        low, high = metric.interval_names
        how = "percentile bootstrap over trials, 1,000 resamples; empty for one trial"
        found.append(Column(low, metric.kind, f"lower end of the 95 % interval of `{metric.name}`: {how}"))
        found.append(Column(high, metric.kind, f"upper end of the 95 % interval of `{metric.name}`"))
    return found


def observation(variant: Variant, row: Mapping[str, Any], own_words: Callable[[Mapping[str, Any]], str] | None) -> str:
    """Return a sentence on what was seen: that of the client module, or a plain one."""
    if row["latency_mean_ms"] is None or row["latency_p50_ms"] is None:
        return "gave too few deliveries to say anything"
    if own_words is not None:
        return own_words({**row, **variant.options})
    return f"delivered {row['delivered']} of {row['expected']}, {row['latency_p50_ms']:.2g} ms at the median"
