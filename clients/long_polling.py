"""Long-polling: ask, wait for the answer, ask again at once.

The server answers when there is a new message. A message that finds a request waiting travels once, from server to
client. One that comes while the last answer or the next request is still under way waits for that request: three
times the way at most (RFC 6202 section 2.2).
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from rtbench.transports import Message, Meter, Session, Steady, refuse_wildcards

from . import attempts, http_sizes
from .http_session import USUAL_FIELDS, Close, HttpSession, Overlap, open_session, software

__all__ = ["SCHEMES", "SLOT", "LongPolling", "attempt", "connect", "observation", "predict", "software", "steady"]

SLOT = 1
SCHEMES = ("http", "https")
WAIT_S = 30  # less than the minute after which intermediaries close a silent request (RFC 6202 section 5.5)
PREFER = f"wait={WAIT_S}"  # RFC 7240 section 4.3
predict = partial(http_sizes.long_polling, usual=USUAL_FIELDS, prefer=PREFER)
attempt = attempts.over_http


class LongPolling(HttpSession):
    """A connection that has a request waiting at the server nearly all the time."""

    async def subscribe(self, topic: str) -> AsyncIterator[Message]:
        """Subscribe to one topic, from now on."""
        refuse_wildcards("long-polling", topic)
        return self._wait(topic, *await self.start(topic))

    async def _wait(self, topic: str, validators: dict[str, str], messages: deque[Message]) -> AsyncIterator[Message]:
        wait_s = self.silence_s or WAIT_S  # with a keep-alive, the server must be heard more often
        while True:
            self.keep(topic, (validators, messages))
            while messages:
                yield messages.popleft()
            validators, messages, _ = await self.ask(topic, validators, wait_s, Prefer=f"wait={wait_s}")


@asynccontextmanager
async def connect(
    url: str, meter: Meter, *, close: Close = False, overlap: Overlap = False, session: Session | None = None
) -> AsyncIterator[LongPolling]:
    """Open a connection that long-polls."""
    async with open_session(LongPolling, url, meter, session, close, overlap) as connection:
        yield connection


def steady(rate_hz: float, **_options: Any) -> Steady:
    """Return a request for each message, as long as messages come further apart than a round trip."""
    return Steady(rate_hz, {1: rate_hz})


def observation(seen: Mapping[str, Any]) -> str:
    """Say what a delivery costs in requests."""
    said = f"answers when there is news: {seen['median']}"
    if seen["data_bytes_per_delivery"] is None:
        return said
    requests, data_bytes = seen["requests_per_delivery"], seen["data_bytes_per_delivery"]
    return f"{said}, for {requests:.1f} requests and {data_bytes:.0f} bytes a delivery"
