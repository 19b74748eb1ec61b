"""Verdict: whether the results of a variant are fit to conclude from, with reasons in words. Pure.

A check is a function of the summary row of a variant and its trials. It returns a finding or None; `CHECKS` lists all
checks. A finding makes a variant `invalid` (do not use its results) or `suspect` (use them with this in mind). Its
reason also says what to change.
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

LEAST_ACHIEVED = 0.95  # of the offered rate
MOST_CLIENT_CPU = 0.80  # of a core, by any client process
MOST_SERVER_CPU = 0.95
MOST_WAITING = 0.4  # of the median latency: waiting for a core, per message
MOST_WAITING_IN_ALL = 0.25  # of the time: waiting for a core; one wait can delay many messages
MOST_OTHERS_CPU = 0.25  # of a core, by other processes, at the median; in one trial at most twice as much
MOST_LAG = 0.5  # of the median latency
LEAST_LAG_MS = 1.0  # a lag below this is not reported
MOST_LATE = 0.01  # of the messages may have such a lag
FEW_LATE = 2  # so many messages may be late in any case: one pause of an idle machine delays them
MOST_IO_STALL = 0.05  # of the time; 0.0006 on an idle machine, 0.2 to 0.45 if a program writes and syncs
LEAST_STALL_MS = 100.0  # latency of a single delivery, and it must be
LEAST_STALL = 10.0  # times the median or more
MOST_SENT_AGAIN = 0.001  # of the bytes that TCP carried
MOST_CLOCK_STEP_NS = 1_000_000
MOST_CLOCK_BOUND = 0.1  # of the median latency
DELAYED_ACK_MS = (38.0, 50.0)  # Linux delays an acknowledgement by 40 ms (TCP_DELACK_MIN), and Nagle waits for it
LEAST_CLUSTER = 0.02  # of the deliveries; fewer are not a cluster
PERCENTILES = (50, 90, 99)  # of the table
MOST_DRIFT = 2.0  # largest median of the trials divided by the smallest, if the medians only rise or only fall


@dataclass(frozen=True)
class Finding:
    """A verdict (`suspect` or `invalid`), and its reason with advice."""

    verdict: str
    reason: str


Row = Mapping[str, Any]
Trials = Sequence["Measured"]


def judge(row: Row, trials: Trials) -> tuple[str, list[str]]:
    """Return the verdict of a variant and its reasons, reasons for `invalid` first."""
    good = [trial for trial in trials if not trial.counts.error]
    found = [finding for check in CHECKS if (finding := check(row, trials if check is failed_trials else good))]
    found.sort(key=lambda finding: finding.verdict != INVALID)
    return (found[0].verdict if found else VALID), [finding.reason for finding in found]


def failed_trials(row: Row, trials: Trials) -> Finding | None:
    """Find failed trials; they stay in the result."""
    failed = [trial for trial in trials if trial.counts.error]
    if not failed:
        return None
    return Finding(INVALID, f"{len(failed)} of {len(trials)} trials failed: {failed[0].counts.error}")


def not_achieved(row: Row, trials: Trials) -> Finding | None:
    """Find overload: above the capacity of the server, latency depends on the duration of the run."""
    achieved = float(np.mean([trial.achieved for trial in trials])) if trials else 1.0
    if achieved >= LEAST_ACHIEVED:
        return None
    return Finding(INVALID, f"overload: {achieved:.0%} of the offered rate was achieved; lower --rate")


def busy_generator(row: Row, trials: Trials) -> Finding | None:
    """Find a client process that used too much CPU: the latencies would be its own delays."""
    busiest = max((trial.counts.client_cpu for trial in trials), default=0.0)
    if busiest <= MOST_CLIENT_CPU:
        return None
    return Finding(INVALID, f"a client process used {busiest:.0%} of a core; lower --rate or --subscribers")


def busy_machine(row: Row, trials: Trials) -> Finding | None:
    """Find CPU use of other processes, which delays the trial; a short burst in one trial is tolerated."""
    shares = [trial.counts.others_cpu for trial in trials]
    if not shares or (np.median(shares) <= MOST_OTHERS_CPU and max(shares) <= 2 * MOST_OTHERS_CPU):
        return None
    return Finding(
        INVALID, f"other processes used {max(shares):.0%} of a core; stop them (`rtbench doctor` checks this)"
    )


def starved_server(row: Row, trials: Trials) -> Finding | None:
    """Find a server that often waited for a core: the latency would be that of the machine."""
    return _starved("the server", row, trials, [trial.counts.server_waiting_ns for trial in trials])


def starved_client(row: Row, trials: Trials) -> Finding | None:
    """Find a client process that often waited for a core."""
    return _starved("a client process", row, trials, [trial.counts.client_waiting_ns for trial in trials])


def _starved(who: str, row: Row, trials: Trials, waiting_ns: Sequence[int | None]) -> Finding | None:
    """Find a process that in most trials waited long for a core, compared with the latency or with the total time.

    waiting / (waiting + CPU time) is not a useful criterion: it is 0.2 to 0.6 on an idle machine, where the waits are
    as short as the work.
    """
    latency_ms = row["latency_p50_ms"]
    known = [(t.counts, ns) for t, ns in zip(trials, waiting_ns, strict=True) if ns is not None and t.counts.wall_s]
    if not known or latency_ms is None:
        return None
    per_message_ms = float(np.median([ns / 1e6 / max(counts.published_in_all, 1) for counts, ns in known]))
    share = float(np.median([ns / 1e9 / counts.wall_s for counts, ns in known]))
    if per_message_ms <= MOST_WAITING * latency_ms and share <= MOST_WAITING_IN_ALL:
        return None
    return Finding(
        SUSPECT,
        f"{who} waited for a core for {per_message_ms:.2g} ms per message, {share:.0%} of the time, at a median "
        f"latency of {latency_ms:.2g} ms; stop other processes or lower --rate",
    )


def nagle(row: Row, trials: Trials) -> Finding | None:
    """Find Nagle's algorithm (RFC 896): with delayed acknowledgements it adds delays of 40 ms."""
    count = sum(trial.counts.nagle_sockets for trial in trials)
    if not count:
        return None
    return Finding(INVALID, f"{count} sockets without TCP_NODELAY; they cause delays of 40 ms")


def cluster_at_40_ms(row: Row, trials: Trials) -> Finding | None:
    """Find delayed acknowledgements of any origin: more latencies at 40 ms than just below and just above it."""
    latency = np.concatenate([trial.latency_ms for trial in trials]) if trials else np.empty(0)
    if len(latency) == 0:
        return None
    low, high = DELAYED_ACK_MS
    width = high - low
    inside = float(((latency >= low) & (latency < high)).mean())
    outside = float(
        (((latency >= low - width) & (latency < low)) | ((latency >= high) & (latency < high + width))).mean()
    )
    if inside < LEAST_CLUSTER or inside < 3 * outside / 2:
        return None
    return Finding(
        SUSPECT,
        f"{inside:.0%} of the latencies lie at 40 ms: a socket with Nagle's algorithm waits for acknowledgements",
    )


def late_generator(row: Row, trials: Trials) -> Finding | None:
    """Find a publisher that was late: its lag is part of the latency."""
    latency = row["latency_p50_ms"]
    if latency is None:
        return None
    limit = max(LEAST_LAG_MS, MOST_LAG * latency)
    late = sum(int((trial.generator_lag_ms > limit).sum()) for trial in trials)
    count = sum(len(trial.generator_lag_ms) for trial in trials)
    if late <= max(MOST_LATE * count, FEW_LATE):
        return None
    share = f"{late} of {count} messages by more than {limit:.2g} ms"
    return Finding(SUSPECT, f"the publisher was late: {share}, at a median latency of {latency:.2g} ms; lower --rate")


def busy_server(row: Row, trials: Trials) -> Finding | None:
    """Find a server near a full core: messages wait in its queues, which adds latency."""
    percent = row["server_cpu_percent"]
    if percent is None or percent <= 100 * MOST_SERVER_CPU:
        return None
    return Finding(SUSPECT, f"the server used {percent:.0f} % of a core: this is its limit; lower --rate")


def retransmissions(row: Row, trials: Trials) -> Finding | None:
    """Find retransmissions: loopback loses no segment, so a full queue must have dropped it.

    A single retransmitted segment may be a tail loss probe (TLP, RFC 8985 section 7), which is harmless.
    """
    wires = [trial.counts.run_wire for trial in trials if trial.counts.run_wire is not None]
    sent_again = sum(wire.retransmitted_bytes for wire in wires)
    sent_again += sum(trial.counts.server_retransmitted_bytes or 0 for trial in trials)
    if sent_again <= MOST_SENT_AGAIN * sum(wire.carried_bytes for wire in wires):
        return None
    return Finding(
        SUSPECT,
        f"{sent_again} bytes were retransmitted on loopback: a queue was full, or a process was too slow; lower --rate",
    )


def listen_drops(row: Row, trials: Trials) -> Finding | None:
    """Find dropped connections: they are retried a second later, and their messages are late or lost."""
    dropped = sum(trial.counts.listen_drops or 0 for trial in trials)
    if not dropped:
        return None
    return Finding(
        SUSPECT,
        f"{dropped} connections were turned away by a full listen queue; give the server a longer backlog, raise "
        "net.core.somaxconn (`rtbench doctor` shows it), or use fewer --subscribers",
    )


def waiting_for_disk(row: Row, trials: Trials) -> Finding | None:
    """Find waits for a disk: a server that only relays messages should not wait for one."""
    shares = [(t.counts.io_stalled_ns or 0) / 1e9 / t.counts.wall_s for t in trials if t.counts.wall_s]
    if max(shares, default=0.0) <= MOST_IO_STALL:
        return None
    return Finding(
        SUSPECT,
        f"a process on this machine waited for a disk for {max(shares):.0%} of a trial; stop programs that write, "
        "or let the server keep its messages in memory",
    )


def stood_still(row: Row, trials: Trials) -> Finding | None:
    """Find a pause: it delays few messages and does not change the median, but determines the highest percentiles."""
    longest = max((float(trial.latency_ms.max()) for trial in trials if len(trial.latency_ms)), default=0.0)
    median = row["latency_p50_ms"]
    if median is None or longest < max(LEAST_STALL_MS, LEAST_STALL * median):
        return None
    return Finding(
        SUSPECT,
        f"a delivery took {longest:.0f} ms, and the median is {median:.2g} ms: a process or the machine stood still; "
        "measure again, with more --trials",
    )


def too_few_samples(row: Row, trials: Trials) -> Finding | None:
    """Find percentiles that the table leaves empty because too few deliveries lie beyond them."""
    count = row["delivered"]
    missing = [percent for percent in PERCENTILES if not statistics.supported(count, percent)]
    if not trials or not missing:
        return None
    names = " and ".join(f"p{percent}" for percent in missing)
    needed = math.ceil(100 * statistics.BEYOND / (100 - missing[-1]))
    return Finding(
        SUSPECT,
        f"{names} left empty: {count:,} deliveries, p{missing[-1]} needs {needed:,}; raise --duration or --trials",
    )


def clock_step(row: Row, trials: Trials) -> Finding | None:
    """Find a change of CLOCK_REALTIME, the clock of the kernel's receive stamps."""
    step_ns = max((trial.counts.clock_step_ns for trial in trials), default=0)
    if step_ns <= MOST_CLOCK_STEP_NS:
        return None
    return Finding(SUSPECT, f"the clock was set by {step_ns / 1e6:.0f} ms in a trial: its arrival times are left out")


def uncertain_clocks(row: Row, trials: Trials) -> Finding | None:
    """Find clocks of different hosts whose offset is not known well enough for a one-way latency."""
    bound_ms = max((trial.counts.clock_bound_ns for trial in trials), default=0) / 1e6
    latency_ms = row["latency_p50_ms"]
    if latency_ms is None or bound_ms < MOST_CLOCK_BOUND * latency_ms:
        return None
    return Finding(
        INVALID,
        f"the offset between the clocks is known only to {bound_ms:.2g} ms, at a median latency of {latency_ms:.2g} "
        "ms; run publishers and subscribers on one host",
    )


def drifting_trials(row: Row, trials: Trials) -> Finding | None:
    """Find trials whose medians only rise or only fall, by a large factor: the conditions changed during the run."""
    medians = [float(np.median(trial.latency_ms)) for trial in trials if len(trial.latency_ms)]
    steady = medians in (sorted(medians), sorted(medians, reverse=True))
    if len(medians) < 3 or not steady or max(medians) < MOST_DRIFT * min(medians):
        return None
    return Finding(
        SUSPECT,
        f"the trials drift: median {medians[0]:.2g} ms in the first, {medians[-1]:.2g} ms in the last; run longer",
    )


def lost_in_warmup(row: Row, trials: Trials) -> Finding | None:
    """Find messages lost in the warm-up, which no other count includes."""
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
    uncertain_clocks,
    drifting_trials,
    lost_in_warmup,
    too_few_samples,
)
