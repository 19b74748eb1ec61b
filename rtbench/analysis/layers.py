"""The layers of the bytes on the wire, measured and predicted. Pure."""

from __future__ import annotations

from rtbench.analysis.counts import TrialCounts
from rtbench.wire.tls import RECORD_OVERHEAD_BYTES

LAYERS = ("payload", "framing", "tls", "ack", "tcp_ip")
ABOVE_TCP = ("payload", "framing", "tls")
WAYS = ("up", "down")  # to the server, from the server

Layers = dict[str, dict[str, int]]


def layers_of(counts: TrialCounts, payload_bytes: int) -> Layers | None:
    """Return the bytes of both hops by layer and direction (`up` to the server, `down` from it).

    Together they are all bytes at the IP layer.

    payload: what the application handed over or got. framing: everything else that the protocol gave TCP to carry
    (headers, framing, its own acknowledgements). tls: what TLS adds to both. ack: the headers of segments that carried
    nothing, TCP's acknowledgements. tcp_ip: the TCP and IP headers of all other segments, and what TCP sent again.
    """
    wire = counts.run_wire
    if wire is None:
        return None
    layers: Layers = {layer: {} for layer in LAYERS}
    directions = (
        ("up", wire.up, counts.published_in_all, wire.retransmitted_bytes),
        ("down", wire.down, counts.deliveries, 0),
    )
    for name, direction, messages, again in directions:
        layers["payload"][name] = messages * payload_bytes
        layers["framing"][name] = direction.carried_bytes - again - messages * payload_bytes - direction.tls_bytes
        layers["tls"][name] = direction.tls_bytes
        layers["ack"][name] = direction.ack_header_bytes
        layers["tcp_ip"][name] = direction.header_bytes - direction.ack_header_bytes + again
    return layers


def predicted_layers(counts: TrialCounts, payload_bytes: int) -> Layers | None:
    """Return what `layers_of` should be above TCP by the transport's wire format, and TLS where it shook hands."""
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
