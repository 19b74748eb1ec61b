"""The bytes on the wire by layer, hop and direction, measured and predicted. Pure."""

from __future__ import annotations

from rtbench.analysis.counts import TrialCounts
from rtbench.wire.tcp import Wire
from rtbench.wire.tls import RECORD_OVERHEAD_BYTES

LAYERS = ("payload", "framing", "tls", "ack", "tcp_ip")
ABOVE_TCP = ("payload", "framing", "tls")
HOPS = ("publish", "delivery")  # between publishers and server, between server and subscribers
DIRECTIONS = ("up", "down")  # to the server, from the server

Way = tuple[str, str]  # a hop and a direction
Layers = dict[str, dict[Way, int]]
WAYS: tuple[Way, ...] = tuple((hop, direction) for hop in HOPS for direction in DIRECTIONS)


def layers_of(counts: TrialCounts, payload_bytes: int) -> Layers | None:
    """Return the bytes of each layer by hop and direction. The layers add up to all bytes at the IP layer.

    payload: the payload of all messages published and delivered. framing: all other bytes that the protocol gave to TCP
    (headers, framing, acknowledgements of the protocol). tls: the bytes that TLS adds to both. ack: the headers of
    segments without data (acknowledgements of TCP). tcp_ip: the TCP and IP headers of all other segments, and the bytes
    that TCP retransmitted.
    """
    layers: Layers = {layer: {} for layer in LAYERS}
    for hop, wire in wires_of(counts).items():
        if wire is None:
            return None
        for name, direction, retransmitted in (("up", wire.up, wire.retransmitted_bytes), ("down", wire.down, 0)):
            way, payload = (hop, name), _messages(counts, (hop, name)) * payload_bytes
            layers["payload"][way] = payload
            layers["framing"][way] = direction.carried_bytes - retransmitted - payload - direction.tls_bytes
            layers["tls"][way] = direction.tls_bytes
            layers["ack"][way] = direction.ack_header_bytes
            layers["tcp_ip"][way] = direction.header_bytes - direction.ack_header_bytes + retransmitted
    return layers


def wires_of(counts: TrialCounts) -> dict[str, Wire | None]:
    """Return what TCP carried on each hop from the start of the schedule to the end; None where it is not known."""
    return dict(zip(HOPS, (counts.publisher_run_wire, counts.subscriber_run_wire), strict=True))


def _messages(counts: TrialCounts, way: Way) -> int:
    return {("publish", "up"): counts.published_in_all, ("delivery", "down"): counts.deliveries}.get(way, 0)


def predicted_layers(counts: TrialCounts, payload_bytes: int) -> Layers | None:
    """Return the layers above TCP that the wire format of the transport predicts; TLS if there was a TLS handshake."""
    predicted = counts.predicted
    if predicted is None:
        return None
    encrypted = counts.setup_wire is not None and counts.setup_wire.tls_handshake_bytes > 0
    layers: Layers = {layer: {} for layer in ABOVE_TCP}
    flows = (predicted.publish_up, predicted.publish_down, predicted.subscribe_up, predicted.subscribe_down)
    for way, flow in zip(WAYS, flows, strict=True):
        layers["payload"][way] = _messages(counts, way) * payload_bytes
        layers["framing"][way] = flow.bytes - layers["payload"][way]
        layers["tls"][way] = flow.units * RECORD_OVERHEAD_BYTES if encrypted else 0
    return layers
