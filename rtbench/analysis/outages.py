"""Outages: how long clients took to notice a fault, and to have messages again. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rtbench.plan.records import SUBSCRIBER, Outage

if TYPE_CHECKING:
    from rtbench.plan.records import Deliveries


@dataclass(frozen=True)
class Recovery:
    """What one subscriber did about a fault.

    Both times count from the beginning of the fault: `detect_ns` until it noticed, `recover_ns` until it received the
    first message over its new connection; None if it received none.
    """

    subscriber: int
    detect_ns: int
    recover_ns: int | None
    attempts: int
    resumed: bool


def recoveries(outages: Iterable[Outage], deliveries: Deliveries, begin_ns: int, next_ns: int) -> list[Recovery]:
    """Return the recoveries from a fault that began at `begin_ns`: outages noticed before `next_ns`, the next fault's.

    All times are of the trial's clock. An outage that was planned is no fault, and a publisher receives nothing.
    """
    return [
        Recovery(
            outage.who,
            outage.lost_ns - begin_ns,
            _first_after(deliveries, outage, begin_ns),
            outage.attempts,
            outage.resumed,
        )
        for outage in outages
        if outage.role == SUBSCRIBER and not outage.planned and begin_ns <= outage.lost_ns < next_ns
    ]


def most_back_within(outages: Iterable[Outage], within_ns: int) -> int:
    """Return the largest number of connections that were opened again within so long a time."""
    back_ns = np.sort([outage.back_ns for outage in outages if outage.back_ns])
    last = np.searchsorted(back_ns, back_ns + within_ns, side="right")
    return int((last - np.arange(len(back_ns))).max(initial=0))


def _first_after(deliveries: Deliveries, outage: Outage, begin_ns: int) -> int | None:
    """Return how long after the beginning the first message came over the new connection."""
    if not outage.back_ns:
        return None
    received_ns = deliveries.received_ns[deliveries.subscriber == outage.who]
    later_ns = received_ns[received_ns >= outage.back_ns]
    return int(later_ns.min()) - begin_ns if len(later_ns) else None
