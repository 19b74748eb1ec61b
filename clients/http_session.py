"""What the three HTTP clients share: a session whose connections are metered, publishing, and where to start
reading.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from urllib.parse import quote

import aiohttp
from yarl import URL

from rtbench.errors import Refused
from rtbench.meter import Meter, MeteredSocket
from rtbench.transport import Message
from rtbench.wire import http


def software() -> str:
    """What runs."""
    return f"aiohttp {aiohttp.__version__}"


class HttpSession:
    """Publishes with `POST /topic`, one request after the other so that messages keep their order."""

    window = 1

    def __init__(self, session: aiohttp.ClientSession, url: str, meter: Meter, sockets: list[MeteredSocket]) -> None:
        """Use an open session, whose connections are `sockets`."""
        self.sockets = sockets
        self.session = session
        self.meter = meter
        self._url = url.rstrip("/")

    def address(self, topic: str) -> URL:
        """Return the URL of a topic; `..` in a topic is a name like any other, so it is not left to be normalised."""
        return URL(f"{self._url}/{quote(topic)}", encoded=True)

    @property
    def arrived_ns(self) -> int:
        """When the kernel had what was read last: see `Message.arrived_ns`."""
        return max((sock.arrived_ns for sock in self.sockets), default=0)

    async def publish(self, topic: str, payload: bytes) -> bool:
        """Publish; the response is the acknowledgement."""
        async with self.session.post(self.address(topic), data=payload) as response:
            if response.status >= 400:
                raise Refused(f"POST {topic}: {response.status} {(await response.text()).strip()}")
            return True

    async def validators(self, topic: str) -> dict[str, str]:
        """Return the request headers that ask for what comes after now."""
        async with self.session.head(self.address(topic)) as response:
            if response.status >= 400:
                raise Refused(f"HEAD {topic}: {response.status} {response.reason}")
            return conditional(response)

    async def ask(self, topic: str, validators: dict[str, str], **headers: str) -> tuple[dict[str, str], list[Message]]:
        """Ask once for what is new; return the validators to ask with next time, and the messages.

        Raises:
            Refused: the server answers with an error.
        """
        self.meter.requests += 1
        async with self.session.get(self.address(topic), headers=validators | headers) as response:
            if response.status >= 400:
                raise Refused(f"GET {topic}: {response.status} {response.reason}")
            body = await response.read()
        if response.status != 200:
            self.meter.empty_requests += 1
            return validators, []
        payloads = http.split(response.headers.get("Content-Type", ""), body)
        arrived_ns = self.arrived_ns
        messages = [Message(topic, payload, 0, arrived_ns) for payload in payloads]
        if missed := int(response.headers.get(http.GAP_HEADER, 0)):
            messages[0] = messages[0]._replace(missed=missed)
        return conditional(response), messages


def conditional(response: aiohttp.ClientResponse) -> dict[str, str]:
    """Echo both validators of a response, as RFC 9110 section 13.1 asks a client to."""
    echoes = {"ETag": "If-None-Match", "Last-Modified": "If-Modified-Since"}
    return {ask: response.headers[told] for told, ask in echoes.items() if told in response.headers}


Session = TypeVar("Session", bound=HttpSession)


@asynccontextmanager
async def open_session(made: type[Session], url: str, meter: Meter) -> AsyncIterator[Session]:
    """Open a session: no limit on connections, no time limit, nothing read from the environment."""
    sockets: list[MeteredSocket] = []

    def socket_for(address: tuple[Any, ...]) -> MeteredSocket:
        sockets.append(meter.socket(*address[:3]))
        return sockets[-1]

    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=3600, socket_factory=socket_for, ssl=meter.tls or True)
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, trust_env=False) as session:
        yield made(session, url, meter, sockets)
