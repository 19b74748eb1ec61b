"""What one client can make the broker keep or do at most."""

from __future__ import annotations

import socket
import tracemalloc

import pytest

from rtbench.wire import mqtt
from tests.mqtt_peers import WITHIN_S, Broker, Raw, TickingLoop, connect, dropped, serving


@pytest.mark.process
def test_queues_are_bounded_and_what_is_dropped_is_counted() -> None:
    with serving(max_queued_messages=5) as broker:
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
@pytest.mark.parametrize("most", [1, 3])
def test_so_many_are_in_flight_as_the_option_says(most: int) -> None:
    with serving(max_inflight_messages=most) as broker:
        client = connect(broker, "c")
        client.subscribe(("t", 1))
        other = connect(broker)
        for number in range(5):
            other.publish("t", b"%d" % number)
        assert len(client.before_ping()) == most


@pytest.mark.process
def test_a_subscriber_that_does_not_read_costs_a_bounded_queue_and_delays_nobody() -> None:
    with serving(max_queued_messages=10) as broker:
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
@pytest.mark.long
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


@pytest.mark.process
def test_bytes_for_a_client_that_is_away_are_bounded() -> None:
    with serving(max_queued_bytes=500_000) as broker:
        connect(broker, "c", clean_session=False).subscribe(("t", 1))
        publisher = connect(broker)
        connect(broker, "c", clean_session=False, present=True).leave()
        for number in range(8):
            publisher.publish("t", b"%d" % number + bytes(99_000))
        assert dropped(broker) == 3
        client = connect(broker, "c", clean_session=False, present=True)
        assert [payload[:1] for payload in client.payloads()] == [b"0", b"1", b"2", b"3", b"4"]
        assert dropped(broker) == 3
        for packet_id in range(1, 6):
            client.send(mqtt.Puback(packet_id))
        publisher.publish("t", bytes(99_000))  # there is room again
        assert len(client.payloads()) == 1


@pytest.mark.process
def test_bytes_that_a_client_does_not_acknowledge_are_bounded() -> None:
    with serving(max_queued_bytes=500_000) as broker:
        client, publisher = connect(broker), connect(broker)
        client.subscribe(("t", 2))
        for _ in range(8):
            publisher.publish("t", bytes(99_000))
        assert len(client.payloads()) == 5
        assert dropped(broker) == 3


@pytest.mark.process
def test_a_client_with_too_much_unreleased_is_disconnected() -> None:
    with serving(max_unreleased_bytes=500_000) as broker:
        witness, client = connect(broker), connect(broker, "c", clean_session=False)
        witness.subscribe(("t", 2))
        big = bytes(600_000)
        client.publish("t", big, qos=2)  # a single message is always taken
        for number in range(1, 6):
            client.send(mqtt.Publish("t", bytes(99_000), 2, packet_id=number))
            client.send(mqtt.Publish("t", bytes(99_000), 2, dup=True, packet_id=number))
            assert [client.receive(), client.receive()] == [mqtt.Pubrec(number)] * 2
        client.send(mqtt.Publish("t", bytes(99_000), 2, packet_id=6))
        assert client.is_closed()
        assert dropped(broker) == 1
        client = connect(broker, "c", clean_session=False, present=True)
        for number in range(1, 6):
            client.send(mqtt.Pubrel(number))
            assert client.receive() == mqtt.Pubcomp(number)
        client.publish("t", bytes(400_000), qos=2)  # there is room again
        assert [len(payload) for payload in witness.payloads()] == [600_000, *[99_000] * 5, 400_000]


@pytest.mark.process
def test_filters_are_bounded_in_levels_and_bytes() -> None:
    with serving(max_subscription_bytes=300_000) as broker:
        client = connect(broker)
        client.send(mqtt.Subscribe(1, (("/" * 199, 0), ("/" * 200, 0), ("/" * 60_000, 1))))
        assert client.receive() == mqtt.Suback(1, (0, 128, 128))
        filters = tuple((f"{number:03}", 1) for number in range(500))  # 515 bytes each, as they are counted
        client.send(mqtt.Subscribe(2, filters))
        suback = client.receive()
        assert isinstance(suback, mqtt.Suback)
        taken = suback.return_codes.index(128)
        assert suback.return_codes == (1,) * taken + (128,) * (500 - taken)
        assert taken == (300_000 - 199 - 200 * 512) // 515
        client.send(mqtt.Subscribe(3, (("000", 2),)))  # the same filter again takes nothing
        assert client.receive() == mqtt.Suback(3, (2,))
        client.send(mqtt.Unsubscribe(4, ("000",)), mqtt.Subscribe(5, (("499", 0),)))
        assert [client.receive(), client.receive()] == [mqtt.Unsuback(4), mqtt.Suback(5, (0,))]
        client.send(mqtt.Publish("001", b"m"))
        assert client.payloads() == [b"m"]


@pytest.mark.process
def test_retained_bytes_are_bounded() -> None:
    with serving(max_retained_bytes=310_000) as broker:
        client = connect(broker)
        for topic in ("a", "b", "c", "d"):
            client.publish(topic, bytes(99_000), retain=True)
        assert dropped(broker) == 1
        client.publish("a", b"", retain=True)
        client.publish("d", bytes(99_000), retain=True)
        client.publish("b", bytes(199_000), retain=True)  # too much: and the topic's older one is not true any more
        assert dropped(broker) == 2
        client.subscribe(("+", 0))
        assert client.before_ping() == [mqtt.Publish(topic, bytes(99_000), retain=True) for topic in ("c", "d")]


@pytest.mark.process
def test_too_many_filters_in_one_packet_end_the_connection(broker: Broker) -> None:
    for packet in (mqtt.Subscribe(1, (("#", 0),) * 5001), mqtt.Unsubscribe(1, tuple("#" * 5001))):
        client = connect(broker)
        client.send(packet)
        assert client.is_closed()
    client = connect(broker)
    client.send(mqtt.Unsubscribe(1, ("x" * 40_000, "y" * 40_000)))
    assert client.is_closed()


@pytest.mark.process
def test_retained_messages_come_once_for_filters_that_are_repeated(broker: Broker) -> None:
    client = connect(broker)
    for number in range(30):
        client.publish(f"r/{number}", b"%d" % number, retain=True)
    client.send(mqtt.Subscribe(1, (("#", 2),) * 2000))
    assert client.receive() == mqtt.Suback(1, (2,) * 2000)
    received = client.payloads()
    while len(received) < 30:
        client.send(*(mqtt.Puback(packet_id) for packet_id in range(len(received) - 19, len(received) + 1)))
        received += client.payloads()
    assert received == [b"%d" % number for number in range(30)]


@pytest.mark.process
def test_many_retained_messages_leave_others_their_turn(broker: Broker) -> None:
    client = connect(broker)
    for first in range(0, 2000, 500):
        client.send(*(mqtt.Publish(f"r/{number}", b"m", retain=True) for number in range(first, first + 500)))
        assert client.before_ping() == []
    client.send(b"".join(mqtt.encode(packet) for packet in (mqtt.Subscribe(1, (("#", 0),)), mqtt.Pingreq())))
    at_once = 0
    while client.receive() != mqtt.Pingresp():
        at_once += 1
    later = client.payloads()
    while at_once - 1 + len(later) < 2000:
        later += client.payloads()
    assert at_once < 2000  # the answer came in between
    assert at_once - 1 + len(later) == 2000


@pytest.mark.process
def test_many_packets_leave_others_their_turn(caplog: pytest.LogCaptureFixture) -> None:
    with serving(loop=TickingLoop) as broker:
        client = connect(broker, keep_alive=60_000)
        client.send(mqtt.encode(mqtt.Pingreq()) * 5000)
        for _ in range(5000):
            assert client.receive() == mqtt.Pingresp()
        assert connect(broker).before_ping() == []
    assert [record.getMessage() for record in caplog.records if " took " in record.getMessage()] == []


@pytest.mark.parametrize(("topics", "characters"), [(800, 60_000), pytest.param(30_000, 1000, marks=pytest.mark.long)])
@pytest.mark.process
def test_topics_that_nobody_hears_are_remembered_within_bounds(broker: Broker, topics: int, characters: int) -> None:
    client = connect(broker)
    tracemalloc.start()
    try:
        for number in range(topics):
            client.send(mqtt.Publish(f"{number}".ljust(characters, "x"), b""))
        assert client.before_ping() == []
        assert tracemalloc.get_traced_memory()[0] < 20 * 2**20
    finally:
        tracemalloc.stop()
