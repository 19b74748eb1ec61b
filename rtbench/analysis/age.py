"""Age of information: how old the newest that a subscriber has is, on average over time. Pure.

At a time t the age is t less the due time of the newest message received (Kaul, Yates & Gruteser 2012, "Real-time
status: how often should one update?"). It grows with the clock and falls with each delivery that brings news; a late
message that an earlier delivery has overtaken does not make it younger. Messages every T seconds that take L give
L + T/2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def mean_age_ms(stream: NDArray[np.int64], due_ns: NDArray[np.int64], received_ns: NDArray[np.int64]) -> float | None:
    """Return the mean age in milliseconds over the streams, each from its first delivery to its last.

    `stream` names the (publisher, subscriber) of each delivery; all three have shape (deliveries,). None where no
    stream has two deliveries at different times.
    """
    order = np.lexsort((received_ns, stream))
    stream, due_ns, received_ns = stream[order], due_ns[order], received_ns[order]
    if len(stream) < 2:
        return None
    # the newest so far within each stream: streams are lifted above each other so that one running maximum serves all
    _, rank = np.unique(stream, return_inverse=True)
    lift = rank * (int(due_ns.max()) - int(due_ns.min()) + 1)
    newest_ns = np.maximum.accumulate(due_ns + lift) - lift
    same = stream[1:] == stream[:-1]
    start_ns, end_ns, have_ns = received_ns[:-1][same], received_ns[1:][same], newest_ns[:-1][same]
    span_ns = (end_ns - start_ns).astype(float)
    if not span_ns.sum():
        return None
    return float((((start_ns + end_ns) / 2 - have_ns) * span_ns).sum() / span_ns.sum() / 1e6)
