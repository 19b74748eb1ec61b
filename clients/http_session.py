"""What the three HTTP clients share: a session, publishing, and where a subscription starts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar
from urllib.parse import quote

import aiohttp
from yarl import URL

from rtbench.errors import Refused
from rtbench.transports import Message, Meter
from rtbench.wire import http

from .metering import HttpMetering


def software() -> str:
    """Return the name and version of the library."""
    return f"aiohttp {aiohttp.__version__}"


class HttpSession:
    """Publishes with `POST /topic`, one request after the other, so that messages keep their order."""

    in_flight_limit = 1

    def __init__(self, session: aiohttp.ClientSession, url: str, metering: HttpMetering) -> None:
        self.session = session
        self.metering = metering
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
        try:
            async with self.session.post(self.address(topic), data=payload) as response:
                if response.status >= 400:
                    raise Refused(f"POST {topic}: {response.status} {(await response.text()).strip()}")
                return True
        except aiohttp.ClientError as error:
            raise ConnectionError(str(error)) from error

    async def validators(self, topic: str) -> dict[str, str]:
        """Return the request headers that ask for the messages after this moment.

        Raises:
            Refused: the server answers with an error.
        """
        async with self.session.head(self.address(topic)) as response:
            if response.status >= 400:
                raise Refused(f"HEAD {topic}: {response.status} {response.reason}")
            return conditional(response)

    async def ask(self, topic: str, validators: dict[str, str], **headers: str) -> tuple[dict[str, str], list[Message]]:
        """Ask once for new messages; return the validators for the next request, and the messages.

        Raises:
            Refused: the server answers with an error.
        """
        self.metering.asked()
        async with self.session.get(self.address(topic), headers=validators | headers) as response:
            if response.status >= 400:
                raise Refused(f"GET {topic}: {response.status} {response.reason}")
            body = await response.read()
        if response.status != 200:  # 304, or 204: nothing is new
            self.metering.answered(0)
            return validators, []
        payloads = http.split(response.headers.get("Content-Type", ""), body)
        self.metering.answered(len(payloads))
        arrived_ns, missed = self.metering.arrived_ns, int(response.headers.get(http.GAP_HEADER, 0))
        messages = [(topic, payload, 0 if i else missed, arrived_ns) for i, payload in enumerate(payloads)]
        return conditional(response), messages


def conditional(response: aiohttp.ClientResponse) -> dict[str, str]:
    """Return the request headers that echo both validators of a response (RFC 9110 section 13.1)."""
    echoes = {"ETag": "If-None-Match", "Last-Modified": "If-Modified-Since"}
    return {ask: response.headers[told] for told, ask in echoes.items() if told in response.headers}


Session = TypeVar("Session", bound=HttpSession)


@asynccontextmanager
async def open_session(kind: type[Session], url: str, meter: Meter) -> AsyncIterator[Session]:
    """Open a session of class `kind`: no limit on connections, no time limit, no proxy from the environment."""
    metering = HttpMetering(meter)
    connector = aiohttp.TCPConnector(
        limit=0, keepalive_timeout=3600, socket_factory=metering.socket, ssl=meter.tls or True
    )
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, trust_env=False) as session:
        yield kind(session, url, metering)
