"""Age of information: how old the newest message of a subscriber is, as a mean over time. Pure.

At a time t the age is t minus the due time of the newest message received (Kaul, Yates & Gruteser 2012, "Real-time
status: how often should one update?"). It grows with time, and each delivery of a newer message reduces it. A message
that arrives after a newer one does not reduce it. Messages every T seconds with latency L give a mean age of L + T/2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def mean_age_ms(stream: NDArray[np.int64], due_ns: NDArray[np.int64], received_ns: NDArray[np.int64]) -> float | None:
    """Return the mean age in milliseconds over all streams, each from its first delivery to its last.

    `stream` identifies the (publisher, subscriber) of each delivery; all three arrays have shape (deliveries,). None if
    no stream has two deliveries at different times.
    """
    order = np.lexsort((received_ns, stream))
    stream, due_ns, received_ns = stream[order], due_ns[order], received_ns[order]
    if len(stream) < 2:
        return None
    # the newest due time so far in each stream: an offset per stream keeps the streams apart in one running maximum
    _, rank = np.unique(stream, return_inverse=True)
    offset_ns = rank * (int(due_ns.max()) - int(due_ns.min()) + 1)
    newest_ns = np.maximum.accumulate(due_ns + offset_ns) - offset_ns
    same = stream[1:] == stream[:-1]
    start_ns, end_ns, have_ns = received_ns[:-1][same], received_ns[1:][same], newest_ns[:-1][same]
    span_ns = (end_ns - start_ns).astype(float)
    if not span_ns.sum():
        return None
    return float((((start_ns + end_ns) / 2 - have_ns) * span_ns).sum() / span_ns.sum() / 1e6)
