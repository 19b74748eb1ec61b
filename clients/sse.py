"""Server-Sent Events: ask once, and read a response that does not end.

When the connection breaks, ask again with `Last-Event-ID`: the server continues where the stream ended (WHATWG HTML
section 9.2). A browser's `EventSource` does the same; no library is needed. With a session, rtbench decides when to ask
again, and whether to continue.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import aiohttp

from rtbench.errors import Refused
from rtbench.transports import Message, Meter, Session, Steady, refuse_wildcards
from rtbench.wire import sse

from . import attempts, http_sizes
from .http_session import USUAL_FIELDS, Close, HttpSession, Overlap, losing, open_session, software

__all__ = ["SCHEMES", "SLOT", "EventStream", "attempt", "connect", "observation", "predict", "software", "steady"]

SLOT = 2
SCHEMES = ("http", "https")
RETRY_S = 0.1
predict = partial(http_sizes.event_stream, usual=USUAL_FIELDS)
attempt = attempts.over_http


class EventStream(HttpSession):
    """A connection that holds an event stream open for each subscription."""

    async def subscribe(self, topic: str) -> AsyncIterator[Message]:
        """Subscribe to one topic, from now on: the head of the response says that the stream is open."""
        refuse_wildcards("sse", topic)
        last_event_id = self.kept(topic)
        if last_event_id is None and self.session is not None and self.session.resume:
            last_event_id = (await self.validators(topic)).get("If-None-Match", "")  # the cursor of now is an event id
            self.keep(topic, last_event_id)
        return self._read(topic, await self._open(topic, last_event_id or ""))

    async def _open(self, topic: str, last_event_id: str) -> aiohttp.ClientResponse:
        headers = {"Accept": "text/event-stream"}
        if last_event_id:
            headers["Last-Event-ID"] = last_event_id
        if self.silence_s:
            headers["Prefer"] = f"wait={self.silence_s}"  # the server then sends a comment at least this often
        with losing():
            response = await self.http.get(self.address(topic), headers=headers, timeout=self.within(self.silence_s))
        if response.status != 200:
            response.close()
            raise Refused(f"GET {topic}: {response.status} {response.reason}")
        return response

    async def _read(self, topic: str, response: aiohttp.ClientResponse) -> AsyncIterator[Message]:
        last_event_id = ""
        while True:
            decoder, chunks = sse.Decoder(), self.metering.chunk_count()
            missed, broken = 0, None
            async with response:
                try:
                    async for part, ends_chunk in response.content.iter_chunks():
                        arrived_ns = self.metering.arrived_ns
                        events = list(decoder.feed(part))
                        chunks.add(len(events), ends_chunk)
                        for event in events:
                            if event.kind == "missed":
                                missed += int(event.data)
                            else:
                                self.keep(topic, event.id)
                                yield topic, event.data, missed, arrived_ns
                                missed = 0
                except aiohttp.ClientError as error:
                    broken = error
            if self.session is not None:
                raise ConnectionError("the event stream ended") from broken
            last_event_id = decoder.last_event_id or last_event_id
            await asyncio.sleep(RETRY_S)
            response = await self._open(topic, last_event_id)


@asynccontextmanager
async def connect(
    url: str, meter: Meter, *, close: Close = False, overlap: Overlap = False, session: Session | None = None
) -> AsyncIterator[EventStream]:
    """Open a connection that reads event streams."""
    async with open_session(EventStream, url, meter, session, close, overlap) as connection:
        yield connection


def steady(rate_hz: float, **_options: Any) -> Steady:
    """Return a chunk for each message."""
    return Steady(batches_hz={1: rate_hz})


def observation(seen: Mapping[str, Any]) -> str:
    """Say that the stream needs no request for each delivery."""
    return f"streams over one open response: {seen['median']}, no request a delivery"
