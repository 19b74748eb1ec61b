"""How the MQTT client is metered: its socket, when each message arrived, and its keep-alives.

Here belongs what only the bench needs of MQTT. A reader who learns the approach can skip it. aiomqtt and paho-mqtt have
no public way to be given a socket, so private names of theirs are used and replaced, of aiomqtt 2.5 and paho-mqtt 2.1
and 2.2. tests/test_mqtt_client.py fails where a new version no longer has them.

| name | what stands in its place, and why |
| --- | --- |
| `aiomqtt.Client._client` | only read: the paho client below |
| `aiomqtt.Client._queue` | a queue that makes each message a `Message` with the time at which it arrived |
| `paho Client._create_socket_connection` | a metered socket with TCP_NODELAY, which paho's own lacks |
| `paho Client._send_pingreq` | the same, and it counts the keep-alive |
| `paho Client._sock_recv` | `packet_reader`: two bytes at first, which pays for the time stamp |
| `_WebsocketWrapper` of paho | used for a broker that speaks MQTT over WebSocket, around a socket of ours |
| `paho Client._in_packet` | only read: how much of the current packet paho has |
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import aiomqtt
from paho.mqtt.client import _WebsocketWrapper
from paho.mqtt.enums import MQTTErrorCode

from rtbench.transports import Message, Meter, MeteredSocket, TlsSocket
from rtbench.wire.mqtt import PING_BYTES

from .mqtt_talk import OVER_WEBSOCKET, PATH, port_of

_CONNECT_WITHIN_S = 10.0


def meter_client(client: aiomqtt.Client, meter: Meter, url: str) -> None:
    """Meter a client that is not yet connected; its `messages` are `Message` tuples from now on.

    The client connects to the host and port of `url`, over TLS where the scheme is `mqtts` or `wss`.
    """
    paho: Any = client._client
    deliveries = _Deliveries()
    client._queue = deliveries
    paho._create_socket_connection = lambda: _connect(paho, meter, url, deliveries)
    send_ping = paho._send_pingreq

    def counted_ping() -> MQTTErrorCode:
        result: MQTTErrorCode = send_ping()
        meter.keep_alives += 1
        meter.keep_alive_bytes += 2 * PING_BYTES  # PINGREQ and its PINGRESP
        return result

    paho._send_pingreq = counted_ping


class _Deliveries(asyncio.Queue[Any]):
    """What the library puts in is a message of its own; what it holds is a `Message`, with the time it arrived.

    The time is that of the socket's last read, so it is taken when the message is put in, not when it is taken out.
    """

    sock: MeteredSocket
    _queue: deque[Message]

    def _put(self, message: aiomqtt.Message) -> None:
        self._queue.append((message.topic.value, message.payload, 0, self.sock.arrived_ns))


def _connect(paho: Any, meter: Meter, url: str, deliveries: _Deliveries) -> Any:
    """Return a connected socket for paho."""
    place, encrypted = urlsplit(url), urlsplit(url).scheme in ("mqtts", "wss")
    host = place.hostname or ""
    address = socket.getaddrinfo(host, port_of(url), type=socket.SOCK_STREAM)[0]
    sock = meter.socket(*address[:3])
    try:
        sock.settimeout(_CONNECT_WITHIN_S)
        sock.connect(address[4])
        # paho's own TLS would read the descriptor itself, past the meter
        tls = TlsSocket(sock, meter.tls or ssl.create_default_context(), host) if encrypted else None
    except OSError:
        sock.close()
        raise
    deliveries.sock = sock
    if place.scheme == "mqtt":
        paho._sock_recv = packet_reader(paho, sock)
    if place.scheme in OVER_WEBSOCKET:
        # paho's own would be made in the event loop, and would not know that TLS holds bytes back
        whole: Any = _WholeSends(tls or sock)
        return _WebsocketWrapper(whole, host, port_of(url), encrypted, PATH, None)
    return tls or sock


class _WholeSends:
    """A socket that sends all that it is given before it says so: paho forgets a frame of which a part was sent.

    Until then a send would block (BlockingIOError), and must be repeated with the same bytes.
    """

    def __init__(self, sock: MeteredSocket | TlsSocket) -> None:
        self._sock = sock
        self._sent = 0  # of the bytes of the last send

    def send(self, data: bytes | bytearray) -> int:
        while self._sent < len(data):
            self._sent += self._sock.send(memoryview(data)[self._sent :])
        self._sent = 0
        return len(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


def packet_reader(paho: Any, sock: MeteredSocket) -> Callable[[int], bytes]:
    """Return the function with which paho reads: first one byte, then each byte of the length, then the rest.

    Every packet has at least two bytes (MQTT 3.1.1 section 2.2), so the first two are read at once: the call that this
    saves pays for the time stamp, which is taken with the rest. Nothing of the next packet is read.
    """
    recv = super(MeteredSocket, sock).recv
    second = b""

    def read(size: int) -> bytes:
        nonlocal second
        if second:
            byte, second = second, b""
            return byte
        packet = paho._in_packet
        if packet["have_remaining"]:
            return sock.recv(size)
        if packet["command"]:
            return recv(1)
        start = recv(2)
        second = start[1:]
        return start[:1]

    return read
