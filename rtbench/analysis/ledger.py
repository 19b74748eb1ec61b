"""Ledger: what happened to every message. Pure: arrays in, counts out. It uses no flag of any protocol.

Each publish is acked, failed or indeterminate. Each expected (message, subscriber) pair is delivered or lost. Other
deliveries are duplicated, unexpected or corrupt. A delivery that arrived out of order is also reordered. An
indeterminate publish that reached every subscriber is also recovered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from rtbench.plan.records import ACKED, FAILED, INDETERMINATE, Deliveries, Publishes

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Ledger:
    """The counts. acked + failed + indeterminate = published; delivered + lost = expected.

    `recovered` is a part of `indeterminate`: publishes without an acknowledgement (it was lost with a connection, had
    not arrived at the end, or the transport has none) whose message nevertheless reached every subscriber of its topic
    intact; the topic must have a subscriber. A message that only some subscribers have is not recovered. A message that
    was refused, or dropped by a publisher without a connection (`failed`), is never recovered: its deliveries are
    `unexpected`.
    """

    published: int = 0
    acked: int = 0
    failed: int = 0
    indeterminate: int = 0
    expected: int = 0
    delivered: int = 0
    lost: int = 0
    duplicated: int = 0
    reordered: int = 0
    unexpected: int = 0
    corrupt: int = 0
    recovered: int = 0

    def __add__(self, other: Ledger) -> Ledger:
        theirs = asdict(other)
        return Ledger(**{name: count + theirs[name] for name, count in asdict(self).items()})


def account(
    publishes: Publishes,
    deliveries: Deliveries,
    publisher_topics: Sequence[str],
    subscriber_topics: Sequence[str],
    since_ns: int = 0,
) -> tuple[Ledger, NDArray[np.int64]]:
    """Count the messages that were due at `since_ns` or later.

    Return the counts and the positions of the first deliveries in `deliveries`, shape (delivered,).
    """
    sent, due = publishes.sent_ns > 0, publishes.due_ns >= since_ns
    status = publishes.status[sent & due]
    expected_deliveries, message, position = _matched(publishes, deliveries, publisher_topics, subscriber_topics)
    unexpected = int(deliveries.intact.sum()) - len(position)
    expected_deliveries = np.where(due, expected_deliveries, 0)
    expected = int(expected_deliveries.sum())

    position = position[publishes.due_ns[message[position]] >= since_ns]
    first = _first_of(deliveries, message, position, len(subscriber_topics))
    acked, failed = int((status == ACKED).sum()), int((status == FAILED).sum())
    return Ledger(
        published=len(status),
        acked=acked,
        failed=failed,
        indeterminate=len(status) - acked - failed,
        expected=expected,
        delivered=len(first),
        lost=expected - len(first),
        duplicated=len(position) - len(first),
        reordered=_out_of_order(deliveries, first, len(subscriber_topics)),
        unexpected=unexpected,
        corrupt=int((~deliveries.intact).sum()),
        recovered=_reached_all(message[first], expected_deliveries * (publishes.status == INDETERMINATE)),
    ), first


def fates(
    publishes: Publishes,
    deliveries: Deliveries,
    publisher_topics: Sequence[str],
    subscriber_topics: Sequence[str],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return how many deliveries of each message are lost, and how many are duplicates, each of shape (messages,)."""
    expected, message, position = _matched(publishes, deliveries, publisher_topics, subscriber_topics)
    first = _first_of(deliveries, message, position, len(subscriber_topics))
    arrived, delivered = (np.bincount(message[which], minlength=len(expected)) for which in (position, first))
    return expected - delivered, arrived - delivered


def _matched(
    publishes: Publishes,
    deliveries: Deliveries,
    publisher_topics: Sequence[str],
    subscriber_topics: Sequence[str],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Match the deliveries to the messages.

    Return how many deliveries of each message are expected, shape (messages,); the position of the message of each
    delivery, shape (deliveries,); and the positions of the deliveries that are expected or duplicates.
    """
    topics = {topic: number for number, topic in enumerate(dict.fromkeys([*publisher_topics, *subscriber_topics]))}
    topic_of_publisher = np.array([topics[t] for t in publisher_topics])
    topic_of_subscriber = np.array([topics[t] for t in subscriber_topics])
    subscribers_of_topic = np.bincount(topic_of_subscriber, minlength=len(topics))
    deliverable = (publishes.sent_ns > 0) & (publishes.status != FAILED)
    expected = np.where(deliverable, subscribers_of_topic[topic_of_publisher[publishes.publisher]], 0)

    message = _message_of(publishes, deliveries)
    known = deliveries.intact & (message >= 0)
    known[known] = deliverable[message[known]]
    publisher, subscriber = deliveries.publisher[known], deliveries.subscriber[known]
    on_topic = topic_of_publisher[publisher] == topic_of_subscriber[subscriber]
    return expected, message, np.flatnonzero(known)[on_topic]


def _first_of(
    deliveries: Deliveries, message: NDArray[np.int64], position: NDArray[np.int64], subscribers: int
) -> NDArray[np.int64]:
    """Return those of the positions at which a message came to a subscriber for the first time, in order."""
    _, first = np.unique(message[position] * subscribers + deliveries.subscriber[position], return_index=True)
    found: NDArray[np.int64] = position[np.sort(first)]
    return found


def _reached_all(delivered: NDArray[np.int64], expected: NDArray[np.int64]) -> int:
    """Count the messages that reached all their subscribers, without messages that have no subscriber."""
    complete = np.bincount(delivered, minlength=len(expected)) == expected
    return int((complete & (expected > 0)).sum())


def _message_of(publishes: Publishes, deliveries: Deliveries) -> NDArray[np.int64]:
    """Return the position of the message of each delivery, -1 if there is none.

    Publisher, sequence number and due time must all match.
    """
    count = len(publishes.publisher)
    if count == 0:
        return np.full(len(deliveries.publisher), -1)
    stride = int(publishes.sequence.max()) + 1
    keys = publishes.publisher * stride + publishes.sequence
    order = np.argsort(keys, kind="stable")
    in_range = (deliveries.sequence < stride) & (deliveries.publisher <= publishes.publisher.max())
    wanted = np.where(in_range, deliveries.publisher * stride + deliveries.sequence, -1)
    place = np.minimum(np.searchsorted(keys[order], wanted), count - 1)
    message = order[place]
    agrees = (keys[message] == wanted) & (publishes.due_ns[message] == deliveries.due_ns)
    return np.where(agrees, message, -1)


def _out_of_order(deliveries: Deliveries, first: NDArray[np.int64], subscribers: int) -> int:
    """Count first deliveries that came after a later message of the same publisher to the same subscriber."""
    if len(first) == 0:
        return 0
    sequence = deliveries.sequence[first]
    stream = deliveries.publisher[first] * subscribers + deliveries.subscriber[first]
    order = np.argsort(stream, kind="stable")
    _, rank = np.unique(stream[order], return_inverse=True)
    height = rank * (int(sequence.max()) + 1) + sequence[order]
    return int((height < np.maximum.accumulate(height)).sum())
