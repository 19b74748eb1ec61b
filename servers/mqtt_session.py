"""What a broker remembers of one client: its subscriptions, and the messages that are not yet acknowledged.

A session outlives its connection if the client asked for that (`clean_session=0`). This file keeps the guarantees of
QoS 1 and 2. On the way to a subscriber, a QoS 2 message is in one of three places:

    waiting ── PUBLISH ──> unacknowledged ── PUBREC ──> released ── PUBCOMP ──> gone
                           └────────── in flight: at most 20 ──────────┘

and a QoS 1 message leaves `unacknowledged` on PUBACK. Nothing here reads a socket or a clock. Packets go to the
session's `connection`, which is None while the client is away.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from rtbench.wire import mqtt

IN_FLIGHT_LIMIT = 20  # unfinished QoS 1 and 2 messages at once; the default of mosquitto and of paho
MAX_PACKET_ID = 0xFFFF


class Connection(Protocol):
    """The connection of a client, as a session uses it; not `writable` while it has enough unsent bytes."""

    writable: bool

    @property
    def write(self) -> Callable[[bytes], None]:
        """Send bytes, now or as soon as the client reads."""

    def end(self) -> None:
        """Close the connection at once."""


@dataclass
class Counters:
    """Messages since the broker started: received from publishers, sent to subscribers, dropped."""

    received: int = 0
    sent: int = 0
    dropped: int = 0


@dataclass(eq=False)
class Message:
    """A message as published. Its bytes are built once, for any number of subscribers."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False

    @cached_property
    def packet(self) -> bytes:
        """The bytes of the PUBLISH at QoS 0, the same for every subscriber."""
        return mqtt.publish_head(self.topic, len(self.payload), 0, retain=self.retain) + self.payload

    @cached_property
    def _heads(self) -> dict[int, bytes]:
        return {}

    def numbered(self, qos: int, packet_id: int) -> bytes:
        """Return the PUBLISH at QoS 1 or 2, in which only the packet id differs between subscribers."""
        head = self._heads.get(qos)
        if head is None:
            head = mqtt.publish_head(self.topic, len(self.payload), qos, retain=self.retain)
            self._heads[qos] = head
        return b"%b%b%b" % (head, packet_id.to_bytes(2, "big"), self.payload)


class Session:
    """One client id's subscriptions and unfinished messages."""

    def __init__(self, client_id: str, *, clean: bool, max_queued: int, counters: Counters) -> None:
        self.client_id = client_id
        self.clean = clean
        self.max_queued = max_queued
        self.counters = counters
        self.connection: Connection | None = None
        self.subscriptions: set[str] = set()
        self.held: dict[int, mqtt.Publish] = {}  # QoS 2 from the client, until it sends PUBREL
        self.stalled: deque[Message] = deque()  # QoS 0, until the connection is writable again
        self.waiting: deque[tuple[Message, int]] = deque()  # QoS 1 and 2 with their QoS, until fewer are in flight
        self.unacknowledged: dict[int, tuple[Message, int]] = {}
        self.released: dict[int, None] = {}  # an ordered set
        self._last_id = 0

    def deliver(self, message: Message, granted: int) -> None:
        """Send a message with the lower of its own and the granted QoS [MQTT-3.8.4-6], now or later."""
        qos = min(message.qos, granted)
        connection = self.connection
        if qos == 0:
            if connection is None:
                return  # section 3.1.2.4: a session need not keep QoS 0 messages; mosquitto does not either
            if connection.writable and not self.stalled:
                self.counters.sent += 1
                connection.write(message.packet)
            elif self._has_room():
                self.stalled.append(message)
        elif connection is not None and connection.writable and not self.waiting and self._may_send():
            self._send(connection, message, qos)
        elif self._has_room():
            self.waiting.append((message, qos))

    def _has_room(self) -> bool:
        if len(self.stalled) + len(self.waiting) < self.max_queued:
            return True
        self.counters.dropped += 1
        return False

    def _may_send(self) -> bool:
        return len(self.unacknowledged) + len(self.released) < IN_FLIGHT_LIMIT

    def _send(self, connection: Connection, message: Message, qos: int) -> None:
        packet_id = self._next_id()
        self.unacknowledged[packet_id] = message, qos
        self.counters.sent += 1
        connection.write(message.numbered(qos, packet_id))

    def _next_id(self) -> int:
        """Return a packet id that no unfinished message has [MQTT-2.3.1-2], counting on from the last one."""
        packet_id = self._last_id
        while True:
            packet_id = packet_id % MAX_PACKET_ID + 1
            if packet_id not in self.unacknowledged and packet_id not in self.released:
                self._last_id = packet_id
                return packet_id

    def catch_up(self) -> None:
        """Send what waits, as far as the connection and the in-flight limit allow."""
        connection = self.connection
        if connection is None:
            return
        while self.stalled and connection.writable:
            self.counters.sent += 1
            connection.write(self.stalled.popleft().packet)
        while self.waiting and connection.writable and self._may_send():
            self._send(connection, *self.waiting.popleft())

    def resume(self, connection: Connection) -> None:
        """Continue with a client that is back: send unfinished messages again, in the old order [MQTT-4.4.0-1]."""
        self.connection = connection
        for packet_id in self.released:
            connection.write(mqtt.encode(mqtt.Pubrel(packet_id)))
        for packet_id, (message, qos) in self.unacknowledged.items():
            packet = message.numbered(qos, packet_id)
            connection.write(bytes([packet[0] | mqtt.DUP]) + packet[1:])  # [MQTT-3.3.1-1]
        self.catch_up()

    def suspend(self) -> None:
        """Keep unfinished messages while the client is away; drop those of QoS 0."""
        self.connection = None
        self.counters.dropped += len(self.stalled)
        self.stalled.clear()

    def on_puback(self, packet_id: int) -> None:
        """Forget a QoS 1 message; ignore any other id."""
        if self.unacknowledged.get(packet_id, (None, 0))[1] == 1:
            del self.unacknowledged[packet_id]
            self.catch_up()

    def on_pubrec(self, packet_id: int) -> None:
        """Forget a QoS 2 message except its id: the receiver has it."""
        if self.unacknowledged.get(packet_id, (None, 0))[1] == 2:
            del self.unacknowledged[packet_id]
            self.released[packet_id] = None

    def on_pubcomp(self, packet_id: int) -> None:
        """Free the id of a QoS 2 message."""
        if packet_id in self.released:
            del self.released[packet_id]
            self.catch_up()
