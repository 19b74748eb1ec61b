"""What a broker remembers of one client: its subscriptions, and the messages that are not yet acknowledged.

A session outlives its connection if the client asked for that (`clean_session=0`). This file keeps the guarantees of
QoS 1 and 2. On the way to a subscriber, a QoS 2 message is in one of three places:

    waiting ── PUBLISH ──> unacknowledged ── PUBREC ──> released ── PUBCOMP ──> gone
                           └────────── in flight: some at most ─────────┘

and a QoS 1 message leaves `unacknowledged` on PUBACK. Retained messages for a new subscription are not queued: they are
looked up one by one, when the client can take the next one. What is kept for one client is bounded by `Limits`.

Nothing here reads a socket or a clock. Packets go to the `connection`, None while the client is away.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from rtbench.wire import mqtt

from .mqtt_topics import MAX_LEVELS, filter_bytes

MAX_PACKET_ID = 0xFFFF
MESSAGES_A_TURN = 500  # of those that waited; then it is the turn of the other clients


class Connection(Protocol):
    """The connection of a client, as a session uses it; not `writable` while it has enough unsent bytes."""

    transport: asyncio.Transport
    writable: bool

    def end(self) -> None:
        """Close the connection at once."""

    def soon(self, call: Callable[[], None]) -> None:
        """Call a function in the next turn of the event loop."""


@dataclass(frozen=True)
class Limits:
    """What a broker keeps at most: for one client, and in all (`retained_bytes`).

    Attributes:
        queued: messages that wait for a client while it is away or slow.
        in_flight: messages at QoS 1 and 2 that are sent to a client and not yet finished.
        queued_bytes: bytes of these, and of those that it has not acknowledged.
        unreleased_bytes: bytes of QoS 2 messages that a client has sent without PUBREL.
        subscription_bytes: bytes of the filters of a client, as `filter_bytes` estimates them.
        retained_bytes: bytes of all retained messages.
    """

    queued: int
    in_flight: int
    queued_bytes: int
    unreleased_bytes: int
    subscription_bytes: int
    retained_bytes: int


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
    def size(self) -> int:
        """About how many bytes the broker keeps for it."""
        return 400 + len(self.topic) + len(self.payload)

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


# stand for a queue and for a dictionary of a session until something is put in: most sessions never need one
_NOTHING: deque[Any] = deque()
_NONE: dict[Any, Any] = {}


class Session:
    """One client id's subscriptions and unfinished messages."""

    __slots__ = (
        *("client_id", "username", "clean", "connection", "counters", "limits", "subscriptions", "subscription_bytes"),
        *(
            "replays",
            "unreleased",
            "unreleased_bytes",
            "stalled",
            "waiting",
            "unacknowledged",
            "released",
            "queued_bytes",
        ),
        *("_last_id", "_turn_is_due"),
    )

    def __init__(
        self, client_id: str, username: str | None, *, clean: bool, limits: Limits, counters: Counters
    ) -> None:
        self.client_id = client_id
        self.username = username  # None where the broker asks for none
        self.clean = clean
        self.limits = limits
        self.counters = counters
        self.connection: Connection | None = None
        self.subscriptions: set[str] = set()
        self.subscription_bytes = 0
        self.replays: dict[str, tuple[Iterator[Message | None], int]] = _NONE  # by filter: see `replay`
        self.unreleased: dict[int, Message] = _NONE  # QoS 2 from the client, until it sends PUBREL
        self.unreleased_bytes = 0
        self.stalled: deque[Message] = _NOTHING  # QoS 0, until the connection is writable again
        self.waiting: deque[tuple[Message, int]] = _NOTHING  # QoS 1 and 2 with their QoS, until fewer are in flight
        self.unacknowledged: dict[int, tuple[Message, int]] = _NONE
        self.released: dict[int, None] = _NONE  # an ordered set
        self.queued_bytes = 0  # of `stalled`, `waiting` and `unacknowledged`
        self._last_id = 0
        self._turn_is_due = False

    # From the client

    def add_filter(self, topic_filter: str) -> bool:
        """Note a subscription; return False if the filter is too deep, or the client has enough of them."""
        if topic_filter in self.subscriptions:
            return True
        size = filter_bytes(topic_filter)
        if topic_filter.count("/") >= MAX_LEVELS or self.subscription_bytes + size > self.limits.subscription_bytes:
            return False
        self.subscriptions.add(topic_filter)
        self.subscription_bytes += size
        return True

    def discard_filter(self, topic_filter: str) -> None:
        """Forget a subscription, if there is one."""
        if topic_filter in self.subscriptions:
            self.subscriptions.remove(topic_filter)
            self.subscription_bytes -= filter_bytes(topic_filter)
            self.replays.pop(topic_filter, None)

    def hold(self, packet_id: int, message: Message) -> bool:
        """Keep a QoS 2 message until PUBREL, to recognise a repetition; return False if there is no room for it."""
        if packet_id in self.unreleased:
            return True
        if self.unreleased and self.unreleased_bytes + message.size > self.limits.unreleased_bytes:
            self.counters.dropped += 1
            return False
        if self.unreleased is _NONE:
            self.unreleased = {}
        self.unreleased[packet_id] = message
        self.unreleased_bytes += message.size
        return True

    def release(self, packet_id: int) -> Message | None:
        """Return the message that PUBREL lets go; None for an unknown id."""
        message = self.unreleased.pop(packet_id, None)
        if message is not None:
            self.unreleased_bytes -= message.size
        return message

    # To the client

    def deliver(self, message: Message, granted: int) -> None:
        """Send a message with the lower of its own and the granted QoS [MQTT-3.8.4-6], now or later."""
        qos = min(message.qos, granted)
        connection = self.connection
        if qos == 0:
            if connection is None:
                return  # section 3.1.2.4: a session need not keep QoS 0 messages; mosquitto does not either
            if connection.writable and not self.stalled:
                self.counters.sent += 1
                connection.transport.write(message.packet)
            elif self._take_room(message):
                if self.stalled is _NOTHING:
                    self.stalled = deque()
                self.stalled.append(message)
        elif self._take_room(message):
            if connection is not None and connection.writable and not self.waiting and self._may_send():
                self._send(connection, message, qos)
            else:
                if self.waiting is _NOTHING:
                    self.waiting = deque()
                self.waiting.append((message, qos))

    def _take_room(self, message: Message) -> bool:
        queued_bytes = self.queued_bytes + message.size
        if len(self.stalled) + len(self.waiting) < self.limits.queued and queued_bytes <= self.limits.queued_bytes:
            self.queued_bytes = queued_bytes
            return True
        self.counters.dropped += 1
        return False

    def _may_send(self) -> bool:
        return len(self.unacknowledged) + len(self.released) < self.limits.in_flight

    def _send(self, connection: Connection, message: Message, qos: int) -> None:
        packet_id = self._next_id()
        if self.unacknowledged is _NONE:
            self.unacknowledged = {}
        self.unacknowledged[packet_id] = message, qos
        self.counters.sent += 1
        connection.transport.write(message.numbered(qos, packet_id))

    def _next_id(self) -> int:
        """Return a packet id that no unfinished message has [MQTT-2.3.1-2], counting on from the last one."""
        packet_id = self._last_id
        while True:
            packet_id = packet_id % MAX_PACKET_ID + 1
            if packet_id not in self.unacknowledged and packet_id not in self.released:
                self._last_id = packet_id
                return packet_id

    def replay(self, topic_filter: str, qos: int, retained: Iterator[Message | None]) -> None:
        """Send the retained messages that a new subscription must get [MQTT-3.3.1-6], as `catch_up` comes to them.

        `retained` has a message for each topic that matches and None for each other one. It takes the place of an
        earlier replay for the same filter that has not ended: the client gets everything once more, not twice.
        """
        if self.replays is _NONE:
            self.replays = {}
        self.replays[topic_filter] = retained, qos

    def catch_up(self) -> None:
        """Send what waits, as far as the connection and the in-flight limit allow; much of it in several turns."""
        connection = self.connection
        if connection is None or self._turn_is_due:
            return
        for _ in range(MESSAGES_A_TURN):
            if not connection.writable or not self._send_next(connection):
                return
        self._turn_is_due = True
        connection.soon(self._next_turn)

    def _next_turn(self) -> None:
        self._turn_is_due = False
        self.catch_up()

    def _send_next(self, connection: Connection) -> bool:
        """Send the next of what waits, or look at the next retained message; return False if neither is possible."""
        if self.stalled:
            message = self.stalled.popleft()
            self.queued_bytes -= message.size
            self.counters.sent += 1
            connection.transport.write(message.packet)
        elif self.waiting:
            if not self._may_send():
                return False
            self._send(connection, *self.waiting.popleft())
        elif self.replays:
            self._replay_next()
        else:
            return False
        return True

    def _replay_next(self) -> None:
        topic_filter = next(iter(self.replays))
        retained, qos = self.replays[topic_filter]
        try:
            message = next(retained)
        except StopIteration:
            del self.replays[topic_filter]
        else:
            if message is not None:
                self.deliver(message, qos)

    def resume(self, connection: Connection) -> None:
        """Continue with a client that is back: send unfinished messages again, in the old order [MQTT-4.4.0-1]."""
        self.connection = connection
        for packet_id in self.released:
            connection.transport.write(mqtt.encode(mqtt.Pubrel(packet_id)))
        for packet_id, (message, qos) in self.unacknowledged.items():
            packet = message.numbered(qos, packet_id)
            connection.transport.write(bytes([packet[0] | mqtt.DUP]) + packet[1:])  # [MQTT-3.3.1-1]
        self.catch_up()

    def suspend(self) -> None:
        """Keep unfinished messages while the client is away; drop those of QoS 0."""
        self.connection = None
        self.counters.dropped += len(self.stalled)
        self.queued_bytes -= sum(message.size for message in self.stalled)
        self.stalled.clear()

    def on_puback(self, packet_id: int) -> None:
        """Forget a QoS 1 message; ignore any other id."""
        if self._acknowledge(packet_id, 1):
            self.catch_up()

    def on_pubrec(self, packet_id: int) -> None:
        """Forget a QoS 2 message except its id: the receiver has it."""
        if self._acknowledge(packet_id, 2):
            if self.released is _NONE:
                self.released = {}
            self.released[packet_id] = None

    def _acknowledge(self, packet_id: int, qos: int) -> bool:
        """Forget a message of this id and QoS; return False if there is none."""
        message, of_qos = self.unacknowledged.get(packet_id, (None, 0))
        if message is None or of_qos != qos:
            return False
        del self.unacknowledged[packet_id]
        self.queued_bytes -= message.size
        return True

    def on_pubcomp(self, packet_id: int) -> None:
        """Free the id of a QoS 2 message."""
        if packet_id in self.released:
            del self.released[packet_id]
            self.catch_up()
