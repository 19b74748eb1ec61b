"""From the records of a trial's processes to what the trial counted, with its samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from rtbench.analysis.counts import TrialCounts
from rtbench.analysis.measured import Measured, account_for
from rtbench.plan.records import Deliveries, Publishes
from rtbench.transports.records import Usage
from rtbench.trial.trial import Trial
from rtbench.wire.tcp import total
from rtbench.wire.traffic import Predicted, Traffic

if TYPE_CHECKING:
    from numpy.typing import NDArray

Predict: TypeAlias = Callable[..., Predicted]

_LEAST_FOR_PACE = 20  # messages


def _empty(cls: type[Any]) -> Any:
    return cls(*(np.zeros(0, dtype=bool if f.name == "intact" else np.int64) for f in fields(cls)))


def measured(trial: Trial, predict: Predict | None) -> Measured:
    """Return the counts and samples of a trial that was just run; `predict` is that of the transport's client."""
    plan = trial.plan
    publishes = trial.publishes if trial.publishes is not None else _empty(Publishes)
    deliveries = trial.deliveries if trial.deliveries is not None else _empty(Deliveries)
    since_ns = round(plan.workload.warmup_s * 1e9)
    everything = account_for(plan.workload, publishes, deliveries, 0)[0]
    ledger = account_for(plan.workload, publishes, deliveries, since_ns)[0]
    wall_s = trial.wall_ns / 1e9
    usages = [*trial.publishers, *trial.subscribers]
    counts = TrialCounts(
        index=plan.index,
        block=plan.block,
        variant=plan.variant.name,
        server_url=trial.server_url,
        error=trial.error,
        offered=len(publishes.due_ns),
        unfinished=int((publishes.done_ns == 0).sum()),
        pace=_pace(publishes),
        lost_in_warmup=everything.lost - ledger.lost,
        published_in_all=everything.published,
        deliveries=len(deliveries.due_ns),
        missed_told=trial.missed_told,
        requests=sum(usage.requests for usage in trial.subscribers),
        empty_requests=sum(usage.empty_requests for usage in trial.subscribers),
        nagle_sockets=sum(usage.nagle for usage in usages) + (trial.server_ends.nagle if trial.server_ends else 0),
        server_retransmitted_bytes=trial.server_ends.retransmitted_bytes if trial.server_ends else None,
        wall_s=wall_s,
        client_cpu=max((usage.cpu_ns for usage in usages), default=0) / 1e9 / wall_s if wall_s else 0.0,
        client_cpu_ns=sum(usage.cpu_ns for usage in trial.subscribers),
        clock_bound_ns=_clock_bound_ns(trial),
        clock_step_ns=max((_clock_step_ns(usage) for usage in trial.subscribers), default=0),
        others_cpu=_others_cpu(trial),
        server_cpu_ns=_grown(trial, "cpu_ns"),
        server_rss_bytes=trial.after.rss_bytes if trial.after else None,
        server_waiting_ns=_grown(trial, "waiting_ns"),
        server_voluntary_switches=_grown(trial, "voluntary_switches"),
        server_involuntary_switches=_grown(trial, "involuntary_switches"),
        client_waiting_ns=max((usage.waiting_ns for usage in usages if usage.waiting_ns is not None), default=None),
        listen_drops=trial.listen_drops,
        io_stalled_ns=trial.io_stalled_ns,
        stolen_ns=trial.stolen_ns,
        publisher_setup_wire=total([usage.setup_wire for usage in trial.publishers]),
        publisher_run_wire=total([usage.run_wire for usage in trial.publishers]),
        publisher_closing_wire=total([usage.closing_wire for usage in trial.publishers]),
        subscriber_setup_wire=total([usage.setup_wire for usage in trial.subscribers]),
        subscriber_run_wire=total([usage.run_wire for usage in trial.subscribers]),
        subscriber_closing_wire=total([usage.closing_wire for usage in trial.subscribers]),
        connect_ns=tuple(ns for usage in trial.subscribers for ns in usage.opening_ns),
        keep_alive_bytes=sum(usage.keep_alive_bytes for usage in usages),
        predicted=_predicted(trial, publishes, deliveries, predict),
        faults=tuple(trial.evidence),
        placement=str(plan.placement),
        outages=tuple(trial.outages),
        **_of_link(trial),
    )
    return Measured(counts, plan.workload, publishes, deliveries)


def _of_link(trial: Trial) -> dict[str, Any]:
    """Return what was measured of the link before the trial."""
    seen = trial.link
    if seen is None:
        return {}
    return {
        "link_rtt_ms": float(np.median(seen.rtt_ms)) if len(seen.rtt_ms) else None,
        "link_loss": (seen.lost or 0) / seen.sent if seen.sent else None,
        "link_down_bps": seen.down_bps,
        "link_up_bps": seen.up_bps,
        "link_wrong": trial.link_wrong,
    }


def _clock_bound_ns(trial: Trial) -> int:
    """Return how far the offset between two of the processes may be wrong: the two largest bounds, added."""
    return sum(sorted(offset.bound_ns for offset in trial.clocks.values())[-2:])


def _clock_step_ns(usage: Usage) -> int:
    before_ns, after_ns = usage.realtime_offset_ns
    return abs(after_ns - before_ns)


def _predicted(trial: Trial, publishes: Publishes, deliveries: Deliveries, predict: Predict | None) -> Predicted | None:
    """Return the bytes that the transport's format needs for what the trial counted."""
    if predict is None:
        return None
    workload = trial.plan.workload
    publisher_topics, subscriber_topics = trial.plan.publisher_topics, trial.plan.subscriber_topics
    batches: Counter[int] = Counter()
    for usage in trial.subscribers:
        batches += usage.batches
    traffic = Traffic(
        server_url=trial.server_url,
        payload_bytes=workload.payload_bytes,
        publishers=Counter(publisher_topics),
        subscribers=Counter(subscriber_topics),
        published=_by_topic(publisher_topics, publishes.publisher[publishes.sent_ns > 0]),
        delivered=_by_topic(subscriber_topics, deliveries.subscriber),
        requests=sum(usage.requests_on_wire for usage in trial.subscribers),
        batches=batches,
        publisher_keep_alives=sum(usage.keep_alives for usage in trial.publishers),
        subscriber_keep_alives=sum(usage.keep_alives for usage in trial.subscribers),
    )
    return predict(traffic, **trial.plan.variant.options)


def _by_topic(topics: Sequence[str], connections: NDArray[np.int64]) -> Counter[str]:
    """Count what went over each of the connections, whose topics these are."""
    found: Counter[str] = Counter()
    for topic, count in zip(topics, np.bincount(connections, minlength=len(topics)), strict=True):
        found[topic] += int(count)
    return found


def _pace(publishes: Publishes) -> float:
    """Return how fast messages were done beside how fast they were due, at most 1.

    From the spans that the middle nine tenths took, so that neither a way that is long nor one stall counts.
    """
    done = publishes.done_ns > 0
    if done.sum() < _LEAST_FOR_PACE:
        return 1.0
    due, finished = (np.percentile(times[done], (5, 95)) for times in (publishes.due_ns, publishes.done_ns))
    return min(float((due[1] - due[0]) / max(finished[1] - finished[0], 1)), 1.0)


def _others_cpu(trial: Trial) -> float:
    clients = sum(usage.cpu_ns for usage in [*trial.publishers, *trial.subscribers])
    ours = (_grown(trial, "cpu_ns") or 0) + clients
    return max(trial.system_cpu_ns - ours, 0) / trial.wall_ns if trial.wall_ns else 0.0


def _grown(trial: Trial, field: str) -> int | None:
    """Return by how much a figure of the server's load grew in a trial; None where either end is not known."""
    before, after = getattr(trial.before, field, None), getattr(trial.after, field, None)
    return None if before is None or after is None else int(after - before)
