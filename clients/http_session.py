"""What the three HTTP clients share: connections, publishing, and where a subscription starts or continues."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Annotated, Any, NamedTuple, TypeVar
from urllib.parse import quote

import aiohttp
from aiohttp.http import SERVER_SOFTWARE
from yarl import URL

from rtbench.errors import Refused
from rtbench.transports import Message, Meter, Option, Session
from rtbench.wire import http as wire

from .metering import HttpMetering

CONNECT_WITHIN_S = 10
USUAL_FIELDS = {
    **{str(name): str(value) for name, value in aiohttp.ClientRequest.DEFAULT_HEADERS.items()},
    "User-Agent": SERVER_SOFTWARE,
}  # of every request of aiohttp, beside Host
Close = Annotated[bool, Option("close the connection after each request, and open a new one for the next")]
Overlap = Annotated[bool, Option("publish without waiting for the last answer; messages may overtake each other")]


def software() -> str:
    """Return the name and version of the library."""
    return f"aiohttp {aiohttp.__version__}"


class Asked(NamedTuple):
    """What an answer gave: the validators of the next request, the messages, and whether to ask for more at once."""

    validators: dict[str, str]
    messages: deque[Message]
    more: bool


class HttpSession:
    """Publishes with `POST /topic`, by default one request after the other, so that messages keep their order."""

    in_flight_limit: int | None = 1

    def __init__(
        self, http: aiohttp.ClientSession, url: str, metering: HttpMetering, session: Session | None = None
    ) -> None:
        self.http = http
        self.metering = metering
        self.session = session
        self._url = url.rstrip("/")

    def address(self, topic: str) -> URL:
        """Return the URL of a topic. It is not normalised: `..` in a topic is a name like any other."""
        return URL(f"{self._url}/{quote(topic)}", encoded=True)

    async def publish(self, topic: str, payload: bytes) -> bool:
        """Publish; the response is the acknowledgement.

        Raises:
            Refused: the server answers with an error.
            ConnectionError: the connection ends before the answer.
        """
        with losing():
            async with self.http.post(self.address(topic), data=payload, timeout=self.within()) as response:
                if response.status >= 400:
                    raise Refused(f"POST {topic}: {response.status} {(await response.text()).strip()}")
                return True

    async def validators(self, topic: str) -> dict[str, str]:
        """Return the request headers that ask for the messages after this moment.

        Raises:
            Refused: the server answers with an error.
            ConnectionError: the connection ends before the answer.
        """
        with losing():
            async with self.http.head(self.address(topic), timeout=self.within()) as response:
                if response.status >= 400:
                    raise Refused(f"HEAD {topic}: {response.status} {response.reason}")
                return conditional(response)

    async def start(self, topic: str) -> tuple[dict[str, str], deque[Message]]:
        """Return where a subscription starts, which is now; one that continues, after what was published meanwhile."""
        kept = self.kept(topic)
        if not kept:
            return await self.validators(topic), deque()
        validators, messages, _ = await self.ask(topic, kept[0])  # at once: this shows that there is a connection
        messages.extendleft(reversed(kept[1]))  # which had come, and were not yet handed over
        return validators, messages

    def kept(self, topic: str) -> Any:
        """Return what the session has kept of a topic to continue with; None if nothing."""
        if self.session is None or not self.session.resume or topic not in self.session.kept:
            return None
        self.session.resumed = True
        return self.session.kept[topic]

    def keep(self, topic: str, position: Any) -> None:
        """Keep where a subscription is, for the next connection."""
        if self.session is not None:
            self.session.kept[topic] = position

    async def ask(self, topic: str, validators: dict[str, str], wait_s: int = 0, **headers: str) -> Asked:
        """Ask once for new messages.

        `wait_s` is how long the server may take to answer.

        Raises:
            Refused: the server answers with an error.
            ConnectionError: the connection ends before the answer, or the answer does not come in time.
        """
        self.metering.asked()
        with losing():
            async with self.http.get(
                self.address(topic), headers=validators | headers, timeout=self.within(wait_s)
            ) as response:
                if response.status >= 400:
                    raise Refused(f"GET {topic}: {response.status} {response.reason}")
                body = await response.read()
        if response.status != 200:  # 304, or 204: nothing is new
            self.metering.answered(0)
            return Asked(validators, deque(), False)
        payloads = wire.split(response.headers.get("Content-Type", ""), body)
        self.metering.answered(len(payloads))
        arrived_ns, missed = self.metering.arrived_ns, int(response.headers.get(wire.GAP_HEADER, 0))
        messages = deque((topic, payload, 0 if i else missed, arrived_ns) for i, payload in enumerate(payloads))
        return Asked(conditional(response), messages, wire.MORE_HEADER in response.headers)

    @property
    def silence_s(self) -> int:
        """How long a server may be silent that is to be heard in every keep-alive of the session; 0 without one."""
        if self.session is None or self.session.keep_alive_s is None:
            return 0
        return math.ceil(self.session.keep_alive_s)  # `Prefer` has whole seconds

    def within(self, wait_s: float = 0.0) -> aiohttp.ClientTimeout:
        """Return the time limit of a request: none for an answer, or `wait_s` and the keep-alive of the session."""
        keep_alive_s = self.session.keep_alive_s if self.session is not None else None
        read_s = wait_s + keep_alive_s if keep_alive_s is not None else None
        return aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_WITHIN_S, sock_read=read_s)


@contextmanager
def losing() -> Iterator[None]:
    """Raise ConnectionError for what the library says of a connection that ended."""
    try:
        yield
    except aiohttp.ClientError as error:
        raise ConnectionError(str(error) or type(error).__name__) from error


def conditional(response: aiohttp.ClientResponse) -> dict[str, str]:
    """Return the request headers that echo both validators of a response (RFC 9110 section 13.1)."""
    echoes = {"ETag": "If-None-Match", "Last-Modified": "If-Modified-Since"}
    return {ask: response.headers[told] for told, ask in echoes.items() if told in response.headers}


Kind = TypeVar("Kind", bound=HttpSession)


@asynccontextmanager
async def open_session(
    kind: type[Kind], url: str, meter: Meter, session: Session | None, close: bool, overlap: bool
) -> AsyncIterator[Kind]:
    """Open a session of class `kind`: no limit on connections, no time limit, no proxy from the environment.

    `close` and `overlap` are the options of these names.
    """
    metering = HttpMetering(meter)
    lasting: dict[str, Any] = {"force_close": True} if close else {"keepalive_timeout": 3600}
    connector = aiohttp.TCPConnector(limit=0, socket_factory=metering.socket, ssl=meter.tls or True, **lasting)
    async with aiohttp.ClientSession(connector=connector, trust_env=False, headers=meter.login.fields) as http:
        http._retry_connection = session is None  # else the policy decides; aiohttp has no public name for it
        connection = kind(http, url, metering, session)
        if overlap:
            connection.in_flight_limit = None
        yield connection
