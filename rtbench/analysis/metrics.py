"""Metrics: every column of summary.csv and trials.csv, and the rows that they make. Pure.

A metric is added in one place, with its name, type, meaning and computation: in `latencies.py` if it is a time, in
`costs.py` if it is a cost, in `recovery.py` if it is about faults, here if it is a count or belongs to a single trial.
Its name ends in its unit. Its meaning is the text in the data dictionary (docs/results.md, written by `make
dictionary`). `IDENTITY` and `WORKLOAD` say what was measured. `COUNTS`, `LATENCY`, `COSTS`, `TIMELINE` and `RECOVERY`
are computed for a variant and for a single trial; `OF_A_TRIAL` only for a single trial. In summary.csv the metrics with
`first=True` come before the verdict, the others after it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from rtbench.analysis import verdict
from rtbench.analysis.costs import COSTS
from rtbench.analysis.disturbance import counted, disturbance
from rtbench.analysis.latencies import LATENCY, TIMELINE
from rtbench.analysis.measured import Measured
from rtbench.analysis.metric import IDENTITY, Column, Group, Metric, Trials, columns_of
from rtbench.analysis.recovery import RECOVERY
from rtbench.analysis.regimes import OF_A_RATE, SPARSE_METRICS, lowest_rate, sparse_groups
from rtbench.table import significant

if TYPE_CHECKING:
    from rtbench.plan.variant import Variant
    from rtbench.plan.workload import Workload

WORKLOAD = (
    Metric("trials", "integer", "completed trials", lambda g: len(g.trials)),
    Metric(
        "network",
        "text",
        "what lies between clients and server: `loopback`, or an emulated network by its name or its numbers",
        lambda g: g.variant.network,
    ),
    Metric(
        "link",
        "text",
        "what emulates it: `packet` (packets are delayed and dropped), `stream` (a relay of TCP connections), or "
        "`loopback`: nothing",
        lambda g: g.variant.link,
    ),
    Metric(
        "reconnect",
        "text",
        "what clients do when a connection is lost: `none`, `naive` or `robust`; empty: that fails the trial",
        lambda g: g.variant.reconnect,
    ),
    Metric("publishers", "integer", "the workload: number of publishers", lambda g: g.workload.publishers),
    Metric("subscribers", "integer", "the workload: number of subscribers", lambda g: g.workload.subscribers),
    Metric("rate_hz", "number", "the workload: messages per second of each publisher", lambda g: g.workload.rate_hz),
    Metric(
        "payload_bytes",
        "integer",
        "the workload: size of a message, its header included",
        lambda g: g.workload.payload_bytes,
    ),
)


# Counts of messages


def _count(name: str, meaning: str, first: bool = False) -> Metric:
    return Metric(name, "integer", meaning, lambda g: getattr(g.ledger, name), first)


COUNTS = (
    _count("published", "messages handed to the client library; = `acked` + `failed` + `indeterminate`", first=True),
    _count("acked", "publishes that the server acknowledged"),
    _count("failed", "publishes that the server refused"),
    _count(
        "indeterminate",
        "publishes without an answer; all of them if the transport has no acknowledgement (websocket, mqtt-qos0)",
    ),
    _count("expected", "(message, subscriber) pairs that should be delivered; = `delivered` + `lost`", first=True),
    _count("delivered", "pairs that were delivered at least once", first=True),
    _count("lost", "pairs that were not delivered", first=True),
    _count("duplicated", "deliveries of a pair after the first one", first=True),
    _count("reordered", "first deliveries that arrived after a later message of the same publisher", first=True),
    _count("unexpected", "deliveries that belong to no message, or arrived at the wrong subscriber"),
    _count("corrupt", "deliveries with a wrong size, header or padding"),
    _count("recovered", "indeterminate publishes whose message reached every subscriber of its topic"),
)


# Metrics of a single trial


def _wire_total(part: str) -> Callable[[Group], int | None]:
    def of(group: Group) -> int | None:
        wire = getattr(group.only.counts, part)
        return wire.ip_bytes if wire else None

    return of


def _of_counts(name: str) -> Callable[[Group], Any]:
    return lambda g: getattr(g.only.counts, name)


def _mbit_per_s(name: str) -> Callable[[Group], float | None]:
    def of(group: Group) -> float | None:
        bps = getattr(group.only.counts, name)
        return None if bps is None else bps / 1e6

    return of


TRIAL_HEAD = (
    Metric(
        "trial",
        "integer",
        "its position in the order in which trials ran, from 0; the number of its file in `samples/`",
        _of_counts("index"),
    ),
    Metric(
        "block",
        "integer",
        "its block, from 0; each block has one trial of each variant, in random order",
        _of_counts("block"),
    ),
)
TRIAL_STATE = (
    Metric("status", "text", "`ok` or `failed`", lambda g: "failed" if g.only.counts.error else "ok"),
    Metric("error", "text", "why the trial failed", _of_counts("error")),
    Metric(
        "disturbed", "text", "what outside the trial spoiled it; empty if nothing", lambda g: disturbance(g.only.counts)
    ),
    Metric(
        "server_url", "text", "where the server listened, to find its packets in a capture", _of_counts("server_url")
    ),
)


def _io_stall_share(group: Group) -> float | None:
    c = group.only.counts
    return c.io_stalled_ns / 1e9 / c.wall_s if c.io_stalled_ns is not None and c.wall_s else None


def _stolen_percent(group: Group) -> float | None:
    c = group.only.counts
    return 100 * c.stolen_ns / 1e9 / c.wall_s if c.stolen_ns is not None and c.wall_s else None


OF_A_TRIAL = (
    Metric(
        "deliveries_with_warmup",
        "integer",
        "deliveries, warm-up and duplicates included; costs are divided by this number",
        _of_counts("deliveries"),
    ),
    Metric(
        "missed_told",
        "integer",
        "messages that the server reported as skipped for a slow subscriber",
        _of_counts("missed_told"),
    ),
    Metric("requests", "integer", "requests of all subscribers for messages", _of_counts("requests")),
    Metric("wall_s", "number", "time from the start to the last delivery", _of_counts("wall_s")),
    Metric(
        "publisher_wire_bytes",
        "integer",
        "IP bytes on the connections of the publishers after they were open",
        _wire_total("publisher_run_wire"),
    ),
    Metric(
        "subscriber_wire_bytes",
        "integer",
        "IP bytes on the connections of the subscribers after they were open",
        _wire_total("subscriber_run_wire"),
    ),
    Metric(
        "setup_wire_bytes",
        "integer",
        "IP bytes of opening all connections, from the first SYN",
        _wire_total("setup_wire"),
    ),
    Metric(
        "closing_wire_bytes",
        "integer",
        "IP bytes after the end, until both ends had closed; a packet capture shows the sum of these four columns "
        "and `server_retransmitted_bytes`",
        _wire_total("closing_wire"),
    ),
    Metric(
        "retransmitted_bytes",
        "integer",
        "TCP payload that clients retransmitted",
        lambda g: g.only.counts.run_wire.retransmitted_bytes if g.only.counts.run_wire else None,
    ),
    Metric(
        "server_retransmitted_bytes",
        "integer",
        "TCP payload that the server retransmitted since the connections were opened; other columns include its "
        "headers but not its payload; empty if the sockets of the server cannot be read",
        _of_counts("server_retransmitted_bytes"),
    ),
    Metric(
        "sockets_without_nodelay",
        "integer",
        "sockets at either end with Nagle's algorithm on",
        _of_counts("nagle_sockets"),
    ),
    Metric(
        "server_sockets_checked",
        "boolean",
        "whether the sockets of the server could be read: `True` or `False`",
        lambda g: g.only.counts.server_retransmitted_bytes is not None,
    ),
    Metric(
        "link_rtt_ms",
        "number",
        "median round-trip time of the link, measured before the trial; empty without an emulated network",
        _of_counts("link_rtt_ms"),
    ),
    Metric(
        "link_loss_share",
        "number",
        "share of the packets that the link lost in that measurement, there and back, 0 to 1; empty if it carries no "
        "packets",
        _of_counts("link_loss"),
    ),
    Metric(
        "link_down_mbit_per_s",
        "number",
        "rate from server to client in that measurement; empty where the network does not limit it",
        _mbit_per_s("link_down_bps"),
    ),
    Metric("link_up_mbit_per_s", "number", "the same from client to server", _mbit_per_s("link_up_bps")),
    Metric(
        "achieved_share",
        "number",
        "the lower of two rates, as a share of the offered rate, 0 to 1: finished publishes, and deliveries",
        lambda g: g.only.achieved,
    ),
    Metric(
        "client_cpu_percent",
        "number",
        "CPU time of the client process that used the most, in percent of one core",
        lambda g: 100 * g.only.counts.client_cpu,
    ),
    Metric(
        "others_cpu_percent",
        "number",
        "CPU time of all processes that are not part of the trial, in percent of one core",
        lambda g: 100 * g.only.counts.others_cpu,
    ),
    Metric(
        "stolen_percent",
        "number",
        "time that the hypervisor took from the cores of this machine, in percent of one core",
        _stolen_percent,
    ),
    Metric(
        "client_waiting_us_per_delivery",
        "number",
        "time in which a client process was ready to run but had no core; the longest of all client processes",
        lambda g: g.per_delivery(lambda c: c.client_waiting_ns, 1e-3),
    ),
    Metric(
        "clock_step_ms",
        "number",
        "by how much CLOCK_REALTIME, the clock of the receive stamps, was set during the trial",
        lambda g: g.only.counts.clock_step_ns / 1e6,
    ),
    Metric(
        "listen_drops",
        "integer",
        "connections dropped because a listen queue of this machine was full",
        _of_counts("listen_drops"),
    ),
    Metric(
        "io_stall_share",
        "number",
        "share of the time in which at least one task of this machine waited for a disk, 0 to 1",
        _io_stall_share,
    ),
)

COMPUTED = (*COUNTS, *LATENCY, *COSTS, *TIMELINE, *RECOVERY)  # of a variant and of a trial
OF_TRIALS = (*TRIAL_HEAD, *IDENTITY, *TRIAL_STATE, *COMPUTED, *OF_A_TRIAL)  # trials.csv
_BEFORE = (*IDENTITY, *WORKLOAD, *(metric for metric in COMPUTED if metric.first))
_AFTER = (*(metric for metric in COMPUTED if not metric.first), *SPARSE_METRICS)
VERDICT = (
    Metric("verdict", "text", "`valid`, `suspect` or `invalid`", lambda _: None),
    Metric("reasons", "text", "why the verdict is not `valid`", lambda _: None),
)
FAILED = Metric(
    "failed_trials",
    "integer",
    "failed trials; no other column includes them",
    lambda g: g.failed,
)


def trial_row(trial: Measured, variant: Variant) -> dict[str, Any]:
    """Return a row of trials.csv."""
    return _row(OF_TRIALS, Group(variant, trial.workload, [trial]), intervals=False)


def fastest_ms(groups: Iterable[Trials]) -> float | None:
    """Return the smallest median latency of several groups of trials, milliseconds; None if nothing was delivered.

    The time in network and server where the kernel's stamps tell it, else the latency.
    """
    medians = []
    for trials in groups:
        figures = counted(trials)
        for part in ([t.network_server_ms for t in figures], [t.latency_ms for t in figures]):
            if sum(map(len, part)):
                medians.append(float(np.median(np.concatenate(part))))
                break
    return min(medians, default=None)


def summary_row(
    variant: Variant,
    trials: Trials,
    workload: Workload,
    fastest_ms: float | None = None,
    sparse: Trials = (),
) -> dict[str, Any]:
    """Return a row of summary.csv: metrics of the trials that count, and the verdict over all trials.

    `fastest_ms` as for `verdict.judge`. `sparse` has the trials of the variant in the sparse part.
    """
    failed = sum(t.counts.error is not None for t in trials)
    group = Group(variant, workload, counted(trials), failed=failed, sparse=lowest_rate(sparse_groups(variant, sparse)))
    row, rest = _row(_BEFORE, group, intervals=True), _row(_AFTER, group, intervals=True)
    row["verdict"], findings = verdict.judge({**row, **rest}, trials, fastest_ms, sparse)
    row["reasons"] = "; ".join(finding.reason for finding in findings)
    return {**row, **rest, FAILED.name: group.failed}


def _row(metrics: Iterable[Metric], group: Group, intervals: bool) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for metric in metrics:
        row |= metric.columns(group, intervals)
    return row


def summary_columns() -> list[Column]:
    """Return the columns of summary.csv with their meanings, in order."""
    return [column for metric in (*_BEFORE, *VERDICT, *_AFTER, FAILED) for column in columns_of(metric, intervals=True)]


def rate_columns() -> list[Column]:
    """Return the columns of rates.csv with their meanings, in order."""
    return [column for metric in OF_A_RATE for column in columns_of(metric, intervals=False)]


def trial_columns() -> list[Column]:
    """Return the columns of trials.csv with their meanings, in order."""
    return [column for metric in OF_TRIALS for column in columns_of(metric, intervals=False)]


def observation(variant: Variant, row: Mapping[str, Any], own_words: Callable[[Mapping[str, Any]], str] | None) -> str:
    """Return a sentence on the results of a variant: from `own_words` of the client module, or a general one."""
    if row["latency_mean_ms"] is None or row["latency_p50_ms"] is None:
        return "has too few messages for a result"
    if own_words is not None:
        return own_words({**row, **variant.options, "median": _median(row)})
    return f"delivered {row['delivered']} of {row['expected']}, {_median(row)}"


def _median(row: Mapping[str, Any]) -> str:
    """Return the medians in words: until the subscriber's kernel had a message, and until the application had it."""
    application, network = row["latency_p50_ms"], row["arrived_p50_ms"]
    if network is None:
        return f"{significant(application, 2)} ms at the median"
    return f"{significant(network, 2)} ms in network and server, {significant(application, 2)} ms to the application"
