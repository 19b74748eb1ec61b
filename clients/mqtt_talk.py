"""A few packets to a broker and back, without a client library: for what a library would not do.

`forget` removes a session that a broker keeps.
"""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

from rtbench.transports import Meter, Session
from rtbench.wire import http, mqtt, websocket

OVER_WEBSOCKET = ("ws", "wss")  # schemes of a broker that speaks MQTT over WebSocket (MQTT 3.1.1 section 6)
PATH = "/mqtt"  # of the upgrade: what brokers take
_ANSWER_WITHIN_S = 5.0


class UpgradeRefused(Exception):
    """The broker does not accept the upgrade; the text is the status of its answer."""


class Talk:
    """Packets to and from a broker."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._packets, self._read = mqtt.Reader(), list[mqtt.Packet]()
        self._frames: websocket.Reader | None = None  # where the broker speaks MQTT over WebSocket

    async def upgrade(self, url: str, request: bytes) -> None:
        """Do the opening handshake with a broker that speaks MQTT over WebSocket; with any other, do nothing.

        Raises:
            UpgradeRefused: it does not accept it.
        """
        if urlsplit(url).scheme not in OVER_WEBSOCKET:
            return
        self._writer.write(request)
        head = http.parse_head((await self._reader.readuntil(b"\r\n\r\n"))[:-4])
        if head.status != 101:
            raise UpgradeRefused(str(head.status))
        self._frames = websocket.Reader()

    @property
    def is_framed(self) -> bool:
        """Whether the packets go in the frames of a WebSocket."""
        return self._frames is not None

    def send(self, packet: mqtt.Packet) -> None:
        """Send a packet."""
        data = mqtt.encode(packet)
        if self._frames is not None:
            data = websocket.masked_frame(websocket.BINARY, data, bytes(4))
        self._writer.write(data)

    async def answer(self) -> mqtt.Packet:
        """Return the next packet.

        Raises:
            EOFError: the broker has closed.
        """
        while not self._read:
            data = await self._reader.read(65_536)
            if not data:
                raise EOFError
            if self._frames is not None:
                data = b"".join(payload for opcode, payload in self._frames.feed(data) if opcode == websocket.BINARY)
            self._read += [mqtt.decode(*packet) for packet in self._packets.feed(data)]
        return self._read.pop(0)


async def forget(url: str, meter: Meter, session: Session) -> None:
    """Remove what a broker keeps of a client: one that connects with a clean session has none any more [MQTT-3.1.2-6].

    Raises:
        OSError: there is no connection, or no CONNACK that accepts it.
    """
    place = urlsplit(url)
    tls = meter.tls if place.scheme in ("mqtts", "wss") else None
    async with asyncio.timeout(_ANSWER_WITHIN_S):
        reader, writer = await asyncio.open_connection(
            place.hostname, port_of(url), ssl=tls, server_hostname=place.hostname if tls else None
        )
        try:
            talk = Talk(reader, writer)
            fields = websocket.upgrade_fields(websocket.new_key(), "mqtt")
            await talk.upgrade(url, http.request("GET", PATH, {"Host": place.netloc, **fields}))
            login = meter.login.username, meter.login.password_bytes
            talk.send(mqtt.Connect(session.client_id, True, 0, None, *login))
            answer = await talk.answer()
            if not isinstance(answer, mqtt.Connack) or answer.return_code:
                raise ConnectionError(f"the broker does not let {session.client_id} in to forget its session: {answer}")
            talk.send(mqtt.Disconnect())
            await writer.drain()
        except (EOFError, UpgradeRefused) as error:
            raise ConnectionError(f"the broker does not forget the session {session.client_id}: {error}") from error
        finally:
            writer.close()


def port_of(url: str) -> int:
    """Return the port of the URL of a broker, the usual one where it names none."""
    place = urlsplit(url)
    return place.port or {"mqtt": 1883, "mqtts": 8883, "ws": 80, "wss": 443}[place.scheme]
