"""MQTT: publish to a broker, which sends the message to every subscriber, at an agreed quality of service (QoS).

At QoS 0 a message is sent and forgotten. At QoS 1 its receiver acknowledges it (PUBACK). At QoS 2 sender and receiver
exchange four packets, so that it arrives exactly once (MQTT 3.1.1 section 4.3). Each hop has its own handshake:
publisher to broker, and broker to subscriber.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import version
from typing import Annotated, Any, cast
from urllib.parse import urlsplit

import aiomqtt

from rtbench.errors import Refused
from rtbench.transports import Message, Meter, Option, Session

from . import attempts, mqtt_talk, sizes
from .mqtt_lasting import QUIET, LastingClient
from .mqtt_metering import meter_client

VARIANTS = ({"qos": 0}, {"qos": 1}, {"qos": 2})
WILDCARDS = True
QoS = Annotated[int, Option("quality of service; a comparison measures all three", metavar="0|1|2")]
WillTopic = Annotated[
    str, Option("topic of the will, which the broker publishes if a connection dies", metavar="TOPIC")
]
WillPayload = Annotated[str, Option("text of the will", metavar="TEXT")]
SLOT = 4
predict = sizes.mqtt
attempt = attempts.over_mqtt
forget = mqtt_talk.forget

KEEP_ALIVE_S = 60
_PUBLISHER = ("publisher",)  # in what a session keeps
IN_FLIGHT = 20  # unacknowledged messages at QoS 1 and 2: the default of paho and of mosquitto


def software() -> str:
    """Return the names and versions of the libraries."""
    return f"aiomqtt {version('aiomqtt')}, paho-mqtt {version('paho-mqtt')}"


class Mqtt:
    """One MQTT client that publishes, opened with the first publish, and one for each subscription."""

    def __init__(
        self,
        url: str,
        meter: Meter,
        qos: int,
        will: aiomqtt.Will | None,
        session: Session | None,
        stack: AsyncExitStack,
    ) -> None:
        self._url = url
        self._meter = meter
        self._qos = qos
        self._will = will
        self._session = session
        self.in_flight_limit = IN_FLIGHT if qos else None
        self._stack = stack
        self._publisher: aiomqtt.Client | LastingClient | None = None
        self._opening = asyncio.Lock()

    async def publish(self, topic: str, payload: bytes) -> bool:
        """Publish; at QoS 1 and 2, return once the broker has acknowledged the message."""
        client = await self._publishing_client()
        if isinstance(client, LastingClient):
            await client.publish(topic, payload, self._qos)
            return self._qos > 0
        try:
            await client.publish(topic, payload, qos=self._qos, timeout=float("inf"))
        except aiomqtt.MqttError as error:
            raise ConnectionError(str(error)) from error
        return self._qos > 0

    async def _publishing_client(self) -> aiomqtt.Client | LastingClient:
        async with self._opening:  # also for an open one: publishes that wait for the opening keep their order
            if self._publisher is None:
                self._publisher = await (self._open() if self._session is None else self._lasting(_PUBLISHER))
            return self._publisher

    async def open_again(self) -> None:
        """Connect the client that published before: paho sends again what was not acknowledged."""
        if self._session is not None and _PUBLISHER in self._session.kept:
            await self._publishing_client()

    async def _lasting(self, key: tuple[str, ...]) -> LastingClient:
        """Return the client of the session, connected; a new one where none is kept."""
        assert self._session is not None
        client = self._session.kept.get(key)
        if client is None or not self._session.resume:
            client = LastingClient(self._made(self._session), self._session)
            self._session.kept[key] = client
        await self._stack.enter_async_context(client.connected())
        return client

    async def subscribe(self, topic: str) -> AsyncIterator[Message]:
        """Subscribe to a topic filter, `+` and `#` allowed; the broker's SUBACK must grant the QoS."""
        if self._session is not None:
            return await (await self._lasting(("subscriber", topic))).subscribe(topic, self._qos)
        client = await self._open()
        granted = await client.subscribe(topic, qos=self._qos)
        codes = [getattr(code, "value", code) for code in granted]
        if codes != [self._qos]:
            raise Refused(f"the broker granted {codes} for QoS {self._qos} on {topic}")
        return cast(AsyncIterator[Message], client.messages)  # `meter_client` makes them `Message`s

    def _made(self, session: Session | None = None) -> aiomqtt.Client:
        address = urlsplit(self._url)
        lasting: dict[str, Any] = {"logger": QUIET} if session is not None else {}
        if session is not None and session.resume:
            lasting |= {"identifier": session.client_id, "clean_session": False}
        keep_alive_s = session.keep_alive_s if session is not None else None
        client = aiomqtt.Client(
            address.hostname or "",
            mqtt_talk.port_of(self._url),
            username=self._meter.login.username,
            password=self._meter.login.password,
            max_inflight_messages=IN_FLIGHT,
            keepalive=KEEP_ALIVE_S if keep_alive_s is None else math.ceil(keep_alive_s),  # MQTT has whole seconds
            will=self._will,
            **lasting,
        )
        meter_client(client, self._meter, self._url)
        return client

    async def _open(self) -> aiomqtt.Client:
        client = self._made()
        try:
            await self._stack.enter_async_context(client)
        except aiomqtt.MqttError as error:
            raise Refused(f"CONNECT: {error}") from error
        return client


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
    will = aiomqtt.Will(will_topic, will_payload) if will_topic else None
    async with AsyncExitStack() as stack:
        mqtt = Mqtt(url, meter, qos, will, session, stack)
        await mqtt.open_again()
        yield mqtt


def observation(seen: Mapping[str, Any]) -> str:
    """Say what the QoS promises and what was counted."""
    qos = int(seen["qos"])
    promise = ("at most once", "at least once", "exactly once")[qos]
    counted = f"{seen['lost']} lost, {seen['duplicated']} duplicated of {seen['expected']}"
    packets = (1, 2, 4)[qos]
    return f"promises {promise}, with {packets} packet{'s' if packets > 1 else ''} a hop: {counted}; {seen['median']}"
