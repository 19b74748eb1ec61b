"""Measured: one trial with its counts and samples, and the values that are computed from them. Pure.

All values are computed from saved data, so a saved result always gives the same values.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from rtbench.analysis.age import mean_age_ms
from rtbench.analysis.counts import TrialCounts
from rtbench.analysis.ledger import Ledger, account
from rtbench.plan.records import ACKED, Deliveries, Publishes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rtbench.plan.workload import Workload

_LEAST_FOR_PACE = 20  # messages, or deliveries in a third of a trial
_STEADY_RISE = 2.0  # a rise from the first to the last third counts if it exceeds this many spreads within a third
STAGES = ("lag", "publish_hop", "delivery_hop", "client")  # of a delivery; they add up to its latency


@dataclass
class Measured:
    """A trial: its counts, its samples, and the workload, which determines the end of the warm-up."""

    counts: TrialCounts
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
        """The counts of all messages that were due after the warm-up."""
        return self._accounted[0]

    @property
    def unanswered(self) -> int:
        """The number of measured publishes that were sent and had no answer at the end: nobody knows their fate."""
        p = self.publishes
        return int(((p.sent_ns > 0) & (p.done_ns == 0) & (p.due_ns >= self._since_ns)).sum())

    @cached_property
    def messages(self) -> int:
        """The number of measured messages that reached a subscriber; the deliveries of one message share its fate."""
        d, first = self.deliveries, self._accounted[1]
        return len(set(zip(d.publisher[first].tolist(), d.sequence[first].tolist(), strict=True)))

    def slower_than(self, limit_ms: float) -> int:
        """Return how many measured messages have a delivery with a latency above `limit_ms`, milliseconds."""
        d, slow = self.deliveries, self._accounted[1][self.latency_ms > limit_ms]
        return len(set(zip(d.publisher[slow].tolist(), d.sequence[slow].tolist(), strict=True)))

    @cached_property
    def latency_ms(self) -> NDArray[np.float64]:
        """`received - due` of each first delivery after the warm-up, milliseconds, shape (delivered,)."""
        first = self._accounted[1]
        return (self.deliveries.received_ns[first] - self.deliveries.due_ns[first]) / 1e6

    @property
    def due_s(self) -> NDArray[np.float64]:
        """When the message of each of these deliveries was due, seconds after the start of the trial."""
        return self.deliveries.due_ns[self._accounted[1]] / 1e9

    @cached_property
    def arrived_ms(self) -> NDArray[np.float64]:
        """`arrived - due` of the same deliveries, milliseconds; shape (0,) without the kernel's stamps.

        The stamp of a delivery is that of the last segment in the same read. If one read had several messages, the
        earlier ones may have arrived before their stamp, never after it.
        """
        if len(self.deliveries.arrived_ns) == 0:
            return np.empty(0)
        first = self._accounted[1]
        return (self.deliveries.arrived_ns[first] - self.deliveries.due_ns[first]) / 1e6

    @cached_property
    def from_sent_ms(self) -> NDArray[np.float64]:
        """`received - sent` of the same deliveries, milliseconds: the latency that a closed-loop tool would report."""
        return self.latency_ms - self.delivered_lag_ms

    @property
    def network_server_ms(self) -> NDArray[np.float64]:
        """`arrived - sent` of the same deliveries, milliseconds; shape (0,) without the kernel's stamps."""
        return self.arrived_ms - self.delivered_lag_ms if len(self.arrived_ms) else np.empty(0)

    @cached_property
    def stages_ms(self) -> dict[str, float] | None:
        """The mean time of each stage of a delivery, milliseconds; None without the kernel's stamps.

        lag: due to sent; publish_hop: sent to relayed; delivery_hop: relayed to arrived; client: arrived to received.
        network_server is the sum of both hops; the hops are there if the server told when it relayed every message.
        """
        if len(self.arrived_ms) == 0 or len(self.lag_ms) == 0:
            return None
        lag, arrived, latency = (float(v.mean()) for v in (self.delivered_lag_ms, self.arrived_ms, self.latency_ms))
        stages = {"lag": lag, "network_server": arrived - lag, "client": latency - arrived}
        if len(self.relayed_ms):
            relayed = float(self.relayed_ms.mean())
            stages |= {"publish_hop": relayed - lag, "delivery_hop": arrived - relayed}
        return stages

    @cached_property
    def delivered_lag_ms(self) -> NDArray[np.float64]:
        """`sent - due` of the message of each first delivery after the warm-up, milliseconds, shape (delivered,)."""
        return self._of_deliveries(self.publishes.sent_ns - self.publishes.due_ns) / 1e6

    @cached_property
    def relayed_ms(self) -> NDArray[np.float64]:
        """`relayed - due` of the message of the same deliveries, milliseconds; shape (0,) if one is not known."""
        p = self.publishes
        known = self._of_deliveries(p.relayed_ns) > 0
        return self._of_deliveries(p.relayed_ns - p.due_ns) / 1e6 if known.all() else np.empty(0)

    def _of_deliveries(self, of_messages: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return a value of each message for each first delivery after the warm-up, shape (delivered,)."""
        p, d, first = self.publishes, self.deliveries, self._accounted[1]
        stride = int(p.sequence.max(initial=0)) + 1
        values = np.zeros((int(p.publisher.max(initial=0)) + 1) * stride, dtype=np.int64)
        values[p.publisher * stride + p.sequence] = of_messages
        found: NDArray[np.int64] = values[d.publisher[first] * stride + d.sequence[first]]
        return found

    @cached_property
    def achieved(self) -> float:
        """The lower of two rates, as a share of the offered rate: finished publishes, and deliveries."""
        return min(self.counts.achieved, self._delivered_pace)

    @property
    def _delivered_pace(self) -> float:
        """The rate at which deliveries arrived, as a share of the rate at which they were due, at most 1.

        An overloaded server that sends no acknowledgements still accepts all messages, and latency rises during the
        whole trial: by 1/pace - 1 seconds per second. The rise is the difference between the medians of the first and
        the last third of the schedule. A rise that is small compared with the spread within a third (as with polling)
        is ignored.
        """
        due_ns = self.deliveries.due_ns[self._accounted[1]]
        if len(due_ns) == 0:
            return 1.0
        thirds = np.quantile((due_ns.min(), due_ns.max()), (1 / 3, 2 / 3))
        parts = due_ns <= thirds[0], due_ns >= thirds[1]
        if min(part.sum() for part in parts) < _LEAST_FOR_PACE:
            return 1.0
        quartiles = [np.percentile(self.latency_ms[part], (25, 50, 75)) for part in parts]
        rise_ms = quartiles[1][1] - quartiles[0][1]
        if rise_ms <= _STEADY_RISE * max(q[2] - q[0] for q in quartiles):
            return 1.0
        span_ms = (np.median(due_ns[parts[1]]) - np.median(due_ns[parts[0]])) / 1e6
        return float(span_ms / (span_ms + rise_ms))

    @cached_property
    def age_ms(self) -> float | None:
        """Mean age of information of the measured messages, milliseconds; see `rtbench.analysis.age`."""
        d, first = self.deliveries, self._accounted[1]
        stream = d.publisher[first] * self.workload.subscribers + d.subscriber[first]
        return mean_age_ms(stream, d.due_ns[first], d.received_ns[first])

    @cached_property
    def acknowledged_ms(self) -> NDArray[np.float64]:
        """`done - sent` of each acknowledged message after the warm-up, milliseconds: publish to acknowledgement."""
        p = self.publishes
        counted = (p.status == ACKED) & (p.due_ns >= self._since_ns)
        took_ms: NDArray[np.float64] = (p.done_ns[counted] - p.sent_ns[counted]) / 1e6
        return took_ms

    @cached_property
    def connect_ms(self) -> NDArray[np.float64]:
        """How long each subscription took, from the start of connecting, milliseconds, shape (subscribers,) or (0,)."""
        return np.array(self.counts.connect_ns, dtype=float) / 1e6

    @cached_property
    def lag_ms(self) -> NDArray[np.float64]:
        """`sent - due` of each message after the warm-up, milliseconds, shape (published,)."""
        return self._since_due_ms(self.publishes.sent_ns)

    @cached_property
    def generator_lag_ms(self) -> NDArray[np.float64]:
        """`ready - due` of the same messages: the part of the lag that the publisher process causes.

        The rest of the lag is waiting because the connection has reached its in-flight limit.
        """
        return self._since_due_ms(self.publishes.ready_ns)

    def _since_due_ms(self, times_ns: NDArray[np.int64]) -> NDArray[np.float64]:
        p = self.publishes
        counted = (p.sent_ns > 0) & (p.due_ns >= self._since_ns)
        since_ms: NDArray[np.float64] = (times_ns[counted] - p.due_ns[counted]) / 1e6
        return since_ms


def account_for(
    workload: Workload, publishes: Publishes, deliveries: Deliveries, since_ns: int
) -> tuple[Ledger, NDArray[np.int64]]:
    """Return `ledger.account` for the topics of a workload."""
    return account(publishes, deliveries, workload.publisher_topics, workload.subscriber_topics, since_ns)
