"""The broker with clients that others wrote: paho-mqtt, and those of mosquitto."""

from __future__ import annotations

import subprocess

import pytest

from rtbench.wire import mqtt
from tests.mqtt_peers import WITHIN_S, Broker, Paho, Raw, connect
from tests.programs import needs

# paho-mqtt as client: the behaviours of Eclipse Paho's MQTT 3.1.1 interoperability tests


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
