"""Metrics of cost: what a delivery takes in bytes, requests, CPU time and memory. Pure.

Costs include the warm-up, and are divided by all its deliveries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rtbench.analysis import statistics
from rtbench.analysis.layers import (
    ABOVE_TCP,
    DIRECTIONS,
    HOPS,
    LAYERS,
    WAYS,
    Way,
    layers_of,
    predicted_layers,
    wires_of,
)
from rtbench.analysis.metric import Group, Metric, Trials
from rtbench.analysis.statistics import Pooled

if TYPE_CHECKING:
    from rtbench.analysis.counts import TrialCounts


def _cost(
    name: str,
    meaning: str,
    total: Callable[[TrialCounts], float | None],
    scale: float = 1.0,
    first: bool = False,
    interval: bool = False,
) -> Metric:
    """Return a metric that is a sum over all deliveries, warm-up included."""

    def scaled(counts: TrialCounts) -> float | None:
        value = total(counts)
        return None if value is None else value * scale

    def pooled(trials: Trials) -> Pooled | None:
        return statistics.pooled_cost([scaled(t.counts) for t in trials], [t.counts.deliveries for t in trials])

    def of(group: Group) -> Any:
        return statistics.estimate(pooled(group.trials)) if interval else group.per_delivery(total, scale)

    return Metric(name, "number", meaning, of, first, pooled, interval)


_wire_bytes = _cost(
    "wire_bytes_per_delivery",
    "bytes at the IP layer on all connections, in both directions, without opening and closing them",
    lambda c: c.run_wire.ip_bytes if c.run_wire else None,
    first=True,
)


def _data_bytes(*hops: str) -> Callable[[TrialCounts], float | None]:
    def total(counts: TrialCounts) -> float | None:
        wires = wires_of(counts)
        found = [None if wire is None else wire.ip_bytes - wire.ack_bytes for wire in map(wires.get, hops)]
        return None if None in found else sum(bytes_ for bytes_ in found if bytes_ is not None)

    return total


def _layer(layer: str, ways: Iterable[Way], predicted: bool = False) -> Callable[[Group], float | None]:
    def of(group: Group) -> float | None:
        def total(counts: TrialCounts) -> float | None:
            found = (predicted_layers if predicted else layers_of)(counts, group.workload.payload_bytes)
            return None if found is None else sum(found[layer][way] for way in ways)

        return group.per_delivery(total)

    return of


_payload_bytes = _layer("payload", WAYS)


def _payload_share(group: Group) -> float | None:
    wire, payload = _wire_bytes.of(group), _payload_bytes(group)
    return payload / wire if wire and payload else None


def _server_cpu_percent(group: Group) -> float | None:
    wall_s = sum(t.counts.wall_s for t in group.trials)
    cpu_ns = [t.counts.server_cpu_ns for t in group.trials]
    return 100 * sum(c for c in cpu_ns if c is not None) / 1e9 / wall_s if wall_s > 0 and None not in cpu_ns else None


def _server_rss_mb(group: Group) -> float | None:
    known = [t.counts.server_rss_bytes for t in group.trials if t.counts.server_rss_bytes is not None]
    return max(known) / 1e6 if known else None


def _per_connection(bytes_of: Callable[[Any], int]) -> Callable[[Group], float | None]:
    def of(group: Group) -> float | None:
        wires = [t.counts.setup_wire for t in group.trials if t.counts.setup_wire]
        connections = sum(wire.connections for wire in wires)
        total = sum(map(bytes_of, wires))
        return total / connections if connections and total is not None else None

    return of


def _handshake_bytes(group: Group) -> float | None:
    return _per_connection(lambda wire: wire.tls_handshake_bytes)(group)


def _empty_request_share(group: Group) -> float | None:
    requests = sum(t.counts.requests or 0 for t in group.trials)
    return sum(t.counts.empty_requests or 0 for t in group.trials) / requests if requests else None


def _of_direction(direction: str) -> list[Way]:
    return [way for way in WAYS if way[1] == direction]


def _of_hop(hop: str) -> list[Way]:
    return [way for way in WAYS if way[0] == hop]


def _above_tcp_difference(group: Group) -> float | None:
    def above_tcp(direction: str, predicted: bool) -> float | None:
        def total(counts: TrialCounts) -> float | None:
            found = (predicted_layers if predicted else layers_of)(counts, group.workload.payload_bytes)
            ways = _of_direction(direction)
            return None if found is None else sum(found[layer][way] for layer in ABOVE_TCP for way in ways)

        return group.per_delivery(total)

    differences = []
    for direction in DIRECTIONS:
        measured, predicted = above_tcp(direction, predicted=False), above_tcp(direction, predicted=True)
        if measured is not None and predicted:
            differences.append(100 * (measured / predicted - 1))
    return max(differences, key=abs, default=None)


_PARTS: Mapping[str, tuple[Sequence[Way], str]] = {  # of a layer, by the name of the column
    "{}": (WAYS, ""),
    "{}_up": (_of_direction("up"), ", from client to server"),
    "{}_down": (_of_direction("down"), ", from server to client"),
    "publish_{}": (_of_hop("publish"), ", on the connections of the publishers"),
    "delivery_{}": (_of_hop("delivery"), ", on the connections of the subscribers"),
}
_LAYER_MEANINGS = {
    "payload": "payload on the wire, published and delivered",
    "framing": "all other bytes that the protocol gave to TCP: headers, framing, acknowledgements of the protocol",
    "tls": "bytes that TLS added to both: 22 for each record; 0 without `--tls`",
    "ack": "headers of segments without data (TCP acknowledgements)",
    "tcp_ip": "TCP and IP headers of all other segments, and bytes that clients sent again; the five layers add up to "
    "`wire_bytes_per_delivery`",
}
_PREDICTED_MEANINGS = {
    "framing": "framing according to the wire format (see methodology.md); empty if the client has no prediction",
    "tls": "bytes that TLS should add: 22 for each write; 0 without `--tls`",
}

COSTS = (
    _wire_bytes,
    Metric(
        "payload_share",
        "number",
        "payload bytes as a share of `wire_bytes_per_delivery`, 0 to 1",
        _payload_share,
        first=True,
    ),
    *(
        _cost(
            f"{name}_bytes_per_delivery",
            f"bytes at the IP layer on {where}, without segments that carry only a TCP acknowledgement",
            _data_bytes(*hops),
            interval=True,
        )
        for name, hops, where in (
            ("data", HOPS, "all connections"),
            ("publish", HOPS[:1], "the connections of the publishers"),
            ("delivery", HOPS[1:], "the connections of the subscribers"),
        )
    ),
    _cost(
        "requests_per_delivery",
        "requests of subscribers for messages",
        lambda c: c.requests,
        first=True,
    ),
    _cost(
        "server_cpu_us_per_delivery",
        "CPU time of the process tree of the server",
        lambda c: c.server_cpu_ns,
        1e-3,
        first=True,
    ),
    Metric(
        "server_cpu_percent", "number", "the same CPU time, in percent of one core", _server_cpu_percent, first=True
    ),
    Metric(
        "server_rss_mb",
        "number",
        "resident memory of that tree at the end of a trial, the largest of all trials, MB of 10^6 bytes",
        _server_rss_mb,
        first=True,
    ),
    _cost(
        "client_cpu_us_per_delivery",
        "CPU time of the subscriber processes",
        lambda c: c.client_cpu_ns,
        1e-3,
        first=True,
    ),
    *(
        Metric(
            f"{part.format(layer)}_bytes_per_delivery",
            "number",
            f"{_LAYER_MEANINGS[layer]}{words}",
            _layer(layer, ways),
        )
        for part, (ways, words) in _PARTS.items()
        for layer in LAYERS
    ),
    *(
        Metric(
            f"predicted_{part.format(layer)}_bytes_per_delivery",
            "number",
            f"{_PREDICTED_MEANINGS[layer]}{words}",
            _layer(layer, ways, predicted=True),
        )
        for layer in _PREDICTED_MEANINGS
        for part, (ways, words) in _PARTS.items()
    ),
    Metric(
        "above_tcp_difference_percent",
        "number",
        "difference between measured and predicted payload, framing and TLS, in percent of the prediction, for the "
        "direction with the larger difference; the report mentions a difference above 1 %",
        _above_tcp_difference,
    ),
    Metric(
        "keep_alive_bytes",
        "integer",
        "bytes above TCP of pings and their answers in all trials; measured and predicted framing include them",
        lambda g: sum(t.counts.keep_alive_bytes for t in g.trials),
    ),
    Metric(
        "empty_request_share",
        "number",
        "share of the requests that were answered with no message, 0 to 1; empty if there are no requests",
        _empty_request_share,
    ),
    Metric(
        "setup_bytes_per_connection",
        "number",
        "IP bytes of opening a connection, from its SYN to the readiness probe, subscription included",
        _per_connection(lambda wire: wire.ip_bytes),
    ),
    Metric(
        "tls_handshake_bytes_per_connection",
        "number",
        "the TLS handshake in these bytes: both directions, up to the Finished of the client; 0 without `--tls`",
        _handshake_bytes,
    ),
    _cost(
        "server_waiting_us_per_delivery",
        "time in which threads of the server were ready to run but had no core",
        lambda c: c.server_waiting_ns,
        1e-3,
    ),
    _cost(
        "server_voluntary_switches_per_delivery",
        "context switches in which a thread of the server gave up its core to wait for something",
        lambda c: c.server_voluntary_switches,
    ),
    _cost(
        "server_involuntary_switches_per_delivery",
        "context switches in which the kernel took the core from a thread of the server",
        lambda c: c.server_involuntary_switches,
    ),
)
