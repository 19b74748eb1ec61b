"""Polling: ask every `interval_s`, whether or not there is a new message.

A message waits for the next poll, so its latency is spread evenly between zero and the interval: half the interval on
average. The clock ticks on while a request is under way, as that of JavaScript's `setInterval` does: N clients make
N / interval requests a second, however slow the answers are.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Annotated, Any

from rtbench.transports import Message, Meter, Option, Session, Steady, refuse_wildcards
from rtbench.units import format_seconds, plain

from . import attempts, http_sizes
from .http_session import USUAL_FIELDS, Close, HttpSession, Overlap, open_session, software

__all__ = [
    "SCHEMES",
    "SLOT",
    "Polling",
    "attempt",
    "connect",
    "drain_timeout_s",
    "observation",
    "predict",
    "software",
    "steady",
]

SLOT = 0
SCHEMES = ("http", "https")
Interval = Annotated[
    float, Option("from one poll to the next, at most 86400s", metavar="TIME", above=0, most=24 * 3600)
]
predict = partial(http_sizes.polling, usual=USUAL_FIELDS)
attempt = attempts.over_http


class Polling(HttpSession):
    """A connection that polls."""

    interval_s = 0.5

    async def subscribe(self, topic: str) -> AsyncIterator[Message]:
        """Subscribe to one topic, from now on."""
        refuse_wildcards("polling", topic)
        return self._poll(topic, *await self.start(topic))

    async def _poll(self, topic: str, validators: dict[str, str], messages: deque[Message]) -> AsyncIterator[Message]:
        clock, more = asyncio.get_running_loop().time, False
        due = clock() + random.random() * self.interval_s  # or all clients would poll at the same moment
        while True:
            self.keep(topic, (validators, messages))
            while messages:
                yield messages.popleft()
            if not more:
                await asyncio.sleep(due - clock())
            validators, messages, more = await self.ask(topic, validators)
            if more:
                continue
            ticks_passed = max(1, -int((due - clock()) // self.interval_s))
            due += ticks_passed * self.interval_s


@asynccontextmanager
async def connect(
    url: str,
    meter: Meter,
    *,
    interval_s: Interval = 0.5,
    close: Close = False,
    overlap: Overlap = False,
    session: Session | None = None,
) -> AsyncIterator[Polling]:
    """Open a connection that polls every `interval_s` seconds."""
    async with open_session(Polling, url, meter, session, close, overlap) as polling:
        polling.interval_s = interval_s
        yield polling


def drain_timeout_s(*, interval_s: float, **_options: Any) -> float:
    """Return how long a trial waits for a delivery, in seconds: two polls longer than by default."""
    return 2.0 + 2.0 * interval_s


def steady(rate_hz: float, *, interval_s: float, **_options: Any) -> Steady:
    """Return a poll every `interval_s`; each fetches what was published since the last one, or nothing.

    With `rate_hz * interval_s` messages an interval, a poll gets the whole number below it or the one above it.
    """
    polls_hz = 1 / interval_s
    fewest, rest = divmod(rate_hz * interval_s, 1)
    batches_hz = {int(fewest): (1 - rest) * polls_hz, int(fewest) + 1: rest * polls_hz}
    return Steady(polls_hz, batches_hz, wait_s=interval_s / 2)


def observation(seen: Mapping[str, Any]) -> str:
    """Compare with the law: a message waits half the interval on average."""
    half = seen["interval_s"] / 2
    return (
        f"waits half its interval: {format_seconds(seen['latency_mean_ms'] / 1e3)} measured, "
        f"{format_seconds(half)} expected; {plain(seen['requests_per_delivery'], 2)} requests a delivery, "
        f"{seen['empty_request_share'] or 0:.0%} of them for nothing; the newest a subscriber has is "
        f"{format_seconds((seen['age_mean_ms'] or 0) / 1e3)} old on average"
    )
