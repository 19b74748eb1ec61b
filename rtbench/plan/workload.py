"""Workload: publishers, subscribers and their topics, and the rate, size and duration of the messages."""

from __future__ import annotations

from dataclasses import dataclass

from rtbench.errors import UsageError
from rtbench.plan.payload import HEADER_BYTES

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
        for refused, text in (
            (
                self.pattern not in PATTERNS,
                f"--pattern must be one of {', '.join(PATTERNS)}: got {self.pattern!r}",
            ),
            (self.arrivals not in ARRIVALS, f"--arrivals must be constant or poisson: got {self.arrivals!r}"),
            (not 1 <= self.publishers <= 99_999, f"--publishers must be 1 to 99999: got {self.publishers}"),
            (
                not 1 <= self.subscribers <= 99_999,
                f"--subscribers must be 1 to 99999: got {self.subscribers}",
            ),
            (
                not 0 < self.rate_hz <= 1e6,
                f"--rate must be above 0 (messages a second): got {self.rate_hz:g}",
            ),
            (
                self.payload_bytes < HEADER_BYTES,
                f"--payload must be at least {HEADER_BYTES} bytes, the size of the header: got {self.payload_bytes}",
            ),
            (
                self.payload_bytes > 16_000_000,
                f"--payload must be at most 16000000 bytes: got {self.payload_bytes}",
            ),
            (not 0 < self.duration_s < 1e6, f"--duration must be above 0: got {self.duration_s:g}s"),
            (not 0 <= self.warmup_s < 1e6, f"--warmup must be 0 or more: got {self.warmup_s:g}s"),
            (
                self.rate_hz * self.duration_s < 1,
                f"--rate {self.rate_hz:g} sends nothing in --duration {self.duration_s:g}s; make either larger",
            ),
            (
                self.rate_hz * (self.duration_s + self.warmup_s) * self.publishers > 2e7,
                "--rate x --duration x --publishers is over 20 million messages; make one of them smaller",
            ),
        ):
            if refused:
                raise UsageError(text)
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


def participants(pattern: str, publishers: int | None, subscribers: int | None) -> tuple[int, int]:
    """Return the two counts; None becomes the default of the pattern, or the least that the pattern needs."""
    if pattern not in PATTERNS:
        raise UsageError(f"--pattern must be one of {', '.join(PATTERNS)}: got {pattern!r}")
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
