"""MQTT over WebSocket: MQTT 3.1.1 section 6, so that a page in a browser can be a client of the broker.

The broker takes it on the same port as plain MQTT: the first byte of a connection tells which of the two it is. The
opening handshake is that of the library. After it, the frames are read and written here: what a client sends in
binary frames is a stream of MQTT packets, cut at any place, and each packet of the broker is one binary frame. A text
frame ends the connection [MQTT-6.0.0-1]; a ping is answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, cast

from websockets.datastructures import Headers
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from rtbench.transports.access import Access, Refusal
from rtbench.wire import websocket as wire

from .mqtt_connection import MAX_CONNECT_BYTES, MAX_PACKET_BYTES, Connection

HANDSHAKE_WITHIN_S = 10.0
MAX_FRAME_BYTES = MAX_PACKET_BYTES + 1024  # one packet of the largest size fits
MAX_FIRST_BYTES = MAX_CONNECT_BYTES + 1024  # until CONNECT was accepted
_SUBPROTOCOL = Subprotocol("mqtt")


class Frames(asyncio.Transport):
    """The transport of a connection of the broker: each `write` is a binary frame on the transport below."""

    def __init__(self, below: asyncio.Transport) -> None:
        super().__init__()
        self._below = below

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send a packet as one frame."""
        self._below.write(wire.frame(wire.BINARY, bytes(data)))

    def close(self) -> None:
        """Say that the connection ends (code 1000), and close it once everything is sent."""
        if not self._below.is_closing():
            self._below.write(wire.frame(wire.CLOSE, wire.NORMAL))
        self._below.close()

    def abort(self) -> None:
        """Close at once."""
        self._below.abort()

    def is_closing(self) -> bool:
        """Whether it is closed, or about to be."""
        return self._below.is_closing()

    def pause_reading(self) -> None:
        """Read nothing more for now."""
        self._below.pause_reading()

    def resume_reading(self) -> None:
        """Read on."""
        self._below.resume_reading()

    def get_write_buffer_size(self) -> int:
        """Return how many bytes are not yet sent."""
        return self._below.get_write_buffer_size()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what the transport below knows."""
        return self._below.get_extra_info(name, default)


class Opening(asyncio.Protocol):
    """A TCP or TLS connection of which nothing is known yet: its first byte says that it is MQTT or HTTP."""

    def __init__(self, make: Callable[[], Connection], access: Access, waiting: set[asyncio.Transport]) -> None:
        """`waiting` has the transports of the connections that are no connection of the broker so far."""
        self._make = make
        self._access = access
        self._waiting = waiting
        self._transport: asyncio.Transport
        self._timer: asyncio.TimerHandle

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the first byte."""
        self._transport = cast(asyncio.Transport, transport)
        self._waiting.add(self._transport)
        self._timer = asyncio.get_running_loop().call_later(HANDSHAKE_WITHIN_S, self._transport.abort)

    def data_received(self, data: bytes) -> None:
        """Hand the connection over; no packet with which MQTT may begin is a letter (3.1.1, section 2.2.1)."""
        self._timer.cancel()
        protocol: asyncio.Protocol
        if data[:1].isalpha():
            protocol = WebSocketConnection(self._make, self._access, self._waiting)
        else:
            self._waiting.discard(self._transport)
            protocol = self._make()
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        protocol.data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        self._timer.cancel()
        self._waiting.discard(self._transport)


class WebSocketConnection(asyncio.Protocol):
    """A TCP or TLS connection that begins with an upgrade; then it is the connection that `make` returns."""

    def __init__(self, make: Callable[[], Connection], access: Access, waiting: set[asyncio.Transport]) -> None:
        self._make = make
        self._access = access
        self._waiting = waiting
        self._handshake: ServerProtocol | None = ServerProtocol(subprotocols=[_SUBPROTOCOL], max_size=None)
        self._reader = wire.Reader(masked=True, most_bytes=MAX_FIRST_BYTES)
        self._connection: Connection | None = None
        self._transport: asyncio.Transport
        self._timer: asyncio.TimerHandle

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the upgrade."""
        self._transport = cast(asyncio.Transport, transport)
        self._timer = asyncio.get_running_loop().call_later(HANDSHAKE_WITHIN_S, self._transport.abort)

    def data_received(self, data: bytes) -> None:
        """Take the upgrade, then frames; what is no frame ends the connection."""
        if self._handshake is not None:
            self._upgrade(self._handshake, data)
            return
        assert self._connection is not None
        if self._connection.session is not None:
            self._reader.most_bytes = MAX_FRAME_BYTES
        try:
            for opcode, payload in self._reader.feed(data):
                self._take(self._connection, opcode, payload)
        except ValueError:
            self._transport.abort()

    def _take(self, connection: Connection, opcode: int, payload: bytes) -> None:
        if opcode == wire.BINARY:
            connection.data_received(payload)
        elif opcode == wire.PING:
            self._transport.write(wire.frame(wire.PONG, payload))
        elif opcode == wire.CLOSE:
            self._transport.write(wire.frame(wire.CLOSE, payload[:2]))
            self._transport.close()
        elif opcode != wire.PONG:
            raise ValueError("a text frame, where MQTT has binary ones")

    def _upgrade(self, handshake: ServerProtocol, data: bytes) -> None:
        handshake.receive_data(data)
        requests = [event for event in handshake.events_received() if isinstance(event, Request)]
        if requests:
            self._answer(handshake, requests[0])
            for answer in handshake.data_to_send():
                self._transport.write(answer)
        if handshake.handshake_exc is not None or (requests and self._handshake is not None):
            self._transport.close()

    def _answer(self, handshake: ServerProtocol, request: Request) -> None:
        """Accept a request for MQTT, and refuse any other."""
        try:
            refusal = self._access.refusal(request.headers)
        except LookupError:  # a field that may stand there once
            refusal = Refusal(HTTPStatus.BAD_REQUEST, "Host or Origin stands in the request twice\n", {})
        if refusal is not None:
            handshake.send_response(handshake.reject(refusal.status, refusal.text))
            return
        response = handshake.accept(request)
        if response.status_code == HTTPStatus.SWITCHING_PROTOCOLS and not _is_for_mqtt(response.headers):
            response = handshake.reject(HTTPStatus.BAD_REQUEST, "the subprotocol must be mqtt [MQTT-6.0.0-3]\n")
        handshake.send_response(response)
        if response.status_code == HTTPStatus.SWITCHING_PROTOCOLS:
            self._timer.cancel()
            self._waiting.discard(self._transport)
            self._handshake = None
            self._connection = self._make()
            self._connection.connection_made(Frames(self._transport))

    def pause_writing(self) -> None:
        """Pass it on."""
        if self._connection is not None:
            self._connection.pause_writing()

    def resume_writing(self) -> None:
        """Pass it on."""
        if self._connection is not None:
            self._connection.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass it on."""
        self._timer.cancel()
        self._waiting.discard(self._transport)
        if self._connection is not None:
            self._connection.connection_lost(exc)


def _is_for_mqtt(headers: Headers) -> bool:
    return headers.get("Sec-WebSocket-Protocol") == _SUBPROTOCOL
