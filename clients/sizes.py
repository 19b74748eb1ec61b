"""How many bytes WebSocket, MQTT and bare TCP need for what was counted.

Here belong the predictions of the formats that need no HTTP library; those of HTTP are in `http_sizes.py`. A reader who
learns the approach can skip it. The result shows the prediction beside the measured bytes; see
`rtbench/wire/traffic.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rtbench.transports import Flow, Predicted, Traffic, flow, total
from rtbench.wire import lengths
from rtbench.wire.mqtt import ACKNOWLEDGEMENT_BYTES, PING_BYTES, publish_bytes
from rtbench.wire.websocket import frame_bytes


def tcp(traffic: Traffic, **_options: Any) -> Predicted:
    """Predict the length before each message, and nothing back."""
    message_bytes = len(lengths.encode(traffic.payload_bytes)) + traffic.payload_bytes
    return Predicted(
        publish_up=flow(sum(traffic.published.values()), message_bytes),
        subscribe_down=flow(sum(traffic.delivered.values()), message_bytes),
    )


def websocket(traffic: Traffic, **_options: Any) -> Predicted:
    """Predict a frame for each message, masked on the way to the server, and nothing back (RFC 6455 section 5.2)."""
    return Predicted(
        publish_up=flow(sum(traffic.published.values()), frame_bytes(traffic.payload_bytes, masked=True)),
        subscribe_down=flow(sum(traffic.delivered.values()), frame_bytes(traffic.payload_bytes, masked=False)),
    )


def mqtt(traffic: Traffic, *, qos: int = 0, **_options: Any) -> Predicted:
    """Predict a PUBLISH for each message and hop, and its acknowledgements (MQTT 3.1.1 section 4.3).

    The receiver answers with PUBACK at QoS 1, with PUBREC and PUBCOMP at QoS 2, where the sender also sends PUBREL. A
    keep-alive is PINGREQ and PINGRESP.
    """

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
