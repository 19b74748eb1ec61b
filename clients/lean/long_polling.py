"""Long-polling, lean: what `clients/long_polling.py` does, without a library."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from rtbench.transports import Deliver, Ended, Meter, Session, refuse_wildcards

from .. import http_sizes
from ..http_session import Close, Overlap
from ..long_polling import PREFER, SLOT, WAIT_S, observation, steady
from .http import FIELDS, HttpClient, Position, open_client
from .software import software

__all__ = ["DIRECT", "SLOT", "connect", "observation", "predict", "software", "steady"]

DIRECT = True
predict = partial(http_sizes.long_polling, prefer=PREFER, usual=FIELDS)


class LongPolling(HttpClient):
    """A connection that has a request waiting at the server nearly all the time."""

    async def start(self, topic: str, position: Position, deliver: Deliver, ended: Ended) -> None:
        """Ask, and ask again as soon as the answer is there."""
        refuse_wildcards("long-polling", topic)
        await self.begin(topic, position, deliver)
        wait_s = self.silence_s or WAIT_S  # with a keep-alive, the server must be heard more often
        request = self.requests.repeated(topic, {"Prefer": f"wait={wait_s}"})

        def ask() -> None:
            self.meter.requests += 1
            self.requests.ask(request(position.validators), answered, within_s=self.within_s(wait_s))

        answered = self.taker(topic, position, deliver, ended, ask)
        ask()


@asynccontextmanager
async def connect(
    url: str, meter: Meter, *, close: Close = False, overlap: Overlap = False, session: Session | None = None
) -> AsyncIterator[LongPolling]:
    """Open a connection that long-polls."""
    async with open_client(LongPolling, url, meter, session, close, overlap) as connection:
        yield connection
