"""Verdict: whether a variant's trials are fit to conclude from, with reasons in words. Pure.

A check is a function of a variant's summary row and its trials that returns a finding or None; `CHECKS` is the list
of them. A finding makes a variant `invalid` (do not use the figures) or `suspect` (use them knowing this).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rtbench.figures import TrialFigures

VALID, SUSPECT, INVALID = "valid", "suspect", "invalid"

LEAST_ACHIEVED = 0.98  # of the messages offered
MOST_CLIENT_CPU = 0.80  # of a core, by either client process
MOST_SERVER_CPU = 0.95
MOST_LAG = 0.5  # of the latency, by the median message
LEAST_LAG_MS = 1.0  # below which a lag is not worth a word


@dataclass(frozen=True)
class Finding:
    """What is wrong, how bad it is, and what would help."""

    verdict: str
    reason: str


Row = Mapping[str, Any]


def judge(row: Row, trials: Sequence[TrialFigures]) -> tuple[str, list[str]]:
    """Return the verdict of a variant and its reasons, the worst first."""
    good = [trial for trial in trials if not trial.error]
    found = [finding for check in CHECKS if (finding := check(row, trials if check is failed_trials else good))]
    found.sort(key=lambda finding: finding.verdict != INVALID)
    return (found[0].verdict if found else VALID), [finding.reason for finding in found]


def failed_trials(row: Row, trials: Sequence[TrialFigures]) -> Finding | None:
    """A trial that failed stays in the result and in the verdict."""
    failed = [trial for trial in trials if trial.error]
    if not failed:
        return None
    return Finding(INVALID, f"{len(failed)} of {len(trials)} trials failed: {failed[0].error}")


def not_achieved(row: Row, trials: Sequence[TrialFigures]) -> Finding | None:
    """Above capacity, latency measures the length of the run."""
    offered = sum(trial.offered for trial in trials)
    done = sum(trial.offered - trial.unfinished for trial in trials)
    if offered == 0 or done / offered >= LEAST_ACHIEVED:
        return None
    return Finding(INVALID, f"overload: {done / offered:.0%} of the offered rate was achieved; lower --rate")


def late_generator(row: Row, trials: Sequence[TrialFigures]) -> Finding | None:
    """A late sender's own lag is part of every latency."""
    lag, latency = row["lag_p99_ms"], row["latency_p50_ms"]
    if lag is None or latency is None or lag < LEAST_LAG_MS or lag <= MOST_LAG * latency:
        return None
    return Finding(
        SUSPECT,
        f"the publisher was late: lag p99 {lag:.2g} ms beside a latency of {latency:.2g} ms; lower --rate",
    )


def busy_generator(row: Row, trials: Sequence[TrialFigures]) -> Finding | None:
    """A load generator short of CPU measures itself."""
    busiest = max((trial.client_cpu for trial in trials), default=0.0)
    if busiest <= MOST_CLIENT_CPU:
        return None
    return Finding(INVALID, f"a client process used {busiest:.0%} of a core; lower --rate or --subscribers")


def busy_server(row: Row, trials: Sequence[TrialFigures]) -> Finding | None:
    """A server at its limit queues; what it queues is latency."""
    percent = row["server_cpu_percent"]
    if percent is None or percent <= 100 * MOST_SERVER_CPU:
        return None
    return Finding(SUSPECT, f"the server used {percent:.0f} % of a core: this is its limit; lower --rate")


def nagle(row: Row, trials: Sequence[TrialFigures]) -> Finding | None:
    """Nagle's algorithm (RFC 896) with delayed acknowledgements makes steps of 40 ms."""
    count = sum(trial.nagle_sockets for trial in trials)
    if not count:
        return None
    return Finding(INVALID, f"{count} sockets without TCP_NODELAY; latencies in steps of 40 ms are theirs")


def lost_in_warmup(row: Row, trials: Sequence[TrialFigures]) -> Finding | None:
    """What is lost before the measured part is in no other figure."""
    lost = sum(trial.lost_in_warmup for trial in trials)
    return Finding(SUSPECT, f"{lost} messages lost in the warm-up") if lost else None


CHECKS = (failed_trials, not_achieved, busy_generator, nagle, late_generator, busy_server, lost_in_warmup)
