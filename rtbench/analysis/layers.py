"""The bytes on the wire by layer, measured and predicted. Pure."""

from __future__ import annotations

from rtbench.analysis.counts import TrialCounts
from rtbench.wire.tls import RECORD_OVERHEAD_BYTES

LAYERS = ("payload", "framing", "tls", "ack", "tcp_ip")
ABOVE_TCP = ("payload", "framing", "tls")
DIRECTIONS = ("up", "down")  # to the server, from the server

Layers = dict[str, dict[str, int]]


def layers_of(counts: TrialCounts, payload_bytes: int) -> Layers | None:
    """Return the bytes of both hops by layer and direction (`up` to the server, `down` from it).

    The layers add up to all bytes at the IP layer.

    payload: the payload of all messages published and delivered. framing: all other bytes that the protocol gave to TCP
    (headers, framing, acknowledgements of the protocol). tls: the bytes that TLS adds to both. ack: the headers of
    segments without data (acknowledgements of TCP). tcp_ip: the TCP and IP headers of all other segments, and the bytes
    that TCP retransmitted.
    """
    wire = counts.run_wire
    if wire is None:
        return None
    layers: Layers = {layer: {} for layer in LAYERS}
    directions = (
        ("up", wire.up, counts.published_in_all, wire.retransmitted_bytes),
        ("down", wire.down, counts.deliveries, 0),
    )
    for name, direction, messages, retransmitted in directions:
        layers["payload"][name] = messages * payload_bytes
        layers["framing"][name] = (
            direction.carried_bytes - retransmitted - messages * payload_bytes - direction.tls_bytes
        )
        layers["tls"][name] = direction.tls_bytes
        layers["ack"][name] = direction.ack_header_bytes
        layers["tcp_ip"][name] = direction.header_bytes - direction.ack_header_bytes + retransmitted
    return layers


def predicted_layers(counts: TrialCounts, payload_bytes: int) -> Layers | None:
    """Return the layers above TCP that the wire format of the transport predicts; TLS if there was a TLS handshake."""
    predicted = counts.predicted
    if predicted is None:
        return None
    encrypted = counts.setup_wire is not None and counts.setup_wire.tls_handshake_bytes > 0
    layers: Layers = {layer: {} for layer in ABOVE_TCP}
    for name, flow, messages in (
        ("up", predicted.up, counts.published_in_all),
        ("down", predicted.down, counts.deliveries),
    ):
        layers["payload"][name] = messages * payload_bytes
        layers["framing"][name] = flow.bytes - messages * payload_bytes
        layers["tls"][name] = flow.units * RECORD_OVERHEAD_BYTES if encrypted else 0
    return layers
