"""The laws that a correct bench must reproduce, and how each is checked on what was measured. Pure.

d is the delay of one way, R = 2d the round-trip time, T the time between two messages. Laws about the way from server
to client use `arrived - relayed`; those about the way from end to end use `arrived - sent`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rtbench.analysis import statistics
from rtbench.analysis.law_check import Check, NotMeasuredError, Seen, each, maximum, mean, not_measured, row
from rtbench.plan import laws as plan
from rtbench.plan.laws import at_knee, at_random, flooded, slow, window_rate
from rtbench.plan.records import ACKED

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rtbench.analysis.measured import Measured

RTO_MS = 200.0  # the least retransmission time-out of Linux beyond the round trip
_KS_1_PERCENT = 1.628  # of the Kolmogorov distribution: exceeded by chance in 1 % of the cases
_FILLING = 5.0  # round trips until a window is full


@dataclass(frozen=True)
class Law:
    """A law: its sentence, where it is from, and its checks."""

    sentence: str
    source: str
    checks: Callable[[Seen], Iterator[Check]]


def _long_polling(seen: Seen) -> Iterator[Check]:
    slow_one, busy = at_knee(min(plan.KNEE)), at_random(max(plan.POISSON))
    d = seen.one_way_ms
    yield seen.about("long-polling, request waiting: mean d", slow_one, "ms", d, mean(seen.delivery_hop_ms(slow_one)))
    yield seen.about("long-polling, any: maximum 3d", busy, "ms", 3 * d, maximum(seen.delivery_hop_ms(busy)))


def _streaming(seen: Seen) -> Iterator[Check]:
    hops = seen.delivery_hop_ms("sse")
    yield seen.about("SSE: mean d", "sse", "ms", seen.one_way_ms, mean(hops))
    yield seen.about("SSE: maximum d", "sse", "ms", seen.one_way_ms, maximum(hops))


def _polling(seen: Seen) -> Iterator[Check]:
    hops = seen.delivery_hop_ms("polling")
    interval_ms, d = plan.INTERVAL * seen.rtt_ms, seen.one_way_ms
    yield seen.about("polling: mean interval/2 + d", "polling", "ms", interval_ms / 2 + d, mean(hops))
    yield seen.about("polling: maximum interval + d", "polling", "ms", interval_ms + d, maximum(hops))
    distance, bound = uniform_distance(hops, d, d + interval_ms)
    yield seen.at_most("polling: uniform, distance at most", "polling", "", bound, distance)


def uniform_distance(trials: Sequence[NDArray[np.float64]], low: float, high: float) -> tuple[float, float]:
    """Return the Kolmogorov-Smirnov distance from the uniform distribution, and what chance exceeds in 1 % of cases."""
    values = np.sort(np.concatenate(trials))
    expected = np.clip((values - low) / (high - low), 0, 1)
    steps = np.arange(len(values) + 1) / len(values)
    distance = max((steps[1:] - expected).max(), (expected - steps[:-1]).max())
    return float(distance), _KS_1_PERCENT / math.sqrt(len(values))


def _poisson(seen: Seen) -> Iterator[Check]:
    for rate in plan.POISSON:
        name = at_random(rate)
        predicted = poisson_mean_ms(rate, seen.rtt_ms)
        claim = f"long-polling, Poisson, λR = {rate:g}: mean"
        yield seen.about(claim, name, "ms", predicted, mean(seen.delivery_hop_ms(name)))


def poisson_mean_ms(rate: float, rtt_ms: float) -> float:
    """Return the mean delay of long-polling with `rate` Poisson messages a round trip and a server that batches."""
    return rtt_ms / 2 * (1 + rate / (rate + math.exp(-rate)))


def _knee(seen: Seen) -> Iterator[Check]:
    for rate in plan.KNEE:
        claim = f"long-polling / WebSocket at d = {rate:g} T/2"
        yield seen.about(claim, at_knee(rate), "", 1.0 if rate < 1 else 2.0, knee_ratio(seen, rate))


def knee_ratio(seen: Seen, rate: float) -> statistics.Estimate | None:
    """Return the mean of long-polling divided by that of WebSocket."""
    long_polling, websocket = seen.delivery_hop_ms(at_knee(rate)), seen.delivery_hop_ms("websocket")
    return statistics.ratio(statistics.pooled_mean(long_polling), statistics.pooled_mean(websocket))


def _mqtt(seen: Seen) -> Iterator[Check]:
    for qos in (0, 1, 2):
        ways = qos_ways(qos)
        claim = f"MQTT QoS {qos}, end to end: {ways}d"
        yield seen.about(claim, slow(qos), "ms", ways * seen.one_way_ms, mean(seen.end_to_end_ms(slow(qos))))


def qos_ways(qos: int) -> int:
    """Return how often a message and its handshakes go one way until it is delivered, on both hops together."""
    return 6 if qos == 2 else 2


def _window(seen: Seen) -> Iterator[Check]:
    for qos in (1, 2):
        name, per_s = flooded(qos), window_rate(qos) / seen.rtt_ms * 1e3
        rates = [_acknowledged_hz(trial, seen.rtt_ms) for trial in seen.trials(name)]
        way = f"w/{qos if qos > 1 else ''}R"
        yield seen.about(f"MQTT QoS {qos}, flooded, w = {plan.WINDOW}: {way}", name, "/s", per_s, each(rates))


def _acknowledged_hz(trial: Measured, rtt_ms: float) -> float:
    """Return at which rate publishes were finished while the window was full: the slope of a line through them all."""
    p = trial.publishes
    done_s = np.sort(p.done_ns[p.status == ACKED]) / 1e9
    done_s = done_s[(done_s > _FILLING * rtt_ms / 1e3) & (done_s <= trial.workload.schedule_ns / 1e9)]
    if len(done_s) < plan.WINDOW:
        raise NotMeasuredError(f"{trial.counts.variant}: only {len(done_s)} publishes were finished")
    return float(1 / np.polyfit(np.arange(len(done_s)), done_s, 1)[0])


def _new_connections(seen: Seen) -> Iterator[Check]:
    d = seen.one_way_ms
    for name, ways, claim in (("sse", 1, "kept"), ("sse, a connection for each request", 3, "new for each message")):
        hops = seen.publish_hop_ms(name)
        yield seen.about(f"POST, connection {claim}: {'' if ways == 1 else ways}d", name, "ms", ways * d, mean(hops))


_ROUND_TRIPS = {
    "tcp": (2, "TCP 1, first request 1"),
    "sse": (2, "TCP 1, HTTP request 1"),
    "websocket": (2, "TCP 1, upgrade 1"),
    "websocket, TLS": (3, "TCP 1, TLS 1.3 1, upgrade 1"),
    slow(0): (3, "TCP 1, CONNECT 1, SUBSCRIBE 1"),
}


def _round_trips(seen: Seen) -> Iterator[Check]:
    for name, (trips, claim) in _ROUND_TRIPS.items():
        opened = [trial.connect_ms / seen.rtt_ms for trial in seen.trials(name)]
        yield seen.about(f"{name.split(',')[0]}: {claim}", name, "R", trips, mean(opened))


def _loss(seen: Seen) -> Iterator[Check]:
    name = "websocket, loss"
    slowest = max(float(hop.max()) for hop in seen.delivery_hop_ms(name))
    lost = sum(trial.ledger.lost for trial in seen.trials(name))
    percent = f"{100 * plan.LOSS:g} %"
    yield seen.at_most(f"{percent} of the packets lost: messages lost", name, "", 0, lost)
    yield seen.at_least("slowest: at least d + 200 ms", name, "ms", seen.one_way_ms + RTO_MS, slowest)


LAWS = {
    "L1": Law(
        "Long-polling takes d while a request waits at the server, and 3d at most: response, next request, response.",
        "RFC 6202, section 2.2",
        _long_polling,
    ),
    "L2": Law("A stream takes d, on average and at most.", "RFC 6202, section 3.2", _streaming),
    "L3": Law("Polling takes d and a wait that is uniform between nothing and the interval.", "computed", _polling),
    "L4": Law(
        "Long-polling with Poisson arrivals at the rate λ takes d + R/2 · λR / (λR + exp(-λR)) on average.",
        "computed, for a server that answers with all it has",
        _poisson,
    ),
    "L5": Law(
        "The knee: long-polling is as fast as WebSocket while d < T/2, and takes twice as long beyond it.",
        "Pimentel and Nickerson 2012; computed",
        _knee,
    ),
    "L6": Law(
        "MQTT from end to end takes a one-way trip on each hop at QoS 0 and 1, and three on each at QoS 2.",
        "MQTT 3.1.1, section 4.3; delivery on PUBREL",
        _mqtt,
    ),
    "L7": Law(
        "With w messages in flight, a publisher sends at most w/R messages a second at QoS 1, and w/2R at QoS 2.",
        "computed",
        _window,
    ),
    "L9": Law(
        "A new TCP connection for each message triples the way of the message: 3d against d.",
        "computed; TCP has a handshake of one round trip (RFC 9293)",
        _new_connections,
    ),
    "L10": Law(
        "A subscription takes a round trip for each of TCP, TLS 1.3, WebSocket upgrade, MQTT CONNECT and request.",
        "RFC 9293, RFC 8446, RFC 6455, MQTT 3.1.1",
        _round_trips,
    ),
    "L14": Law(
        "Over TCP a lost packet loses no message; it delays a message that is alone by a time-out of 200 ms or more.",
        "RFC 6298; 200 ms is the least of Linux",
        _loss,
    ),
}


def checks(number: str, seen: Seen) -> list[Check]:
    """Return the checks of a law; one that says why, where it could not be measured."""
    try:
        return list(LAWS[number].checks(seen))
    except NotMeasuredError as error:
        return [not_measured(str(error))]


def rows(numbers: Sequence[str], seen: Seen, unmeasured: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the rows of summary.csv; `unmeasured` says why some laws cannot be measured here."""
    return [
        row(number, check)
        for number in numbers
        for check in ([not_measured(unmeasured[number])] if number in unmeasured else checks(number, seen))
    ]
