"""MQTT, lean: the packets of `rtbench.wire.mqtt` straight over a socket.

It does what `clients/mqtt.py` does with aiomqtt and paho-mqtt, with the same packets in the same order. What arrives in
one piece is acknowledged in one piece. A message at QoS 2 is handed over when its sender has released it (PUBREL).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from rtbench.errors import Refused
from rtbench.transports import Deliver, Done, Ended, Message, Meter, Session, watcher
from rtbench.wire import mqtt

from ..mqtt import (
    IN_FLIGHT,
    KEEP_ALIVE_S,
    SLOT,
    VARIANTS,
    WILDCARDS,
    QoS,
    WillPayload,
    WillTopic,
    observation,
    predict,
)
from ..mqtt_talk import OVER_WEBSOCKET, forget
from .connection import Connection, Inbox, Pipe, opened
from .frames import FramePipe
from .software import software

__all__ = [
    "DIRECT",
    "SLOT",
    "VARIANTS",
    "WILDCARDS",
    "Mqtt",
    "connect",
    "forget",
    "hold_filters",
    "observation",
    "predict",
    "software",
]

DIRECT = True
_PUBLISH, _DUP_OR_RETAIN = 0x30, mqtt.DUP | 0x01
_CONNACK, _PUBACK, _PUBREC, _PUBREL, _PUBCOMP, _SUBACK, _PINGRESP = 0x20, 0x40, 0x50, 0x62, 0x70, 0x90, 0xD0
_PINGREQ, _DISCONNECT = mqtt.encode(mqtt.Pingreq()), mqtt.encode(mqtt.Disconnect())
_FILTERS_A_PACKET = 500
_PUBLISHER = ("publisher",)  # in what a session keeps


class Unfinished:
    """What a client remembers of its messages at QoS 1 and 2, over all its connections (MQTT 3.1.1 section 4.1)."""

    __slots__ = ("held", "inbox", "last_id", "sent", "subscribed")

    def __init__(self) -> None:
        self.sent: dict[int, tuple[bytes, Done]] = {}  # by packet id: PUBLISH, or PUBREL once it was received
        self.held: dict[bytes, tuple[str, bytes]] = {}  # by packet id: received, and not yet released
        self.last_id = 0
        self.subscribed = False
        self.inbox = Inbox()

    def next_id(self) -> int:
        """Return a packet id that is free [MQTT-2.3.1-2]."""
        while True:
            self.last_id = self.last_id % 0xFFFF + 1
            if self.last_id not in self.sent:
                return self.last_id


class Client(Connection):
    """One network connection of an MQTT client, which publishes or has one subscription."""

    __slots__ = (
        *("_answer", "_content", "_head", "_heads", "_meter", "_qos", "_rest", "_size", "_topic"),
        *("_heard_s", "_pinged", "_said_s", "_timer", "deliver", "keeps", "on_end", "unfinished"),
    )

    def __init__(self, *connection: Any, meter: Meter, qos: int, unfinished: Unfinished, keeps: bool) -> None:
        super().__init__(*connection)
        self._meter = meter
        self._qos = qos
        self.unfinished = unfinished
        self.keeps = keeps  # whether unfinished messages go on over the next connection
        self.deliver: Deliver = unfinished.inbox.deliver
        self.on_end: Ended = unfinished.inbox.ended
        self._answer: asyncio.Future[Any] | None = None  # CONNACK or SUBACK
        self._rest = b""  # of a packet whose end has not come
        # of the last PUBLISH: the bytes before its packet id or its payload, its size, where its payload starts
        self._head, self._size, self._content, self._topic = b"", 0, 0, ""
        self._heads: dict[tuple[str, int], bytes] = {}  # of those to send
        self._timer: asyncio.TimerHandle | None = None
        self._pinged = False

    async def answer(self, packet: mqtt.Packet) -> Any:
        """Send CONNECT or SUBSCRIBE, and return the answer.

        Raises:
            OSError: there is none.
        """
        self._answer = asyncio.get_running_loop().create_future()
        self.send(mqtt.encode(packet))
        async with asyncio.timeout(10.0):
            return await self._answer

    # What arrives

    def received(self, data: bytes, arrived_ns: int) -> None:
        """Take packets; a PUBLISH that begins as the last one did is not decoded again."""
        if len(data) == self._size and not self._qos and data.startswith(self._head) and not self._rest:
            self.deliver(self._topic, data[self._content :], 0, arrived_ns)
            return
        if self._rest:
            data, self._rest = self._rest + data, b""
        at, end, answers = 0, len(data), b""
        while at < end:
            stop = at + self._size
            if self._size and stop <= end and data.startswith(self._head, at):
                if self._qos == 0:
                    self.deliver(self._topic, data[at + self._content : stop], 0, arrived_ns)
                else:
                    content = at + self._content
                    answers += self._take(data[content - 2 : content], data[content:stop], arrived_ns)
            else:
                start, stop = mqtt.extent(data, at, end)
                if stop > end:
                    self._rest = data[at:]
                    break
                first = data[at]
                if first == _PUBREL:
                    answers += self._release(data[start:stop], arrived_ns)
                elif first & 0xF0 == _PUBLISH:
                    answers += self._learn(first, data[at:stop], start - at, arrived_ns)
                else:
                    self._control(first, data[start:stop])
            at = stop
        if answers:
            self.send(answers)

    def _take(self, packet_id: bytes, content: bytes, arrived_ns: int) -> bytes:
        """Take a message at QoS 1 or 2; return its acknowledgement."""
        if self._qos == 1:
            self.deliver(self._topic, content, 0, arrived_ns)
            return b"\x40\x02" + packet_id
        self.unfinished.held[packet_id] = self._topic, content
        return b"\x50\x02" + packet_id

    def _release(self, packet_id: bytes, arrived_ns: int) -> bytes:
        """Hand over the message that PUBREL lets go; return PUBCOMP."""
        message = self.unfinished.held.pop(packet_id, None)
        if message is not None:
            self.deliver(*message, 0, arrived_ns)
        return b"\x70\x02" + packet_id

    def _learn(self, first: int, data: bytes, body: int, arrived_ns: int) -> bytes:
        """Take a PUBLISH, remember how it begins, and return its acknowledgement."""
        packet = mqtt.decode(first, data[body:])
        assert isinstance(packet, mqtt.Publish)
        content = len(data) - len(packet.payload)
        self._topic, self._qos, self._content = packet.topic, packet.qos, content
        self._head, self._size = data[: content - (2 if packet.qos else 0)], len(data)
        if packet.qos == 0:
            self.deliver(packet.topic, packet.payload, 0, arrived_ns)
            return b""
        return self._take(data[content - 2 : content], packet.payload, arrived_ns)

    def _control(self, first: int, body: bytes) -> None:
        sent, packet_id = self.unfinished.sent, int.from_bytes(body[:2], "big")
        if first in (_PUBACK, _PUBCOMP):
            if packet_id in sent:
                sent.pop(packet_id)[1](True)
        elif first == _PUBREC:
            if packet_id in sent:
                release = mqtt.encode(mqtt.Pubrel(packet_id))
                sent[packet_id] = release, sent[packet_id][1]
                self.send(release)
        elif first == _PINGRESP:
            self._pinged = False
        elif first in (_CONNACK, _SUBACK):
            if self._answer is not None and not self._answer.done():
                self._answer.set_result(mqtt.decode(first, body))
        else:
            raise mqtt.MalformedPacket(f"a client does not expect the packet {first:#04x}")

    def lost(self) -> None:
        """Tell everybody who waits; what the session keeps goes on with the next connection."""
        assert self.error is not None
        error = self.error if isinstance(self.error, OSError) else ConnectionError(str(self.error))
        if self._timer is not None:
            self._timer.cancel()
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
        if not self.keeps:
            sent, self.unfinished.sent = self.unfinished.sent, {}
            for _, done in sent.values():
                done(error)
        self.on_end(error)

    # What is sent

    def publish(self, topic: str, payload: bytes, qos: int, done: Done) -> None:
        """Send a message; `done` is called once it is acknowledged.

        Raises:
            OSError: the connection has ended.
            MalformedPacket: the message cannot be sent.
        """
        head = self._heads.get((topic, len(payload)))
        if head is None:
            head = self._heads[topic, len(payload)] = mqtt.publish_head(topic, len(payload), qos)
        if qos == 0:
            self.send(head + payload)
            done(False)
            return
        packet_id = self.unfinished.next_id()
        packet = head + packet_id.to_bytes(2, "big") + payload
        if self.error is None or not self.keeps:
            self.send(packet)
        self.unfinished.sent[packet_id] = packet, done

    def send_again(self) -> None:
        """Send what was not acknowledged on the last connection, in the old order [MQTT-4.4.0-1]."""
        for packet, _ in self.unfinished.sent.values():
            again = bytes([packet[0] | mqtt.DUP]) if packet[0] & 0xF0 == _PUBLISH else packet[:1]
            self.send(again + packet[1:])

    def keep_alive(self, every_s: float) -> None:
        """Send PINGREQ after this time; without an answer until the next one, the connection is lost."""
        self._timer = asyncio.get_running_loop().call_later(every_s, self._ping, every_s)

    def _ping(self, every_s: float) -> None:
        if self._pinged:
            self.end(ConnectionError("the broker does not answer PINGREQ"))
            return
        self._pinged = True
        try:
            self.send(_PINGREQ)
        except OSError as error:
            self.end(error)
            return
        self._meter.keep_alives += 1
        self._meter.keep_alive_bytes += 2 * mqtt.PING_BYTES
        self.keep_alive(every_s)

    def disconnect(self) -> None:
        """Say DISCONNECT, and close."""
        if self._timer is not None:
            self._timer.cancel()
        self.close(_DISCONNECT)


class Mqtt:
    """One client that publishes, opened with the first publish, and one for each subscription."""

    def __init__(self, url: str, meter: Meter, qos: int, will: mqtt.Will | None, session: Session | None) -> None:
        self._url = urlsplit(url)
        self._meter = meter
        self._qos = qos
        self._will = will
        self._session = session
        self.in_flight_limit = IN_FLIGHT if qos else None
        self._publisher: Client | None = None
        self._opening = asyncio.Lock()
        self._opened: list[Client] = []

    async def publish(self, topic: str, payload: bytes) -> bool:
        """Publish; at QoS 1 and 2, return once the broker has acknowledged the message."""
        async with self._opening:  # also for an open one: publishes that wait for the opening keep their order
            client = await self._publishing_client()
        outcome: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        client.publish(topic, payload, self._qos, _settling(outcome))
        return await outcome

    def send(self, topic: str, payload: bytes, done: Done) -> None:
        """Publish; see `DirectConnection`."""
        assert self._publisher is not None
        try:
            self._publisher.publish(topic, payload, self._qos, done)
        except OSError as error:
            done(error)

    async def open_again(self) -> None:
        """Connect the client that published before."""
        if self._session is not None and _PUBLISHER in self._session.kept:
            await self._publishing_client()

    async def _publishing_client(self) -> Client:
        if self._publisher is None:
            client, _ = await self._open(_PUBLISHER)
            if self._session is not None:
                lost = self._session.lost
                client.on_end = lambda _: lost()
            client.send_again()
            self._publisher = client
        return self._publisher

    async def subscribe(self, topic: str) -> AsyncIterator[Message]:
        """Subscribe to a topic filter, `+` and `#` allowed; the broker's SUBACK must grant the QoS."""
        client = await self._subscribed(topic)
        return client.unfinished.inbox.read()

    async def receive(self, topic: str, deliver: Deliver, ended: Ended) -> None:
        """Subscribe; see `DirectConnection`."""
        await self._subscribed(topic, deliver, ended)

    async def _subscribed(self, topic: str, *to: Any) -> Client:
        client, present = await self._open(("subscriber", topic), *to)
        if not (present and client.unfinished.subscribed):
            packet_id = client.unfinished.next_id()
            answer = await client.answer(mqtt.Subscribe(packet_id, ((topic, self._qos),)))
            codes = getattr(answer, "return_codes", ())
            if codes != (self._qos,):
                raise Refused(f"the broker granted {list(codes)} for QoS {self._qos} on {topic}")
        client.unfinished.subscribed = True
        return client

    async def subscribe_all(self, filters: Sequence[str]) -> None:
        """Have one client subscribed to all of these, at QoS 0.

        Raises:
            Refused: the broker does not grant one of them.
        """
        client, _ = await self._open(("filters",))
        for first in range(0, len(filters), _FILTERS_A_PACKET):
            some = filters[first : first + _FILTERS_A_PACKET]
            answer = await client.answer(mqtt.Subscribe(client.unfinished.next_id(), tuple((f, 0) for f in some)))
            if set(answer.return_codes) != {0}:
                refused = next(f for f, code in zip(some, answer.return_codes, strict=True) if code)
                raise Refused(f"the broker does not grant the filter {refused}")

    async def _open(
        self, key: tuple[str, ...], deliver: Deliver | None = None, ended: Ended | None = None
    ) -> tuple[Client, bool]:
        """Connect a client; return whether the broker had its session, too.

        Raises:
            Refused: the broker does not accept it.
            OSError: there is no connection.
        """
        session, encrypted = self._session, self._url.scheme in ("mqtts", "wss")
        keeps = session is not None and session.resume
        unfinished = Unfinished()
        if session is not None and keeps:
            unfinished = session.kept.setdefault(key, unfinished)
            unfinished.inbox.ended(None)
        pipe: Pipe | None
        sock, pipe = await opened(self._meter, self._url, 8883 if encrypted else 1883, encrypted)
        if self._url.scheme in OVER_WEBSOCKET:
            pipe = await FramePipe.over(sock, pipe, self._url.netloc)
        client = Client(sock, watcher(), pipe, meter=self._meter, qos=self._qos, unfinished=unfinished, keeps=keeps)
        client.deliver, client.on_end = deliver or client.deliver, ended or client.on_end
        self._opened.append(client)
        client.begin()
        keep_alive_s = KEEP_ALIVE_S
        if session is not None and session.keep_alive_s is not None:
            keep_alive_s = math.ceil(session.keep_alive_s)  # MQTT has whole seconds
        name = session.client_id if session is not None and keeps else ""
        login = self._meter.login.username, self._meter.login.password_bytes
        answer = await client.answer(mqtt.Connect(name, not keeps, keep_alive_s, self._will, *login))
        if not isinstance(answer, mqtt.Connack) or answer.return_code != mqtt.ACCEPTED:
            raise Refused(f"CONNECT: the broker answers {getattr(answer, 'return_code', answer)}")
        client.keep_alive(keep_alive_s)
        if session is not None:
            session.resumed = answer.session_present
        return client, answer.session_present

    def close(self) -> None:
        """Close all clients."""
        for client in self._opened:
            client.disconnect()


@asynccontextmanager
async def hold_filters(url: str, meter: Meter, filters: Sequence[str]) -> AsyncIterator[None]:
    """Have one client subscribed to all of these filters."""
    client = Mqtt(url, meter, 0, None, None)
    try:
        await client.subscribe_all(filters)
        yield
    finally:
        client.close()


def _settling(outcome: asyncio.Future[bool]) -> Callable[[bool | Exception], None]:
    def done(result: bool | Exception) -> None:
        if outcome.done():
            return
        if isinstance(result, Exception):
            outcome.set_exception(result)
        else:
            outcome.set_result(result)

    return done


@asynccontextmanager
async def connect(
    url: str,
    meter: Meter,
    *,
    qos: QoS = 0,
    will_topic: WillTopic = "",
    will_payload: WillPayload = "",
    session: Session | None = None,
) -> AsyncIterator[Mqtt]:
    """Open MQTT clients as they are needed, all at one QoS and with the same will."""
    will = mqtt.Will(will_topic, will_payload.encode()) if will_topic else None
    client = Mqtt(url, meter, qos, will, session)
    try:
        await client.open_again()
        yield client
    finally:
        client.close()
