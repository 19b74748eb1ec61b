"""Prediction: how many bytes a transport's formats need for what was sent, to be held against what TCP carried. Pure.

A client module's `predict(traffic, **options)` computes it from the specifications (`rtbench/wire` has the sizes) and
from counts of the trial, never from measured bytes. The two agree to the byte where the counts determine every byte;
where they part, server or libraries write something else than the format needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rtbench.wire.tls import MAX_RECORD_BYTES

WORTH_A_WORD_PERCENT = 1.0  # of what is predicted: a difference beyond it is reported


@dataclass(frozen=True)
class Traffic:
    """What the clients of a trial did between the canaries and its end, as counted; by topic where it is a mapping.

    Before it each publisher had sent one canary on its topic: the numbers that a server gives to messages go on from
    there. A request that is under way at the start (with long-polling, all are) has its answer among `batches`; one
    that is under way at the end is among `requests`.
    """

    server_url: str
    payload_bytes: int
    publishers: Mapping[str, int]  # connections
    subscribers: Mapping[str, int]
    published: Mapping[str, int]  # messages, of all publishers of the topic
    delivered: Mapping[str, int]  # deliveries, to all its subscribers
    requests: int  # that all subscribers made
    batches: Mapping[int, int]  # answers they had, or chunks of a stream, by how many messages were in them
    publisher_keep_alives: int  # pings, each with its answer
    subscriber_keep_alives: int


@dataclass(frozen=True)
class Flow:
    """One direction of one hop: bytes above TCP without TLS, and in how many units.

    A unit is what is written at once, or a part of 16 KiB of that: one record, were there TLS.
    """

    bytes: int = 0
    units: int = 0

    def __add__(self, other: Flow) -> Flow:
        """Add up."""
        return Flow(self.bytes + other.bytes, self.units + other.units)


@dataclass(frozen=True)
class Predicted:
    """Bytes above TCP on the publishers' and on the subscribers' connections; up is from client to server."""

    publish_up: Flow = Flow()
    publish_down: Flow = Flow()
    subscribe_up: Flow = Flow()
    subscribe_down: Flow = Flow()

    @property
    def up(self) -> Flow:
        """Both hops, client to server."""
        return self.publish_up + self.subscribe_up

    @property
    def down(self) -> Flow:
        """Both hops, server to client."""
        return self.publish_down + self.subscribe_down


def flow(count: int, unit_bytes: float) -> Flow:
    """Return the flow of `count` writes of `unit_bytes` each, which may be a mean."""
    return Flow(round(count * unit_bytes), count * max(1, -int(-unit_bytes // MAX_RECORD_BYTES)))


def total(*flows: Flow) -> Flow:
    """Return the sum of flows."""
    return sum(flows, start=Flow())


def digits(first: int, last: int) -> int:
    """Return how many decimal digits the numbers `first` to `last` have together, both included, from 1 on."""
    return _digits_to(last) - _digits_to(first - 1)


def _digits_to(last: int) -> int:
    # a number has one digit, and one more from each power of ten on
    return sum(last - 10**power + 1 for power in range(len(str(last))) if last >= 10**power)


def mean_digits(traffic: Traffic) -> float:
    """Return how many digits the number of a message has, as the mean over all subscribers' messages.

    A server numbers the messages of a topic from 1, canaries first. Exact where every subscriber has seen the number
    of every message; where it saw only the last of each batch, that is a sample of the same numbers.
    """
    found = weight = 0.0
    for topic, listeners in traffic.subscribers.items():
        canaries, messages = traffic.publishers.get(topic, 0), traffic.published.get(topic, 0)
        if messages:
            found += listeners * digits(canaries + 1, canaries + messages)
            weight += listeners * messages
    return found / weight if weight else 0.0
