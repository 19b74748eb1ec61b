"""An MQTT client that connects again: its unfinished messages at QoS 1 and 2 go on where the connection was lost.

MQTT itself has the session for this (MQTT 3.1.1 section 4.1). The broker keeps its half, for a client that connects
with its old identifier and without "clean session"; CONNACK says whether it still has it. Our half is in paho, which
sends again what was not acknowledged; so the paho client lives as long as the session.

aiomqtt is made to connect once, so private names of it are used beside those in `mqtt_metering.py`:

| name | what is done, and why |
| --- | --- |
| `aiomqtt.Client._connected`, `_disconnected` | new ones for each connection: it would look at the old ones |
| `paho Client._out_messages` | corrected before each connection: see `_keep_released` |
| `aiomqtt.Client._client_connect` | called in the event loop with a socket that is connected already, not in a thread |
| `aiomqtt.Client._loop` | `_PromptLoop` in its place: sockets that close meanwhile |
| `paho Client._create_socket_connection` | that socket |
| `aiomqtt.Client._queue` | read here, to its end when the connection is lost: these messages have arrived |
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar, cast

import aiomqtt
from paho.mqtt.enums import MessageState

from rtbench.errors import Refused
from rtbench.transports import Message, Session

QUIET = logging.getLogger(__name__)  # a lost connection is an outage in the record, not a line on standard error
QUIET.setLevel(logging.CRITICAL)

T = TypeVar("T")


class _PromptLoop:
    """An event loop that does at once what it is asked to do soon: all of this happens in its thread anyway.

    Soon a socket may be closed, and its number be that of another.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    @staticmethod
    def call_soon_threadsafe(call: Callable[..., object], *arguments: Any) -> None:
        call(*arguments)


class LastingClient:
    """An aiomqtt client, and what is known of its connection."""

    def __init__(self, client: aiomqtt.Client, session: Session) -> None:
        self._client = client
        self._paho: Any = client._client
        self._dial = self._paho._create_socket_connection
        client._loop = cast(asyncio.AbstractEventLoop, _PromptLoop(client._loop))
        self._session = session
        self._present = False  # the broker had the session
        self._subscribed = False
        self._next: asyncio.Future[Message] | None = None
        self._broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        on_connect: Any = self._paho.on_connect
        on_disconnect: Any = self._paho.on_disconnect

        def connected(paho: Any, data: Any, flags: Any, *more: Any) -> None:
            self._present = flags.session_present
            on_connect(paho, data, flags, *more)

        def disconnected(*arguments: Any) -> None:
            on_disconnect(*arguments)
            self._on_end()

        self._paho.on_connect, self._paho.on_disconnect = connected, disconnected

    def _on_end(self) -> None:
        client = self._client
        if not client._connected.done():  # before CONNACK: aiomqtt would wait for it until its time limit
            client._connected.set_exception(aiomqtt.MqttError("the connection ended before CONNACK"))
        if client._disconnected.done():
            client._disconnected.exception()  # it need not be read by anybody
        if not self._broken.done():
            self._broken.set_result(None)
        self._session.lost()

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        """Connect, and say DISCONNECT on leaving.

        Raises:
            ConnectionError: there is no connection, or no CONNACK that accepts it.
        """
        try:
            await self._connect()
            self._session.resumed = self._present
            yield
        finally:
            with suppress(aiomqtt.MqttError):  # it has ended already
                await self._client.__aexit__(None, None, None)

    async def _connect(self) -> None:
        self._keep_released()
        loop = asyncio.get_running_loop()
        self._client._connected, self._client._disconnected = loop.create_future(), loop.create_future()
        self._broken = loop.create_future()
        sock = await asyncio.to_thread(self._dial)
        self._paho._create_socket_connection = lambda: sock
        self._client._client_connect()  # sends CONNECT
        try:
            async with asyncio.timeout(self._client.timeout):
                await self._client._connected
        except (aiomqtt.MqttError, TimeoutError) as error:
            raise ConnectionError(f"CONNECT: {error or 'no CONNACK'}") from error

    def _keep_released(self) -> None:
        """Let paho remember for which QoS 2 messages it has sent PUBREL: a second lost connection must not undo that.

        It would publish such a message again, and the broker, which has forgotten its number, would take it for new.
        """
        for message in self._paho._out_messages.values():
            if message.state == MessageState.MQTT_MS_RESEND_PUBREL:
                message.state = MessageState.MQTT_MS_WAIT_FOR_PUBCOMP

    async def subscribe(self, topic: str, qos: int) -> AsyncIterator[Message]:
        """Subscribe, unless the broker still has the subscription.

        Raises:
            Refused: the broker does not grant the QoS.
            ConnectionError: the connection ended before SUBACK.
        """
        if not (self._present and self._subscribed):
            granted = await self._unless_broken(self._client.subscribe(topic, qos=qos))
            codes = [getattr(code, "value", code) for code in granted]
            if codes != [qos]:
                raise Refused(f"the broker granted {codes} for QoS {qos} on {topic}")
        self._subscribed = True
        return self._messages(self._broken)

    async def _messages(self, broken: asyncio.Future[None]) -> AsyncIterator[Message]:
        """Yield what arrives until the connection is broken, and what has arrived by then.

        The message that is waited for is kept when the reader is cancelled: paho has acknowledged it already, so the
        next reader must have it. aiomqtt's own iterator would lose it.
        """
        arrived: asyncio.Queue[Any] = self._client._queue  # `meter_client` makes them `Message`s
        while True:
            if self._next is None and not arrived.empty():
                yield arrived.get_nowait()
                continue
            self._next = self._next or asyncio.ensure_future(arrived.get())
            ends: set[asyncio.Future[Any]] = {self._next, broken}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if not self._next.done():
                raise ConnectionError("the connection to the broker ended")
            message, self._next = self._next.result(), None
            yield message

    async def publish(self, topic: str, payload: bytes, qos: int) -> None:
        """Publish; at QoS 1 and 2 with a session to resume, return when it is acknowledged, over any connection.

        Raises:
            ConnectionError: there is no connection, or it ended; then the message is not sent again.
        """
        if self._paho.socket() is None:  # paho would keep the message, and report an error
            raise ConnectionError("there is no connection to the broker")
        publishing = self._client.publish(topic, payload, qos=qos, timeout=float("inf"))
        if qos and self._session.resume:
            await publishing
        else:
            await self._unless_broken(publishing)

    async def _unless_broken(self, work: Coroutine[Any, Any, T]) -> T:
        """Do work that would wait for ever, or until a time limit, for the answer of a broken connection."""
        task = asyncio.ensure_future(work)
        try:
            ends: set[asyncio.Future[Any]] = {task, self._broken}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise ConnectionError("the connection to the broker ended")
            return task.result()
        except aiomqtt.MqttError as error:
            raise ConnectionError(str(error)) from error
        finally:
            task.cancel()
