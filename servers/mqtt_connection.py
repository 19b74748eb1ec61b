"""One MQTT connection: from the first byte to the last, and which packet may come when.

Until CONNECT names a client, a connection has no session; from then on it is the connection of that client's session.
When it ends in another way than by DISCONNECT, the broker publishes the client's will.
"""

from __future__ import annotations

import asyncio
import logging
import math
import socket
from collections.abc import Callable, Iterator, Sized
from typing import Any, cast

from rtbench.wire import mqtt

from .mqtt_broker import Broker
from .mqtt_session import Message, Session

log = logging.getLogger(__name__)

CONNECT_WITHIN_S = 10.0  # seconds from the TCP connection to a complete CONNECT
CLOSE_WITHIN_S = 10.0  # seconds for the client to read what is not yet sent
KEEP_ALIVE_GRACE = 1.5  # [MQTT-3.1.2-24]
MAX_CONNECT_BYTES = 512 * 1024  # a CONNECT can have five fields of 64 KiB; rounded up
MAX_PACKET_BYTES = 16 * 1024 * 1024
MAX_FILTERS_BYTES = 66_000  # of a SUBSCRIBE or UNSUBSCRIBE: any single filter fits
MAX_FILTERS = 5_000  # in one of these
TURN_S = 0.01  # time for the packets of one client; then it is the turn of the others
MAX_ANSWERS_BYTES = 1024 * 1024  # unsent bytes above which the broker stops reading from a client that does not read
_NOTHING: Iterator[tuple[int, bytes]] = iter(())


class Violation(Exception):
    """A packet is well formed, but must not come now."""


class Connection(asyncio.Protocol):
    """The broker's end of one TCP or TLS connection."""

    __slots__ = (
        *("broker", "check_at_s", "closed", "heard_s", "loop", "most_silence_s", "packets", "reader", "reading"),
        *("session", "transport", "will", "writable"),
    )

    transport: asyncio.Transport
    check_at_s: int

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.loop = asyncio.get_running_loop()
        self.reader = mqtt.Reader(MAX_CONNECT_BYTES)
        self.packets: Iterator[tuple[int, bytes]] = _NOTHING  # read, and not yet acted on
        self.session: Session | None = None
        self.will: mqtt.Will | None = None
        self.writable = True
        self.reading = True
        self.closed = False
        self.heard_s = self.loop.time()
        self.most_silence_s: float = CONNECT_WITHIN_S

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for CONNECT."""
        self.transport = cast(asyncio.Transport, transport)
        # asyncio does this only where the listening socket names IPPROTO_TCP
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.broker.silence.watch(self, self.most_silence_s)
        self.broker.connections.add(self)
        if self.broker.closed:  # the broker closed after the connection was accepted and before this call
            self.end()

    def data_received(self, data: bytes) -> None:
        """Act on each packet that is now complete; a malformed one ends this connection only."""
        self.heard_s = self.loop.time()
        self.packets = self.reader.feed(data)
        self._act()

    def _act(self) -> None:
        """Act on the packets that were read: all of them, or as many as one turn has time for."""
        if self.closed:
            return
        until_s = self.loop.time() + TURN_S
        try:
            for first, body in self.packets:
                self._on_packet(first, body)
                if self.closed:
                    return
                if self.loop.time() > until_s:
                    self._stop_reading()
                    self.loop.call_soon(self._act)
                    return
        except (mqtt.MalformedPacket, Violation) as error:
            self._refuse(error)
        else:
            self.packets = _NOTHING
            self._read_on()

    def pause_writing(self) -> None:
        """Let messages wait in the session: the transport has enough unsent bytes."""
        self.writable = False

    def resume_writing(self) -> None:
        """Send what has waited."""
        self.writable = True
        if self.packets is _NOTHING:
            self._read_on()
        if self.session is not None:
            self.session.catch_up()

    def soon(self, call: Callable[[], None]) -> None:
        """Call a function in the next turn of the event loop."""
        self.loop.call_soon(call)

    def connection_lost(self, _exc: Exception | None) -> None:
        """Leave the session, if this has not happened yet."""
        self.end()
        self.broker.connections.discard(self)

    # How it ends

    def end(self) -> None:
        """Close at once, and publish the will unless DISCONNECT has taken it back [MQTT-3.1.2-8]."""
        if not self.closed:
            self._leave()
            self.transport.abort()

    def _close(self) -> None:
        """Close once everything is sent."""
        self._leave()
        self.transport.close()
        self.loop.call_later(CLOSE_WITHIN_S, self.transport.abort)

    def _leave(self) -> None:
        self.closed = True
        session, self.session = self.session, None
        if session is not None:
            self.broker.suspend(session)
        if self.will is not None:
            will, self.will = self.will, None
            if session is not None and self.broker.permissions.may_publish(session.username, will.topic):
                self.broker.publish(Message(will.topic, will.payload, will.qos, will.retain))

    def check(self) -> None:
        """End a connection that was silent for too long; else check again when it would be."""
        if self.closed:
            return
        if not self.reading:
            self.heard_s = self.loop.time()  # the broker did not read: it cannot know
        silence = self.loop.time() - self.heard_s
        if silence >= self.most_silence_s:
            log.info("%s was silent for %.1f s", self._name(), silence)
            self.end()
        else:
            self.broker.silence.watch(self, self.most_silence_s - silence)

    def _stop_reading(self) -> None:
        self.reading = False
        self.transport.pause_reading()

    def _read_on(self) -> None:
        """Read what the client sends next, unless it does not read the answers."""
        if not self.writable and self.transport.get_write_buffer_size() > MAX_ANSWERS_BYTES:
            self._stop_reading()
        elif not self.reading:
            self.reading = True
            self.heard_s = self.loop.time()
            self.transport.resume_reading()

    def _refuse(self, error: mqtt.MalformedPacket | Violation) -> None:
        log.info("%s sent %s", self._name(), error)
        code = getattr(error, "return_code", None)
        if code is not None and self.session is None:
            self._close_with(mqtt.Connack(False, code))
        else:
            self.end()

    def _close_with(self, packet: mqtt.Connack) -> None:
        self._send(packet)
        self._close()

    def _name(self) -> str:
        return repr(self.session.client_id) if self.session is not None else "a connection before CONNECT"

    # What each packet does

    def _send(self, packet: mqtt.Packet) -> None:
        self.transport.write(mqtt.encode(packet))

    def _on_packet(self, first: int, body: bytes) -> None:
        if first in _WITH_FILTERS and len(body) > MAX_FILTERS_BYTES:
            raise Violation(f"filters of {len(body)} bytes, of which {MAX_FILTERS_BYTES} are allowed in one packet")
        packet = mqtt.decode(first, body)
        session = self.session
        if session is None:
            self._on_first(packet)
        else:
            _HANDLERS.get(type(packet), Connection._on_other)(self, session, packet)

    def _on_first(self, packet: mqtt.Packet) -> None:
        if not isinstance(packet, mqtt.Connect):
            raise Violation(f"{type(packet).__name__} before CONNECT")  # [MQTT-3.1.0-1]
        refused = self.broker.refusal(packet)
        if refused:
            self._close_with(mqtt.Connack(False, refused))  # [MQTT-3.2.2-5]
            return
        session, present = self.broker.open_session(packet)
        self.session, self.will = session, packet.will
        self.reader.limit = MAX_PACKET_BYTES
        self.most_silence_s = KEEP_ALIVE_GRACE * packet.keep_alive or math.inf
        self.broker.silence.watch(self, self.most_silence_s)
        self._send(mqtt.Connack(present, mqtt.ACCEPTED))
        session.resume(self)

    def _on_other(self, _session: Session, packet: mqtt.Packet) -> None:
        # [MQTT-3.1.0-2] a second CONNECT; or a packet that only a server sends
        raise Violation(f"{type(packet).__name__}, which a connected client must not send")

    def _on_publish(self, session: Session, packet: mqtt.Publish) -> None:
        if packet.topic.startswith("$SYS/"):
            raise Violation(f"PUBLISH on {packet.topic}, which is the broker's")  # [MQTT-3.3.5-2]
        if not self.broker.permissions.may_publish(session.username, packet.topic):
            raise Violation(f"PUBLISH on {packet.topic}, on which {session.username} may not")  # [MQTT-3.3.5-2]
        message = Message(packet.topic, packet.payload, packet.qos, packet.retain)
        if packet.qos == 2:
            # Method A of section 4.3.3
            if not session.hold(cast(int, packet.packet_id), message):
                raise Violation("more bytes of QoS 2 messages without PUBREL than the broker keeps for a client")
            self._send(mqtt.Pubrec(cast(int, packet.packet_id)))
            return
        self.broker.accept(message)
        if packet.qos == 1:
            self._send(mqtt.Puback(cast(int, packet.packet_id)))

    def _on_pubrel(self, session: Session, packet: mqtt.Pubrel) -> None:
        message = session.release(packet.packet_id)
        if message is not None:
            self.broker.accept(message)
        self._send(mqtt.Pubcomp(packet.packet_id))  # [MQTT-4.3.3-2], for an unknown id too

    def _on_puback(self, session: Session, packet: mqtt.Puback) -> None:
        session.on_puback(packet.packet_id)

    def _on_pubrec(self, session: Session, packet: mqtt.Pubrec) -> None:
        session.on_pubrec(packet.packet_id)
        self._send(mqtt.Pubrel(packet.packet_id))  # [MQTT-4.3.3-1], for an unknown id too

    def _on_pubcomp(self, session: Session, packet: mqtt.Pubcomp) -> None:
        session.on_pubcomp(packet.packet_id)

    def _on_subscribe(self, session: Session, packet: mqtt.Subscribe) -> None:
        self._refuse_many(packet.filters)
        codes = tuple(self.broker.subscribe(session, topic_filter, qos) for topic_filter, qos in packet.filters)
        self._send(mqtt.Suback(packet.packet_id, codes))
        session.catch_up()

    def _on_unsubscribe(self, session: Session, packet: mqtt.Unsubscribe) -> None:
        self._refuse_many(packet.filters)
        for topic_filter in packet.filters:
            self.broker.unsubscribe(session, topic_filter)
        self._send(mqtt.Unsuback(packet.packet_id))  # [MQTT-3.10.4-5], for an unknown filter too

    def _refuse_many(self, filters: Sized) -> None:
        if len(filters) > MAX_FILTERS:
            raise Violation(f"{len(filters)} filters, of which {MAX_FILTERS} are allowed in one packet")

    def _on_pingreq(self, _session: Session, _packet: mqtt.Pingreq) -> None:
        self._send(mqtt.Pingresp())

    def _on_disconnect(self, _session: Session, _packet: mqtt.Disconnect) -> None:
        self.will = None  # [MQTT-3.14.4-3]
        self._close()


_WITH_FILTERS = (0x82, 0xA2)  # the first bytes of SUBSCRIBE and UNSUBSCRIBE
_HANDLERS: dict[type[Any], Callable[[Connection, Session, Any], None]] = {
    mqtt.Publish: Connection._on_publish,
    mqtt.Puback: Connection._on_puback,
    mqtt.Pubrec: Connection._on_pubrec,
    mqtt.Pubrel: Connection._on_pubrel,
    mqtt.Pubcomp: Connection._on_pubcomp,
    mqtt.Subscribe: Connection._on_subscribe,
    mqtt.Unsubscribe: Connection._on_unsubscribe,
    mqtt.Pingreq: Connection._on_pingreq,
    mqtt.Disconnect: Connection._on_disconnect,
}
