"""Polling, lean: what `clients/polling.py` does, without a library."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from rtbench.transports import Deliver, Ended, Meter, Session, refuse_wildcards

from .. import http_sizes
from ..http_session import Close, Overlap
from ..polling import SLOT, Interval, drain_timeout_s, observation, steady
from .http import FIELDS, HttpClient, Position, open_client
from .software import software

__all__ = ["DIRECT", "SLOT", "connect", "drain_timeout_s", "observation", "predict", "software", "steady"]

DIRECT = True
predict = partial(http_sizes.polling, usual=FIELDS)


class Polling(HttpClient):
    """A connection that polls."""

    interval_s = 0.5

    async def start(self, topic: str, position: Position, deliver: Deliver, ended: Ended) -> None:
        """Poll every `interval_s`; the first time at a random moment, or all clients would poll at once."""
        refuse_wildcards("polling", topic)
        await self.begin(topic, position, deliver)
        loop, request = asyncio.get_running_loop(), self.requests.repeated(topic, {})
        due_s = loop.time() + random.random() * self.interval_s

        def poll() -> None:
            self.meter.requests += 1
            self.requests.ask(request(position.validators), answered, within_s=self.within_s())

        def wait() -> None:
            nonlocal due_s
            if position.more:
                poll()
                return
            due_s += self.interval_s * max(1, -int((due_s - loop.time()) // self.interval_s))
            loop.call_at(due_s, poll)

        answered = self.taker(topic, position, deliver, ended, wait)
        loop.call_at(due_s, poll)


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
    async with open_client(Polling, url, meter, session, close, overlap) as polling:
        polling.interval_s = interval_s
        yield polling
