"""Course: what happened over the time of a trial: deliveries, messages under way, and losses. Pure.

All times are seconds after the start of the trial, warm-up included.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rtbench.analysis.measured import account_for
from rtbench.plan.records import FAILED

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rtbench.analysis.measured import Measured


@dataclass(frozen=True)
class Course:
    """When each delivered (message, subscriber) pair was due and received, and when each lost one was due."""

    due_s: NDArray[np.float64]
    received_s: NDArray[np.float64]
    lost_s: NDArray[np.float64]

    @property
    def latency_ms(self) -> NDArray[np.float64]:
        """`received - due` of each delivered pair, milliseconds, shape (delivered,)."""
        return 1e3 * (self.received_s - self.due_s)

    def under_way(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return the times at which the number of pairs that are due and not yet received changes, and that number.

        Lost pairs are no part of it: they are never received.
        """
        times_s = np.concatenate([self.due_s, self.received_s])
        change = np.repeat([1, -1], len(self.due_s))
        order = np.argsort(times_s, kind="stable")
        return times_s[order], np.cumsum(change[order])

    def lost_per_second(self, end_s: float) -> NDArray[np.int64]:
        """Return how many pairs that were due in each second are lost, shape (seconds,)."""
        return np.histogram(self.lost_s, bins=np.arange(0, np.ceil(end_s) + 1))[0]


def course_of(trial: Measured) -> Course:
    """Return the course of a trial."""
    p, d = trial.publishes, trial.deliveries
    _, first = account_for(trial.workload, p, d, 0)
    stride = int(p.sequence.max(initial=0)) + 1
    place = np.zeros((int(p.publisher.max(initial=0)) + 1) * stride, dtype=np.int64)
    place[p.publisher * stride + p.sequence] = np.arange(len(p.due_ns))
    delivered = np.bincount(place[d.publisher[first] * stride + d.sequence[first]], minlength=len(p.due_ns))
    subscribers_of = Counter(trial.workload.subscriber_topics)
    subscribers = np.array([subscribers_of[topic] for topic in trial.workload.publisher_topics], dtype=np.int64)
    expected = np.where((p.sent_ns > 0) & (p.status != FAILED), subscribers[p.publisher], 0)
    lost_ns = np.sort(np.repeat(p.due_ns, np.maximum(expected - delivered, 0)))
    return Course(d.due_ns[first] / 1e9, d.received_ns[first] / 1e9, lost_ns / 1e9)
