"""What a broker remembers of one client: what it still owes it, and what the client still owes.

A session outlives the connection if the client asked for that (`clean_session=0`). The guarantees of QoS 1
and 2 are kept here. On its way out, a QoS 2 message is in one of three places:

    waiting ── PUBLISH ──> unacknowledged ── PUBREC ──> released ── PUBCOMP ──> gone
                           └─────────── window of 20 ──────────┘

and one of QoS 1 leaves `unacknowledged` on PUBACK. Nothing here reads a socket or a clock; what is to be
sent goes to the session's `link`, which is None while the client is away.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from rtbench.wire import mqtt

WINDOW = 20  # unfinished QoS 1 and 2 messages at once; mosquitto's and paho's default
MAX_PACKET_ID = 0xFFFF


class Link(Protocol):
    """The way to a client while it is connected; not `writable` while enough waits to be sent already."""

    writable: bool

    @property
    def write(self) -> Callable[[bytes], None]:
        """Send, or keep to be sent."""

    def end(self) -> None:
        """Close the connection at once."""


@dataclass
class Counters:
    """What went through the broker since its start, in messages."""

    received: int = 0
    sent: int = 0
    dropped: int = 0


@dataclass(eq=False)
class Message:
    """A message as published. Its bytes are put together once, however many subscribers it goes to."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False

    @cached_property
    def packet(self) -> bytes:
        """The whole PUBLISH at QoS 0, the same for every subscriber."""
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
        """Start empty; at most `max_queued` messages wait."""
        self.client_id = client_id
        self.clean = clean
        self.max_queued = max_queued
        self.counters = counters
        self.link: Link | None = None
        self.subscriptions: set[str] = set()
        self.held: dict[int, mqtt.Publish] = {}  # QoS 2 from the client, until it sends PUBREL
        self.stalled: deque[Message] = deque()  # QoS 0, until the link is writable again
        self.waiting: deque[tuple[Message, int]] = deque()  # QoS 1 and 2 with their QoS, until there is room
        self.unacknowledged: dict[int, tuple[Message, int]] = {}
        self.released: dict[int, None] = {}  # an ordered set
        self._last_id = 0

    def deliver(self, message: Message, granted: int) -> None:
        """Send a message with the lower one of its own and the granted QoS [MQTT-3.8.4-6], now or later."""
        qos = min(message.qos, granted)
        link = self.link
        if qos == 0:
            if link is None:
                return  # section 3.1.2.4: a session need not keep QoS 0 messages; mosquitto does not either
            if link.writable and not self.stalled:
                self.counters.sent += 1
                link.write(message.packet)
            elif self._has_room():
                self.stalled.append(message)
        elif link is not None and link.writable and not self.waiting and self._window_open():
            self._send(link, message, qos)
        elif self._has_room():
            self.waiting.append((message, qos))

    def _has_room(self) -> bool:
        if len(self.stalled) + len(self.waiting) < self.max_queued:
            return True
        self.counters.dropped += 1
        return False

    def _window_open(self) -> bool:
        return len(self.unacknowledged) + len(self.released) < WINDOW

    def _send(self, link: Link, message: Message, qos: int) -> None:
        packet_id = self._next_id()
        self.unacknowledged[packet_id] = message, qos
        self.counters.sent += 1
        link.write(message.numbered(qos, packet_id))

    def _next_id(self) -> int:
        """Return a packet id that no unfinished message has [MQTT-2.3.1-2], the longest unused first."""
        packet_id = self._last_id
        while True:
            packet_id = packet_id % MAX_PACKET_ID + 1
            if packet_id not in self.unacknowledged and packet_id not in self.released:
                self._last_id = packet_id
                return packet_id

    def catch_up(self) -> None:
        """Send what waits, as far as link and window allow."""
        link = self.link
        if link is None:
            return
        while self.stalled and link.writable:
            self.counters.sent += 1
            link.write(self.stalled.popleft().packet)
        while self.waiting and link.writable and self._window_open():
            self._send(link, *self.waiting.popleft())

    def resume(self, link: Link) -> None:
        """Go on with a client that is back: send the unfinished again, in the old order [MQTT-4.4.0-1]."""
        self.link = link
        for packet_id in self.released:
            link.write(mqtt.encode(mqtt.Pubrel(packet_id)))
        for packet_id, (message, qos) in self.unacknowledged.items():
            packet = message.numbered(qos, packet_id)
            link.write(bytes([packet[0] | mqtt.DUP]) + packet[1:])  # [MQTT-3.3.1-1]
        self.catch_up()

    def suspend(self) -> None:
        """Keep what a session keeps while its client is away."""
        self.link = None
        self.counters.dropped += len(self.stalled)
        self.stalled.clear()

    def on_puback(self, packet_id: int) -> None:
        """Forget a QoS 1 message; an id that is not of one is ignored."""
        if self.unacknowledged.get(packet_id, (None, 0))[1] == 1:
            del self.unacknowledged[packet_id]
            self.catch_up()

    def on_pubrec(self, packet_id: int) -> None:
        """Forget a QoS 2 message but for its id; the receiver has it."""
        if self.unacknowledged.get(packet_id, (None, 0))[1] == 2:
            del self.unacknowledged[packet_id]
            self.released[packet_id] = None

    def on_pubcomp(self, packet_id: int) -> None:
        """Free the id of a QoS 2 message."""
        if packet_id in self.released:
            del self.released[packet_id]
            self.catch_up()
