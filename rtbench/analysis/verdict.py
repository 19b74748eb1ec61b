"""Verdict: whether a variant's trials are fit to conclude from, with reasons in words. Pure.

A check is a function of a variant's summary row and its trials that returns a finding or None; `CHECKS` is the list of
them. A finding makes a variant `invalid` (do not use the figures) or `suspect` (use them knowing this), and says what
would help.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rtbench.analysis import statistics

if TYPE_CHECKING:
    from rtbench.analysis.measured import Measured

VALID, SUSPECT, INVALID = "valid", "suspect", "invalid"

LEAST_ACHIEVED = 0.95  # of the rate offered
MOST_CLIENT_CPU = 0.80  # of a core, by either client process
MOST_SERVER_CPU = 0.95
MOST_WAITING = 0.4  # of the latency, by waiting for a core for each message
MOST_WAITING_IN_ALL = 0.25  # of the time; many messages wait through one such wait
MOST_OTHERS_CPU = 0.25  # of a core, by what is not part of the trial; twice as much in one trial is too much
MOST_LAG = 0.5  # of the median latency
LEAST_LAG_MS = 1.0  # below which a lag is not worth a word
MOST_LATE = 0.01  # of the messages, by such a lag, and
FEW_LATE = 2  # of them, which one hiccup of an idle machine makes late
MOST_IO_STALL = 0.05  # of the time; idle 0.0006, beside a program that writes and syncs 0.2 to 0.45
LEAST_STALL_MS = 100.0  # of a single delivery, and
LEAST_STALL = 10.0  # times the median
MOST_SENT_AGAIN = 0.001  # of the bytes that TCP carried
MOST_CLOCK_STEP_NS = 1_000_000
DELAYED_ACK_MS = (38.0, 50.0)  # Linux delays an acknowledgement by 40 ms (TCP_DELACK_MIN); then the rest is delivered
LEAST_CLUSTER = 0.02  # of the deliveries, to be called a cluster
PERCENTILES = (50, 90, 99)  # that the table shows
MOST_DRIFT = 2.0  # between the medians of the trials, the largest to the smallest, in steady order


@dataclass(frozen=True)
class Finding:
    """What is wrong, how bad it is, and what would help."""

    verdict: str
    reason: str


Row = Mapping[str, Any]
Trials = Sequence["Measured"]


def judge(row: Row, trials: Trials) -> tuple[str, list[str]]:
    """Return the verdict of a variant and its reasons, the worst first."""
    good = [trial for trial in trials if not trial.counts.error]
    found = [finding for check in CHECKS if (finding := check(row, trials if check is failed_trials else good))]
    found.sort(key=lambda finding: finding.verdict != INVALID)
    return (found[0].verdict if found else VALID), [finding.reason for finding in found]


def failed_trials(row: Row, trials: Trials) -> Finding | None:
    """A trial that failed stays in the result and in the verdict."""
    failed = [trial for trial in trials if trial.counts.error]
    if not failed:
        return None
    return Finding(INVALID, f"{len(failed)} of {len(trials)} trials failed: {failed[0].counts.error}")


def not_achieved(row: Row, trials: Trials) -> Finding | None:
    """Above capacity, latency measures the length of the run."""
    achieved = float(np.mean([trial.achieved for trial in trials])) if trials else 1.0
    if achieved >= LEAST_ACHIEVED:
        return None
    return Finding(INVALID, f"overload: {achieved:.0%} of the offered rate was achieved; lower --rate")


def busy_generator(row: Row, trials: Trials) -> Finding | None:
    """A load generator short of CPU measures itself."""
    busiest = max((trial.counts.client_cpu for trial in trials), default=0.0)
    if busiest <= MOST_CLIENT_CPU:
        return None
    return Finding(INVALID, f"a client process used {busiest:.0%} of a core; lower --rate or --subscribers")


def busy_machine(row: Row, trials: Trials) -> Finding | None:
    """What others compute, ours waits for; one burst in one trial is forgiven, not more."""
    shares = [trial.counts.others_cpu for trial in trials]
    if not shares or (np.median(shares) <= MOST_OTHERS_CPU and max(shares) <= 2 * MOST_OTHERS_CPU):
        return None
    return Finding(INVALID, f"other processes used {max(shares):.0%} of a core; stop them (`rtbench doctor` looks)")


def starved_server(row: Row, trials: Trials) -> Finding | None:
    """A server that is ready and has no core to run on: its latency is the machine's."""
    return _starved("the server", row, trials, [trial.counts.server_waiting_ns for trial in trials])


def starved_client(row: Row, trials: Trials) -> Finding | None:
    """As for the server, of the client process that waited longer."""
    return _starved("a client process", row, trials, [trial.counts.client_waiting_ns for trial in trials])


def _starved(who: str, row: Row, trials: Trials, waiting_ns: Sequence[int | None]) -> Finding | None:
    """Find a process that in most trials waited long for a core: beside the latency, or beside the time itself.

    The share of waiting in the time in which it could have run says nothing: it is 0.2 to 0.6 on an idle machine, where
    a wait is as short as the work.
    """
    latency_ms = row["latency_p50_ms"]
    known = [(t.counts, ns) for t, ns in zip(trials, waiting_ns, strict=True) if ns is not None and t.counts.wall_s]
    if not known or latency_ms is None:
        return None
    a_message_ms = float(np.median([ns / 1e6 / max(figures.published_in_all, 1) for figures, ns in known]))
    share = float(np.median([ns / 1e9 / figures.wall_s for figures, ns in known]))
    if a_message_ms <= MOST_WAITING * latency_ms and share <= MOST_WAITING_IN_ALL:
        return None
    return Finding(
        SUSPECT,
        f"{who} waited for a core for {a_message_ms:.2g} ms a message, {share:.0%} of the time, beside a latency of "
        f"{latency_ms:.2g} ms; stop other processes or lower --rate",
    )


def nagle(row: Row, trials: Trials) -> Finding | None:
    """Nagle's algorithm (RFC 896) with delayed acknowledgements makes steps of 40 ms."""
    count = sum(trial.counts.nagle_sockets for trial in trials)
    if not count:
        return None
    return Finding(INVALID, f"{count} sockets without TCP_NODELAY; latencies in steps of 40 ms are theirs")


def cluster_at_40_ms(row: Row, trials: Trials) -> Finding | None:
    """The trace of a delayed acknowledgement, wherever it comes from: a heap at 40 ms that its neighbourhood lacks."""
    latency = np.concatenate([trial.latency_ms for trial in trials]) if trials else np.empty(0)
    if len(latency) == 0:
        return None
    low, high = DELAYED_ACK_MS
    width = high - low
    inside = float(((latency >= low) & (latency < high)).mean())
    beside = float(
        (((latency >= low - width) & (latency < low)) | ((latency >= high) & (latency < high + width))).mean()
    )
    if inside < LEAST_CLUSTER or inside < 3 * beside / 2:
        return None
    return Finding(
        SUSPECT, f"{inside:.0%} of the latencies lie at 40 ms: somewhere Nagle's algorithm waits for an acknowledgement"
    )


def late_generator(row: Row, trials: Trials) -> Finding | None:
    """A late generator's own lag is part of every latency."""
    latency = row["latency_p50_ms"]
    if latency is None:
        return None
    limit = max(LEAST_LAG_MS, MOST_LAG * latency)
    late = sum(int((trial.generator_lag_ms > limit).sum()) for trial in trials)
    count = sum(len(trial.generator_lag_ms) for trial in trials)
    if late <= max(MOST_LATE * count, FEW_LATE):
        return None
    share = f"{late} of {count} messages by more than {limit:.2g} ms"
    return Finding(SUSPECT, f"the publisher was late: {share}, beside a latency of {latency:.2g} ms; lower --rate")


def busy_server(row: Row, trials: Trials) -> Finding | None:
    """A server at its limit queues; what it queues is latency."""
    percent = row["server_cpu_percent"]
    if percent is None or percent <= 100 * MOST_SERVER_CPU:
        return None
    return Finding(SUSPECT, f"the server used {percent:.0f} % of a core: this is its limit; lower --rate")


def retransmissions(row: Row, trials: Trials) -> Finding | None:
    """Loopback loses nothing; what is sent twice there was refused by a full queue.

    A single segment may be a probe that overtook an acknowledgement (TLP, RFC 8985 section 7), and harms nobody.
    """
    wires = [trial.counts.run_wire for trial in trials if trial.counts.run_wire is not None]
    sent_again = sum(wire.retransmitted_bytes for wire in wires)
    sent_again += sum(trial.counts.server_retransmitted_bytes or 0 for trial in trials)
    if sent_again <= MOST_SENT_AGAIN * sum(wire.carried_bytes for wire in wires):
        return None
    return Finding(
        SUSPECT,
        f"{sent_again} bytes were retransmitted on loopback: a queue was full, or an end too slow; lower --rate",
    )


def listen_drops(row: Row, trials: Trials) -> Finding | None:
    """A connection that is turned away comes again a second later, and what it was to hear is late or lost."""
    dropped = sum(trial.counts.listen_drops or 0 for trial in trials)
    if not dropped:
        return None
    return Finding(
        SUSPECT,
        f"{dropped} connections were turned away by a full listen queue; give the server a longer backlog, raise "
        "net.core.somaxconn (`rtbench doctor` shows it), or take fewer --subscribers",
    )


def waiting_for_disk(row: Row, trials: Trials) -> Finding | None:
    """A relay has no business with a disk; where something waits for one, it may be the server."""
    shares = [(t.counts.io_stalled_ns or 0) / 1e9 / t.counts.wall_s for t in trials if t.counts.wall_s]
    if max(shares, default=0.0) <= MOST_IO_STALL:
        return None
    return Finding(
        SUSPECT,
        f"something on this machine waited for a disk for {max(shares):.0%} of a trial; stop what writes, or let the "
        "server keep its messages in memory",
    )


def stood_still(row: Row, trials: Trials) -> Finding | None:
    """A freeze touches few messages and no median; the percentiles far out are its length."""
    longest = max((float(trial.latency_ms.max()) for trial in trials if len(trial.latency_ms)), default=0.0)
    median = row["latency_p50_ms"]
    if median is None or longest < max(LEAST_STALL_MS, LEAST_STALL * median):
        return None
    return Finding(
        SUSPECT,
        f"a delivery took {longest:.0f} ms beside {median:.2g} ms at the median: something stood still; "
        "measure again, with more --trials",
    )


def too_few_samples(row: Row, trials: Trials) -> Finding | None:
    """A percentile stands on the deliveries beyond it; the table leaves it empty where they are too few."""
    count = row["delivered"]
    missing = [percent for percent in PERCENTILES if not statistics.supported(count, percent)]
    if not trials or not missing:
        return None
    names = " and ".join(f"p{percent}" for percent in missing)
    needed = math.ceil(100 * statistics.BEYOND / (100 - missing[-1]))
    return Finding(
        SUSPECT,
        f"{names} left empty: {count:,} deliveries, p{missing[-1]} takes {needed:,}; raise --duration or --trials",
    )


def clock_step(row: Row, trials: Trials) -> Finding | None:
    """The kernel stamps arrivals by a clock that somebody may set."""
    step_ns = max((trial.counts.clock_step_ns for trial in trials), default=0)
    if step_ns <= MOST_CLOCK_STEP_NS:
        return None
    return Finding(SUSPECT, f"the clock was set by {step_ns / 1e6:.0f} ms in a trial: its arrival times are left out")


def drifting_trials(row: Row, trials: Trials) -> Finding | None:
    """Trials that go one way, the last far from the first, are not repetitions of one thing."""
    medians = [float(np.median(trial.latency_ms)) for trial in trials if len(trial.latency_ms)]
    steady = medians in (sorted(medians), sorted(medians, reverse=True))
    if len(medians) < 3 or not steady or max(medians) < MOST_DRIFT * min(medians):
        return None
    return Finding(
        SUSPECT,
        f"the trials drift: median {medians[0]:.2g} ms in the first, {medians[-1]:.2g} ms in the last; run longer",
    )


def lost_in_warmup(row: Row, trials: Trials) -> Finding | None:
    """What is lost before the measured part is in no other figure."""
    lost = sum(trial.counts.lost_in_warmup for trial in trials)
    return Finding(SUSPECT, f"{lost} messages lost in the warm-up") if lost else None


CHECKS = (
    failed_trials,
    not_achieved,
    busy_generator,
    busy_machine,
    starved_server,
    starved_client,
    nagle,
    cluster_at_40_ms,
    late_generator,
    busy_server,
    retransmissions,
    listen_drops,
    waiting_for_disk,
    stood_still,
    clock_step,
    drifting_trials,
    lost_in_warmup,
    too_few_samples,
)
