"""MQTT: a broker stands in the middle; every client keeps one connection to it, publishes and subscribes.

Read in this order:
    mqtt.py             this file: `serve`, and the broker: who is here, and what is retained
    mqtt_connection.py  one connection: what each packet does
    mqtt_session.py     the guarantees: QoS 1 and 2, the window, what waits for a client that is away or slow
    mqtt_topics.py      which subscribers a topic has
    rtbench/wire/mqtt.py  the packets, bytes to values and back

A message passes like this, all within one turn of the event loop:

    data_received -> _on_publish -> Broker.publish -> Session.deliver (each subscriber) -> transport.write

It is the whole of MQTT 3.1.1 (OASIS standard, 29 October 2014), with everything in memory: a broker that
stops forgets. Its own figures are on `$SYS/broker/...`: on subscribing, and every ten seconds from then.
"""

from __future__ import annotations

import asyncio
import socket
import uuid
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from hmac import compare_digest
from importlib.metadata import version
from typing import Annotated

from rtbench.errors import UsageError
from rtbench.transports import BACKLOG, Option, ServerContext, server_url
from rtbench.wire import mqtt
from rtbench.wire.topics import matches

from .mqtt_connection import Connection
from .mqtt_session import Counters, Message, Session
from .mqtt_topics import Subscriptions

REPORT_EVERY_S = 10.0  # seconds; mosquitto's default
TLS_HANDSHAKE_WITHIN_S = 10.0  # seconds

Username = Annotated[str | None, Option("the only user who may connect", metavar="NAME")]
Password = Annotated[str | None, Option("that user's password", secret=True)]
MaxQueued = Annotated[int, Option("messages queued for one client", metavar="N", above=0)]


def software() -> str:
    """Return what runs, with its version."""
    return f"rtbench {version('rtbench')} MQTT broker"


@asynccontextmanager
async def serve(
    listener: socket.socket,
    *,
    username: Username = None,
    password: Password = None,
    max_queued: MaxQueued = 100_000,
    tls: ServerContext | None = None,
) -> AsyncIterator[str]:
    """Relay between MQTT clients on a bound socket, and yield the URL.

    Args:
        listener: bound, not yet listening.
        username: the one user who may connect; None for everybody.
        password: that user's password.
        max_queued: messages that wait for one client while it is away or slow; what comes beyond them is
            dropped, and counted on `$SYS/broker/publish/messages/dropped`.
        tls: with it, connections are TLS only.

    Raises:
        UsageError: a user name without a password, or the other way round.
    """
    if (username is None) != (password is None):
        raise UsageError("--username and a password (--password-file or RTBENCH_PASSWORD) go together; one is missing")
    broker = Broker(username=username, password=password, max_queued=max_queued)
    try:
        server = await asyncio.get_running_loop().create_server(
            lambda: Connection(broker),
            sock=listener,
            backlog=BACKLOG,
            ssl=tls,
            ssl_handshake_timeout=TLS_HANDSHAKE_WITHIN_S if tls else None,
        )
        try:
            yield server_url("mqtt", listener, tls)
        finally:
            server.close()
    finally:
        await broker.close()


class Broker:
    """Everything that is not one connection's or one client's."""

    def __init__(self, *, username: str | None, password: str | None, max_queued: int) -> None:
        """Start with nobody; see `serve` for the arguments."""
        self.username = username
        self.password = password
        self.max_queued = max_queued
        self.closed = False
        self.counters = Counters()
        self.connections: set[Connection] = set()
        self.sessions: dict[str, Session] = {}
        self.subscriptions: Subscriptions[Session] = Subscriptions()
        self.retained: dict[str, Message] = {}
        self._reporting = asyncio.get_running_loop().call_later(REPORT_EVERY_S, self._report)

    async def close(self) -> None:
        """Close every connection, and publish no wills: nobody is left to read them."""
        self.closed = True
        self._reporting.cancel()
        while self.connections:
            for connection in self.connections:
                connection.will = None
                connection.transport.abort()
            await asyncio.sleep(0)  # connection_lost is the loop's to call

    # Clients

    def refusal(self, packet: mqtt.Connect) -> int:
        """Return with which return code to refuse a CONNECT, 0 to accept it."""
        if not packet.client_id and not packet.clean_session:
            return mqtt.IDENTIFIER_REJECTED  # [MQTT-3.1.3-8]: nobody could come back to such a session
        if self.username is None:
            return mqtt.ACCEPTED
        if packet.username is None:
            return mqtt.NOT_AUTHORIZED
        same_user = compare_digest(packet.username.encode(), self.username.encode())
        same_password = self.password is None or compare_digest(packet.password or b"", self.password.encode())
        return mqtt.ACCEPTED if same_user and same_password else mqtt.BAD_CREDENTIALS

    def open_session(self, packet: mqtt.Connect) -> tuple[Session, bool]:
        """Return the session of a client that connects, and whether it was there before: section 3.1.2.4."""
        client_id = packet.client_id or f"auto-{uuid.uuid4().hex}"  # [MQTT-3.1.3-6]
        session = self.sessions.get(client_id)
        if session is not None and session.link is not None:
            session.link.end()  # [MQTT-3.1.4-2]: the newer connection takes over
        session = self.sessions.get(client_id)
        if session is not None and not packet.clean_session:
            return session, True
        if session is not None:
            self._forget(session)  # [MQTT-3.1.2-6]
        session = Session(client_id, clean=packet.clean_session, max_queued=self.max_queued, counters=self.counters)
        self.sessions[client_id] = session
        return session, False

    def suspend(self, session: Session) -> None:
        """Go on without a client: its session stays, unless it is a clean one [MQTT-3.1.2-6]."""
        session.suspend()
        if session.clean:
            self._forget(session)

    def _forget(self, session: Session) -> None:
        del self.sessions[session.client_id]
        for topic_filter in session.subscriptions:
            self.subscriptions.remove(topic_filter, session)

    # Messages

    def accept(self, packet: mqtt.Publish) -> None:
        """Take over a client's message."""
        self.counters.received += 1
        self.publish(Message(packet.topic, packet.payload, packet.qos, packet.retain))

    def publish(self, message: Message) -> None:
        """Give a message to every subscriber of its topic, and keep it for later ones if it asks for that."""
        if message.retain:
            if message.payload:
                self.retained[message.topic] = message
            else:
                self.retained.pop(message.topic, None)  # [MQTT-3.3.1-10], [MQTT-3.3.1-11]
            message = Message(message.topic, message.payload, message.qos)  # [MQTT-3.3.1-9]
        for session, granted in self.subscriptions.matching(message.topic).items():
            session.deliver(message, granted)

    def subscribe(self, session: Session, topic_filter: str, qos: int) -> None:
        """Add a subscription, or replace the one to the same filter [MQTT-3.8.4-3]."""
        session.subscriptions.add(topic_filter)
        self.subscriptions.add(topic_filter, session, qos)

    def unsubscribe(self, session: Session, topic_filter: str) -> None:
        """Remove a subscription; what already waits is still delivered: section 3.10.4."""
        session.subscriptions.discard(topic_filter)
        self.subscriptions.remove(topic_filter, session)

    def retained_for(self, topic_filter: str) -> Iterable[Message]:
        """Return the retained messages that a new subscription is due: [MQTT-3.3.1-6]."""
        if topic_filter.startswith("$SYS/"):
            self._refresh_figures()
        return [message for topic, message in self.retained.items() if matches(topic_filter, topic)]

    # Its own figures

    def figures(self) -> dict[str, str]:
        """Return what the broker says of itself, by topic; the names are mosquitto's."""
        return {
            "$SYS/broker/version": software(),
            "$SYS/broker/clients/connected": str(sum(s.link is not None for s in self.sessions.values())),
            "$SYS/broker/clients/total": str(len(self.sessions)),
            "$SYS/broker/publish/messages/received": str(self.counters.received),
            "$SYS/broker/publish/messages/sent": str(self.counters.sent),
            "$SYS/broker/publish/messages/dropped": str(self.counters.dropped),
        }

    def _refresh_figures(self) -> None:
        for topic, text in self.figures().items():
            self.retained[topic] = Message(topic, text.encode(), 0, retain=True)

    def _report(self) -> None:
        self._reporting = asyncio.get_running_loop().call_later(REPORT_EVERY_S, self._report)
        for topic, text in self.figures().items():
            self.publish(Message(topic, text.encode(), retain=True))
