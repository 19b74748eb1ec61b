"""Workload: publishers, subscribers and their topics, and the rate, size and duration of the messages."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rtbench.errors import UsageError, did_you_mean
from rtbench.plan.values import LIMITS

ARRIVALS = ("constant", "poisson")

# pattern: (publishers, subscribers) if the user gives neither
PATTERNS = {"fan-out": (1, 10), "fan-in": (10, 1), "room": (5, 5), "pairs": (10, 10)}


@dataclass(frozen=True)
class Workload:
    """The load that every variant gets.

    Patterns:
        fan-out: each publisher has its own topic; subscriber j subscribes to topic j modulo publishers.
        fan-in: each subscriber has its own topic; publisher i publishes on topic i modulo subscribers.
        room: one topic; every participant publishes on it and receives all messages, its own included.
        pairs: participants 2k and 2k+1 each publish on the topic that the other subscribes to.

    `rate_hz` is messages per second of each publisher. A participant of `room` and `pairs` is one publisher and one
    subscriber, so both counts are the number of participants.
    """

    pattern: str = "fan-out"
    publishers: int = 1
    subscribers: int = 10
    rate_hz: float = 50.0
    arrivals: str = "constant"
    payload_bytes: int = 100
    duration_s: float = 0.5
    warmup_s: float = 0.3

    def __post_init__(self) -> None:
        """Raise a UsageError for a workload that cannot be measured."""
        _check_word("--pattern", PATTERNS, self.pattern)
        _check_word("--arrivals", ARRIVALS, self.arrivals)
        for name, value in (
            ("publishers", self.publishers),
            ("subscribers", self.subscribers),
            ("rate", self.rate_hz),
            ("payload", self.payload_bytes),
            ("duration", self.duration_s),
            ("warmup", self.warmup_s),
        ):
            LIMITS[name].check(f"--{name}", value)
        if self.rate_hz * self.duration_s < 1:
            raise UsageError(
                f"--rate {self.rate_hz:g} sends nothing in --duration {self.duration_s:g}s; make either larger"
            )
        self._check_counts()

    def _check_counts(self) -> None:
        both = f"got {self.publishers} and {self.subscribers}"
        if self.pattern == "fan-out" and self.subscribers < self.publishers:
            raise UsageError(f"fan-out needs at least as many --subscribers as --publishers: {both}")
        if self.pattern == "fan-in" and self.publishers < self.subscribers:
            raise UsageError(f"fan-in needs at least as many --publishers as --subscribers: {both}")
        if self.pattern in ("room", "pairs") and self.publishers != self.subscribers:
            raise UsageError(
                f"in {self.pattern} every participant publishes and subscribes: "
                f"--publishers must equal --subscribers, {both}"
            )
        if self.pattern == "pairs" and self.publishers % 2:
            raise UsageError(f"pairs needs an even number of participants: got {self.publishers}")

    def deliveries_of(self, messages: float) -> float:
        """Return to how many deliveries so many messages of each publisher lead."""
        each = self.subscribers if self.pattern in ("fan-out", "room") else 1
        return messages * (each if self.pattern == "fan-out" else self.publishers * each)

    @property
    def schedule_ns(self) -> int:
        """The length of the schedule, warm-up included, nanoseconds."""
        return round((self.warmup_s + self.duration_s) * 1e9)

    @property
    def publisher_topics(self) -> list[str]:
        """The topic that each publisher publishes on."""
        if self.pattern == "fan-out":
            return [f"fan-out/{i}" for i in range(self.publishers)]
        if self.pattern == "fan-in":
            return [f"fan-in/{i % self.subscribers}" for i in range(self.publishers)]
        if self.pattern == "room":
            return ["room"] * self.publishers
        return [f"pairs/{i // 2}/{'ab'[i % 2]}" for i in range(self.publishers)]

    @property
    def subscriber_topics(self) -> list[str]:
        """The topic that each subscriber subscribes to."""
        if self.pattern == "fan-out":
            return [f"fan-out/{j % self.publishers}" for j in range(self.subscribers)]
        if self.pattern == "fan-in":
            return [f"fan-in/{j}" for j in range(self.subscribers)]
        if self.pattern == "room":
            return ["room"] * self.subscribers
        return [f"pairs/{j // 2}/{'ba'[j % 2]}" for j in range(self.subscribers)]


def _check_word(flag: str, words: Iterable[str], word: str) -> None:
    if word not in words:
        raise UsageError(f"{flag} must be one of {', '.join(words)}: got {word!r}{did_you_mean(word, words)}")


def participants(pattern: str, publishers: int | None, subscribers: int | None) -> tuple[int, int]:
    """Return the two counts; None becomes the default of the pattern, or the least that the pattern needs."""
    _check_word("--pattern", PATTERNS, pattern)
    usual_publishers, usual_subscribers = PATTERNS[pattern]
    if pattern in ("room", "pairs"):
        both = publishers if publishers is not None else subscribers
        both = usual_publishers if both is None else both
        return both, subscribers if subscribers is not None else both
    if publishers is None:
        publishers = max(usual_publishers, subscribers or 0) if pattern == "fan-in" else usual_publishers
    if subscribers is None:
        subscribers = max(usual_subscribers, publishers) if pattern == "fan-out" else usual_subscribers
    return publishers, subscribers
