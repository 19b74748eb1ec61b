"""Which link emulates a network, and how it is opened."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from rtbench.errors import UsageError
from rtbench.links.link import AUTO, PACKET, STREAM, Link
from rtbench.links.packet_link import packet_link, packet_link_missing
from rtbench.links.stream_link import stream_link
from rtbench.plan.faults import LINK, Fault
from rtbench.plan.network import LOOPBACK, Network, network_of


def link_kind(asked: str, networks: Sequence[str], faults: Sequence[Fault]) -> str:
    """Return the kind of link that emulates all of `networks` and does all of `faults`; `loopback` if none is needed.

    All variants of a comparison have the same kind: a packet link where there is one, unless `asked` says otherwise.

    Raises:
        UsageError: no kind can, or not the one that is asked for, or not on this machine.
    """
    emulated = [network for text in networks if (network := network_of(text)) is not None]
    broken = [fault for fault in faults if fault.breaks == LINK]
    if not emulated and not broken:
        if asked != AUTO:
            raise UsageError(f"--link {asked} emulates a network: give one with --network")
        return LOOPBACK
    only_packet = [f"loss={100 * n.loss:g}%" for n in emulated if n.loss]
    only_packet += [f"--fault '{fault}'" for fault in broken if fault.kind == "blackhole"]
    only_stream = [f"--fault '{fault}'" for fault in broken if fault.kind == "discard"]
    if only_packet and (only_stream or asked == STREAM):
        raise UsageError(
            f"{only_packet[0]} needs a packet link, which drops packets; "
            + (f"{only_stream[0]} needs a stream link: measure them apart" if only_stream else "--link packet is one")
        )
    if only_stream and asked == PACKET:
        raise UsageError(
            f"{only_stream[0]} needs a stream link: TCP over a packet link sends again what is thrown away; "
            "--link stream, or a blackhole"
        )
    if only_stream or asked == STREAM:
        return STREAM
    missing = packet_link_missing()
    if missing and (only_packet or asked == PACKET):
        raise UsageError(f"{only_packet[0] if only_packet else '--link packet'} needs a packet link: {missing}")
    return STREAM if missing else PACKET


@asynccontextmanager
async def open_link(kind: str, network: str, seed: str) -> AsyncIterator[Link | None]:
    """Open a link of a kind for a network as the user writes it; None for `loopback`.

    Raises:
        TrialError: it did not start.
    """
    numbers = network_of(network) or Network()
    if kind == PACKET:
        async with packet_link(numbers, seed) as link:
            yield link
    elif kind == STREAM:
        async with stream_link(numbers, seed) as link:
            yield link
    else:
        yield None
