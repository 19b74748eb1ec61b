"""Prediction: how many bytes a transport's formats need for what was sent. It is compared with what TCP carried. Pure.

A client module's `predict(traffic, **options)` computes it from the specifications (`rtbench/wire` has the sizes) and
from counts of the trial, never from measured bytes. Prediction and measurement agree to the byte where the counts
determine every byte. Where they differ, the server or a library writes something other than what the format needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rtbench.wire.tls import MAX_RECORD_BYTES

REPORTED_DIFFERENCE_PERCENT = 1.0  # of the predicted bytes: a larger difference is reported


@dataclass(frozen=True)
class Traffic:
    """What was counted at the clients from the start of a trial to its end; mappings are by topic.

    Each publisher has sent one readiness probe on its topic before that, so a server's numbers of messages continue
    after the probes. Of a request that is under way at the start (with long-polling, all are), the answer is in
    `batches`; a request that is under way at the end is in `requests`.
    """

    server_url: str
    payload_bytes: int
    publishers: Mapping[str, int]  # connections
    subscribers: Mapping[str, int]
    published: Mapping[str, int]  # messages, of all publishers of the topic
    delivered: Mapping[str, int]  # deliveries, to all its subscribers
    requests: int  # of all subscribers
    batches: Mapping[int, int]  # answers to them, or chunks of a stream, by the number of messages in each
    publisher_keep_alives: int  # pings, each with its answer
    subscriber_keep_alives: int


@dataclass(frozen=True)
class Steady:
    """What a subscriber does in a steady state, on a network without delay: rates per second, for one subscriber.

    `requests_hz` are its requests; `batches_hz` the answers to them, or chunks of a stream, by the number of messages
    in each. `wait_s` is how long a message waits for a request that fetches it, on average.
    """

    requests_hz: float = 0.0
    batches_hz: Mapping[int, float] = field(default_factory=dict)
    wait_s: float = 0.0


@dataclass(frozen=True)
class Flow:
    """One direction of one hop: bytes above TCP without TLS, and in how many units.

    A unit is what is written at once, or 16 KiB of it: one record, if there is TLS.
    """

    bytes: int = 0
    units: int = 0

    def __add__(self, other: Flow) -> Flow:
        return Flow(self.bytes + other.bytes, self.units + other.units)


@dataclass(frozen=True)
class Predicted:
    """Bytes above TCP on the publishers' and on the subscribers' connections (the two hops); up is client to server."""

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
    """Return the flow of `count` writes; `unit_bytes` is the size of each, or their mean size."""
    return Flow(round(count * unit_bytes), count * max(1, -int(-unit_bytes // MAX_RECORD_BYTES)))


def total(*flows: Flow) -> Flow:
    """Return the sum of flows."""
    return sum(flows, start=Flow())


def digits(first: int, last: int) -> int:
    """Return the number of decimal digits of all the numbers from `first` (at least 1) to `last`, both included."""
    return _digits_to(last) - _digits_to(first - 1)


def _digits_to(last: int) -> int:
    # every number has one digit, and one more for each power of ten that it reaches
    return sum(last - 10**power + 1 for power in range(len(str(last))) if last >= 10**power)


def mean_digits(traffic: Traffic) -> float:
    """Return how many digits the number of a message has, as the mean over the messages of all subscribers.

    A server numbers the messages of a topic from 1, and the readiness probes come first. The mean is exact where every
    subscriber gets the number of every message. Where it gets only the last number of each batch, those are a sample
    of the same numbers.
    """
    found = weight = 0.0
    for topic, subscribers in traffic.subscribers.items():
        probes, messages = traffic.publishers.get(topic, 0), traffic.published.get(topic, 0)
        if messages:
            found += subscribers * digits(probes + 1, probes + messages)
            weight += subscribers * messages
    return found / weight if weight else 0.0
