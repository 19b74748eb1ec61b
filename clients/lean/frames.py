"""MQTT in the frames of a WebSocket (MQTT 3.1.1 section 6), as a pipe between the client and its socket."""

from __future__ import annotations

import asyncio
import os

from rtbench.errors import Refused
from rtbench.transports import MeteredSocket
from rtbench.wire import http
from rtbench.wire import websocket as wire

from ..mqtt_talk import PATH
from .connection import CONNECT_WITHIN_S, READ_BYTES, Pipe
from .http import FIELDS


class FramePipe:
    """From packets to binary frames and back, over TLS if there is a pipe for it."""

    def __init__(self, below: Pipe | None, rest: bytes) -> None:
        """`rest` came after the head of the answer."""
        self._below = below
        self._reader = wire.Reader()
        self._rest = rest
        self._answers = b""  # frames to send with the next packet

    @classmethod
    async def over(cls, sock: MeteredSocket, below: Pipe | None, host: str) -> FramePipe:
        """Do the opening handshake on a connected, non-blocking socket.

        Raises:
            Refused: the server answers with something else.
            OSError: the connection ended before the answer.
        """
        key, loop = wire.new_key(), asyncio.get_running_loop()
        agent = {"User-Agent": FIELDS["User-Agent"]}
        request = http.request("GET", PATH, {"Host": host, **wire.upgrade_fields(key, "mqtt"), **agent})
        async with asyncio.timeout(CONNECT_WITHIN_S):
            await loop.sock_sendall(sock, below.encrypt(request) if below else request)
            head = end = rest = b""
            while not end:
                data = await loop.sock_recv(sock, READ_BYTES)
                if not data:
                    raise ConnectionError("the server closed the connection before its answer to the upgrade")
                head, end, rest = (head + (below.decrypt(data) if below else data)).partition(b"\r\n\r\n")
        answer = http.parse_head(head)
        if answer.status != 101 or answer.fields.get("sec-websocket-accept") != wire.accept_key(key):
            raise Refused(f"upgrade of {PATH}: the server answers {answer.status} {answer.reason}")
        return cls(below, rest)

    def encrypt(self, data: bytes) -> bytes:
        """Return a frame with some packets."""
        framed = self._answers + wire.masked_frame(wire.BINARY, data, os.urandom(4))
        self._answers = b""
        return self._below.encrypt(framed) if self._below else framed

    def decrypt(self, data: bytes) -> bytes:
        """Return the packets, or their parts, in the frames that have arrived.

        Raises:
            OSError: the server closed the WebSocket.
            ValueError: it is no frame that a broker may send.
        """
        if self._below:
            data = self._below.decrypt(data)
        if self._rest:
            data, self._rest = self._rest + data, b""
        plain = b""
        for opcode, payload in self._reader.feed(data):
            if opcode == wire.BINARY:
                plain += payload
            elif opcode == wire.PING:
                self._answers += wire.masked_frame(wire.PONG, payload, os.urandom(4))
            elif opcode == wire.CLOSE:
                raise ConnectionError("the broker closed the WebSocket")
        return plain
