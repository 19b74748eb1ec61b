"""MQTT: publish to a broker, which passes on to whoever subscribed, with the quality of service both agreed to.

At QoS 0 a message is sent and forgotten, at QoS 1 acknowledged (PUBACK), at QoS 2 handed over in four packets so
that it arrives exactly once (MQTT 3.1.1 section 4.3). Each hop has its own handshake: publisher to broker, broker to
subscriber.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import version
from typing import Annotated, Any, cast
from urllib.parse import urlsplit

import aiomqtt
from paho.mqtt.enums import MQTTErrorCode

from rtbench.errors import Refused
from rtbench.system.meter import Meter, MeteredSocket
from rtbench.system.tls import TlsSocket
from rtbench.transports import Message, Option
from rtbench.wire.mqtt import ACKNOWLEDGEMENT_BYTES, PING_BYTES, publish_bytes
from rtbench.wire.traffic import Flow, Predicted, Traffic, flow, total

VARIANTS = ({"qos": 0}, {"qos": 1}, {"qos": 2})
WILDCARDS = True
QoS = Annotated[int, Option("quality of service; a comparison measures all three", metavar="0|1|2")]
SLOT = 4

_CONNECT_WITHIN_S = 10.0
_KEEP_ALIVE_S = 60
_IN_FLIGHT = 20  # what paho and mosquitto allow by default: the in-flight limit of QoS 1 and 2


def software() -> str:
    """What runs."""
    return f"aiomqtt {version('aiomqtt')}, paho-mqtt {version('paho-mqtt')}"


class Mqtt:
    """One MQTT client that publishes, opened with the first publish, and one for each subscription."""

    def __init__(self, url: str, meter: Meter, qos: int, stack: AsyncExitStack) -> None:
        """Close with `stack` what is opened."""
        self._url = urlsplit(url)
        self._tls = self._url.scheme == "mqtts"
        self._meter = meter
        self._qos = qos
        self.in_flight_limit = _IN_FLIGHT if qos else None
        self._stack = stack
        self._publisher: aiomqtt.Client | None = None
        self._opening = asyncio.Lock()

    async def publish(self, topic: str, payload: bytes) -> bool:
        """Publish; return once the broker has acknowledged it as the QoS asks (never, at QoS 0)."""
        client = await self._publishing_client()
        try:
            await client.publish(topic, payload, qos=self._qos, timeout=float("inf"))
        except aiomqtt.MqttError as error:
            raise ConnectionError(str(error)) from error
        return self._qos > 0

    async def _publishing_client(self) -> aiomqtt.Client:
        async with self._opening:  # also when it is open: whoever waits for the opening comes first
            if self._publisher is None:
                self._publisher = await self._open()
            return self._publisher

    async def subscribe(self, topic: str) -> AsyncIterator[Message]:
        """Subscribe to a topic filter, `+` and `#` allowed; the broker's SUBACK must grant the QoS."""
        client = await self._open()
        granted = await client.subscribe(topic, qos=self._qos)
        codes = [getattr(code, "value", code) for code in granted]
        if codes != [self._qos]:
            raise Refused(f"the broker granted {codes} for QoS {self._qos} on {topic}")
        return cast(AsyncIterator[Message], client.messages)

    async def _open(self) -> aiomqtt.Client:
        opened: list[MeteredSocket] = []
        client = aiomqtt.Client(
            self._url.hostname or "",
            self._url.port or 1883,
            max_inflight_messages=_IN_FLIGHT,
            keepalive=_KEEP_ALIVE_S,
            queue_type=_queue_of(opened),
        )
        # paho has no public way to be given a socket, and its own has Nagle's algorithm on
        paho: Any = client._client
        paho._create_socket_connection = lambda: self._connect(paho, opened)
        ping = paho._send_pingreq
        paho._send_pingreq = lambda: self._count(ping())
        try:
            await self._stack.enter_async_context(client)
        except aiomqtt.MqttError as error:
            raise Refused(f"CONNECT: {error}") from error
        return client

    def _connect(self, paho: Any, opened: list[MeteredSocket]) -> MeteredSocket | TlsSocket:
        host = self._url.hostname or ""
        address = socket.getaddrinfo(host, self._url.port or 1883, type=socket.SOCK_STREAM)[0]
        sock = self._meter.socket(*address[:3])
        try:
            sock.settimeout(_CONNECT_WITHIN_S)
            sock.connect(address[4])
            # not paho's own TLS: that would read past the meter
            tls = TlsSocket(sock, self._meter.tls or ssl.create_default_context(), host) if self._tls else None
        except OSError:
            sock.close()
            raise
        opened.append(sock)
        if tls is None:
            paho._sock_recv = _packet_reader(paho, sock)
        return tls or sock

    def _count(self, result: MQTTErrorCode) -> MQTTErrorCode:
        """Count a PINGREQ that was sent, and its PINGRESP."""
        self._meter.keep_alives += 1
        self._meter.keep_alive_bytes += 2 * PING_BYTES
        return result


def _queue_of(opened: list[MeteredSocket]) -> type[asyncio.Queue[Any]]:
    """Return the queue for a client of the library: what it holds are messages of ours, each stamped when it was read.

    `opened` holds the client's socket once it is connected.
    """

    class Deliveries(asyncio.Queue[Any]):
        _queue: deque[Message]

        def _put(self, message: aiomqtt.Message) -> None:
            self._queue.append((message.topic.value, message.payload, 0, opened[0].arrived_ns))

    return Deliveries


def _packet_reader(paho: Any, sock: MeteredSocket) -> Callable[[int], bytes]:
    """Return what paho reads a packet with: at first a byte, a byte at a time of its length, then the rest.

    Every packet starts with at least two bytes (MQTT 3.1.1 section 2.2), which are read at once here: what that saves
    pays for the stamp, which comes with the rest. Nothing of the next packet is read.
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


@asynccontextmanager
async def connect(url: str, meter: Meter, *, qos: QoS = 0) -> AsyncIterator[Mqtt]:
    """Open MQTT clients as they are needed, all at one QoS."""
    async with AsyncExitStack() as stack:
        yield Mqtt(url, meter, qos, stack)


def observation(seen: Mapping[str, Any]) -> str:
    """Say what the QoS promised and what was seen."""
    qos = int(seen["qos"])
    promise = ("at most once", "at least once", "exactly once")[qos]
    counted = f"{seen['lost']} lost, {seen['duplicated']} duplicated of {seen['expected']}"
    packets = (1, 2, 4)[qos]
    return (
        f"promises {promise}, with {packets} packet{'s' if packets > 1 else ''} a hop: {counted}; "
        f"{seen['latency_p50_ms']:.2g} ms at the median"
    )


def predict(traffic: Traffic, *, qos: int = 0, **_options: Any) -> Predicted:
    """A PUBLISH a message and hop; PUBACK for it at QoS 1, at QoS 2 PUBREC and PUBCOMP, and PUBREL from its sender."""

    def sent(counts: Mapping[str, int]) -> Flow:
        messages = (flow(n, publish_bytes(topic, traffic.payload_bytes, qos)) for topic, n in counts.items())
        return total(*messages, acknowledged(counts, (0, 0, 1)[qos]))

    def acknowledged(counts: Mapping[str, int], packets: int) -> Flow:
        return flow(packets * sum(counts.values()), ACKNOWLEDGEMENT_BYTES)

    publisher_pings = flow(traffic.publisher_keep_alives, PING_BYTES)
    subscriber_pings = flow(traffic.subscriber_keep_alives, PING_BYTES)
    return Predicted(
        publish_up=sent(traffic.published) + publisher_pings,
        publish_down=acknowledged(traffic.published, qos) + publisher_pings,
        subscribe_up=acknowledged(traffic.delivered, qos) + subscriber_pings,
        subscribe_down=sent(traffic.delivered) + subscriber_pings,
    )
