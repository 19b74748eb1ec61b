"""Attempts to use a server, allowed or not, byte by byte: the libraries would not send what an intruder sends."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from urllib.parse import quote, urlsplit

from rtbench.transports import Attempt, Outcome
from rtbench.wire import http, mqtt, websocket

from .mqtt_talk import Talk, UpgradeRefused

_ANSWER_WITHIN_S = 5.0
_CLOSED = Outcome(False, "connection closed")


@asynccontextmanager
async def _connection(url: str, attempt: Attempt) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    place = urlsplit(url)
    reader, writer = await asyncio.open_connection(
        place.hostname, place.port, ssl=attempt.tls, server_hostname=place.hostname if attempt.tls else None
    )
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


def _failed(error: Exception) -> Outcome:
    """Return the outcome of an attempt that ended without an answer of the protocol."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return Outcome(False, f"the client ends: {error.verify_message}")
    if isinstance(error, ssl.SSLError):
        return Outcome(False, f"TLS alert: {(error.reason or '').rpartition('ALERT_')[2].replace('_', ' ').lower()}")
    return Outcome(False, f"no answer within {_ANSWER_WITHIN_S:.0f} s") if isinstance(error, TimeoutError) else _CLOSED


_ENDS = (OSError, EOFError, TimeoutError, asyncio.LimitOverrunError)


async def _answered(url: str, attempt: Attempt, request: bytes) -> Outcome:
    """Send a request; return the status of the answer. Statuses below 400 are a way in (RFC 9110 section 15)."""
    try:
        async with asyncio.timeout(_ANSWER_WITHIN_S), _connection(url, attempt) as (reader, writer):
            writer.write(request)
            if attempt.payload is None:
                await attempt.publish()  # a server may answer only then
            head = http.parse_head((await reader.readuntil(b"\r\n\r\n"))[:-4])
            return Outcome(head.status < 400, str(head.status))
    except _ENDS as error:
        return _failed(error)


def _request(url: str, attempt: Attempt, method: str, query: str, fields: Mapping[str, str]) -> bytes:
    origin = {"Origin": attempt.origin} if attempt.origin is not None else {}
    fields = {"Host": urlsplit(url).netloc, **origin, **attempt.login.fields, **fields}
    return http.request(method, f"/{quote(attempt.topic)}{query}", fields)


async def over_http(url: str, attempt: Attempt, **_options: object) -> Outcome:
    """Try with one request: POST to publish, GET to subscribe."""
    if attempt.payload is None:
        return await _answered(url, attempt, _request(url, attempt, "GET", "", {"Accept": "text/event-stream, */*"}))
    length = {"Content-Length": str(len(attempt.payload))}
    return await _answered(url, attempt, _request(url, attempt, "POST", "", length) + attempt.payload)


async def over_websocket(url: str, attempt: Attempt, **_options: object) -> Outcome:
    """Try with an upgrade, and a message in the first frame (RFC 6455 sections 4.1 and 5.2)."""
    query = "" if attempt.payload is None else "?publish"
    request = _request(url, attempt, "GET", query, websocket.upgrade_fields(websocket.new_key()))
    try:
        async with asyncio.timeout(_ANSWER_WITHIN_S), _connection(url, attempt) as (reader, writer):
            writer.write(request)
            head = http.parse_head((await reader.readuntil(b"\r\n\r\n"))[:-4])
            if attempt.payload is not None and head.status == 101:
                writer.write(_closing_frames(attempt.payload))
                await reader.read()  # until the server closes: it has read the message
            return Outcome(head.status == 101, str(head.status))
    except _ENDS as error:
        return _failed(error)


def _closing_frames(payload: bytes) -> bytes:
    """Return a binary message of up to 125 bytes and a close frame, masked with zeros."""
    frames = ((websocket.BINARY, payload), (websocket.CLOSE, b""))
    return b"".join(websocket.masked_frame(opcode, body, bytes(4)) for opcode, body in frames)


async def over_mqtt(url: str, attempt: Attempt, *, qos: int = 0, **_options: object) -> Outcome:
    """Try with CONNECT, then PUBLISH or SUBSCRIBE; what a page can send to a broker is a request over HTTP."""
    try:
        async with asyncio.timeout(_ANSWER_WITHIN_S), _connection(url, attempt) as (reader, writer):
            talk = Talk(reader, writer)
            fields = websocket.upgrade_fields(websocket.new_key(), "mqtt")
            await talk.upgrade(url, _request(url, attempt, "GET", "", fields))
            if attempt.origin is not None and not talk.is_framed:
                body = mqtt.encode(_connect(attempt)) + mqtt.encode(_publish(attempt, 0))
                length = {"Content-Length": str(len(body))}
                writer.write(_request(url, attempt, "POST", "", length) + body)
                await talk.answer()
                return Outcome(True, "answered")
            talk.send(_connect(attempt))
            connack = await talk.answer()
            if not isinstance(connack, mqtt.Connack) or connack.return_code:
                return Outcome(False, f"CONNACK {getattr(connack, 'return_code', '?')}")
            return await (_heard(talk, attempt, qos) if attempt.payload is None else _published(talk, attempt, qos))
    except UpgradeRefused as refused:
        return Outcome(False, str(refused))
    except _ENDS as error:
        return _failed(error)


def _connect(attempt: Attempt) -> mqtt.Connect:
    return mqtt.Connect("", username=attempt.login.username, password=attempt.login.password_bytes)


def _publish(attempt: Attempt, qos: int) -> mqtt.Publish:
    return mqtt.Publish(attempt.topic, attempt.payload or b"", qos, packet_id=1 if qos else None)


async def _published(talk: Talk, attempt: Attempt, qos: int) -> Outcome:
    """Publish; a PINGREQ after it has an answer once the broker has acted on it."""
    talk.send(_publish(attempt, qos))
    if qos:
        answer = type(await talk.answer()).__name__.upper()
        if qos == 2:
            talk.send(mqtt.Pubrel(1))
            answer = type(await talk.answer()).__name__.upper()
        return Outcome(True, answer)
    talk.send(mqtt.Pingreq())
    await talk.answer()
    return Outcome(True, "connection kept")


async def _heard(talk: Talk, attempt: Attempt, qos: int) -> Outcome:
    """Subscribe; where the broker confirms it, see whether a message arrives."""
    talk.send(mqtt.Subscribe(1, ((attempt.topic, qos),)))
    suback = await talk.answer()
    codes = getattr(suback, "return_codes", ())
    if codes != (qos,):
        return Outcome(False, f"SUBACK {', '.join(map(str, codes))}")
    await attempt.publish()
    talk.send(mqtt.Pingreq())
    while not isinstance(packet := await talk.answer(), mqtt.Pingresp):
        if isinstance(packet, mqtt.Publish):
            return Outcome(True, f"SUBACK {qos}, and delivered")
    return Outcome(False, f"SUBACK {qos}, but not delivered")
