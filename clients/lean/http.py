"""HTTP, lean: requests and answers straight over a socket, and what polling, long-polling and SSE share of it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from functools import lru_cache
from importlib.metadata import version
from typing import Any, TypeAlias, TypeVar
from urllib.parse import quote, urlsplit

from rtbench.errors import Refused
from rtbench.transports import Deliver, Done, Ended, Message, Meter, Session, Watcher, watcher
from rtbench.wire import http

from .connection import Connection, Inbox, opened

FIELDS = {"Accept": "*/*", "User-Agent": f"rtbench/{version('rtbench')}"}  # of every request, beside Host
_VALIDATORS = {"etag": "If-None-Match", "last-modified": "If-Modified-Since"}  # RFC 9110 section 13.1
Answer: TypeAlias = tuple[http.Head, bytes, int]
"""Head and body of an answer, and when the last of it arrived."""
Answered: TypeAlias = Callable[[Answer | Exception], object]


class Channel(Connection):
    """One connection on which one request at a time waits for its answer."""

    __slots__ = ("_answered", "_head", "_rest", "_to_head", "answers", "chunks", "on_end", "stream")

    def __init__(self, *connection: Any) -> None:
        super().__init__(*connection)
        self._answered: Answered | None = None
        self._to_head = False
        self._head: http.Head | None = None  # of an answer whose body has not come whole
        self._rest = b""
        self.answers = 0
        self.chunks: http.Chunks | None = None  # of the body, where it comes in chunks
        self.stream: Callable[[bytes, int], None] | None = None  # takes a body that does not end
        self.on_end: Ended | None = None  # is told when the connection ends, and no request waits

    def ask(self, request: bytes, answered: Answered, to_head: bool = False) -> None:
        """Send a request; `answered` gets the answer, or what came instead. Raises nothing."""
        self._answered, self._to_head = answered, to_head
        try:
            self.send(request)
        except OSError as error:
            self._answered = None
            answered(error)

    def received(self, data: bytes, arrived_ns: int) -> None:
        """Take a part of an answer."""
        if self.stream is not None:
            self.stream(data, arrived_ns)
            return
        if self._rest:
            data = self._rest + data
        self._rest = data
        if self._head is None:
            end = data.find(b"\r\n\r\n")
            if end < 0:
                return
            self._head, self._rest = http.parse_head(data[:end]), data[end + 4 :]
        size = self._head.body_bytes(self._to_head)
        if size is None:
            self._open_ended(arrived_ns)
        elif len(self._rest) >= size:
            body, self._rest = self._rest[:size], self._rest[size:]
            self._finish(body, arrived_ns)

    def _open_ended(self, arrived_ns: int) -> None:
        """Hand over the head: what follows goes to `stream`, or the answer is an error whose text nobody needs."""
        assert self._head is not None
        rest, self._rest = self._rest, b""
        if self._head.status == 200:
            self.chunks = http.Chunks() if "transfer-encoding" in self._head.fields else None
        self._finish(b"", arrived_ns)
        if self.stream is not None and rest:
            self.stream(rest, arrived_ns)

    def _finish(self, body: bytes, arrived_ns: int) -> None:
        head, self._head = self._head, None
        answered, self._answered = self._answered, None
        if head is None or answered is None:
            raise ValueError("an answer to no request")
        self.answers += 1
        if head.fields.get("connection", "").lower() == "close":
            self.close()
        answered((head, body, arrived_ns))

    def lost(self) -> None:
        """Tell whoever waits for an answer."""
        answered, self._answered = self._answered, None
        if answered is not None:
            answered(_lost(self.error))
        elif self.on_end is not None:
            self.on_end(_lost(self.error))


def _lost(error: Exception | None) -> OSError:
    return error if isinstance(error, OSError) else ConnectionError(str(error))


class Requests:
    """The connections of one client to one server; a request takes one that is idle, or opens a new one."""

    def __init__(self, url: str, meter: Meter, session: Session | None, close: bool) -> None:
        self._parts = urlsplit(url)
        self._base = self._parts.path.rstrip("/")
        self._meter = meter
        self._session = session
        self._fields = {
            "Host": self._parts.netloc,
            **FIELDS,
            **meter.login.fields,
            **({"Connection": "close"} if close else {}),
        }
        self._watcher: Watcher = watcher()
        self._idle: list[Channel] = []
        self._channels: set[Channel] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def request(self, method: str, topic: str, fields: Mapping[str, str]) -> bytes:
        """Return the bytes of a request without a body."""
        return http.request(method, f"{self._base}/{quote(topic)}", {**self._fields, **fields})

    def repeated(self, topic: str, fields: Mapping[str, str]) -> Callable[[Mapping[str, str]], bytes]:
        """Return what makes the requests of a subscription, a GET with `fields` and those that change each time."""
        start = self.request("GET", topic, fields).removesuffix(b"\r\n")

        def request(changing: Mapping[str, str]) -> bytes:
            return start + _lines(*changing.items())

        return request

    def ask(self, request: bytes, answered: Answered, *, within_s: float | None = None, to_head: bool = False) -> None:
        """Send a request; `answered` gets the answer, or the OSError that came instead. Raises nothing.

        Without an answer `within_s`, the connection is lost. After `close`, nothing is asked.
        """
        if self._closed:
            return
        while self._idle:
            channel = self._idle.pop()
            if channel.error is None:
                self._ask(channel, request, answered, within_s, to_head)
                return
            self._channels.discard(channel)
        self.soon(self._open_and_ask(request, answered, within_s, to_head))

    def soon(self, work: Coroutine[Any, Any, None]) -> None:
        """Do work, until `close`."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _open_and_ask(self, request: bytes, answered: Answered, within_s: float | None, to_head: bool) -> None:
        try:
            channel = await self.open()
        except OSError as error:
            answered(error)
            return
        self._ask(channel, request, answered, within_s, to_head)

    async def open(self) -> Channel:
        """Return a new connection.

        Raises:
            OSError: there is none.
        """
        encrypted = self._parts.scheme == "https"
        sock, pipe = await opened(self._meter, self._parts, 443 if encrypted else 80, encrypted)
        channel = Channel(sock, self._watcher, pipe)
        self._channels.add(channel)
        channel.begin()
        return channel

    def _ask(self, channel: Channel, request: bytes, answered: Answered, within_s: float | None, to_head: bool) -> None:
        timer = None
        if within_s is not None:
            late = ConnectionError(f"no answer within {within_s:g} s")
            timer = asyncio.get_running_loop().call_later(within_s, channel.end, late)
        was_used = channel.answers > 0

        def take(answer: Answer | Exception) -> None:
            if timer is not None:
                timer.cancel()
            if isinstance(answer, Exception):
                self._channels.discard(channel)
                if was_used and self._session is None and not request.startswith(b"POST"):
                    # the server may close a connection that was idle; aiohttp asks again, too (RFC 9110 section 9.2.2)
                    self.soon(self._open_and_ask(request, answered, within_s, to_head))
                    return
            elif channel.error is None:
                self._idle.append(channel)
            else:
                self._channels.discard(channel)
            answered(answer)

        channel.ask(request, take, to_head)

    async def answer(self, request: bytes, *, within_s: float | None = None, to_head: bool = False) -> Answer:
        """Send a request, and return the answer.

        Raises:
            OSError: the connection ended before it came.
        """
        waiting: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

        def answered(answer: Answer | Exception) -> None:
            if waiting.done():
                return
            if isinstance(answer, Exception):
                waiting.set_exception(answer)
            else:
                waiting.set_result(answer)

        self.ask(request, answered, within_s=within_s, to_head=to_head)
        return await waiting

    def close(self) -> None:
        """Close all connections."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        for channel in self._channels:
            channel.close()


class Position:
    """Where a subscription is: the validators of its next request, and what has come for one who iterates."""

    __slots__ = ("cursor", "inbox", "more", "validators")

    def __init__(self) -> None:
        self.more = False  # whether to ask again at once
        self.validators: Mapping[str, str] = {}
        self.cursor: bytes | None = None  # of an event stream: the last event id
        self.inbox = Inbox()


class HttpClient:
    """Publishes with `POST /topic`, by default one request after the other, so that messages keep their order."""

    in_flight_limit: int | None = 1

    def __init__(self, requests: Requests, meter: Meter, session: Session | None) -> None:
        self.requests = requests
        self.meter = meter
        self.session = session
        self._heads: dict[tuple[str, int], bytes] = {}

    # Publishing

    async def publish(self, topic: str, payload: bytes) -> bool:
        """Publish; the response is the acknowledgement.

        Raises:
            Refused: the server answers with an error.
            OSError: the connection ends before the answer.
        """
        outcome: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        def done(result: bool | Exception) -> None:
            if not outcome.done():
                outcome.set_exception(result) if isinstance(result, Exception) else outcome.set_result(result)

        self.send(topic, payload, done)
        return await outcome

    def send(self, topic: str, payload: bytes, done: Done) -> None:
        """Publish; see `DirectConnection`."""
        head = self._heads.get((topic, len(payload)))
        if head is None:
            fields = {"Content-Length": str(len(payload)), "Content-Type": "application/octet-stream"}
            head = self._heads[topic, len(payload)] = self.requests.request("POST", topic, fields)

        def answered(answer: Answer | Exception) -> None:
            if isinstance(answer, Exception):
                done(answer)
            elif answer[0].status >= 400:
                text = answer[1].decode(errors="replace").strip()
                done(Refused(f"POST {topic}: {answer[0].status} {text}"))
            else:
                done(True)

        self.requests.ask(head + payload, answered, within_s=self.within_s())

    # Subscribing: `start` is that of the transport

    async def start(self, topic: str, position: Position, deliver: Deliver, ended: Ended) -> None:
        """Subscribe, and hand over what comes."""
        raise NotImplementedError

    async def subscribe(self, topic: str) -> AsyncIterator[Message]:
        """Subscribe to one topic, from now on."""
        position = self._position(topic)
        position.inbox.ended(None)
        await self.start(topic, position, position.inbox.deliver, position.inbox.ended)
        return position.inbox.read()

    async def receive(self, topic: str, deliver: Deliver, ended: Ended) -> None:
        """Subscribe; see `DirectConnection`."""
        await self.start(topic, self._position(topic), deliver, ended)

    def _position(self, topic: str) -> Position:
        if self.session is None or not self.session.resume:
            return Position()
        self.session.resumed = topic in self.session.kept
        position: Position = self.session.kept.setdefault(topic, Position())
        return position

    async def begin(self, topic: str, position: Position, deliver: Deliver) -> None:
        """Find where a subscription begins, which is now; one that continues gets what was published meanwhile.

        Raises:
            Refused: the server answers with an error.
            OSError: the connection ends before the answer.
        """
        continues, method = bool(position.validators), "GET" if position.validators else "HEAD"
        request = self.requests.request(method, topic, position.validators)
        if continues:
            self.meter.requests += 1
        answer = await self.requests.answer(request, within_s=self.within_s(), to_head=not continues)
        if answer[0].status >= 400:
            raise Refused(f"{method} {topic}: {answer[0].status} {answer[0].reason}")
        if continues:
            self.take(topic, position, answer, deliver)
        else:
            position.validators = conditional(answer[0])

    def take(self, topic: str, position: Position, answer: Answer, deliver: Deliver) -> None:
        """Hand over the messages of an answer, and note where the next request continues.

        Raises:
            ValueError: the answer has not the form that its type names.
        """
        head, body, arrived_ns = answer
        payloads: list[bytes] = []
        position.more = head.status == 200 and _MORE in head.fields
        if head.status == 200:
            payloads = http.split(head.fields.get("content-type", ""), body)
            position.validators = conditional(head)
        self.meter.empty_requests += not payloads
        self.meter.batches[len(payloads)] += 1
        missed = int(head.fields.get(_GAP, 0))
        for payload in payloads:
            deliver(topic, payload, missed, arrived_ns)
            missed = 0

    def taker(
        self, topic: str, position: Position, deliver: Deliver, ended: Ended, then: Callable[[], object]
    ) -> Answered:
        """Return what takes an answer to a GET, and calls `then` unless the subscription has ended."""

        def answered(answer: Answer | Exception) -> None:
            try:
                if isinstance(answer, Exception):
                    raise answer
                if answer[0].status >= 400:
                    raise refused(topic, answer[0])
                self.take(topic, position, answer, deliver)
            except Exception as error:
                ended(error)
            else:
                then()

        return answered

    # The keep-alive of a session

    @property
    def silence_s(self) -> int:
        """How long a server may be silent that is to be heard in every keep-alive of the session; 0 without one."""
        if self.session is None or self.session.keep_alive_s is None:
            return 0
        return math.ceil(self.session.keep_alive_s)  # `Prefer` has whole seconds

    def within_s(self, wait_s: float = 0.0) -> float | None:
        """Return the time limit of a request: none, or `wait_s` and the keep-alive of the session."""
        if self.session is None or self.session.keep_alive_s is None:
            return None
        return wait_s + self.session.keep_alive_s


_GAP, _MORE = http.GAP_HEADER.lower(), http.MORE_HEADER.lower()


@lru_cache(maxsize=16)
def _lines(*fields: tuple[str, str]) -> bytes:
    """Return the last lines of a request, and the empty one; all subscribers of a topic send the same."""
    return "".join([f"{name}: {value}\r\n" for name, value in fields]).encode() + b"\r\n"


@lru_cache(maxsize=16)
def conditional(head: http.Head) -> Mapping[str, str]:
    """Return the request headers that echo both validators of a response."""
    return {ask: head.fields[told] for told, ask in _VALIDATORS.items() if told in head.fields}


Kind = TypeVar("Kind", bound=HttpClient)


@asynccontextmanager
async def open_client(
    kind: type[Kind], url: str, meter: Meter, session: Session | None, close: bool, overlap: bool
) -> AsyncIterator[Kind]:
    """Open a client of class `kind`; `close` and `overlap` are the options of these names."""
    requests = Requests(url, meter, session, close)
    client = kind(requests, meter, session)
    if overlap:
        client.in_flight_limit = None
    try:
        yield client
    finally:
        requests.close()


def refused(topic: str, head: http.Head) -> Refused:
    """Return the error that an answer to a GET is."""
    return Refused(f"GET {topic}: {head.status} {head.reason}")
