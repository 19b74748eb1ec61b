"""Network: what lies between client and server: round-trip time, jitter, loss and rates. Pure.

A network has a name from `NETWORKS`, or is given by its numbers:
`rtt=100ms,jitter=10ms,loss=1%,down=1.6mbit,up=750kbit`.

    rtt     round-trip time without load; each way takes half of it
    jitter  by how much the round-trip time varies either way: each way is drawn evenly from its half +- jitter/2
    loss    share of the packets that are dropped, independently, on each way
    down    bits a second from server to client, headers of IP included
    up      bits a second from client to server
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from rtbench.errors import UsageError, did_you_mean
from rtbench.plan.values import Limits
from rtbench.units import parse_number, parse_seconds, plain

_BITS = {"bit": 1.0, "kbit": 1e3, "mbit": 1e6, "gbit": 1e9}
_LIMITS = {
    "rtt": Limits(0, 10.0, "s"),
    "jitter": Limits(0, 10.0, "s"),
    "loss": Limits(0, 0.5, "%"),
    "down": Limits(8e3, 1e10, "bit/s"),
    "up": Limits(8e3, 1e10, "bit/s"),
}
LOOPBACK = "loopback"


@dataclass(frozen=True)
class Network:
    """A network by its numbers; None for a rate means that it is not limited."""

    rtt_s: float = 0.0
    jitter_s: float = 0.0
    loss: float = 0.0
    down_bps: float | None = None
    up_bps: float | None = None

    @property
    def one_way_s(self) -> float:
        """The delay of each way: half the round-trip time."""
        return self.rtt_s / 2

    def __str__(self) -> str:
        """Return the numbers as a user writes them: `rtt=150ms,down=1.6mbit,up=750kbit`."""
        parts = [f"rtt={plain(1e3 * self.rtt_s, 6)}ms"]
        if self.jitter_s:
            parts.append(f"jitter={plain(1e3 * self.jitter_s, 6)}ms")
        if self.loss:
            parts.append(f"loss={plain(100 * self.loss, 6)}%")
        parts += [f"{way}={_bits(bps)}" for way, bps in (("down", self.down_bps), ("up", self.up_bps)) if bps]
        return ",".join(parts)


def _named(rtt_ms: float, down_mbit: float | None = None, up_mbit: float | None = None, loss: float = 0.0) -> Network:
    down_bps, up_bps = (None if rate is None else rate * 1e6 for rate in (down_mbit, up_mbit))
    return Network(rtt_s=rtt_ms / 1e3, loss=loss, down_bps=down_bps, up_bps=up_bps)


NETWORKS = {
    "lan": _named(0.2, 1000, 1000),
    "wifi": _named(40, 30, 30, loss=0.002),  # README of Comcast, the network simulator
    "fast4g": _named(60, 9, 1.5),  # Chrome DevTools, without its multipliers
    "slow4g": _named(150, 1.6, 0.75),  # Lighthouse, mobileSlow4G
    "3g": _named(300, 1.6, 0.768),  # WebPageTest
    "edge-lossy": _named(840, 0.24, 0.2, loss=0.01),  # Augmented Traffic Control
    "starlink": _named(20, loss=0.025),  # README of Comcast
    "geo": _named(600, loss=0.01),  # a geostationary satellite: 36,000 km up and down, twice
}


def network_of(text: str) -> Network | None:
    """Return the network of a name or of numbers; None for `loopback`, which has nothing between.

    Raises:
        UsageError: it is neither.
    """
    if text == LOOPBACK:
        return None
    if text in NETWORKS:
        return NETWORKS[text]
    if "=" not in text:
        known = [LOOPBACK, *NETWORKS]
        raise UsageError(
            f"--network {text} is not known; the networks are {', '.join(known)}, or numbers such as "
            f"rtt=100ms,jitter=10ms,loss=1%,down=1.6mbit,up=750kbit{did_you_mean(text, known)}"
        )
    return _of_numbers(text)


def network_text(text: str) -> str:
    """Return the one way to write a network: its name, or its numbers in order.

    Raises:
        UsageError: it is no network.
    """
    text = text.strip()
    network = network_of(text)
    return text if network is None or text in NETWORKS else str(network)


def network_shown(text: str) -> str:
    """Return a network with its numbers: `3g (rtt=300ms,down=1.6mbit,up=768kbit)`."""
    return f"{text} ({NETWORKS[text]})" if text in NETWORKS else text


def _of_numbers(text: str) -> Network:
    given: dict[str, float] = {}
    for part in text.split(","):
        name, _, value = (word.strip() for word in part.partition("="))
        if name not in _LIMITS:
            raise UsageError(f"--network has {', '.join(_LIMITS)}: got {name!r}{did_you_mean(name, _LIMITS)}")
        if name in given:
            raise UsageError(f"--network has {name} twice")
        given[name] = _value(name, value)
        _LIMITS[name].check(f"--network {name}", given[name])
    if "rtt" not in given:
        raise UsageError("--network by numbers needs a round-trip time, such as rtt=100ms")
    if given.get("jitter", 0) > given["rtt"]:
        raise UsageError("--network: jitter must not be more than rtt, or a packet would arrive before it is sent")
    return Network(
        rtt_s=given["rtt"],
        jitter_s=given.get("jitter", 0.0),
        loss=given.get("loss", 0.0),
        down_bps=given.get("down"),
        up_bps=given.get("up"),
    )


def _value(name: str, text: str) -> float:
    if name in ("rtt", "jitter"):
        try:
            return parse_seconds(text)
        except UsageError as error:
            raise UsageError(f"--network {name}: {error}") from None
    try:
        if name == "loss":
            return parse_number(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
        number, unit = re.fullmatch(r"([0-9.]+)([a-z]*)", text.lower()).groups()  # type: ignore[union-attr]
        return parse_number(number) * _BITS[unit]
    except (ValueError, KeyError, AttributeError):
        such = "1% or 0.01" if name == "loss" else "750kbit, 1.6mbit or 1gbit"
        raise UsageError(
            f"--network {name} must be a {'share' if name == 'loss' else 'rate'} such as {such}: got {text!r}"
        ) from None


def _bits(bps: float) -> str:
    unit = next(unit for unit in ("gbit", "mbit", "kbit", "bit") if bps >= _BITS[unit])
    return f"{plain(bps / _BITS[unit], 6)}{unit}"
