"""How many bytes polling, long-polling and SSE need for what was counted: heads, bodies and chunks of HTTP/1.1.

Here belong the sizes of what the HTTP clients and relays write (RFC 9112, with the header fields named here and no
others), and the predictions made of them. A reader who learns the approach can skip it. The result shows the
prediction beside the measured bytes; see `rtbench/wire/traffic.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeAlias
from urllib.parse import quote, urlsplit

from rtbench.transports import Predicted, Traffic, flow, total
from rtbench.wire import http, sse
from rtbench.wire.traffic import mean_digits

Fields: TypeAlias = Mapping[str, str]
CURSOR_PREFIX = "0000-"  # of every cursor that a relay gives out: four hexadecimal digits, then the number


def polling(traffic: Traffic, *, usual: Fields, close: bool = False, **_options: Any) -> Predicted:
    """Predict a request and its answer for each poll, with new messages or without.

    `usual` are the fields of every request of the client, beside Host.
    """
    return _asking(traffic, usual, {}, _closing(close))


def long_polling(traffic: Traffic, *, usual: Fields, prefer: str, close: bool = False, **_options: Any) -> Predicted:
    """Predict a request with `Prefer` and its answer; the next request follows at once."""
    return _asking(traffic, usual, {"Prefer": prefer}, _closing(close))


def event_stream(traffic: Traffic, *, usual: Fields, close: bool = False, **_options: Any) -> Predicted:
    """Predict one event with its id for each delivery, in the counted chunks; nothing is asked for again."""
    event_bytes = sse.event_bytes(traffic.payload_bytes, len(CURSOR_PREFIX)) + mean_digits(traffic)
    chunks = {size: http.chunk_bytes(round(size * event_bytes)) - round(size * event_bytes) for size in traffic.batches}
    return replace(
        _publishing(traffic, usual, _closing(close)),
        subscribe_down=total(*(flow(n, size * event_bytes + chunks[size]) for size, n in traffic.batches.items())),
    )


def _closing(close: bool) -> dict[str, str]:
    """Return the field of every request and every answer that is the last on its connection."""
    return {"Connection": "close"} if close else {}


def _publishing(traffic: Traffic, usual: Fields, closing: Fields) -> Predicted:
    """Predict a POST for each message, and its answer without a body."""
    fields = {"Content-Length": str(traffic.payload_bytes), "Content-Type": "application/octet-stream", **closing}
    requests = (
        flow(count, _request_bytes(traffic, usual, "POST", topic, fields) + traffic.payload_bytes)
        for topic, count in traffic.published.items()
    )
    return Predicted(
        publish_up=total(*requests),
        publish_down=flow(sum(traffic.published.values()), _response_bytes("204 No Content", closing)),
    )


def _asking(traffic: Traffic, usual: Fields, fields: Fields, closing: Fields) -> Predicted:
    """Predict the publishing, and a GET with `fields` for each request; the answers were counted by their messages."""
    cursor_digits, payload_bytes = mean_digits(traffic), traffic.payload_bytes
    asked = {"If-None-Match": f'"{CURSOR_PREFIX}"', **fields, **closing}
    connections = sum(traffic.subscribers.values())
    request = sum(n * _request_bytes(traffic, usual, "GET", topic, asked) for topic, n in traffic.subscribers.items())
    answers = (
        flow(n, _answer_bytes(payload_bytes, size, closing) + cursor_digits) for size, n in traffic.batches.items()
    )
    return replace(
        _publishing(traffic, usual, closing),
        subscribe_up=flow(traffic.requests, request / connections + cursor_digits),
        subscribe_down=total(*answers),
    )


def _request_bytes(traffic: Traffic, usual: Fields, method: str, topic: str, fields: Fields) -> int:
    every = {"Host": urlsplit(traffic.server_url).netloc, **usual, **fields}
    return http.head_bytes(f"{method} /{quote(topic)} HTTP/1.1", every)


def _response_bytes(status: str, fields: Fields) -> int:
    """Return the size of a response's head as aiohttp writes it."""
    from aiohttp.http import SERVER_SOFTWARE  # here, since a lean client needs no aiohttp

    date = "Sun, 06 Nov 1994 08:49:37 GMT"  # of fixed length: RFC 9110 section 5.6.7
    return http.head_bytes(f"HTTP/1.1 {status}", {**fields, "Date": date, "Server": SERVER_SOFTWARE})


def _answer_bytes(payload_bytes: int, messages: int, closing: Fields) -> int:
    """Return the size of the answer to a GET, without the digits of the cursor in its ETag."""
    etag = {"ETag": f'"{CURSOR_PREFIX}"', **closing}
    if not messages:
        return _response_bytes("304 Not Modified", etag)
    body_bytes = http.joined_bytes(payload_bytes, messages)
    content_type = "application/octet-stream" if messages == 1 else "multipart/mixed; boundary=m"
    fields = {**etag, "Content-Type": content_type, "Content-Length": str(body_bytes)}
    return _response_bytes("200 OK", fields) + body_bytes
