"""A broker under test, in a thread whose clock can be put forward, and a client that does nothing of its own accord."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from rtbench.transports import registry
from rtbench.wire import mqtt

WITHIN_S = 10.0  # seconds until a test gives up on something that must come


class SteppedLoop(asyncio.SelectorEventLoop):
    ahead = 0.0

    def time(self) -> float:
        return super().time() + self.ahead


class TickingLoop(asyncio.SelectorEventLoop):
    """Time passes when somebody looks at the clock; asyncio's debug mode logs what took long by this clock."""

    now_s = 0.0
    tick_s = 0.001
    slow_callback_duration = 0.05

    def time(self) -> float:
        self.now_s += self.tick_s
        return self.now_s


class Listener(socket.socket):
    """Remembers what it has accepted, so that the server's end of a connection can be looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.bind(("127.0.0.1", 0))
        self.accepted: list[socket.socket] = []

    def accept(self) -> tuple[socket.socket, Any]:
        connection, address = super().accept()
        self.accepted.append(connection)
        return connection, address


class Broker:
    def __init__(
        self, transport: str = "mqtt", loop: type[asyncio.SelectorEventLoop] = SteppedLoop, **options: Any
    ) -> None:
        self.transport = transport
        self.loop_class = loop
        self.options = options
        self.listener = Listener()
        self.port = int(self.listener.getsockname()[1])
        self.url = ""
        self.leftovers: set[asyncio.Task[Any]] = set()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=self.loop_class, debug=self.loop_class is TickingLoop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        async with registry.server(self.transport).serve(self.listener, **self.options) as self.url:
            self._started.set()
            await self._stop.wait()
        self.leftovers = asyncio.all_tasks() - {asyncio.current_task()}

    def start(self) -> None:
        self._thread.start()
        assert self._started.wait(WITHIN_S)

    def stop(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(WITHIN_S)
        self.listener.close()
        assert not self._thread.is_alive()

    def advance(self, seconds: float) -> None:
        """Let time pass for the broker, and whatever it does then."""

        async def step() -> None:
            assert isinstance(self._loop, SteppedLoop)
            self._loop.ahead += seconds
            for _ in range(3):
                await asyncio.sleep(0)

        asyncio.run_coroutine_threadsafe(step(), self._loop).result(WITHIN_S)


@contextlib.contextmanager
def serving(transport: str = "mqtt", **options: Any) -> Iterator[Broker]:
    broker = Broker(transport, **options)
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()


# A client that does nothing of its own accord


class Raw:
    def __init__(self, port: int, *, receive_buffer: int | None = None) -> None:
        self.socket = socket.socket()
        self.socket.settimeout(WITHIN_S)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.reader = mqtt.Reader()
        self.unread: list[mqtt.Packet] = []

    def send(self, *packets: mqtt.Packet | bytes) -> None:
        self.socket.sendall(b"".join(p if isinstance(p, bytes) else mqtt.encode(p) for p in packets))

    def receive(self) -> mqtt.Packet:
        while not self.unread:
            data = self.socket.recv(65_536)
            if not data:
                raise EOFError
            self.unread += [mqtt.decode(first, body) for first, body in self.reader.feed(data)]
        return self.unread.pop(0)

    def publish(self, topic: str, payload: bytes = b"", qos: int = 1, *, retain: bool = False) -> None:
        """Publish; when this returns, the broker has passed the message on."""
        self.send(mqtt.Publish(topic, payload, qos, retain, packet_id=9 if qos else None))
        if qos == 1:
            assert self.receive() == mqtt.Puback(9)
        elif qos == 2:
            assert self.receive() == mqtt.Pubrec(9)
            self.send(mqtt.Pubrel(9))
            assert self.receive() == mqtt.Pubcomp(9)
        else:
            assert self.before_ping() == []

    def subscribe(self, *filters: tuple[str, int]) -> None:
        self.send(mqtt.Subscribe(8, filters))
        assert self.receive() == mqtt.Suback(8, tuple(qos for _, qos in filters))

    def before_ping(self) -> list[mqtt.Packet]:
        """Everything that the broker has sent up to now: a broker answers in order, a ping too."""
        self.send(mqtt.Pingreq())
        received = []
        while (packet := self.receive()) != mqtt.Pingresp():
            received.append(packet)
        return received

    def payloads(self) -> list[bytes]:
        return [packet.payload for packet in self.before_ping() if isinstance(packet, mqtt.Publish)]

    def is_closed(self) -> bool:
        try:
            packet = self.receive()
        except (EOFError, ConnectionResetError):
            self.socket.close()
            return True
        raise AssertionError(f"not closed, but sent {packet}")

    def reset(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def leave(self) -> None:
        self.send(mqtt.Disconnect())
        assert self.is_closed()


def connect(broker: Broker, name: str = "", *, present: bool = False, **fields: Any) -> Raw:
    fields = {"clean_session": True, **fields}
    client = Raw(broker.port)
    client.send(mqtt.Connect(name, **fields))
    assert client.receive() == mqtt.Connack(present, mqtt.ACCEPTED)
    return client


def dropped(broker: Broker) -> int:
    client = connect(broker)
    client.subscribe(("$SYS/broker/publish/messages/dropped", 0))
    (packet,) = client.before_ping()
    client.leave()
    assert isinstance(packet, mqtt.Publish)
    assert packet.retain
    return int(packet.payload)


class Paho:
    def __init__(self, broker: Broker, name: str, *, clean: bool = True, manual_ack: bool = False) -> None:
        self.arrived: queue.Queue[paho.MQTTMessage] = queue.Queue()
        self.answers: queue.Queue[Any] = queue.Queue()
        self.client = paho.Client(
            CallbackAPIVersion.VERSION2,
            name,
            clean_session=clean,
            manual_ack=manual_ack,
            reconnect_on_failure=False,
        )
        self.client.on_message = lambda _client, _data, message: self.arrived.put(message)
        self.client.on_connect = lambda _c, _d, flags, code, _p: self.answers.put((flags.session_present, code))
        self.client.on_subscribe = lambda _c, _d, _mid, codes, _p: self.answers.put([c.value for c in codes])
        self.client.on_unsubscribe = lambda _c, _d, _mid, _codes, _p: self.answers.put("unsubscribed")
        self.client.on_disconnect = lambda _c, _d, _flags, _code, _p: self.answers.put("disconnected")
        self.port = broker.port

    def connect(self, keepalive: int = 600) -> bool:
        self.client.connect("127.0.0.1", self.port, keepalive=keepalive)
        self.client.loop_start()
        present, code = self.answers.get(timeout=WITHIN_S)
        assert code == 0
        return bool(present)

    def subscribe(self, *filters: tuple[str, int]) -> None:
        self.client.subscribe(list(filters))
        assert self.answers.get(timeout=WITHIN_S) == [qos for _, qos in filters]

    def unsubscribe(self, topic_filter: str) -> None:
        self.client.unsubscribe(topic_filter)
        assert self.answers.get(timeout=WITHIN_S) == "unsubscribed"

    def publish(self, topic: str, payload: bytes, qos: int, *, retain: bool = False) -> None:
        self.client.publish(topic, payload, qos, retain=retain).wait_for_publish(WITHIN_S)

    def until(self, last: bytes) -> list[tuple[str, bytes, int, bool]]:
        """What arrived, up to the message with this payload, and without it."""
        received = []
        while (message := self.arrived.get(timeout=WITHIN_S)).payload != last:
            received.append((message.topic, bytes(message.payload), message.qos, message.retain))
        return received

    def disconnect(self) -> None:
        self.client.disconnect()
        assert self.answers.get(timeout=WITHIN_S) == "disconnected"
        self.client.loop_stop()
