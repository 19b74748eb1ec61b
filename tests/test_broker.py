from __future__ import annotations

import contextlib
import random
import re
import socket
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest

from rtbench.system.tls import server_context
from rtbench.transports import registry
from rtbench.wire import mqtt
from tests.mqtt_peers import Broker, Paho, Raw, connect, serving
from tests.programs import needs

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
    client.subscribe(("#", 0), ("/+/#", 0))
    client.send(mqtt.Publish(topic, b"deep"))
    assert client.payloads() == [b"deep"]
    client.send(mqtt.Unsubscribe(1, ("#", "/+/#", "never/subscribed")))
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
