"""Server-Sent Events, lean: what `clients/sse.py` does, without a library."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import lru_cache, partial

from rtbench.transports import Deliver, Ended, Meter, Session, refuse_wildcards
from rtbench.wire import http, sse

from .. import http_sizes
from ..http_session import Close, Overlap
from ..metering import ChunkCount
from ..sse import RETRY_S, SLOT, observation, steady
from .http import FIELDS, Answer, Channel, HttpClient, Position, open_client, refused
from .software import software

__all__ = ["DIRECT", "SLOT", "connect", "observation", "predict", "software", "steady"]

DIRECT = True
predict = partial(http_sizes.event_stream, usual=FIELDS)


class EventStream(HttpClient):
    """A connection that holds an event stream open for each subscription."""

    async def start(self, topic: str, position: Position, deliver: Deliver, ended: Ended) -> None:
        """Open the stream; without a session, open it again when it ends."""
        refuse_wildcards("sse", topic)
        if self.session is not None and self.session.resume and position.cursor is None:
            await self.begin(topic, position, deliver)
            position.cursor = position.validators.get("If-None-Match", "").encode()  # the cursor of now is an event id
        await self._open(topic, position, deliver, ended)

    async def _open(self, topic: str, position: Position, deliver: Deliver, ended: Ended) -> None:
        fields = {"Accept": "text/event-stream"}
        if position.cursor:
            fields["Last-Event-ID"] = position.cursor.decode()
        if self.silence_s:
            fields["Prefer"] = f"wait={self.silence_s}"  # the server then sends a comment at least this often
        request = self.requests.request("GET", topic, fields)
        channel = await self.requests.open()
        reading = Reading(topic, channel, self.meter, position, deliver)
        head = await reading.begin(request, self.within_s(self.silence_s))
        if head.status != 200:
            channel.close()
            raise refused(topic, head)
        if self.session is not None:
            reading.ended = ended
        else:
            reading.ended = lambda _: self.requests.soon(self._again(topic, position, deliver, ended))

    async def _again(self, topic: str, position: Position, deliver: Deliver, ended: Ended) -> None:
        await asyncio.sleep(RETRY_S)
        try:
            await self._open(topic, position, deliver, ended)
        except Exception as error:
            ended(error)


class Reading:
    """One event stream, from its request to its end."""

    def __init__(self, topic: str, channel: Channel, meter: Meter, position: Position, deliver: Deliver) -> None:
        self._topic = topic
        self._channel = channel
        self._position = position
        self._deliver = deliver
        self._decoder = sse.Decoder()
        self._counting = ChunkCount(meter)
        self._meter = meter
        self._missed = 0
        self._is_between = False  # the next byte is the first of a chunk, and of an event
        self._heard = False  # since the last look
        self.ended: Ended | None = None

    async def begin(self, request: bytes, within_s: float | None) -> http.Head:
        """Ask for the stream, and return the head of the answer; after it, the stream must not be silent `within_s`.

        Raises:
            OSError: the connection ended before it came.
        """
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[http.Head] = loop.create_future()

        def answered(answer: Answer | Exception) -> None:
            if waiting.done():
                return
            if isinstance(answer, Exception):
                waiting.set_exception(answer)
                return
            self._channel.stream, self._channel.on_end = self.take, self._end
            waiting.set_result(answer[0])

        self._channel.ask(request, answered)
        async with asyncio.timeout(within_s):
            head = await waiting
        if within_s is not None:
            loop.call_later(within_s, self._look, within_s)
        return head

    def _look(self, within_s: float) -> None:
        if self._channel.error is not None:
            return
        if not self._heard:
            self._channel.end(ConnectionError(f"the server was silent for {within_s:g} s"))
            return
        self._heard = False
        asyncio.get_running_loop().call_later(within_s, self._look, within_s)

    def take(self, data: bytes, arrived_ns: int) -> None:
        """Hand over the events that end in this piece; nearly all pieces are one chunk with one event."""
        self._heard = True
        if self._is_between and not self._missed and (only := _only_event(data)) is not None:
            self._position.cursor = only.id.encode()
            self._meter.batches[1] += 1
            self._deliver(self._topic, only.data, 0, arrived_ns)
            return
        chunks = self._channel.chunks
        if self._is_between and self._position.cursor is not None:
            self._decoder.continue_after(self._position.cursor.decode(errors="replace"))
        for part, ends_chunk in chunks.feed(data) if chunks is not None else ((data, True),):
            events = 0
            for event in self._decoder.feed(part):
                events += 1
                if event.kind == "missed":
                    self._missed += int(event.data)
                    continue
                self._position.cursor = event.id.encode()
                self._deliver(self._topic, event.data, self._missed, arrived_ns)
                self._missed = 0
            self._counting.add(events, ends_chunk)
        self._is_between = chunks is not None and chunks.is_between and self._decoder.is_between
        if chunks is not None and chunks.is_complete:
            self._channel.end(ConnectionError("the event stream ended"))

    def _end(self, error: Exception) -> None:
        if self.ended is not None:
            self.ended(error)


@lru_cache(maxsize=16)
def _only_event(piece: bytes) -> sse.Event | None:
    """Return the event if these bytes are one chunk with one event; all subscribers of a topic get the same bytes."""
    content = http.only_chunk(piece)
    return None if content is None else sse.only_event(content)


@asynccontextmanager
async def connect(
    url: str, meter: Meter, *, close: Close = False, overlap: Overlap = False, session: Session | None = None
) -> AsyncIterator[EventStream]:
    """Open a connection that reads event streams."""
    async with open_client(EventStream, url, meter, session, close, overlap) as connection:
        yield connection
