from __future__ import annotations

import re
import socket
import threading
from itertools import pairwise

import paho.mqtt.client as paho
import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.enums import CallbackAPIVersion

from rtbench.wire import mqtt
from rtbench.wire.topics import covers, is_topic_filter, is_topic_name, matches


def read_all(*chunks: bytes) -> list[mqtt.Packet]:
    reader = mqtt.Reader()
    return [mqtt.decode(first, body) for chunk in chunks for first, body in reader.feed(chunk)]


# Packets as they may be

ids = st.integers(1, 0xFFFF)
qualities = st.integers(0, 2)
text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30)
names = text.filter(is_topic_name)
levels = st.sampled_from(["+", "a", "", "$b", "ü€𝄞"])
filters = st.builds(lambda parts, tail: "/".join([*parts, *tail]), st.lists(levels), st.sampled_from([["#"], ["c"]]))
wills = st.builds(mqtt.Will, names, st.binary(max_size=30), qualities, st.booleans())
publishes = st.builds(
    lambda topic, payload, qos, retain, dup, number: mqtt.Publish(
        topic, payload, qos, retain, dup and qos > 0, number if qos else None
    ),
    names,
    st.binary(max_size=300),
    qualities,
    st.booleans(),
    st.booleans(),
    ids,
)
connects = st.builds(
    lambda client_id, clean, keep_alive, will, username, password: mqtt.Connect(
        client_id, clean, keep_alive, will, username, None if username is None else password
    ),
    text,
    st.booleans(),
    st.integers(0, 0xFFFF),
    st.none() | wills,
    st.none() | text,
    st.none() | st.binary(max_size=30),
)
packets: st.SearchStrategy[mqtt.Packet] = st.one_of(
    connects,
    publishes,
    st.builds(mqtt.Connack, st.booleans(), st.just(0)) | st.builds(mqtt.Connack, st.just(False), st.integers(1, 5)),
    *(st.builds(kind, ids) for kind in (mqtt.Puback, mqtt.Pubrec, mqtt.Pubrel, mqtt.Pubcomp, mqtt.Unsuback)),
    st.builds(mqtt.Subscribe, ids, st.lists(st.tuples(filters, qualities), min_size=1).map(tuple)),
    st.builds(mqtt.Suback, ids, st.lists(st.sampled_from([0, 1, 2, 0x80]), min_size=1).map(tuple)),
    st.builds(mqtt.Unsubscribe, ids, st.lists(filters, min_size=1).map(tuple)),
    st.sampled_from([mqtt.Pingreq(), mqtt.Pingresp(), mqtt.Disconnect()]),
)


@given(packets)
def test_a_packet_survives_the_way_there_and_back(packet: mqtt.Packet) -> None:
    assert read_all(mqtt.encode(packet)) == [packet]


@given(st.lists(packets, max_size=5), st.data())
def test_any_chunking_gives_the_same_packets(sent: list[mqtt.Packet], data: st.DataObject) -> None:
    stream = b"".join(map(mqtt.encode, sent))
    cuts = data.draw(st.lists(st.integers(0, len(stream))).map(sorted))
    chunks = [stream[a:b] for a, b in pairwise([0, *cuts, len(stream)])]
    assert read_all(*chunks) == sent
    assert read_all(*(stream[at : at + 1] for at in range(len(stream)))) == sent


def check_arbitrary(stream: bytes) -> None:
    try:
        found = read_all(stream)
    except mqtt.MalformedPacket:
        return
    assert read_all(*map(mqtt.encode, found)) == found


@given(st.binary(max_size=60))
def test_arbitrary_bytes_are_packets_or_malformed(stream: bytes) -> None:
    check_arbitrary(stream)


@given(packets, st.data())
def test_a_damaged_packet_is_another_packet_or_malformed(packet: mqtt.Packet, data: st.DataObject) -> None:
    damaged = bytearray(mqtt.encode(packet))
    at = data.draw(st.integers(0, len(damaged) - 1))
    damaged[at] = data.draw(st.integers(0, 255))
    check_arbitrary(bytes(damaged))


@pytest.mark.parametrize(
    ("length", "header"),
    [  # section 2.2.3, table 2.4
        (127, "7f"),
        (128, "8001"),
        (16_383, "ff7f"),
        (16_384, "808001"),
        (2_097_151, "ffff7f"),
        (2_097_152, "80808001"),
    ],
)
def test_remaining_length_is_as_in_the_standard(length: int, header: str) -> None:
    packet = mqtt.Publish("t", bytes(length - 3))
    encoded = mqtt.encode(packet)
    assert encoded[: 1 + len(header) // 2].hex() == "30" + header
    assert len(encoded) == 1 + len(header) // 2 + length
    assert read_all(encoded[:3], encoded[3:]) == [packet]


def test_a_big_packet_is_not_read_anew_with_each_small_piece() -> None:
    encoded = mqtt.encode(mqtt.Publish("t", bytes(2_000_000)))
    reader = mqtt.Reader()
    found = [packet for at in range(0, len(encoded), 20) for packet in reader.feed(encoded[at : at + 20])]
    assert len(found) == 1


def test_the_packets_before_a_malformed_one_are_read() -> None:
    reader = mqtt.Reader()
    stream = reader.feed(b"\xc0\x00\x40\x02\x00\x01\x00")
    assert [next(stream), next(stream)] == [(0xC0, b""), (0x40, b"\x00\x01")]
    with pytest.raises(mqtt.MalformedPacket):
        next(stream)


def test_a_packet_over_the_limit_is_refused_before_it_is_read() -> None:
    assert len(list(mqtt.Reader(limit=10).feed(b"\x30\x0a" + bytes(10)))) == 1
    with pytest.raises(mqtt.MalformedPacket, match="11 bytes, of which 10"):
        list(mqtt.Reader(limit=10).feed(b"\x30\x0b"))


# Packets as they may not be: what is wrong, the bytes, and what we say of them

MQTT = "0004" + b"MQTT".hex()
MALFORMED = [
    ("packet type 0 is reserved", "0000", "no packet starts with"),
    ("packet type 15 is reserved", "f000", "no packet starts with"),
    ("a remaining length of five bytes", "30ffffffff01", "a remaining length of more than four bytes"),
    ("CONNECT with flags in the first byte", "1100", "no packet starts with"),
    ("PUBREL without its flag", "60020001", "no packet starts with"),
    ("PUBACK with PUBREL's flag", "42020001", "no packet starts with"),
    ("SUBSCRIBE without its flag", "8006000100017400", "no packet starts with"),
    ("UNSUBSCRIBE without its flag", "a0050001000174", "no packet starts with"),
    ("DISCONNECT with flags", "e100", "no packet starts with"),
    ("PINGREQ with a body", "c00100", "bytes after the last field"),
    ("DISCONNECT with a body", "e00100", "bytes after the last field"),
    ("PUBLISH with QoS 3", "3605000174" + "0001", "no packet starts with"),
    ("PUBLISH at QoS 0 with DUP", "3803000174", "no packet starts with"),
    ("PUBLISH on a topic of no characters", "30020000", "not a topic name"),
    ("PUBLISH on a topic with +", "3003" + "0001" + b"+".hex(), "not a topic name"),
    ("PUBLISH on a topic with #", "3005" + "0003" + b"a/#".hex(), "not a topic name"),
    ("PUBLISH on a topic with U+0000", "3003" + "000100", "U+0000 in a string"),
    ("PUBLISH on a topic with half a character", "3003" + "0001c3", "not UTF-8"),
    ("PUBLISH on a topic with an overlong character", "3004" + "0002c0af", "not UTF-8"),
    ("PUBLISH on a topic with a surrogate", "3005" + "0003eda080", "not UTF-8"),
    ("PUBLISH whose topic is longer than the packet", "3003" + "000574", "truncated"),
    ("PUBLISH with half a topic length", "300100", "truncated"),
    ("PUBLISH without anything", "3000", "truncated"),
    ("PUBLISH at QoS 1 without a packet id", "3203" + "000174", "truncated"),
    ("PUBLISH at QoS 1 with half a packet id", "3204" + "00017400", "truncated"),
    ("PUBLISH at QoS 2 with packet id 0", "3405" + "0001740000", "packet id 0"),
    ("PUBACK with packet id 0", "40020000", "packet id 0"),
    ("PUBREC with packet id 0", "50020000", "packet id 0"),
    ("PUBACK without a packet id", "4000", "a body that is not exactly a packet id"),
    ("PUBACK with a third byte", "4003000100", "a body that is not exactly a packet id"),
    ("SUBSCRIBE with packet id 0", "82060000" + "00017400", "packet id 0"),
    ("SUBSCRIBE without a filter", "82020001", "a SUBSCRIBE without a filter"),
    ("SUBSCRIBE without a QoS", "82050001" + "000174", "truncated"),
    ("SUBSCRIBE with QoS 3", "82060001" + "00017403", "a subscription with QoS byte"),
    ("SUBSCRIBE with a reserved bit beside the QoS", "82060001" + "00017404", "a subscription with QoS byte"),
    ("SUBSCRIBE to no characters", "82050001" + "000000", "not a topic filter"),
    ("SUBSCRIBE to a#", "82070001" + "0002" + b"a#".hex() + "00", "not a topic filter"),
    ("SUBSCRIBE to #/a", "82080001" + "0003" + b"#/a".hex() + "00", "not a topic filter"),
    ("SUBSCRIBE to a+", "82070001" + "0002" + b"a+".hex() + "00", "not a topic filter"),
    ("UNSUBSCRIBE without a filter", "a2020001", "an UNSUBSCRIBE without a filter"),
    ("UNSUBSCRIBE with packet id 0", "a2050000" + "000174", "packet id 0"),
    ("UNSUBSCRIBE from a filter longer than the packet", "a2050001" + "000974", "truncated"),
    ("SUBACK without a return code", "90020001", "a SUBACK without"),
    ("SUBACK with return code 3", "9003000103", "a SUBACK without"),
    ("CONNACK with another flag than session present", "20020200", "not two bytes of flags and return code"),
    ("CONNACK with return code 6", "20020006", "not two bytes of flags and return code"),
    (
        "CONNACK that refuses a session which is present",
        "20020105",
        "a session is present, but the connection is refused",
    ),
    ("CONNACK of three bytes", "2003000000", "not two bytes of flags and return code"),
    (
        "CONNECT of MQTT 3.1",
        "100e" + "0006" + b"MQIsdp".hex() + "03" + "02" + "000a" + "0000",
        "the protocol name is not MQTT",
    ),
    (
        "CONNECT of another protocol",
        "100c" + "0004" + b"HTTP".hex() + "04" + "02" + "000a" + "0000",
        "the protocol name is not MQTT",
    ),
    ("CONNECT that ends within its header", "1009" + MQTT + "04" + "02" + "00", "truncated"),
    ("CONNECT without a client id", "100a" + MQTT + "04" + "02" + "000a", "truncated"),
    (
        "CONNECT with the reserved flag",
        "100c" + MQTT + "04" + "03" + "000a" + "0000",
        "reserved connect flag",
    ),
    (
        "CONNECT with a will QoS and no will",
        "100c" + MQTT + "04" + "0a" + "000a" + "0000",
        "will QoS or will retain without a will",
    ),
    (
        "CONNECT with will retain and no will",
        "100c" + MQTT + "04" + "22" + "000a" + "0000",
        "will QoS or will retain without a will",
    ),
    (
        "CONNECT with will QoS 3",
        "1011" + MQTT + "04" + "1e" + "000a" + "0000" + "000174" + "0000",
        "will QoS 3",
    ),
    ("CONNECT with a will and no will topic", "100c" + MQTT + "04" + "06" + "000a" + "0000", "truncated"),
    (
        "CONNECT with a wildcard as will topic",
        "1011" + MQTT + "04" + "06" + "000a" + "0000" + "00012b" + "0000",
        "not a topic name",
    ),
    (
        "CONNECT with a password and no user name",
        "100e" + MQTT + "04" + "42" + "000a" + "0000" + "0000",
        "a password without a user name",
    ),
    (
        "CONNECT with the flag and without the user name",
        "100c" + MQTT + "04" + "82" + "000a" + "0000",
        "truncated",
    ),
    (
        "CONNECT with a byte too many",
        "100d" + MQTT + "04" + "02" + "000a" + "0000" + "00",
        "bytes after the last field",
    ),
]


@pytest.mark.parametrize(("what", "stream", "because"), MALFORMED)
def test_malformed(what: str, stream: str, because: str) -> None:
    with pytest.raises(mqtt.MalformedPacket, match=re.escape(because)) as error:
        read_all(bytes.fromhex(stream))
    assert error.value.return_code is None


def test_another_protocol_level_has_a_return_code_of_its_own() -> None:
    with pytest.raises(mqtt.MalformedPacket) as error:
        read_all(bytes.fromhex("100d" + MQTT + "05" + "02" + "000a" + "00" + "0000"))
    assert error.value.return_code == mqtt.UNACCEPTABLE_PROTOCOL


@pytest.mark.parametrize(
    "packet",
    [
        mqtt.Publish("a/+", b""),
        mqtt.Publish("", b""),
        mqtt.Publish("a\0", b""),
        mqtt.Publish("\ud800", b""),
        mqtt.Publish("a" * 65_536, b""),
        mqtt.Publish("a", b"", qos=3, packet_id=1),
        mqtt.Publish("a", b"", qos=1),
        mqtt.Publish("a", b"", qos=0, packet_id=1),
        mqtt.Publish("a", b"", qos=0, dup=True),
        mqtt.Puback(0),
        mqtt.Pubrel(65_536),
        mqtt.Subscribe(1, ()),
        mqtt.Subscribe(1, (("a", 3),)),
        mqtt.Subscribe(1, (("a#", 0),)),
        mqtt.Suback(1, (3,)),
        mqtt.Unsubscribe(1, ()),
        mqtt.Unsubscribe(1, ("",)),
        mqtt.Connect("a", keep_alive=65_536),
        mqtt.Connect("a", password=b""),
        mqtt.Connect("a", will=mqtt.Will("#", b"")),
        mqtt.Connect("a", will=mqtt.Will("a", b"", qos=3)),
        mqtt.Connack(True, 5),
    ],
)
def test_what_may_not_be_received_may_not_be_sent(packet: mqtt.Packet) -> None:
    with pytest.raises(mqtt.MalformedPacket):
        mqtt.encode(packet)


def test_a_packet_of_more_than_four_length_bytes_may_not_be_sent() -> None:
    with pytest.raises(mqtt.MalformedPacket):
        mqtt.publish_head("a", mqtt.MAX_REMAINING_LENGTH, 0)


# Somebody else's bytes


def paho_session(listener: socket.socket) -> None:
    client = paho.Client(CallbackAPIVersion.VERSION2, "länge", clean_session=False)
    client.username_pw_set("user", "pass")
    client.will_set("will/topic", b"gone", 2, retain=True)
    client.connect("127.0.0.1", listener.getsockname()[1], keepalive=61)
    client.subscribe([("a/+", 1), ("b/#", 2)])
    client.publish("a/ü", b"x" * 200, 0, retain=True)
    client.publish("a/b", b"one", 1)
    client.publish("b/c", b"two", 2)
    client.unsubscribe(["a/+", "b/#"])
    client.disconnect()
    while client.want_write():
        client.loop_write()


@pytest.mark.process
def test_paho_writes_the_bytes_that_we_would() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=paho_session, args=(listener,))
        thread.start()
        connection, _ = listener.accept()
        stream = b""
        while not stream.endswith(b"\xe0\x00"):
            stream += connection.recv(65_536)
        thread.join()
        connection.close()
    expected: list[mqtt.Packet] = [
        mqtt.Connect("länge", False, 61, mqtt.Will("will/topic", b"gone", 2, True), "user", b"pass"),
        mqtt.Subscribe(1, (("a/+", 1), ("b/#", 2))),
        mqtt.Publish("a/ü", b"x" * 200, retain=True),
        mqtt.Publish("a/b", b"one", 1, packet_id=3),
        mqtt.Publish("b/c", b"two", 2, packet_id=4),
        mqtt.Unsubscribe(5, ("a/+", "b/#")),
        mqtt.Disconnect(),
    ]
    assert read_all(stream) == expected
    assert b"".join(map(mqtt.encode, expected)) == stream


# Topics: the examples of sections 4.7.1 to 4.7.3


@pytest.mark.parametrize(
    ("topic_filter", "topic", "matching"),
    [
        ("sport/tennis/player1/#", "sport/tennis/player1", True),
        ("sport/tennis/player1/#", "sport/tennis/player1/ranking", True),
        ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", True),
        ("sport/tennis/player1/#", "sport/tennis/player2", False),
        ("sport/#", "sport", True),
        ("sport/#", "sports", False),
        ("#", "sport/tennis", True),
        ("sport/tennis/+", "sport/tennis/player1", True),
        ("sport/tennis/+", "sport/tennis/player1/ranking", False),
        ("sport/+", "sport", False),
        ("sport/+", "sport/", True),
        ("+/+", "/finance", True),
        ("/+", "/finance", True),
        ("+", "/finance", False),
        ("#", "$SYS/broker", False),
        ("+/monitor/Clients", "$SYS/monitor/Clients", False),
        ("$SYS/#", "$SYS/broker", True),
        ("$SYS/monitor/+", "$SYS/monitor/Clients", True),
        ("ACCOUNTS", "Accounts", False),
        ("/finance", "finance", False),
        ("a/b/#", "a", False),
        ("a/+/c", "a/b/c", True),
        ("a/+/c/#", "a/b/c", True),
    ],
)
def test_matching(topic_filter: str, topic: str, matching: bool) -> None:
    assert matches(topic_filter, topic) is matching
    if is_topic_name(topic):
        assert covers(topic_filter, topic) is matching


@pytest.mark.parametrize(
    ("topic_filter", "other", "covering"),
    [
        ("#", "#", True),
        ("#", "+/a", True),
        ("#", "$SYS/#", False),
        ("a/#", "a", True),
        ("a/#", "a/+/b/#", True),
        ("a/+", "a/b", True),
        ("a/+", "a/+", True),
        ("a/+", "a/#", False),
        ("a/+/#", "a/#", False),
        ("a/b", "a/+", False),
        ("a/#", "#", False),
        ("a/#", "+/b", False),
        ("+", "#", False),
        ("+/#", "$SYS/a", False),
    ],
)
def test_a_filter_covers_another(topic_filter: str, other: str, covering: bool) -> None:
    assert covers(topic_filter, other) is covering


@pytest.mark.parametrize("text", ["sport/tennis#", "sport/tennis/#/ranking", "sport+", "+a/b", "", "a\0", "##", "#/"])
def test_no_topic_filter(text: str) -> None:
    assert not is_topic_filter(text)


@pytest.mark.parametrize("text", ["#", "+", "+/tennis/#", "sport/+/player1", "/", "a//b", "a b", "$SYS/#"])
def test_topic_filter(text: str) -> None:
    assert is_topic_filter(text)


@given(names)
def test_a_topic_name_is_a_filter_that_matches_itself(topic: str) -> None:
    assert is_topic_filter(topic)
    assert matches(topic, topic)
