"""How many messages the servers say they relayed, by page and lane.

The publisher that a payload names is a page and a lane: `publisher_of` puts them into one number.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from rtbench.plan import payload
from rtbench.trial.merging import RELAY

LANES_AT_MOST = 10
MOST_PAGES = 10_000  # the number of a publisher has five digits


def publisher_of(page: int, lane: int) -> int:
    """Return the publisher that the payloads of a page on a lane name."""
    return page % MOST_PAGES * LANES_AT_MOST + lane


class Relayed:
    """The counts since the lab began; a page that left is forgotten."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()

    def add(self, rows: bytes) -> None:
        """Count the rows of a relay log."""
        table = np.frombuffer(rows[: len(rows) // RELAY.itemsize * RELAY.itemsize], dtype=RELAY)
        publisher, sequence, _, good = payload.parse(table["header"])
        counted = publisher[good & (sequence != payload.PROBE)]
        for number, count in zip(*np.unique(counted, return_counts=True), strict=True):
            self._counts[int(number)] += int(count)

    def of(self, page: int, lane: int) -> int:
        """Return how many messages of a page a lane's server relayed."""
        return self._counts[publisher_of(page, lane)]

    def forget(self, page: int) -> None:
        """Forget what is known of a page."""
        for lane in range(LANES_AT_MOST):
            self._counts.pop(publisher_of(page, lane), None)
