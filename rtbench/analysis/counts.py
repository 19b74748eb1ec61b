"""The counts of one trial: with its samples, all numbers that its metrics are computed from. Pure.

The JSON Schema of result.json takes the description of each field from here, and its type from the annotation.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rtbench.plan.faults import Evidence
from rtbench.plan.records import Outage
from rtbench.wire.tcp import Wire
from rtbench.wire.traffic import Predicted


def described(description: str, **default: Any) -> Any:
    """Return a dataclass field with a description for the JSON Schema; with a `default`, saved results may lack it."""
    return field(metadata={"description": description}, **default)


@dataclass(frozen=True)
class TrialCounts:
    """The counts of a trial. None: the platform does not provide the value, or the trial ended too early.

    `deliveries` and the costs include the warm-up: they cover the time from the start to the last delivery.
    """

    index: int = described("Its place in the order of the trials, from 0")
    block: int = described("Its block, from 0: each block has one trial of each variant, in random order")
    variant: str = described("Name of the variant")
    server_url: str = described("Where the server listened")
    error: str | None = described("Why the trial failed; null if it did not fail")
    offered: int = described("Messages in the schedule")
    unfinished: int = described("Messages of these whose publish was never finished")
    pace: float = described("Rate at which publishes were finished, as a share of the offered rate")
    lost_in_warmup: int = described("(message, subscriber) pairs of the warm-up that were not delivered")
    published_in_all: int = described("Messages handed to the client library, warm-up included")
    deliveries: int = described("Deliveries, warm-up and duplicates included; costs are divided by this number")
    missed_told: int = described("Messages that the server reported as skipped for a slow subscriber")
    requests: int = described("Requests of subscribers for messages")
    empty_requests: int = described("Requests of these that were answered with no message")
    nagle_sockets: int = described("Sockets at either end with Nagle's algorithm on")
    server_retransmitted_bytes: int | None = described(
        "Bytes that the server had retransmitted at the end of the trial; null if its sockets cannot be read, "
        "in which case TCP_NODELAY cannot be checked either"
    )
    wall_s: float = described("From the start to the last delivery")
    client_cpu: float = described("Share of a core that the busiest client process used")
    client_cpu_ns: int = described("CPU time of the subscriber processes")
    clock_step_ns: int = described(
        "Change of the offset between CLOCK_REALTIME and CLOCK_MONOTONIC during the trial; kernel stamps use the former"
    )
    others_cpu: float = described("Share of a core used by processes that are not part of the trial")
    server_cpu_ns: int | None = described("CPU time of the process tree of the server")
    server_rss_bytes: int | None = described("Resident memory of that tree at the end")
    server_waiting_ns: int | None = described("Time in which threads of that tree were ready to run but had no core")
    server_voluntary_switches: int | None = described("How often a thread of it gave up its core to wait for something")
    server_involuntary_switches: int | None = described("How often the kernel took the core from a thread of it")
    client_waiting_ns: int | None = described(
        "Time in which a client process was ready to run but had no core; the longest of all client processes"
    )
    listen_drops: int | None = described(
        "Connections dropped because a listen queue of this machine was full, from before the first one to the end"
    )
    io_stalled_ns: int | None = described("Time in which at least one task of this machine waited for a disk")
    stolen_ns: int | None = described("Time in which a core of this machine had work, but the hypervisor ran others")
    publisher_setup_wire: Wire | None = described(
        "Bytes of opening the connections of the publishers; null if the platform does not count bytes, or the "
        "trial ended too early"
    )
    publisher_run_wire: Wire | None = described(
        "Bytes on the connections of the publishers from then to the end; null if the platform does not count "
        "bytes, or the trial ended too early"
    )
    publisher_closing_wire: Wire | None = described(
        "Bytes on the connections of the publishers after the end, until both ends had closed"
    )
    subscriber_setup_wire: Wire | None = described(
        "Bytes of opening the connections of the subscribers, subscription and readiness probe included; null "
        "if the platform does not count bytes, or the trial ended too early"
    )
    subscriber_run_wire: Wire | None = described(
        "Bytes on the connections of the subscribers from then to the end; null if the platform does not count "
        "bytes, or the trial ended too early"
    )
    subscriber_closing_wire: Wire | None = described(
        "Bytes on the connections of the subscribers after the end, until both ends had closed"
    )
    keep_alive_bytes: int = described("Bytes above TCP of pings and their answers, on both hops")
    predicted: Predicted | None = described(
        "Bytes that TCP should have carried in `*_run_wire` according to the wire format of the transport; null "
        "if the client has no prediction"
    )
    clock_bound_ns: int = described(
        "How far the measured offset between the clocks of two processes may be wrong; 0 if all read the same clock",
        default=0,
    )
    link_rtt_ms: float | None = described(
        "Median round-trip time of the link, measured before the trial; null without an emulated network", default=None
    )
    link_loss: float | None = described(
        "Share of the packets that the link lost in that measurement; null if the link carries no packets", default=None
    )
    link_down_bps: float | None = described(
        "Bits a second from server to client in that measurement; null where the network does not limit them",
        default=None,
    )
    link_up_bps: float | None = described("The same from client to server", default=None)
    link_wrong: str | None = described("Why the link is not what was asked for; null if it is", default=None)
    placement: str = described("Which cores each process stayed on; empty: the scheduler decided", default="")
    faults: tuple[Evidence, ...] = described("What was seen of each fault that was planned", default=())
    connect_ns: tuple[int, ...] = described(
        "How long each subscription took, from the start of connecting to being subscribed; empty if the client does "
        "not tell",
        default=(),
    )
    outages: tuple[Outage, ...] = described("Connections that clients noticed to be lost, in that order", default=())

    @property
    def achieved(self) -> float:
        """The share of the offered rate at which publishes were finished."""
        return self.pace * (1 - self.unfinished / self.offered) if self.offered else 1.0

    @property
    def setup_wire(self) -> Wire | None:
        """Bytes of opening all connections."""
        return _sum(self.publisher_setup_wire, self.subscriber_setup_wire)

    @property
    def run_wire(self) -> Wire | None:
        """Bytes on all connections while messages were sent, on both hops."""
        return _sum(self.publisher_run_wire, self.subscriber_run_wire)

    @property
    def closing_wire(self) -> Wire | None:
        """Bytes of closing all connections."""
        return _sum(self.publisher_closing_wire, self.subscriber_closing_wire)


def _sum(a: Wire | None, b: Wire | None) -> Wire | None:
    return None if a is None or b is None else a + b
