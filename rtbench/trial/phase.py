"""Phases: what a trial is doing, how much of that is done, and how long the trial still takes.

starting      until the server is up
connecting    until every subscriber has subscribed
probing       until every readiness probe has arrived; publishers open their connections with it
measuring     until the end of the schedule
draining      until the last messages have arrived, or none comes any more
closing       until every process has closed its connections and returned its record
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

STARTING_S = 0.5  # a process
_OPENING_S, _CLOSING_S = 0.001, 0.0006  # a connection
_DELIVERY_S = 0.0002
_RETURN_WITHIN_S = 10.0
_GRACE_S = 3.0  # a phase that takes longer than expected by this is expected to use up its time limit


@dataclass(frozen=True)
class Phase:
    """What goes on, how many of how many are done (no total: nothing to count), and the seconds left of the trial."""

    name: str
    left_s: float
    done: int = 0
    total: int = 0

    def __str__(self) -> str:
        """Return it in words: `connecting 12,000 of 20,000`."""
        return f"{self.name} {self.done:,} of {self.total:,}" if self.total else self.name


@dataclass(frozen=True)
class Standing:
    """Where a trial stands: in a step of the coordinator (none before the server is up), since `elapsed_s`.

    `count` of the step are done, and none more for `quiet_s`.
    """

    step: str
    elapsed_s: float
    count: int
    quiet_s: float


def connecting_s(connections: int) -> float:
    """Return about how long a process takes to start and to open so many connections."""
    return STARTING_S + _OPENING_S * connections


def probing_s(publishers: int, probes: int) -> float:
    """Return about how long it takes to open so many publishers and to deliver so many probes."""
    return STARTING_S / 2 + _OPENING_S * publishers + _DELIVERY_S * probes


def return_within_s(connections: int) -> float:
    """Return how long a process may take to close so many connections and to return its record."""
    return _RETURN_WITHIN_S + 0.02 * connections


def closing_s(connections: int) -> float:
    """Return about how long a process takes to close so many connections."""
    return _CLOSING_S * connections


def left_s(expected_s: float, at: Standing, limit_s: float, total: int = 0) -> float:
    """Return how long a step still takes: what is expected, and after that what its progress or its limit says."""
    if at.elapsed_s < expected_s:
        return expected_s - at.elapsed_s
    until_limit_s = max(limit_s - at.elapsed_s, 0.0)
    if 0 < at.count < total:
        return min(at.elapsed_s / at.count * (total - at.count), until_limit_s)
    return until_limit_s if at.elapsed_s > expected_s + _GRACE_S else 0.0


Report = Callable[[Phase], None]
_EVERY_S = 0.25


@asynccontextmanager
async def reporting(phase: Callable[[], Phase], report: Report) -> AsyncIterator[None]:
    """Report the phase several times a second: a trial may wait for minutes without an event."""

    async def repeat() -> None:
        while True:
            report(phase())
            await asyncio.sleep(_EVERY_S)

    ticking = asyncio.create_task(repeat())
    try:
        yield
    finally:
        ticking.cancel()


@dataclass(frozen=True)
class Course:
    """The phases of a trial as they are planned.

    `fetching_s` is how long a message waits at most for the subscriber that fetches it, `set_up_within_s` the limit of
    connecting and of probing, and `drain_timeout_s` how long draining waits for the next message.
    """

    publishers: int
    subscribers: int
    probes: int
    deliveries: int
    schedule_s: float
    fetching_s: float
    set_up_within_s: float
    drain_timeout_s: float

    def phase(self, at: Standing) -> Phase:
        """Return the phase of a trial that stands there."""
        ending_s = closing_s(self.publishers + self.subscribers)
        last_s = self.schedule_s + self.fetching_s + ending_s
        probes_s = probing_s(self.publishers, self.probes) + self.fetching_s
        limit_s = self.set_up_within_s
        if at.step == "":
            left = left_s(STARTING_S, at, limit_s) + connecting_s(self.subscribers) + probes_s + last_s
            return Phase("starting", left)
        if at.step == "connect":
            left = left_s(connecting_s(self.subscribers), at, limit_s, self.subscribers) + probes_s + last_s
            return Phase("connecting", left, at.count, self.subscribers)
        if at.step == "probe":
            return Phase("probing", left_s(probes_s, at, limit_s, self.probes) + last_s, at.count, self.probes)
        if at.step == "stop":
            return Phase("closing", max(ending_s - at.elapsed_s, 0.0))
        if at.elapsed_s < self.schedule_s:
            return Phase("measuring", last_s - at.elapsed_s, at.count, self.deliveries)
        return Phase("draining", self._draining_s(at) + ending_s, at.count, self.deliveries)

    def _draining_s(self, at: Standing) -> float:
        ended_s = at.elapsed_s - self.schedule_s  # ago
        if at.count >= self.deliveries:
            return 0.0
        if ended_s < self.fetching_s:
            return self.fetching_s - ended_s
        return max(self.drain_timeout_s - min(at.quiet_s, ended_s), 0.0)
