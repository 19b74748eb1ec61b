"""What all connections of an MQTT broker share: its clients, who subscribed to what, and the retained messages."""

from __future__ import annotations

import asyncio
import sys
import uuid
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from typing import Protocol
from urllib.parse import urlsplit

from rtbench.transports import relayed
from rtbench.transports.permissions import Permissions
from rtbench.wire import mqtt
from rtbench.wire.topics import matches

from .mqtt_session import Counters, Limits, Message, Session
from .mqtt_silence import Silence
from .mqtt_topics import Subscriptions

REPORT_EVERY_S = 10.0  # mosquitto's default


def by_hand(url: str) -> list[str]:
    """Return lines for two terminals."""
    place = urlsplit(url)
    if place.scheme in ("ws", "wss"):
        return [f"mqtt.connect('{url}/mqtt').subscribe('room')   // in a page that has loaded the library mqtt.js"]
    where = f"-h {place.hostname} -p {place.port}"
    return [f"mosquitto_sub {where} -t room -q 2 -d", f"mosquitto_pub {where} -t room -q 2 -m hello -d"]


def software() -> str:
    """Return the name and version of the broker."""
    return f"rtbench {version('rtbench')} MQTT broker"


class OpenConnection(Protocol):
    """A connection, as far as the broker closes it."""

    will: mqtt.Will | None
    transport: asyncio.Transport


class Broker:
    """What all connections and sessions share."""

    def __init__(self, limits: Limits, permissions: Permissions) -> None:
        self.limits = limits
        self.permissions = permissions
        self.closed = False
        self.counters = Counters()
        self.silence = Silence()
        self.connections: set[OpenConnection] = set()
        self.sessions: dict[str, Session] = {}
        self.subscriptions: Subscriptions[Session] = Subscriptions()
        self.retained: dict[str, Message] = {}
        self.retained_bytes = 0
        self._reporting = asyncio.get_running_loop().call_later(REPORT_EVERY_S, self._report)

    async def close(self) -> None:
        """Close every connection; publish no wills, since no client is left to receive them."""
        self.closed = True
        self._reporting.cancel()
        while self.connections:
            for connection in self.connections:
                connection.will = None
                connection.transport.abort()
            await asyncio.sleep(0)  # the event loop calls connection_lost

    # Clients

    def refusal(self, packet: mqtt.Connect) -> int:
        """Return the return code for a CONNECT: 0 accepts it (section 3.2.2.3)."""
        if not packet.client_id and not packet.clean_session:
            return mqtt.IDENTIFIER_REJECTED  # [MQTT-3.1.3-8]: no client could come back to such a session
        if not self.permissions.asks:
            return mqtt.ACCEPTED
        if packet.username is None:
            return mqtt.NOT_AUTHORIZED
        if not self.permissions.knows(packet.username, packet.password or b""):
            return mqtt.BAD_CREDENTIALS
        owner = self.sessions.get(packet.client_id)
        is_of_another = owner is not None and owner.username != packet.username
        return mqtt.IDENTIFIER_REJECTED if is_of_another else mqtt.ACCEPTED

    def open_session(self, packet: mqtt.Connect) -> tuple[Session, bool]:
        """Return the session of a client that connects, and whether it was there before: section 3.1.2.4."""
        client_id = packet.client_id or f"auto-{uuid.uuid4().hex}"  # [MQTT-3.1.3-6]
        session = self.sessions.get(client_id)
        if session is not None and session.connection is not None:
            session.connection.end()  # [MQTT-3.1.4-2]: the newer connection takes over
        session = self.sessions.get(client_id)
        if session is not None and not packet.clean_session:
            return session, True
        if session is not None:
            self._forget(session)  # [MQTT-3.1.2-6]
        username = packet.username if self.permissions.asks else None
        session = Session(client_id, username, clean=packet.clean_session, limits=self.limits, counters=self.counters)
        self.sessions[client_id] = session
        return session, False

    def suspend(self, session: Session) -> None:
        """Note that a client is gone; its session stays, unless it is a clean one [MQTT-3.1.2-6]."""
        session.suspend()
        if session.clean:
            self._forget(session)

    def _forget(self, session: Session) -> None:
        del self.sessions[session.client_id]
        for topic_filter in session.subscriptions:
            self.subscriptions.remove(topic_filter, session)

    # Messages

    def accept(self, message: Message) -> None:
        """Take a message of a client."""
        self.counters.received += 1
        relayed(message.payload)  # a trial notes when: the way in ends here
        self.publish(message)

    def publish(self, message: Message) -> None:
        """Give a message to every subscriber of its topic; keep a retained one for later subscribers."""
        if message.retain:
            self._retain(message)
            message = Message(message.topic, message.payload, message.qos)  # [MQTT-3.3.1-9]
        found = self.subscriptions.matching(message.topic)
        if message.qos == 0:
            self._publish_at_once(message, found)
            return
        for session, granted in found.items():
            session.deliver(message, granted)

    def _publish_at_once(self, message: Message, sessions: Iterable[Session]) -> None:
        """Do what `Session.deliver` does at QoS 0, in one turn: here a broker spends most of its time."""
        packet, sent = message.packet, 0
        for session in sessions:
            connection = session.connection
            if connection is not None and connection.writable and not session.stalled:
                connection.transport.write(packet)
                sent += 1
            else:
                session.deliver(message, 0)
        self.counters.sent += sent

    def _retain(self, message: Message) -> None:
        """Keep a message in the place of the last one of its topic; an empty one, or one too many, leaves none."""
        old = self.retained.pop(message.topic, None)
        if old is not None:
            self.retained_bytes -= old.size
        if not message.payload:
            return  # [MQTT-3.3.1-10], [MQTT-3.3.1-11]
        if self.retained_bytes + message.size > self.limits.retained_bytes and not message.topic.startswith("$SYS/"):
            self.counters.dropped += 1
            return
        self.retained[message.topic] = message
        self.retained_bytes += message.size

    def subscribe(self, session: Session, topic_filter: str, qos: int) -> int:
        """Add a subscription, or replace the one to the same filter [MQTT-3.8.4-3]; return the code for SUBACK."""
        topic_filter = sys.intern(topic_filter)  # many clients have the same filter: keep one text of it
        if not self.permissions.may_subscribe(session.username, topic_filter) or not session.add_filter(topic_filter):
            return mqtt.SUBSCRIPTION_FAILED
        self.subscriptions.add(topic_filter, session, qos)
        session.replay(topic_filter, qos, self._retained_for(topic_filter))
        return qos

    def unsubscribe(self, session: Session, topic_filter: str) -> None:
        """Remove a subscription; what already waits is still delivered: section 3.10.4."""
        session.discard_filter(topic_filter)
        self.subscriptions.remove(topic_filter, session)

    def _retained_for(self, topic_filter: str) -> Iterator[Message | None]:
        """Yield the retained message of each topic that matches, and None for each other topic."""
        if topic_filter.startswith("$SYS/"):
            self._refresh_metrics()
        if "+" not in topic_filter and "#" not in topic_filter:
            yield self.retained.get(topic_filter)
            return
        for topic in list(self.retained):
            yield self.retained.get(topic) if matches(topic_filter, topic) else None

    # Metrics

    def metrics(self) -> dict[str, str]:
        """Return the metrics of the broker, by topic; the names are those of mosquitto."""
        return {
            "$SYS/broker/version": software(),
            "$SYS/broker/clients/connected": str(sum(s.connection is not None for s in self.sessions.values())),
            "$SYS/broker/clients/total": str(len(self.sessions)),
            "$SYS/broker/publish/messages/received": str(self.counters.received),
            "$SYS/broker/publish/messages/sent": str(self.counters.sent),
            "$SYS/broker/publish/messages/dropped": str(self.counters.dropped),
        }

    def _refresh_metrics(self) -> None:
        for topic, text in self.metrics().items():
            self._retain(Message(topic, text.encode(), 0, retain=True))

    def _report(self) -> None:
        self._reporting = asyncio.get_running_loop().call_later(REPORT_EVERY_S, self._report)
        for topic, text in self.metrics().items():
            self.publish(Message(topic, text.encode(), retain=True))
