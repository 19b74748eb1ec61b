"""The record of a trial, message by message: every publish and every delivery, as columns of equal length."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FAILED, INDETERMINATE, ACKED = 0, 1, 2  # the outcome of a publish
PUBLISHER, SUBSCRIBER = "publisher", "subscriber"


@dataclass
class Outage:
    """A time without a connection, of the publisher or subscriber with the number `who`.

    `lost_ns` is when the client noticed, `back_ns` when it was connected (and subscribed) again, 0 if it never was.
    `attempts` is how often it tried; `resumed` whether it continued where it was. `planned`: it left on purpose.
    `wire_bytes` is what the attempts took at the IP layer, until the last had the subscription; None if not known.
    """

    role: str
    who: int
    lost_ns: int
    back_ns: int = 0
    attempts: int = 0
    resumed: bool = False
    planned: bool = False
    wire_bytes: int | None = 0


def _no_stamps() -> NDArray[np.int64]:
    import numpy as np

    return np.zeros(0, dtype=np.int64)


@dataclass(frozen=True)
class Publishes:
    """The messages of a trial, shape (messages,), in any order; times in nanoseconds after the start of the trial.

    `relayed_ns` is when the server had the message whole and gave it on to its subscribers, 0 where that is not known.
    """

    publisher: NDArray[np.int64]
    sequence: NDArray[np.int64]
    due_ns: NDArray[np.int64]
    ready_ns: NDArray[np.int64]
    sent_ns: NDArray[np.int64]
    relayed_ns: NDArray[np.int64]
    done_ns: NDArray[np.int64]
    status: NDArray[np.int64]

    def take(self, order: NDArray[np.int64]) -> Publishes:
        """Return the messages at the positions in `order`."""
        return Publishes(**{name: column[order] for name, column in vars(self).items()})


@dataclass(frozen=True)
class Deliveries:
    """The deliveries of a trial, shape (deliveries,), for each subscriber in order of arrival; `intact` is bool.

    `arrived_ns` has shape (0,) if the kernel gave no receive stamps.
    """

    publisher: NDArray[np.int64]
    sequence: NDArray[np.int64]
    due_ns: NDArray[np.int64]
    subscriber: NDArray[np.int64]
    received_ns: NDArray[np.int64]
    intact: NDArray[np.bool_]
    arrived_ns: NDArray[np.int64] = field(default_factory=_no_stamps)
