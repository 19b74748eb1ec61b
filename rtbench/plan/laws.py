"""The set-ups in which the laws are measured: a transport, its options, its workload in round trips. Pure.

Messages are counted from when the server relays them to when they arrive, so how they are published matters little.
The publishers of HTTP do not wait for their last answer (`overlap`): one that waits sends at most one message a round
trip, which is the law L5 once more, at the wrong end. One that does not wait opens a connection where all it has are
in use, and that message is a round trip late: it no longer comes close after another. Where messages are rare and it
matters whether they come close together (Poisson), several publishers share a topic.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rtbench.plan.network import Network
from rtbench.plan.workload import Workload

INTERVAL = 4  # of polling, round trips
KNEE = (0.5, 0.9, 1.1, 1.7)  # messages a round trip at which long-polling is compared with WebSocket
POISSON = {0.1: (20, 8), 0.4: (24, 4), 2.0: (4, 2)}  # messages a round trip: how many topics, and publishers of each
WINDOW = 20  # of an MQTT client and a broker
LOSS = 0.03
_ALONE_S = 0.4  # beyond a round trip, so that a message finds nothing under way that would show its loss early
OFFERED = 1.5  # of what the window lets through

_OBSERVED = 100.0
_WARM_UP = 10.0
_OVERLAP = {"overlap": True}


@dataclass(frozen=True)
class SetUp:
    """One set-up. `rate` is messages a round trip on each topic, `observed` round trips, `laws` those that need it."""

    name: str
    laws: tuple[str, ...]
    transport: str
    rate: float = 0.5
    options: Mapping[str, Any] = field(default_factory=dict)
    topics: int = 1
    publishers: int = 1  # of each topic
    arrivals: str = "constant"
    observed: float = _OBSERVED
    tls: bool = False
    loss: float = 0.0

    def workload(self, rtt_s: float) -> Workload:
        """Return the workload over a network with this round-trip time."""
        return Workload(
            pattern="fan-in",
            publishers=self.topics * self.publishers,
            subscribers=self.topics,
            rate_hz=self.rate / self.publishers / rtt_s,
            arrivals=self.arrivals,
            duration_s=self.observed * rtt_s,
            warmup_s=_WARM_UP * rtt_s,
        )

    def network(self, rtt_s: float) -> str:
        """Return the network as a user writes it."""
        return str(Network(rtt_s=rtt_s, loss=self.loss))


def at_knee(rate: float) -> str:
    """Return the name of the set-up of long-polling with constant arrivals at a rate."""
    return f"long-polling, {rate:g} a round trip"


def at_random(rate: float) -> str:
    """Return the name of the set-up of long-polling with Poisson arrivals at a rate."""
    return f"long-polling, Poisson {rate:g} a round trip"


def slow(qos: int) -> str:
    """Return the name of the set-up of MQTT at a QoS with few messages."""
    return f"mqtt-qos{qos}"


def flooded(qos: int) -> str:
    """Return the name of the set-up of MQTT at a QoS with more messages than its window lets through."""
    return f"mqtt-qos{qos}, flooded"


def window_rate(qos: int) -> float:
    """Return how many messages a round trip a window lets through: QoS 1 takes one round trip, QoS 2 two."""
    return WINDOW / qos


def _of_knee(rate: float) -> SetUp:
    laws = ("L1", "L5") if rate == KNEE[0] else ("L5",)
    return SetUp(at_knee(rate), laws, "long-polling", rate, _OVERLAP)


def _poisson(rate: float, topics: int, publishers: int) -> SetUp:
    laws = ("L1", "L4") if rate == max(POISSON) else ("L4",)
    return SetUp(at_random(rate), laws, "long-polling", rate, _OVERLAP, topics, publishers, "poisson")


def _interval(rtt_s: float) -> dict[str, Any]:
    return {"interval": INTERVAL * rtt_s, **_OVERLAP}


def set_ups(rtt_s: float) -> list[SetUp]:
    """Return all set-ups over a network with this round-trip time."""
    return [
        *(_of_knee(rate) for rate in KNEE),
        SetUp("websocket", ("L5", "L10"), "websocket"),
        SetUp("websocket, TLS", ("L10",), "websocket", observed=20, tls=True),
        SetUp("tcp", ("L10",), "tcp", observed=20),
        SetUp("sse", ("L2", "L9", "L10"), "sse"),
        SetUp("sse, a connection for each request", ("L9",), "sse", 0.3, {"close": True}),
        SetUp("polling", ("L3",), "polling", 4.0, _interval(rtt_s), topics=3, arrivals="poisson"),
        *(_poisson(rate, *many) for rate, many in POISSON.items()),
        *(SetUp(slow(q), ("L6", "L10") if not q else ("L6",), "mqtt", options={"qos": q}) for q in (0, 1, 2)),
        *(SetUp(flooded(q), ("L7",), "mqtt", OFFERED * window_rate(q), {"qos": q}, observed=30.0) for q in (1, 2)),
        SetUp("websocket, loss", ("L14",), "websocket", rtt_s / (rtt_s + _ALONE_S), topics=20, loss=LOSS),
    ]
