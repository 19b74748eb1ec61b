"""Figures: a row of trials.csv for each trial, a row of summary.csv for each variant. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from rtbench import stats, verdict
from rtbench.ledger import Ledger
from rtbench.measured import STAGES, Measured, TrialFigures
from rtbench.tls import RECORD_OVERHEAD_BYTES
from rtbench.verdict import PERCENTILES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rtbench.variant import Variant
    from rtbench.workload import Workload

LAYERS = ("payload", "framing", "tls", "ack", "tcp_ip")
ABOVE_TCP = ("payload", "framing", "tls")
WAYS = ("up", "down")  # to the server, from the server


def _ratio(trials: Sequence[Measured], top: Callable[[TrialFigures], float | None], scale: float = 1.0) -> float | None:
    """Return the sum of `top` over the deliveries of all trials; None when a trial lacks it."""
    values = [top(t.figures) for t in trials]
    deliveries = sum(t.figures.deliveries for t in trials)
    if not deliveries or any(value is None for value in values):
        return None
    return scale * sum(value for value in values if value is not None) / deliveries


Layers = dict[str, dict[str, int]]


def layers_of(figures: TrialFigures, payload_bytes: int) -> Layers | None:
    """Return the bytes of both hops by layer and way (`up` to the server, `down` from it).

    Together they are all bytes at the IP layer.

    payload: what the application handed over or got. framing: everything else that the protocol gave TCP to carry
    (headers, framing, its own acknowledgements). tls: what TLS adds to both. ack: the headers of segments that carried
    nothing, TCP's acknowledgements. tcp_ip: the TCP and IP headers of all other segments, and what TCP sent again.
    """
    wire = figures.run_wire
    if wire is None:
        return None
    layers: Layers = {layer: {} for layer in LAYERS}
    ways = (
        ("up", wire.up, figures.published_in_all, wire.retransmitted_bytes),
        ("down", wire.down, figures.deliveries, 0),
    )
    for name, way, messages, again in ways:
        layers["payload"][name] = messages * payload_bytes
        layers["framing"][name] = way.carried_bytes - again - messages * payload_bytes - way.tls_bytes
        layers["tls"][name] = way.tls_bytes
        layers["ack"][name] = way.ack_header_bytes
        layers["tcp_ip"][name] = way.header_bytes - way.ack_header_bytes + again
    return layers


def predicted_layers(figures: TrialFigures, payload_bytes: int) -> Layers | None:
    """Return what `layers_of` should be above TCP by the transport's wire format, and TLS where it shook hands."""
    predicted = figures.predicted
    if predicted is None:
        return None
    encrypted = figures.setup_wire is not None and figures.setup_wire.tls_handshake_bytes > 0
    layers: Layers = {layer: {} for layer in ABOVE_TCP}
    for name, flow, messages in (
        ("up", predicted.up, figures.published_in_all),
        ("down", predicted.down, figures.deliveries),
    ):
        layers["payload"][name] = messages * payload_bytes
        layers["framing"][name] = flow.bytes - messages * payload_bytes
        layers["tls"][name] = flow.units * RECORD_OVERHEAD_BYTES if encrypted else 0
    return layers


def layer_columns(trials: Sequence[Measured], payload_bytes: int) -> dict[str, float | None]:
    """Return the bytes a delivery by layer and way, those predicted, and how far both are apart."""

    def mean(
        layers_of: Callable[[TrialFigures, int], Layers | None], layers: Sequence[str], ways: Sequence[str]
    ) -> float | None:
        def total(figures: TrialFigures) -> float | None:
            found = layers_of(figures, payload_bytes)
            return None if found is None else sum(found[layer][way] for layer in layers for way in ways)

        return _ratio(trials, total)

    either = {"": WAYS, **{f"_{way}": (way,) for way in WAYS}}
    apart = []
    for way in WAYS:
        measured, predicted = mean(layers_of, ABOVE_TCP, (way,)), mean(predicted_layers, ABOVE_TCP, (way,))
        if measured is not None and predicted:
            apart.append(100 * (measured / predicted - 1))
    return {
        **{
            f"{layer}{n}_bytes_per_delivery": mean(layers_of, (layer,), w)
            for n, w in either.items()
            for layer in LAYERS
        },
        **{
            f"predicted_{layer}{n}_bytes_per_delivery": mean(predicted_layers, (layer,), w)
            for layer in ("framing", "tls")
            for n, w in either.items()
        },
        "above_tcp_difference_percent": max(apart, key=abs, default=None),
    }


def costs(trials: Sequence[Measured], payload_bytes: int) -> dict[str, Any]:
    """Return what deliveries cost, over some trials: bytes, requests, CPU, memory."""
    layers = layer_columns(trials, payload_bytes)
    wire = _ratio(trials, lambda f: f.run_wire.ip_bytes if f.run_wire else None)
    connections = sum(t.figures.setup_wire.connections for t in trials if t.figures.setup_wire)
    setup = sum(t.figures.setup_wire.ip_bytes for t in trials if t.figures.setup_wire)
    handshakes = sum(t.figures.setup_wire.tls_handshake_bytes for t in trials if t.figures.setup_wire)
    wall_s = sum(t.figures.wall_s for t in trials)
    requests, empty = (sum(getattr(t.figures, name) or 0 for t in trials) for name in ("requests", "empty_requests"))
    cpu = [t.figures.server_cpu_ns for t in trials]
    memory = [t.figures.server_rss_bytes for t in trials if t.figures.server_rss_bytes is not None]
    cpu_known = wall_s > 0 and None not in cpu
    return {
        "wire_bytes_per_delivery": wire,
        "payload_share": layers["payload_bytes_per_delivery"] / wire
        if wire and layers["payload_bytes_per_delivery"]
        else None,
        "requests_per_delivery": _ratio(trials, lambda f: f.requests),
        "server_cpu_us_per_delivery": _ratio(trials, lambda f: f.server_cpu_ns, 1e-3),
        "server_cpu_percent": 100 * sum(c for c in cpu if c is not None) / 1e9 / wall_s if cpu_known else None,
        "server_rss_mb": max(memory) / 1e6 if memory else None,
        "client_cpu_us_per_delivery": _ratio(trials, lambda f: f.client_cpu_ns, 1e-3),
        **layers,
        "keep_alive_bytes": sum(t.figures.keep_alive_bytes for t in trials),
        "empty_request_share": empty / requests if requests else None,
        "setup_bytes_per_connection": setup / connections if connections else None,
        "tls_handshake_bytes_per_connection": handshakes / connections if connections else None,
        "server_waiting_us_per_delivery": _ratio(trials, lambda f: f.server_waiting_ns, 1e-3),
        "server_voluntary_switches_per_delivery": _ratio(trials, lambda f: f.server_voluntary_switches),
        "server_involuntary_switches_per_delivery": _ratio(trials, lambda f: f.server_involuntary_switches),
    }


def latencies(trials: Sequence[Measured], intervals: bool) -> dict[str, Any]:
    """Return the latency columns: percentiles and mean of `received - due`, with or without their intervals."""
    values = [t.latency_ms for t in trials]
    estimates = {f"p{percent}": stats.percentile(values, percent) for percent in PERCENTILES}
    estimates["mean"] = stats.mean(values)
    row: dict[str, Any] = {}
    for name, estimate in estimates.items():
        row[f"latency_{name}_ms"] = estimate.value if estimate else None
        if intervals:
            row[f"latency_{name}_low_ms"] = estimate.low if estimate else None
            row[f"latency_{name}_high_ms"] = estimate.high if estimate else None
    row["arrived_p50_ms"] = _value(stats.percentile([t.arrived_ms for t in trials], 50))
    row["lag_p99_ms"] = _p99([t.lag_ms for t in trials])
    return row


def timeline(trials: Sequence[Measured], intervals: bool) -> dict[str, Any]:
    """Return the columns that part a delivery into its stages, and those of what is far out and of the way back."""
    far = stats.percentile([t.latency_ms for t in trials], 99.9)
    row: dict[str, Any] = {"latency_p99_9_ms": _value(far)}
    if intervals:
        row |= {"latency_p99_9_low_ms": far.low if far else None, "latency_p99_9_high_ms": far.high if far else None}
    row["generator_lag_p99_ms"] = _p99([t.generator_lag_ms for t in trials])
    row["latency_from_sent_p99_ms"] = _value(stats.percentile([t.from_sent_ms for t in trials], 99))
    row["network_server_p50_ms"] = _value(stats.percentile([t.network_server_ms for t in trials], 50))
    stages = [t.stages_ms for t in trials]
    weights = [len(t.latency_ms) for t in trials]
    for stage in STAGES:
        known = stages and None not in stages
        row[f"{stage}_mean_ms"] = (
            float(np.average([s[stage] for s in stages if s is not None], weights=weights)) if known else None
        )
    ages = [t.age_ms for t in trials if t.age_ms is not None]
    row["age_mean_ms"] = float(np.mean(ages)) if ages else None
    row["publish_ack_p50_ms"] = _value(stats.percentile([t.acknowledged_ms for t in trials], 50))
    return row


def _p99(trials: Sequence[NDArray[np.float64]]) -> float | None:
    """Return the 99th percentile, of however few."""
    values = np.concatenate(trials) if trials else np.empty(0)
    return float(np.percentile(values, 99, method="inverted_cdf")) if len(values) else None


def _value(estimate: stats.Estimate | None) -> float | None:
    return estimate.value if estimate else None


def trial_row(trial: Measured, variant: Variant) -> dict[str, Any]:
    """Return a row of trials.csv."""
    f = trial.figures
    return {
        "trial": f.index,
        "block": f.block,
        "variant": f.variant,
        **_identity(variant),
        "status": "failed" if f.error else "ok",
        "error": f.error,
        "server_url": f.server_url,
        **asdict(trial.ledger),
        **latencies([trial], intervals=False),
        **costs([trial], trial.workload.payload_bytes),
        **timeline([trial], intervals=False),
        "deliveries_with_warmup": f.deliveries,
        "missed_told": f.missed_told,
        "requests": f.requests,
        "wall_s": f.wall_s,
        "publisher_wire_bytes": f.publisher_run_wire.ip_bytes if f.publisher_run_wire else None,
        "subscriber_wire_bytes": f.subscriber_run_wire.ip_bytes if f.subscriber_run_wire else None,
        "setup_wire_bytes": f.setup_wire.ip_bytes if f.setup_wire else None,
        "closing_wire_bytes": f.closing_wire.ip_bytes if f.closing_wire else None,
        "retransmitted_bytes": f.run_wire.retransmitted_bytes if f.run_wire else None,
        "server_retransmitted_bytes": f.server_retransmitted_bytes,
        "sockets_without_nodelay": f.nagle_sockets,
        "server_sockets_checked": f.server_retransmitted_bytes is not None,
        "achieved_share": trial.achieved,
        "client_cpu_percent": 100 * f.client_cpu,
        "others_cpu_percent": 100 * f.others_cpu,
        "client_waiting_us_per_delivery": _ratio([trial], lambda f: f.client_waiting_ns, 1e-3),
        "clock_step_ms": f.clock_step_ns / 1e6,
        "listen_drops": f.listen_drops,
        "io_stall_share": f.io_stalled_ns / 1e9 / f.wall_s if f.io_stalled_ns is not None and f.wall_s else None,
    }


def summary_row(variant: Variant, trials: Sequence[Measured], workload: Workload) -> dict[str, Any]:
    """Return a row of summary.csv: figures from the trials that ran to their end, the verdict from all."""
    good = [t for t in trials if not t.figures.error]
    ledger = sum((t.ledger for t in good), start=Ledger())
    counts = asdict(ledger)
    main = ("published", "expected", "delivered", "lost", "duplicated", "reordered")
    cost = costs(good, workload.payload_bytes)
    main_costs = list(cost)[: list(cost).index("client_cpu_us_per_delivery") + 1]
    row: dict[str, Any] = {
        "variant": variant.name,
        **_identity(variant),
        "trials": len(good),
        "publishers": workload.publishers,
        "subscribers": workload.subscribers,
        "rate_hz": workload.rate_hz,
        "payload_bytes": workload.payload_bytes,
        **{name: counts.pop(name) for name in main},
        **latencies(good, intervals=True),
        **{name: cost.pop(name) for name in main_costs},
    }
    times = timeline(good, intervals=True)
    row["verdict"], reasons = verdict.judge({**row, **times}, trials)
    row["reasons"] = "; ".join(reasons)
    return {**row, **counts, **cost, **times, "failed_trials": len(trials) - len(good)}


def _identity(variant: Variant) -> dict[str, Any]:
    return {
        "transport": variant.transport,
        "qos": variant.options.get("qos"),
        "server": variant.server,
        "client": variant.client,
    }


def observation(variant: Variant, row: Mapping[str, Any], own_words: Callable[[Mapping[str, Any]], str] | None) -> str:
    """Return a sentence on what was seen: the client module's own, or a plain one."""
    if row["latency_mean_ms"] is None or row["latency_p50_ms"] is None:
        return "gave too few deliveries to say anything"
    if own_words is not None:
        return own_words({**row, **variant.options})
    return f"delivered {row['delivered']} of {row['expected']}, {row['latency_p50_ms']:.2g} ms at the median"
