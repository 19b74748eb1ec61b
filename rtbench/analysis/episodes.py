"""Episodes: what each of several faults of one trial did to the messages around it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rtbench.analysis.counts import described
from rtbench.analysis.ledger import fates
from rtbench.analysis.outages import Recovery, recoveries
from rtbench.plan.episodes import BEFORE_S
from rtbench.plan.faults import Evidence
from rtbench.plan.records import ACKED

if TYPE_CHECKING:
    from rtbench.analysis.measured import Measured

_BEFORE_NS = round(1e9 * BEFORE_S)


@dataclass(frozen=True)
class Episode:
    """What one fault did. Lost and duplicated are deliveries: a message that two subscribers lack counts twice."""

    published: int
    acked: int
    lost: int
    lost_acked: int
    lost_relayed: int
    duplicated: int
    noticed: int
    resumed: int
    recover_ms: tuple[float, ...]


@dataclass(frozen=True)
class GuaranteeCounts:
    """The counts of a trial that had the same fault several times."""

    index: int = described("Its place in the order of the trials, from 0")
    variant: str = described("Name of the variant")
    fault: str = described("The fault, without its times")
    error: str | None = described("Why the trial failed; null if it did not fail")
    server_url: str = described("Where the server listened")
    missed_told: int = described("Messages that the server said a subscriber had missed")
    faults: tuple[Evidence, ...] = described("What was seen of each fault")
    episodes: tuple[Episode, ...] = described("What each fault did; empty if one of them was not seen")

    @property
    def not_counted(self) -> str:
        """Why the trial is not counted; empty if it is."""
        if self.error:
            return self.error
        unseen = [evidence for evidence in self.faults if not _was_seen(evidence)]
        if unseen:
            return f"{len(unseen)} of {len(self.faults)} faults left no evidence: {unseen[0].seen}"
        return "" if self.episodes else "no fault was done"


def _was_seen(evidence: Evidence) -> bool:
    """Whether a fault was seen, and not another episode in its place."""
    return evidence.began_ns is not None and abs(evidence.began_ns - evidence.planned_ns) < _BEFORE_NS


def counts_of(trial: Measured, fault: str) -> GuaranteeCounts:
    """Return the counts of a trial, divided into its episodes."""
    counts = trial.counts
    faults = tuple(sorted(counts.faults, key=lambda evidence: evidence.planned_ns))
    complete = counts.error is None and all(map(_was_seen, faults))
    return GuaranteeCounts(
        index=counts.index,
        variant=counts.variant,
        fault=fault,
        error=counts.error,
        server_url=counts.server_url,
        missed_told=counts.missed_told,
        faults=faults,
        episodes=_episodes(trial, faults) if complete else (),
    )


def _episodes(trial: Measured, faults: tuple[Evidence, ...]) -> tuple[Episode, ...]:
    """Divide the messages by the time at which they were due: from a little before a fault until so before the next."""
    publishes, workload = trial.publishes, trial.workload
    lost, duplicated = fates(publishes, trial.deliveries, workload.publisher_topics, workload.subscriber_topics)
    later = np.array([evidence.planned_ns for evidence in faults[1:]], dtype=np.int64) - _BEFORE_NS
    episode = np.searchsorted(later, publishes.due_ns, side="right")
    sent, acked, relayed = publishes.sent_ns > 0, publishes.status == ACKED, publishes.relayed_ns > 0
    found = []
    for number, recovered in enumerate(_recovered(trial, faults)):
        mine = episode == number
        found.append(
            Episode(
                published=int((mine & sent).sum()),
                acked=int((mine & sent & acked).sum()),
                lost=int(lost[mine].sum()),
                lost_acked=int(lost[mine & acked].sum()),
                lost_relayed=int(lost[mine & relayed].sum()),
                duplicated=int(duplicated[mine].sum()),
                noticed=len(recovered),
                resumed=sum(each.resumed for each in recovered),
                recover_ms=_times_ms(recovered),
            )
        )
    return tuple(found)


def _recovered(trial: Measured, faults: tuple[Evidence, ...]) -> list[list[Recovery]]:
    """Return what each subscriber that noticed did about each fault."""
    began_ns = [evidence.began_ns or 0 for evidence in faults]
    ends_ns = [*began_ns[1:], int(np.iinfo(np.int64).max)]
    return [
        recoveries(trial.counts.outages, trial.deliveries, begin_ns, end_ns)
        for begin_ns, end_ns in zip(began_ns, ends_ns, strict=True)
    ]


def _times_ms(recovered: list[Recovery]) -> tuple[float, ...]:
    return tuple(sorted(round(each.recover_ns / 1e6, 3) for each in recovered if each.recover_ns is not None))
