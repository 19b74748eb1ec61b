from __future__ import annotations

import asyncio
import contextlib
import queue
import random
import re
import socket
import ssl
import struct
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from rtbench.system.tls import server_context
from rtbench.transports import registry
from rtbench.wire import mqtt
from tests.programs import needs

WITHIN_S = 10.0  # seconds until a test gives up on something that must come

# The broker under test, in a thread whose clock can be put forward


class SteppedLoop(asyncio.SelectorEventLoop):
    ahead = 0.0

    def time(self) -> float:
        return super().time() + self.ahead


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
    def __init__(self, **options: Any) -> None:
        self.options = options
        self.listener = Listener()
        self.port = int(self.listener.getsockname()[1])
        self.url = ""
        self.leftovers: set[asyncio.Task[Any]] = set()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=SteppedLoop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        async with registry.server("mqtt").serve(self.listener, **self.options) as self.url:
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
def serving(**options: Any) -> Iterator[Broker]:
    broker = Broker(**options)
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()


@pytest.fixture
def broker() -> Iterator[Broker]:
    with serving() as running:
        yield running


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


# paho-mqtt as client: the behaviours of Eclipse Paho's MQTT 3.1.1 interoperability tests


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


@pytest.mark.process
def test_basic(broker: Broker) -> None:
    client = Paho(broker, "a")
    assert not client.connect()
    client.disconnect()
    assert not client.connect()
    client.subscribe(("TopicA", 2))
    for qos in (0, 1, 2):
        client.publish("TopicA", b"qos %d" % qos, qos)
    client.publish("TopicA", b"end", 2)
    assert client.until(b"end") == [("TopicA", b"qos %d" % qos, qos, False) for qos in (0, 1, 2)]
    client.disconnect()


@pytest.mark.process
def test_retained(broker: Broker) -> None:
    client = Paho(broker, "a")
    client.connect()
    messages = [("TopicA/B", b"qos 0", 0), ("Topic/C", b"qos 1", 1), ("TopicA/C", b"qos 2", 2)]
    for topic, payload, qos in messages:
        client.publish(topic, payload, qos, retain=True)
    client.subscribe(("+/+", 2))
    client.publish("end/", b"end", 2)
    assert sorted(client.until(b"end")) == sorted((*message, True) for message in messages)
    for topic, _, qos in messages:
        client.publish(topic, b"", qos, retain=True)
    client.publish("end/", b"end", 2)
    assert [retain for *_, retain in client.until(b"end")] == [False] * 3
    client.subscribe(("+/+", 2))
    client.publish("end/", b"end", 2)
    assert client.until(b"end") == []
    client.disconnect()


@pytest.mark.process
def test_zero_length_client_id(broker: Broker) -> None:
    first, second = Paho(broker, ""), Paho(broker, "")
    assert not first.connect()
    assert not second.connect()
    first.disconnect()
    second.disconnect()
    refused = Raw(broker.port)
    refused.send(mqtt.Connect("", clean_session=False))
    assert refused.receive() == mqtt.Connack(False, mqtt.IDENTIFIER_REJECTED)
    assert refused.is_closed()


@pytest.mark.process
def test_offline_queueing(broker: Broker) -> None:
    away, other = Paho(broker, "a", clean=False), Paho(broker, "b")
    assert not away.connect()
    away.subscribe(("+/+", 2))
    away.disconnect()
    other.connect()
    for qos in (0, 1, 2):
        other.publish("Topic/A", b"qos %d" % qos, qos)
    assert away.connect()
    other.publish("Topic/A", b"end", 2)
    assert [payload for _, payload, *_ in away.until(b"end")] == [b"qos 1", b"qos 2"]
    away.disconnect()
    other.disconnect()


@pytest.mark.process
def test_overlapping_subscriptions(broker: Broker) -> None:
    client = Paho(broker, "a")
    client.connect()
    client.subscribe(("TopicA/#", 2), ("TopicA/+", 1))
    client.publish("TopicA/C", b"overlapping", 2)
    client.publish("TopicA/C", b"end", 2)
    assert client.until(b"end") == [("TopicA/C", b"overlapping", 2, False)]
    client.disconnect()


@pytest.mark.process
def test_keep_alive(broker: Broker) -> None:
    watcher = Paho(broker, "watcher")
    watcher.connect(keepalive=0)
    watcher.subscribe(("will", 2))
    silent = connect(broker, "silent", keep_alive=100, will=mqtt.Will("will", b"expired"))
    silent.subscribe(("to/silent", 0))
    broker.advance(140)
    watcher.publish("to/silent", b"still here?", 1)
    assert isinstance(silent.receive(), mqtt.Publish)  # 1.4 times the keep-alive is not too long
    broker.advance(20)
    assert silent.is_closed()  # 1.6 times is
    assert watcher.until(b"expired") == []
    watcher.disconnect()


@pytest.mark.process
def test_redelivery_on_reconnect(broker: Broker) -> None:
    client, other = Paho(broker, "a", clean=False, manual_ack=True), Paho(broker, "b")
    client.connect()
    client.subscribe(("TopicA/#", 1))
    other.connect()
    other.publish("TopicA/B", b"first", 1)
    other.publish("TopicA/C", b"second", 2)
    before = [client.arrived.get(timeout=WITHIN_S) for _ in range(2)]
    client.disconnect()
    assert client.connect()
    after = [client.arrived.get(timeout=WITHIN_S) for _ in range(2)]
    assert [m.payload for m in after] == [m.payload for m in before] == [b"first", b"second"]
    assert [m.mid for m in after] == [m.mid for m in before]
    assert [m.dup for m in before] == [False, False]
    assert [m.dup for m in after] == [True, True]
    client.disconnect()
    other.disconnect()


@pytest.mark.process
def test_dollar_topics(broker: Broker) -> None:
    client = Paho(broker, "a")
    client.connect()
    client.subscribe(("#", 2), ("+/+", 2))
    client.publish("$TopicA/B", b"hidden", 1)
    client.publish("TopicA/B", b"end", 1)
    assert client.until(b"end") == []
    client.subscribe(("$TopicA/#", 1))
    client.publish("$TopicA/B", b"asked for", 1)
    assert client.until(b"asked for") == []
    client.disconnect()


@pytest.mark.process
def test_unsubscribe(broker: Broker) -> None:
    client, other = Paho(broker, "a"), Paho(broker, "b")
    client.connect()
    other.connect()
    client.subscribe(("TopicA", 2), ("TopicA/B", 2), ("Topic/C", 2))
    client.unsubscribe("TopicA")
    for topic in ("TopicA", "TopicA/B", "Topic/C"):
        other.publish(topic, b"", 1)
    other.publish("Topic/C", b"end", 1)
    assert [topic for topic, *_ in client.until(b"end")] == ["TopicA/B", "Topic/C"]
    client.disconnect()
    other.disconnect()


@needs("mosquitto_pub", "mosquitto_sub")
@pytest.mark.parametrize("qos", ["0", "1", "2"])
@pytest.mark.process
def test_mosquitto_clients(broker: Broker, qos: str) -> None:
    port = str(broker.port)
    publish = ["mosquitto_pub", "-p", port, "-t", "a/b", "-m", "hello", "-q", qos, "-r"]
    subscribe = ["mosquitto_sub", "-p", port, "-t", "a/#", "-C", "1", "-q", qos, "-F", "%t %p %q %r"]
    subprocess.run(publish, check=True, timeout=WITHIN_S)
    output = subprocess.run(subscribe, check=True, timeout=WITHIN_S, capture_output=True, text=True).stdout
    assert output == f"a/b hello {qos} 1\n"


# Delivery


@pytest.mark.parametrize("published", [0, 1, 2])
@pytest.mark.parametrize("granted", [0, 1, 2])
@pytest.mark.process
def test_the_delivered_qos_is_the_lower_one(broker: Broker, published: int, granted: int) -> None:
    subscriber, publisher = connect(broker), connect(broker)
    subscriber.subscribe(("t", granted))
    publisher.publish("t", b"m", published)
    qos = min(published, granted)
    assert subscriber.receive() == mqtt.Publish("t", b"m", qos, packet_id=1 if qos else None)


@pytest.mark.process
def test_qos_2_is_delivered_once_and_on_pubrel(broker: Broker) -> None:
    subscriber, publisher = connect(broker), connect(broker)
    subscriber.subscribe(("t", 0))
    packet = mqtt.Publish("t", b"m", 2, packet_id=7)
    repeated = mqtt.Publish("t", b"m", 2, dup=True, packet_id=7)
    publisher.send(packet, repeated, repeated)
    assert publisher.before_ping() == [mqtt.Pubrec(7)] * 3
    assert subscriber.before_ping() == []
    publisher.send(mqtt.Pubrel(7), mqtt.Pubrel(7))
    assert publisher.before_ping() == [mqtt.Pubcomp(7)] * 2
    assert subscriber.payloads() == [b"m"]
    publisher.send(packet, mqtt.Pubrel(7))
    assert publisher.before_ping() == [mqtt.Pubrec(7), mqtt.Pubcomp(7)]
    assert subscriber.payloads() == [b"m"]


@pytest.mark.process
def test_qos_2_half_received_survives_a_reconnect(broker: Broker) -> None:
    subscriber = connect(broker)
    subscriber.subscribe(("t", 0))
    packet = mqtt.Publish("t", b"m", 2, packet_id=7)
    publisher = connect(broker, "p", clean_session=False)
    publisher.send(packet)
    assert publisher.receive() == mqtt.Pubrec(7)
    publisher.reset()
    publisher = connect(broker, "p", clean_session=False, present=True)
    publisher.send(packet, mqtt.Pubrel(7))
    assert publisher.before_ping() == [mqtt.Pubrec(7), mqtt.Pubcomp(7)]
    assert subscriber.payloads() == [b"m"]


@pytest.mark.process
def test_the_unfinished_come_again_in_order_after_a_reconnect(broker: Broker) -> None:
    subscriber = connect(broker, "s", clean_session=False)
    subscriber.subscribe(("t", 2))
    publisher = connect(broker)
    for number, qos in enumerate((1, 2, 1, 2, 2)):
        publisher.publish("t", b"%d" % number, qos)
    first = subscriber.before_ping()
    assert [p.packet_id for p in first if isinstance(p, mqtt.Publish)] == [1, 2, 3, 4, 5]
    subscriber.send(mqtt.Puback(3), mqtt.Pubrec(4), mqtt.Pubrec(2))
    assert subscriber.before_ping() == [mqtt.Pubrel(4), mqtt.Pubrel(2)]
    subscriber.leave()
    publisher.publish("t", b"later", 1)
    subscriber = connect(broker, "s", clean_session=False, present=True)
    assert subscriber.before_ping() == [
        mqtt.Pubrel(4),  # PUBREL in the order of the PUBREC [MQTT-4.6.0-4]
        mqtt.Pubrel(2),
        mqtt.Publish("t", b"0", 1, dup=True, packet_id=1),
        mqtt.Publish("t", b"4", 2, dup=True, packet_id=5),
        mqtt.Publish("t", b"later", 1, packet_id=6),
    ]


@pytest.mark.process
def test_twenty_are_in_flight_and_the_rest_waits_in_order(broker: Broker) -> None:
    subscriber, publisher = connect(broker), connect(broker)
    subscriber.subscribe(("t", 1))
    for number in range(25):
        publisher.publish("t", b"%d" % number)
    publisher.publish("t", b"QoS 0 does not wait for acknowledgements", 0)
    packets = [p for p in subscriber.before_ping() if isinstance(p, mqtt.Publish)]
    assert [p.payload for p in packets if p.qos] == [b"%d" % n for n in range(20)]
    assert packets[-1].qos == 0
    subscriber.send(*(mqtt.Puback(p.packet_id) for p in packets[:20] if p.packet_id))
    assert subscriber.payloads() == [b"%d" % n for n in range(20, 25)]


@pytest.mark.process
def test_qos_2_counts_as_in_flight_until_pubcomp(broker: Broker) -> None:
    subscriber, publisher = connect(broker), connect(broker)
    subscriber.subscribe(("t", 2))
    for number in range(21):
        publisher.publish("t", b"%d" % number, 2)
    subscriber.before_ping()
    subscriber.send(mqtt.Pubrec(1))
    assert subscriber.before_ping() == [mqtt.Pubrel(1)]
    subscriber.send(mqtt.Pubcomp(1))
    assert subscriber.before_ping() == [mqtt.Publish("t", b"20", 2, packet_id=21)]


@pytest.mark.process
def test_a_packet_id_is_reused_only_when_free(broker: Broker) -> None:
    client = connect(broker)
    client.subscribe(("t", 1), ("held", 2))
    client.send(mqtt.Publish("held", b"", 1, packet_id=9))
    assert client.before_ping() == [mqtt.Publish("held", b"", 1, packet_id=1), mqtt.Puback(9)]
    client.send(mqtt.Pubrec(1), mqtt.Pubcomp(1))  # an answer to QoS 2 does not free an id of QoS 1
    assert client.before_ping() == [mqtt.Pubrel(1)]
    batch = 18
    seen: list[int] = []
    while len(seen) < 65_600:  # more than there are ids
        client.send(*[mqtt.Publish("t", b"", 1, packet_id=9)] * batch)
        fresh = [p.packet_id for p in client.before_ping() if isinstance(p, mqtt.Publish) and p.packet_id]
        assert len(set(fresh)) == batch
        client.send(b"".join(b"\x40\x02" + number.to_bytes(2, "big") for number in fresh))
        seen += fresh
    assert seen[:65_534] == list(range(2, 65_536))
    assert seen[65_534] == 2  # 0 does not exist, and 1 is still in use


@pytest.mark.process
def test_acknowledgements_of_nothing_change_nothing(broker: Broker) -> None:
    client = connect(broker)
    client.send(mqtt.Puback(1), mqtt.Pubrec(2), mqtt.Pubcomp(3), mqtt.Pubrel(4))
    assert client.before_ping() == [mqtt.Pubrel(2), mqtt.Pubcomp(4)]


@pytest.mark.process
def test_a_subscription_to_the_same_filter_replaces_the_first(broker: Broker) -> None:
    client = connect(broker)
    client.publish("t", b"kept", 1, retain=True)
    for qos in (1, 0):
        client.subscribe(("t", qos))
        assert client.before_ping() == [mqtt.Publish("t", b"kept", qos, retain=True, packet_id=1 if qos else None)]
    client.send(mqtt.Publish("t", b"m", 1, packet_id=5))
    assert client.before_ping() == [mqtt.Publish("t", b"m"), mqtt.Puback(5)]


@pytest.mark.process
def test_a_topic_may_have_very_many_levels(broker: Broker) -> None:
    client = connect(broker)
    topic = "/" * 60_000
    client.subscribe((topic, 0), ("#", 0), ("/+/#", 0))
    client.send(mqtt.Publish(topic, b"deep"))
    assert client.payloads() == [b"deep"]
    client.send(mqtt.Unsubscribe(1, (topic, "#", "/+/#", "never/subscribed")))
    assert client.receive() == mqtt.Unsuback(1)
    client.publish(topic, qos=0)


# Sessions


@pytest.mark.process
def test_the_newer_connection_takes_over(broker: Broker) -> None:
    watcher = connect(broker)
    watcher.subscribe(("will", 0))
    older = connect(broker, "same", clean_session=False, will=mqtt.Will("will", b"taken over"))
    older.subscribe(("t", 1))
    newer = connect(broker, "same", clean_session=False, present=True)
    assert older.is_closed()
    assert watcher.payloads() == [b"taken over"]
    watcher.publish("t", b"m")
    assert newer.payloads() == [b"m"]


@pytest.mark.process
def test_a_clean_session_forgets(broker: Broker) -> None:
    client = connect(broker, "c", clean_session=False)
    client.subscribe(("t", 1))
    client.leave()
    client = connect(broker, "c", clean_session=True)
    client.leave()
    client = connect(broker, "c", clean_session=False)
    client.send(mqtt.Publish("t", b"m", 1, packet_id=5))
    assert client.before_ping() == [mqtt.Puback(5)]


@pytest.mark.process
def test_queues_are_bounded_and_what_is_dropped_is_counted() -> None:
    with serving(max_queued=5) as broker:
        client = connect(broker, "c", clean_session=False)
        client.subscribe(("t", 1))
        client.leave()
        other = connect(broker)
        for number in range(8):
            other.publish("t", b"%d" % number)
        assert dropped(broker) == 3
        client = connect(broker, "c", clean_session=False, present=True)
        assert client.payloads() == [b"%d" % number for number in range(5)]


@pytest.mark.process
def test_a_subscriber_that_does_not_read_costs_a_bounded_queue_and_delays_nobody() -> None:
    with serving(max_queued=10) as broker:
        slow = Raw(broker.port, receive_buffer=4096)
        slow.send(mqtt.Connect("slow"))
        slow.receive()
        slow.subscribe(("t", 0))
        quick, publisher = connect(broker), connect(broker)
        quick.subscribe(("t", 0))
        sent = [b"%04d" % number + bytes(100_000) for number in range(150)]
        for payload in sent:
            publisher.publish("t", payload, qos=0)
            assert quick.receive() == mqtt.Publish("t", payload)
        lost = dropped(broker)
        assert lost > 0
        received = [slow.receive() for _ in range(len(sent) - lost)]
        assert slow.before_ping() == []
        assert received == [mqtt.Publish("t", payload) for payload in sent[: len(received)]]


@pytest.mark.process
def test_a_client_that_does_not_read_answers_is_not_read_from() -> None:
    with serving() as broker:
        for buffer in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            broker.listener.setsockopt(socket.SOL_SOCKET, buffer, 8192)
        client = Raw(broker.port, receive_buffer=4096)
        client.send(mqtt.Connect("deaf", keep_alive=10))
        client.receive()
        client.socket.settimeout(0.3)
        pings, sent, blocked = mqtt.encode(mqtt.Pingreq()) * 5000, 0, False
        while sent < 20_000_000 and not blocked:
            try:
                sent += client.socket.send(pings[sent % 2 :])
            except TimeoutError:
                blocked = True
        assert blocked
        broker.advance(100)  # its silence is the broker's doing
        client.socket.settimeout(WITHIN_S)
        unread = sent // 2 * 2
        while unread:
            unread -= len(client.socket.recv(min(unread, 65_536)))
        client.send(pings[sent % 2 : 2])  # the second half of the last ping, or a whole one
        assert client.receive() == mqtt.Pingresp()


# Wills


def goes_by_disconnect(client: Raw) -> None:
    client.leave()


def goes_by_reset(client: Raw) -> None:
    client.reset()


def goes_by_end_of_stream(client: Raw) -> None:
    client.socket.close()


def goes_by_malformed_packet(client: Raw) -> None:
    client.send(b"\x00\x00")
    assert client.is_closed()


@pytest.mark.parametrize(
    ("goes", "published"),
    [
        (goes_by_disconnect, False),
        (goes_by_reset, True),
        (goes_by_end_of_stream, True),
        (goes_by_malformed_packet, True),
    ],
)
@pytest.mark.process
def test_a_will_is_published_unless_the_client_said_goodbye(broker: Broker, goes: Any, published: bool) -> None:
    watcher = connect(broker)
    watcher.subscribe(("will", 2))
    client = connect(broker, will=mqtt.Will("will", b"gone", 2, retain=True))
    goes(client)
    if published:
        assert watcher.receive() == mqtt.Publish("will", b"gone", 2, packet_id=1)
        later = connect(broker)
        later.subscribe(("will", 0))
        assert later.receive() == mqtt.Publish("will", b"gone", 0, retain=True)
    else:
        assert watcher.before_ping() == []


@pytest.mark.process
def test_whoever_is_heard_within_the_keep_alive_stays(broker: Broker) -> None:
    client = connect(broker, keep_alive=100)
    for _ in range(4):
        broker.advance(140)
        assert client.before_ping() == []
    broker.advance(160)
    assert client.is_closed()


@pytest.mark.process
def test_a_keep_alive_of_zero_is_none(broker: Broker) -> None:
    client = connect(broker, keep_alive=0)
    broker.advance(1_000_000)
    assert client.before_ping() == []


@pytest.mark.process
def test_a_connection_without_connect_is_not_kept(broker: Broker) -> None:
    client = Raw(broker.port)
    connect(broker).leave()  # so the broker has accepted the first
    broker.advance(60)
    assert client.is_closed()


# Who may come in


@pytest.mark.parametrize(
    ("username", "password", "code"),
    [
        ("ann", b"secret", mqtt.ACCEPTED),
        ("ann", b"wrong", mqtt.BAD_CREDENTIALS),
        ("ann", None, mqtt.BAD_CREDENTIALS),
        ("bob", b"secret", mqtt.BAD_CREDENTIALS),
        (None, None, mqtt.NOT_AUTHORIZED),
    ],
)
@pytest.mark.process
def test_user_name_and_password(username: str | None, password: bytes | None, code: int) -> None:
    with serving(username="ann", password="secret") as broker:
        client = Raw(broker.port)
        client.send(mqtt.Connect("c", username=username, password=password))
        assert client.receive() == mqtt.Connack(False, code)
        assert client.before_ping() == [] if code == mqtt.ACCEPTED else client.is_closed()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("certificate")
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost"
    subject = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)]
    subprocess.run([*command.split(), *subject], check=True, capture_output=True)
    return cert, key


@needs("openssl")
@pytest.mark.process
def test_tls(certificate: tuple[Path, Path]) -> None:
    cert, key = certificate
    with serving(tls=server_context(str(cert), str(key))) as broker:
        assert broker.url == f"mqtts://127.0.0.1:{broker.port}"
        client = Paho(broker, "secure")
        client.client.tls_set(ca_certs=str(cert))
        client.connect()
        client.subscribe(("t", 2))
        client.publish("t", bytes(500_000), 2)
        client.publish("t", b"end", 2)
        assert [len(payload) for _, payload, *_ in client.until(b"end")] == [500_000]
        plain = Raw(broker.port)
        plain.send(mqtt.Connect("plain"))
        with pytest.raises((EOFError, ConnectionResetError, mqtt.MalformedPacket)):
            plain.receive()
        client.disconnect()


@needs("openssl")
@pytest.mark.process
def test_a_will_over_tls(certificate: tuple[Path, Path]) -> None:
    cert, key = certificate
    context = ssl.create_default_context(cafile=str(cert))
    with serving(tls=server_context(str(cert), str(key))) as broker:
        watcher, client = (connect_tls(broker, context, name) for name in ("watcher", "client"))
        watcher.subscribe(("will", 0))
        client.reset()
        assert watcher.receive() == mqtt.Publish("will", b"client")


def connect_tls(broker: Broker, context: ssl.SSLContext, name: str) -> Raw:
    client = Raw(broker.port)
    client.socket = context.wrap_socket(client.socket, server_hostname="127.0.0.1")
    client.send(mqtt.Connect(name, will=mqtt.Will("will", name.encode())))
    assert client.receive() == mqtt.Connack(False, mqtt.ACCEPTED)
    return client


# Packets that must not come


@pytest.mark.process
def test_another_protocol_level_is_answered_with_a_return_code(broker: Broker) -> None:
    client = Raw(broker.port)
    client.send(bytes.fromhex("100d00044d51545405 02 000a 00 0000"))
    assert client.receive() == mqtt.Connack(False, mqtt.UNACCEPTABLE_PROTOCOL)
    assert client.is_closed()


@pytest.mark.parametrize(
    "packet",
    [
        mqtt.Publish("t", b""),
        mqtt.Subscribe(1, (("t", 0),)),
        mqtt.Pingreq(),
        mqtt.Disconnect(),
        mqtt.Connack(False, 0),
        b"\x00\x00",
        b"GET / HTTP/1.1\r\n\r\n",
        bytes.fromhex("100c 0002686a 04 02 000a 0000 0000"),  # a protocol called hj
        b"\x10\x80\x80\x80\x01",  # a CONNECT of 2 MiB
    ],
)
@pytest.mark.process
def test_nothing_may_come_before_connect(broker: Broker, packet: mqtt.Packet | bytes) -> None:
    client = Raw(broker.port)
    client.send(packet)
    assert client.is_closed()


@pytest.mark.parametrize(
    "packet",
    [
        mqtt.Connect("again"),
        mqtt.Connack(False, 0),
        mqtt.Suback(1, (0,)),
        mqtt.Unsuback(1),
        mqtt.Pingresp(),
        mqtt.Publish("$SYS/broker/uptime", b"forged"),
        b"\x36\x05\x00\x01t\x00\x01",  # QoS 3
        b"\x30\xff\xff\xff\x7f",  # a PUBLISH of 256 MiB
    ],
)
@pytest.mark.process
def test_what_a_connected_client_may_not_send(broker: Broker, packet: mqtt.Packet | bytes) -> None:
    bystander, client = connect(broker), connect(broker)
    bystander.subscribe(("#", 0))
    client.send(mqtt.Publish("t", b"before"), packet, mqtt.Publish("t", b"after"))
    assert client.is_closed()
    assert bystander.payloads() == [b"before"]


@pytest.mark.process
def test_damaged_packets_harm_nobody_else(broker: Broker) -> None:
    bystander = connect(broker)
    bystander.subscribe(("bystander", 1))
    chance = random.Random(20141029)
    well_formed: list[mqtt.Packet] = [
        mqtt.Publish("fuzz/a", b"payload", 2, packet_id=1),
        mqtt.Subscribe(1, (("fuzz/+", 1), ("fuzz/#", 2))),
        mqtt.Unsubscribe(2, ("fuzz/+",)),
        mqtt.Pubrel(1),
        mqtt.Puback(1),
        mqtt.Publish("fuzz/a", b"", 1, retain=True, packet_id=1),
    ]
    for _ in range(150):
        client = connect(broker, will=mqtt.Will("fuzz/will", b""))
        stream = bytearray(b"".join(map(mqtt.encode, chance.sample(well_formed, len(well_formed)))))
        for _ in range(3):
            stream[chance.randrange(len(stream))] = chance.randrange(256)
        client.send(bytes(stream), b"\xff\xff\xff\xff\xff")
        with contextlib.suppress(EOFError, ConnectionResetError):
            client.socket.shutdown(socket.SHUT_WR)
            while True:
                client.receive()
        client.socket.close()
        bystander.send(mqtt.Publish("bystander", b"alive", 0))
        assert bystander.payloads() == [b"alive"]


# The server as the bench sees it


@pytest.mark.process
def test_its_name_and_what_it_says_of_itself(broker: Broker) -> None:
    assert re.fullmatch(r"rtbench \S+ MQTT broker", registry.server("mqtt").software)
    assert broker.url == f"mqtt://127.0.0.1:{broker.port}"
    client = connect(broker)
    client.publish("t")
    client.subscribe(("$SYS/broker/#", 0))
    told = {p.topic: p.payload for p in client.before_ping() if isinstance(p, mqtt.Publish)}
    assert told["$SYS/broker/version"] == registry.server("mqtt").software.encode()
    assert told["$SYS/broker/clients/connected"] == b"1"
    assert told["$SYS/broker/publish/messages/received"] == b"1"
    assert told["$SYS/broker/publish/messages/dropped"] == b"0"
    broker.advance(11)
    again = {p.topic: p.retain for p in client.before_ping() if isinstance(p, mqtt.Publish)}
    assert again == dict.fromkeys(told, False)


@pytest.mark.process
def test_nagle_is_off_at_the_server_end_of_every_connection(broker: Broker) -> None:
    clients = [connect(broker) for _ in range(3)]
    ends = broker.listener.accepted
    assert len(ends) == len(clients)
    assert all(end.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) for end in ends)


@pytest.mark.process
def test_leaving_closes_every_connection_and_leaves_no_task() -> None:
    with serving() as broker:
        busy = Raw(broker.port, receive_buffer=4096)
        busy.send(mqtt.Connect("busy", will=mqtt.Will("t", b"not published")))
        busy.receive()
        busy.subscribe(("t", 0))
        publisher, unknown = connect(broker), Raw(broker.port)
        for _ in range(100):
            publisher.publish("t", bytes(100_000), qos=0)
        busy.send(mqtt.Disconnect())  # with far too much still to be sent to it
        connect(broker).leave()
        broker.stop()
        assert publisher.is_closed()
        assert unknown.is_closed()
        assert broker.leftovers == set()
        with pytest.raises(ConnectionRefusedError):
            Raw(broker.port)
