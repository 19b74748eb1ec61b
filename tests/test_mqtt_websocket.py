"""MQTT over WebSocket at the embedded broker: as a browser speaks it, and what is no such thing is refused.

The contract over it, with library and lean clients, is in test_contract.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from rtbench.wire import http, mqtt
from tests.mqtt_peers import WITHIN_S, Broker, Raw, serving

CONNECT = mqtt.encode(mqtt.Connect("browser"))
CONNACK = mqtt.encode(mqtt.Connack(False, mqtt.ACCEPTED))

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    with serving("mqtt", websocket=True) as running:
        yield running


def browser(broker: Broker, *, subprotocol: str = "mqtt", **more: Any) -> Any:
    url = f"ws://127.0.0.1:{broker.port}/mqtt"
    return connect(url, subprotocols=[Subprotocol(subprotocol)], open_timeout=WITHIN_S, compression=None, **more)


def test_packets_go_in_binary_frames_cut_at_any_place(broker: Broker) -> None:
    with browser(broker) as page:
        assert page.subprotocol == "mqtt"
        page.send(CONNECT[:5])
        page.send(CONNECT[5:] + mqtt.encode(mqtt.Subscribe(1, (("room", 0),))))
        assert page.recv(WITHIN_S) == CONNACK
        assert page.recv(WITHIN_S) == mqtt.encode(mqtt.Suback(1, (0,)))
        page.send(mqtt.encode(mqtt.Publish("room", b"hello")))
        assert page.recv(WITHIN_S) == mqtt.encode(mqtt.Publish("room", b"hello"))
        page.send([CONNECT[:0], mqtt.encode(mqtt.Publish("room", b"in fragments"))])
        assert page.recv(WITHIN_S) == mqtt.encode(mqtt.Publish("room", b"in fragments"))
        assert page.ping().wait(WITHIN_S)
        page.send(mqtt.encode(mqtt.Disconnect()))
        with pytest.raises(ConnectionClosed, match="1000"):
            page.recv(WITHIN_S)


def test_a_will_is_published_when_a_page_is_closed(broker: Broker) -> None:
    with browser(broker) as page, browser(broker) as other:
        page.send(mqtt.encode(mqtt.Connect("page", will=mqtt.Will("gone", b"page", 0, False))))
        other.send(mqtt.encode(mqtt.Connect("other")) + mqtt.encode(mqtt.Subscribe(1, (("gone", 0),))))
        assert page.recv(WITHIN_S) == CONNACK
        assert [other.recv(WITHIN_S), other.recv(WITHIN_S)][0] == CONNACK
        page.close()
        assert other.recv(WITHIN_S) == mqtt.encode(mqtt.Publish("gone", b"page"))


def test_a_text_frame_ends_the_connection(broker: Broker) -> None:
    with browser(broker) as page:
        page.send("hello")
        with pytest.raises(ConnectionClosed):
            page.recv(WITHIN_S)


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"subprotocol": "chat"}, 400),
        ({"origin": "https://evil.example"}, 403),
        ({"additional_headers": {"Host": "evil.example"}}, 400),  # beside the right one
    ],
)
def test_an_upgrade_that_is_not_for_the_broker_is_refused(broker: Broker, more: dict[str, Any], status: int) -> None:
    with pytest.raises(InvalidStatus) as refused, browser(broker, **more):
        pass
    assert refused.value.response.status_code == status


def test_bytes_that_are_no_upgrade_end_the_connection(broker: Broker) -> None:
    client = Raw(broker.port)
    client.send(b"HELO\r\n\r\n")
    assert client.is_closed()


def test_plain_mqtt_is_served_on_the_same_port(broker: Broker) -> None:
    client = Raw(broker.port)
    with browser(broker) as page:
        page.send(CONNECT + mqtt.encode(mqtt.Subscribe(1, (("mixed", 0),))))
        assert [page.recv(WITHIN_S), page.recv(WITHIN_S)][0] == CONNACK
        client.send(mqtt.encode(mqtt.Connect("plain")) + mqtt.encode(mqtt.Publish("mixed", b"from plain MQTT")))
        assert page.recv(WITHIN_S) == mqtt.encode(mqtt.Publish("mixed", b"from plain MQTT"))
    client.socket.close()


def test_who_sends_no_upgrade_has_ten_seconds() -> None:
    with serving("mqtt", websocket=True) as slow:
        client = Raw(slow.port)
        while not slow.listener.accepted:
            pass
        slow.advance(0)  # asyncio hands a connection over some turns of its loop after it has accepted it
        slow.advance(11)
        assert client.is_closed()


def test_an_upgrade_for_another_name_is_refused(broker: Broker) -> None:
    client = Raw(broker.port)
    fields = {
        "Host": "evil.example",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": "x3JJHMbDL1EzLkh9GBhXDw==",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Protocol": "mqtt",
    }
    client.send(http.request("GET", "/mqtt", fields))
    assert client.socket.recv(4096).startswith(b"HTTP/1.1 421 ")
