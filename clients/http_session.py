"""What the three HTTP clients share: a session whose connections are metered, publishing, and where to start
reading.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import aiohttp
from aiohttp.http import SERVER_SOFTWARE
from yarl import URL

from rtbench.errors import Refused
from rtbench.system.meter import Meter, MeteredSocket
from rtbench.transports import Message
from rtbench.wire import http
from rtbench.wire.traffic import Predicted, Traffic, flow, mean_digits, total


def software() -> str:
    """What runs."""
    return f"aiohttp {aiohttp.__version__}"


class HttpSession:
    """Publishes with `POST /topic`, one request after the other so that messages keep their order."""

    in_flight_limit = 1

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
        """When the kernel had what was read last: see `Message`."""
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
            self.meter.batches[0] += 1
            return validators, []
        payloads = http.split(response.headers.get("Content-Type", ""), body)
        self.meter.batches[len(payloads)] += 1
        arrived_ns, missed = self.arrived_ns, int(response.headers.get(http.GAP_HEADER, 0))
        messages = [(topic, payload, 0 if i else missed, arrived_ns) for i, payload in enumerate(payloads)]
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


# The sizes of what aiohttp and our relays write: RFC 9112 with the fields that stand here, none more

MARK = "0000-"  # of a cursor that a relay gives out, without its digits


def request_bytes(traffic: Traffic, method: str, topic: str, fields: Mapping[str, str]) -> int:
    """Return the size of a request's head as aiohttp writes it."""
    usual = {str(name): str(value) for name, value in aiohttp.ClientRequest.DEFAULT_HEADERS.items()}
    every = {"Host": urlsplit(traffic.server_url).netloc, **usual, "User-Agent": SERVER_SOFTWARE, **fields}
    return http.head_bytes(f"{method} /{quote(topic)} HTTP/1.1", every)


def response_bytes(status: str, fields: Mapping[str, str]) -> int:
    """Return the size of a response's head as aiohttp writes it."""
    date = "Sun, 06 Nov 1994 08:49:37 GMT"  # of fixed length: RFC 9110 section 5.6.7
    return http.head_bytes(f"HTTP/1.1 {status}", {**fields, "Date": date, "Server": SERVER_SOFTWARE})


def predict_publishing(traffic: Traffic) -> Predicted:
    """A POST a message, and its answer without a body."""
    fields = {"Content-Length": str(traffic.payload_bytes), "Content-Type": "application/octet-stream"}
    return Predicted(
        publish_up=total(
            *(
                flow(count, request_bytes(traffic, "POST", topic, fields) + traffic.payload_bytes)
                for topic, count in traffic.published.items()
            )
        ),
        publish_down=flow(sum(traffic.published.values()), response_bytes("204 No Content", {})),
    )


def predict_asking(traffic: Traffic, fields: Mapping[str, str]) -> Predicted:
    """A POST a message; a GET with `fields` and its answer, of which it was counted how many messages it carried."""
    cursor_digits, payload_bytes = mean_digits(traffic), traffic.payload_bytes
    asked = {"If-None-Match": f'"{MARK}"', **fields}
    connections = sum(traffic.subscribers.values())
    request = sum(n * request_bytes(traffic, "GET", topic, asked) for topic, n in traffic.subscribers.items())
    answers = (flow(n, _answer_bytes(payload_bytes, size) + cursor_digits) for size, n in traffic.batches.items())
    return replace(
        predict_publishing(traffic),
        subscribe_up=flow(traffic.requests, request / connections + cursor_digits),
        subscribe_down=total(*answers),
    )


def _answer_bytes(payload_bytes: int, messages: int) -> int:
    etag = {"ETag": f'"{MARK}"'}
    if not messages:
        return response_bytes("304 Not Modified", etag)
    body_bytes = http.joined_bytes(payload_bytes, messages)
    content_type = "application/octet-stream" if messages == 1 else "multipart/mixed; boundary=m"
    fields = {**etag, "Content-Type": content_type, "Content-Length": str(body_bytes)}
    return response_bytes("200 OK", fields) + body_bytes
