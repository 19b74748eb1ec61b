"""Verdict: whether the results of a variant are fit to conclude from, with reasons in words. Pure.

A check is a function of the summary row of a variant and its trials. It returns a finding or None; `CHECKS` lists all
checks. A finding makes a variant `invalid` (do not use its results) or `suspect` (use them with this in mind). Its
reason also says what to change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from rtbench.analysis.disturbance import counted, disturbance
from rtbench.analysis.ledger import Ledger
from rtbench.units import plain

if TYPE_CHECKING:
    from rtbench.analysis.measured import Measured

VALID, SUSPECT, INVALID = "valid", "suspect", "invalid"

LEAST_ACHIEVED = 0.95  # of the offered rate, over all trials; 0.997 or more in any trial of an idle machine
LEAST_ACHIEVED_IN_ONE = 0.85
MOST_LOST = 0.01  # of the expected deliveries
MOST_CLIENT_CPU = 0.80  # of a core, by any client process
MOST_SERVER_CPU = 0.95
MOST_WAITING = 0.6  # of the median latency: waiting for a core, per message; at most 0.41 on an idle machine
MOST_WAITING_IN_ALL = 0.25  # of the time: waiting for a core; one wait can delay many messages
MOST_LAG = 0.5  # of the median latency
LEAST_LAG_MS = 1.0  # a lag below this is not reported
MOST_LATE = 0.01  # of the messages may have such a lag
FEW_LATE = 2  # so many messages may be late in any case: one pause of an idle machine delays them
MOST_LAG_OF_FASTEST = 0.4  # of the smallest median among the variants
MOST_LATE_BESIDE_FASTEST = 0.4  # of the messages may have such a lag; at most 0.25 on an idle machine
MOST_IO_STALL = 0.05  # of the time; 0.0006 on an idle machine, 0.2 to 0.45 if a program writes and syncs
LEAST_STALL_MS = 100.0  # latency of a single delivery, and it must be
LEAST_STALL = 10.0  # times the median or more
LEAST_SLOW_MS = 20.0  # latency of a slow message, and at least `LEAST_STALL` medians; 10.6 at most on an idle machine
MOST_SLOW = 0.02  # of the messages may be slow
FEW_SLOW = 3  # so many in any case
MOST_SENT_AGAIN = 0.001  # of the bytes that TCP carried
MOST_CLOCK_BOUND = 0.1  # of the median latency
DELAYED_ACK_MS = (38.0, 50.0)  # Linux delays an acknowledgement by 40 ms (TCP_DELACK_MIN), and Nagle waits for it
LEAST_CLUSTER = 0.02  # of the deliveries; fewer are not a cluster
PERCENTILES = (50, 90, 99)  # of the table
MOST_SPREAD = 2.2  # largest median of the trials divided by the smallest; at most 1.82 on an idle machine
LEAST_MESSAGES = 20  # of a trial whose median is compared
DISTURBED = "something else disturbed the trials"
STOP_OTHERS = "stop what else runs on this machine (`rtbench doctor` shows it)"


@dataclass(frozen=True)
class Finding:
    """A verdict (`suspect` or `invalid`) with its cause, what was seen of it, and advice (it may be empty)."""

    verdict: str
    cause: str
    seen: str
    advice: str = ""

    @property
    def reason(self) -> str:
        """The finding as a sentence."""
        return f"{self.cause}: {self.seen}" + f"; {self.advice}" * bool(self.advice)


Row = Mapping[str, Any]
Trials = Sequence["Measured"]
Check = Callable[[Row, Trials], Finding | None]


def judge(row: Row, trials: Trials, fastest_ms: float | None, sparse: Trials = ()) -> tuple[str, list[Finding]]:
    """Return the verdict of a variant and what was found, findings that make it `invalid` first.

    `fastest_ms`: the smallest median latency among the variants it is compared with, milliseconds; None if there is
    none. A lag of the publisher that is small beside the latency of this variant still falsifies that comparison.
    `sparse` has its trials in the sparse part of a comparison, which must deliver every message, too.
    """
    if not trials:
        return INVALID, [Finding(INVALID, "no trial was measured", "none was completed", "run it to its end")]
    figures = counted(trials)
    normal: tuple[Check, ...] = NORMAL_WITH_FAULTS if any(t.counts.faults for t in trials) else ()
    normal += NORMAL_OVER_A_NETWORK if any(t.counts.link_rtt_ms is not None for t in trials) else ()
    checks = [check for check in CHECKS if check not in normal]
    by_check = {check: check(row, trials if check in OF_ALL_TRIALS else figures) for check in checks}
    disturbed = by_check[disturbed_trials]
    if disturbed is not None and disturbed.verdict == INVALID:
        found = [finding for check, finding in by_check.items() if check not in FOLLOW_FROM_A_BUSY_MACHINE]
    else:
        found = list(by_check.values())
        if late_generator in checks:
            found.append(late_beside_the_fastest(figures, fastest_ms))
    found += in_the_sparse_part(row, sparse)
    findings = sorted(filter(None, found), key=lambda finding: finding.verdict != INVALID)
    return (findings[0].verdict if findings else VALID), findings


def failed_trials(row: Row, trials: Trials) -> Finding | None:
    """Find failed trials; they stay in the result."""
    failed = [trial for trial in trials if trial.counts.error]
    if not failed:
        return None
    return Finding(INVALID, "trials failed", f"{len(failed)} of {len(trials)} trials failed: {failed[0].counts.error}")


def disturbed_trials(row: Row, trials: Trials) -> Finding | None:
    """Find blocks whose trial was disturbed and could not be repeated undisturbed."""
    completed = [trial.counts for trial in trials if not trial.counts.error]
    reasons = {counts.index: words for counts in completed if (words := disturbance(counts))}
    blocks = {counts.block for counts in completed}
    kept = {counts.block for counts in completed if not disturbance(counts)}
    if not reasons or kept == blocks:
        return None
    seen = f"{len(kept)} of {len(blocks)} trials undisturbed: {next(iter(reasons.values()))}"
    return Finding(SUSPECT if 2 * len(kept) > len(blocks) else INVALID, DISTURBED, seen, STOP_OTHERS)


def losses(row: Row, trials: Trials) -> Finding | None:
    """Find messages that were not delivered; nothing in a trial takes them away on purpose."""
    lost, expected = row["lost"], row["expected"]
    if not lost:
        return None
    verdict = INVALID if lost > MOST_LOST * expected else SUSPECT
    seen = f"{lost:,} of {expected:,} ({plain(100 * lost / expected, 2)} %)"
    return Finding(verdict, "messages were lost", seen, "lower --rate")


def link_not_as_asked(row: Row, trials: Trials) -> Finding | None:
    """Find a network that was not the one that was asked for: each trial measures its link before it starts."""
    wrong = [trial.counts.link_wrong for trial in trials if trial.counts.link_wrong]
    if not wrong:
        return None
    return Finding(INVALID, "the network was not as asked for", f"in {len(wrong)} of {len(trials)} trials: {wrong[0]}")


def fault_not_seen(row: Row, trials: Trials) -> Finding | None:
    """Find faults that did not happen as planned: every fault leaves evidence."""
    wrong = [evidence.wrong for trial in trials for evidence in trial.counts.faults if evidence.wrong]
    return Finding(INVALID, "a fault did not happen as planned", wrong[0]) if wrong else None


def duplicates(row: Row, trials: Trials) -> Finding | None:
    """Find messages that were delivered twice: QoS 2 forbids it (MQTT 5.0, section 4.3.3)."""
    twice = row["duplicated"]
    if not twice:
        return None
    verdict = INVALID if row["qos"] == 2 else SUSPECT
    return Finding(verdict, "messages were delivered more than once", f"{twice:,} deliveries too many")


def corruption(row: Row, trials: Trials) -> Finding | None:
    """Find deliveries whose content is not what was published."""
    corrupt = row["corrupt"]
    return Finding(INVALID, "messages were corrupt", f"{corrupt:,} deliveries") if corrupt else None


def foreign(row: Row, trials: Trials) -> Finding | None:
    """Find deliveries of messages that the trial did not send, or not to that subscriber."""
    count = row["unexpected"]
    if not count:
        return None
    return Finding(SUSPECT, "foreign messages were delivered", f"{count:,} deliveries", "use a server of its own")


def in_the_sparse_part(row: Row, sparse: Trials) -> list[Finding]:
    """Find failed trials and the fate of messages in the sparse part, whose latencies are not judged."""
    ledger = sum((trial.ledger for trial in sparse if not trial.counts.error), start=Ledger())
    row = {**row, **asdict(ledger)}
    found = [check(row, sparse) for check in (failed_trials, losses, duplicates, corruption, foreign, unknown_fates)]
    return [replace(finding, cause=f"{finding.cause} in the sparse part") for finding in found if finding]


def unknown_fates(row: Row, trials: Trials) -> Finding | None:
    """Find publishes that had no answer at the end, where the transport or the socket gives one."""
    count = sum(trial.unanswered for trial in trials)
    if not count:
        return None
    seen = f"{count:,} of {row['published']:,} had no answer at the end: the server may have them, or not"
    return Finding(SUSPECT, "the fate of publishes is unknown", seen, "lower --rate, or give a longer --drain")


def not_achieved(row: Row, trials: Trials) -> Finding | None:
    """Find overload: above the capacity of the server, latency depends on the duration of the run.

    One trial has few messages, so a short pause lowers its rate: its limit is lower than that of the mean.
    """
    shares = [trial.achieved for trial in trials]
    mean, least = (float(np.mean(shares)), min(shares)) if shares else (1.0, 1.0)
    if mean >= LEAST_ACHIEVED and least >= LEAST_ACHIEVED_IN_ONE:
        return None
    achieved, where = (mean, "") if mean < LEAST_ACHIEVED else (least, " in a trial")
    return Finding(INVALID, "overload", f"{achieved:.0%} of the offered rate was achieved{where}", "lower --rate")


def busy_generator(row: Row, trials: Trials) -> Finding | None:
    """Find a client process that used too much CPU: the latencies would be its own delays."""
    busiest = max((trial.counts.client_cpu for trial in trials), default=0.0)
    if busiest <= MOST_CLIENT_CPU:
        return None
    seen = f"a client process used {busiest:.0%} of a core"
    return Finding(INVALID, "the generator was short of CPU", seen, "lower --rate or --subscribers")


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
        f"{who} waited for a core",
        f"for {plain(per_message_ms, 2)} ms per message, {share:.0%} of the time, at a median latency of "
        f"{plain(latency_ms, 2)} ms",
        "stop other processes or lower --rate",
    )


def nagle(row: Row, trials: Trials) -> Finding | None:
    """Find Nagle's algorithm (RFC 896): with delayed acknowledgements it adds delays of 40 ms."""
    count = sum(trial.counts.nagle_sockets for trial in trials)
    if not count:
        return None
    return Finding(INVALID, "Nagle's algorithm was on", f"{count} sockets without TCP_NODELAY", "set TCP_NODELAY")


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
        "a socket with Nagle's algorithm waits for acknowledgements",
        f"{inside:.0%} of the latencies lie at 40 ms",
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
    seen = (
        f"{late} of {count} messages by more than {plain(limit, 2)} ms, at a median latency of {plain(latency, 2)} ms"
    )
    return Finding(SUSPECT, "the publisher was late", seen, "lower --rate")


def late_beside_the_fastest(trials: Trials, fastest_ms: float | None) -> Finding | None:
    """Find a publisher that is late by much of the latency of the fastest variant of the comparison."""
    lag_ms = np.concatenate([trial.generator_lag_ms for trial in trials]) if trials else np.empty(0)
    if fastest_ms is None or not len(lag_ms):
        return None
    share = float((lag_ms > MOST_LAG_OF_FASTEST * fastest_ms).mean())
    if share <= MOST_LATE_BESIDE_FASTEST:
        return None
    seen = (
        f"{share:.0%} of the messages by more than {plain(MOST_LAG_OF_FASTEST * fastest_ms, 2)} ms, where the fastest "
        f"variant takes {plain(fastest_ms, 2)} ms"
    )
    return Finding(SUSPECT, "the publisher was late beside the fastest variant", seen, "lower --rate")


def busy_server(row: Row, trials: Trials) -> Finding | None:
    """Find a server near a full core: messages wait in its queues, which adds latency."""
    percent = row["server_cpu_percent"]
    if percent is None or percent <= 100 * MOST_SERVER_CPU:
        return None
    return Finding(SUSPECT, "the server was at its limit", f"{percent:.0f} % of a core", "lower --rate")


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
        "a queue was full, or a process was too slow",
        f"{sent_again} bytes were retransmitted on loopback",
        "lower --rate",
    )


def listen_drops(row: Row, trials: Trials) -> Finding | None:
    """Find dropped connections: they are retried a second later, and their messages are late or lost."""
    dropped = sum(trial.counts.listen_drops or 0 for trial in trials)
    if not dropped:
        return None
    return Finding(
        SUSPECT,
        "a listen queue was full on this machine, by any program",
        f"{dropped} connections were turned away",
        "give the server a longer backlog, raise net.core.somaxconn (`rtbench doctor` shows it), or use fewer "
        "--subscribers",
    )


def waiting_for_disk(row: Row, trials: Trials) -> Finding | None:
    """Find waits for a disk: a server that only relays messages should not wait for one."""
    shares = [(t.counts.io_stalled_ns or 0) / 1e9 / t.counts.wall_s for t in trials if t.counts.wall_s]
    if max(shares, default=0.0) <= MOST_IO_STALL:
        return None
    return Finding(
        SUSPECT,
        "a disk was waited for on this machine, by any program",
        f"{max(shares):.0%} of a trial",
        "stop programs that write, or let the server keep its messages in memory",
    )


def stood_still(row: Row, trials: Trials) -> Finding | None:
    """Find pauses: one long one, or many messages delayed; the median does not show them, high percentiles do."""
    median = row["latency_p50_ms"]
    if median is None:
        return None
    longest = max((float(trial.latency_ms.max()) for trial in trials if len(trial.latency_ms)), default=0.0)
    limit_ms = max(LEAST_SLOW_MS, LEAST_STALL * median)
    slow, messages = sum(trial.slower_than(limit_ms) for trial in trials), sum(trial.messages for trial in trials)
    often = slow > max(FEW_SLOW, MOST_SLOW * messages) and not cluster_at_40_ms(row, trials)  # which explains them
    if longest < max(LEAST_STALL_MS, LEAST_STALL * median) and not often:
        return None
    seen = f"{slow} of {messages} messages took more than {plain(limit_ms, 2)} ms, the longest {longest:.0f} ms"
    return Finding(
        SUSPECT,
        "a process or the machine stood still",
        f"{seen} (median {plain(median, 2)} ms)",
        "measure again with more --trials",
    )


def too_few_samples(row: Row, trials: Trials) -> Finding | None:
    """Find a median that is left empty because too few messages were delivered."""
    if not trials or row["latency_p50_ms"] is not None:
        return None
    seen = f"{row['delivered']:,} deliveries, and no median"
    return Finding(SUSPECT, "too few messages", seen, "raise --duration or --trials")


def uncertain_clocks(row: Row, trials: Trials) -> Finding | None:
    """Find clocks of different hosts whose offset is not known well enough for a one-way latency."""
    bound_ms = max((trial.counts.clock_bound_ns for trial in trials), default=0) / 1e6
    latency_ms = row["latency_p50_ms"]
    if latency_ms is None or bound_ms < MOST_CLOCK_BOUND * latency_ms:
        return None
    return Finding(
        INVALID,
        "the offset between the clocks is not known well enough",
        f"only to {plain(bound_ms, 2)} ms, at a median latency of {plain(latency_ms, 2)} ms",
        "run publishers and subscribers on one host",
    )


def differing_trials(row: Row, trials: Trials) -> Finding | None:
    """Find trials whose medians differ by a large factor: conditions changed between them.

    With few messages the median of a polling variant varies by chance. So the middle halves must lie apart, too.
    """
    enough = [np.percentile(t.latency_ms, (25, 50, 75)) for t in trials if t.messages >= LEAST_MESSAGES]
    if len(enough) < 3:
        return None
    medians = [float(quartiles[1]) for quartiles in enough]
    slowest, fastest = max(enough, key=lambda q: q[1]), min(enough, key=lambda q: q[1])
    if slowest[1] < MOST_SPREAD * fastest[1] or slowest[0] <= fastest[2]:
        return None
    steady = medians in (sorted(medians), sorted(medians, reverse=True))
    cause = "the trials drift" if steady else "the trials differ"
    seen = f"medians {', '.join(plain(median, 2) for median in medians)} ms"
    return Finding(SUSPECT, cause, seen, "find what changed between the trials, and measure again")


def lost_in_warmup(row: Row, trials: Trials) -> Finding | None:
    """Find messages lost in the warm-up, which no other count includes."""
    lost = sum(trial.counts.lost_in_warmup for trial in trials)
    return Finding(SUSPECT, "messages were lost in the warm-up", f"{lost} lost") if lost else None


CHECKS = (
    failed_trials,
    disturbed_trials,
    link_not_as_asked,
    fault_not_seen,
    losses,
    duplicates,
    corruption,
    foreign,
    unknown_fates,
    not_achieved,
    busy_generator,
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
    uncertain_clocks,
    differing_trials,
    lost_in_warmup,
    too_few_samples,
)
FOLLOW_FROM_A_BUSY_MACHINE = (
    starved_server,
    starved_client,
    late_generator,
    busy_server,
    stood_still,
    differing_trials,
)
NORMAL_OVER_A_NETWORK = (cluster_at_40_ms, retransmissions, stood_still)
NORMAL_WITH_FAULTS = (  # what a fault does on purpose is a result
    *NORMAL_OVER_A_NETWORK,
    losses,
    duplicates,
    not_achieved,
    late_generator,
    differing_trials,
    lost_in_warmup,
)
OF_ALL_TRIALS = (failed_trials, disturbed_trials)  # the others judge only the trials that figures come from
