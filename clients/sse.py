"""Server-Sent Events: ask once, and read an answer that never ends.

When the connection breaks, ask again with `Last-Event-ID`: the server goes on where the stream ended (WHATWG HTML
section 9.2). A browser's `EventSource` does the same; no library is needed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import aiohttp

from rtbench.errors import Refused
from rtbench.system.meter import Meter
from rtbench.transports import Message, refuse_wildcards
from rtbench.wire import http, sse
from rtbench.wire.traffic import Predicted, Traffic, flow, mean_digits, total

from .http_session import MARK, HttpSession, open_session, predict_publishing, software

__all__ = ["SLOT", "EventStream", "connect", "observation", "predict", "software"]

SLOT = 2
RETRY_S = 0.1


class EventStream(HttpSession):
    """A connection that holds an event stream open for each subscription."""

    async def subscribe(self, topic: str) -> AsyncIterator[Message]:
        """Subscribe to one topic, from now on: the response's header says that the stream is open."""
        refuse_wildcards("sse", topic)
        return self._read(topic, await self._open(topic, ""))

    async def _open(self, topic: str, last_event_id: str) -> aiohttp.ClientResponse:
        headers = {"Accept": "text/event-stream"}
        if last_event_id:
            headers["Last-Event-ID"] = last_event_id
        response = await self.session.get(self.address(topic), headers=headers)
        if response.status != 200:
            response.close()
            raise Refused(f"GET {topic}: {response.status} {response.reason}")
        return response

    async def _read(self, topic: str, response: aiohttp.ClientResponse) -> AsyncIterator[Message]:
        last_event_id = ""
        while True:
            decoder = sse.Decoder()
            missed = in_chunk = 0
            async with response:
                try:
                    async for part, ends_chunk in response.content.iter_chunks():
                        arrived_ns = self.arrived_ns
                        events = list(decoder.feed(part))
                        in_chunk += len(events)
                        if ends_chunk:
                            self.meter.batches[in_chunk] += 1
                            in_chunk = 0
                        for event in events:
                            if event.kind == "missed":
                                missed += int(event.data)
                            else:
                                yield topic, event.data, missed, arrived_ns
                                missed = 0
                except aiohttp.ClientPayloadError:
                    pass
            last_event_id = decoder.last_event_id or last_event_id
            await asyncio.sleep(RETRY_S)
            response = await self._open(topic, last_event_id)


@asynccontextmanager
async def connect(url: str, meter: Meter) -> AsyncIterator[EventStream]:
    """Open a connection that reads event streams."""
    async with open_session(EventStream, url, meter) as connection:
        yield connection


def observation(seen: Mapping[str, Any]) -> str:
    """Say what one open answer gives."""
    return f"streams over one open response: {seen['latency_p50_ms']:.2g} ms at the median, no request a delivery"


def predict(traffic: Traffic, **_options: Any) -> Predicted:
    """An event a delivery, with its id; how many events came in one chunk was counted. Nothing is asked for again."""
    event_bytes = sse.event_bytes(traffic.payload_bytes, len(MARK)) + mean_digits(traffic)
    chunks = {size: http.chunk_bytes(round(size * event_bytes)) - round(size * event_bytes) for size in traffic.batches}
    return replace(
        predict_publishing(traffic),
        subscribe_down=total(*(flow(n, size * event_bytes + chunks[size]) for size, n in traffic.batches.items())),
    )
