"""Whether a link is what was asked for, by what was measured of it before a trial. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rtbench.plan.network import Network

BURST_S = 0.1  # a rate is measured by a burst that takes the line so long, or longer if it would be very short
PING_WIRE_BYTES = 53  # of a ping on a stream; one of a datagram is smaller
MOST_DATAGRAMS = 400  # of a burst; more would overflow the queues of devices
_RATE_TOLERANCE = 0.1
_CHANCE = 1e-6  # of refusing a link that is as asked; this is decided in every trial


@dataclass(frozen=True)
class LinkMeasured:
    """What was measured of a link; None where nothing was.

    `lost` of `sent` pings did not come back. A rate counts the headers, as that of a network does.
    """

    rtt_ms: Sequence[float]
    lost: int | None = None
    sent: int | None = None
    down_bps: float | None = None
    up_bps: float | None = None


def check(measured: LinkMeasured, network: Network) -> str | None:
    """Return why a link is not the network that was asked for, in words; None if it is."""
    if not measured.rtt_ms:
        return f"no ping came back over the link, which has to be {network}"
    return (
        _check_rtt(sorted(measured.rtt_ms), network)
        or _check_loss(measured, network)
        or _check_rate("down", measured.down_bps, network.down_bps, network.jitter_s)
        or _check_rate("up", measured.up_bps, network.up_bps, network.jitter_s)
    )


def _check_rtt(rtt_ms: Sequence[float], network: Network) -> str | None:
    asked_ms, jitter_ms = 1e3 * network.rtt_s, 1e3 * network.jitter_s
    on_line_ms = sum(8e3 * PING_WIRE_BYTES / bps for bps in (network.down_bps, network.up_bps) if bps)
    tolerance_ms = max(0.05 * asked_ms, 1.0)
    low_ms, median_ms, high_ms = (rtt_ms[int(share * (len(rtt_ms) - 1))] for share in (0.25, 0.5, 0.75))
    least_ms, most_ms = asked_ms - jitter_ms, asked_ms + jitter_ms + on_line_ms + tolerance_ms
    if not least_ms <= median_ms <= most_ms:
        return (
            f"the link has a round-trip time of {median_ms:.2f} ms (median), "
            f"asked were {least_ms:.4g} to {most_ms:.4g} ms"
        )
    if rtt_ms[0] < least_ms:
        return f"a round trip over the link took {rtt_ms[0]:.2f} ms, asked were at least {least_ms:.4g} ms"
    if high_ms - low_ms > jitter_ms + tolerance_ms:  # of the middle half: a busy machine makes some of them late
        return (
            f"the round-trip times of the link differ by {high_ms - low_ms:.2f} ms (the middle half), "
            f"asked were at most {jitter_ms + tolerance_ms:.4g} ms"
        )
    return None


def _check_loss(measured: LinkMeasured, network: Network) -> str | None:
    if not measured.sent or measured.lost is None:
        return None
    share = 1 - (1 - network.loss) ** 2  # a ping is lost on its way there or on its way back
    if probability(measured.lost, measured.sent, share) >= _CHANCE:
        return None
    return (
        f"the link lost {measured.lost} of {measured.sent} pings, "
        f"asked was a loss of {100 * network.loss:g} % each way, {share * measured.sent:.1f} pings"
    )


def probability(hits: int, tries: int, share: float) -> float:
    """Return how probable it is to have so few hits, or so many, whichever is less probable (exact binomial)."""

    def of(count: int) -> float:
        return math.comb(tries, count) * share**count * (1 - share) ** (tries - count)

    return min(math.fsum(map(of, range(hits + 1))), math.fsum(map(of, range(hits, tries + 1))))


def _check_rate(way: str, bps: float | None, asked_bps: float | None, jitter_s: float) -> str | None:
    if asked_bps is None:
        return None
    if bps is None:
        return f"the rate of the link {way} could not be measured, asked were {asked_bps / 1e6:.4g} Mbit/s"
    burst_s = min(BURST_S, MOST_DATAGRAMS * 1500 * 8 / asked_bps)  # its ends move by the jitter
    if abs(bps / asked_bps - 1) <= _RATE_TOLERANCE + jitter_s / burst_s:
        return None
    return f"the link has {bps / 1e6:.4g} Mbit/s {way}, asked were {asked_bps / 1e6:.4g} Mbit/s"
