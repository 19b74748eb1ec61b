"""What one trial counted: every number that the figures of a trial are computed from, beside its samples. Pure.

The description of a field is the one in the JSON Schema of result.json; its type and its bound follow from the type.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rtbench.wire.tcp import Wire
from rtbench.wire.traffic import Predicted


def described(description: str) -> Any:
    """Return a dataclass field with a description for the schema."""
    return field(metadata={"description": description})


@dataclass(frozen=True)
class TrialCounts:
    """What a trial counted. None stands for what this platform, or a trial that was cut short, does not give.

    `deliveries` and the costs include the warm-up: they are what the processes did between start and last delivery.
    """

    index: int = described("Its place in the order of the trials, from 0")
    block: int = described("Its block, from 0: each block has one trial of each variant, in random order")
    variant: str = described("Name of the variant")
    server_url: str = described("Where the server listened")
    error: str | None = described("Why the trial failed; null if it did not")
    offered: int = described("Messages in the schedule")
    unfinished: int = described("Of these, never finished")
    pace: float = described("Rate at which messages were finished, as a share of the rate at which they were offered")
    lost_in_warmup: int = described("(message, subscriber) pairs of the warm-up that never came")
    published_in_all: int = described("Messages handed to the client, warm-up included")
    deliveries: int = described("Deliveries, warm-up and duplicates included: what costs are divided by")
    missed_told: int = described("Messages that the server said it had skipped for a slow subscriber")
    requests: int = described("Requests that subscribers made to ask for messages")
    empty_requests: int = described("Of these, answered with nothing new")
    nagle_sockets: int = described("Sockets on either end with Nagle's algorithm on")
    server_retransmitted_bytes: int | None = described(
        "Bytes that the server had sent again at the end of the trial; null where its sockets cannot be read, "
        "which holds for TCP_NODELAY too"
    )
    wall_s: float = described("From the start to the last delivery")
    client_cpu: float = described("Share of a core that the busiest client process used")
    client_cpu_ns: int = described("CPU time of the subscriber processes")
    clock_step_ns: int = described(
        "By how much CLOCK_REALTIME and CLOCK_MONOTONIC moved apart in the trial; the kernel's stamps are of the former"
    )
    others_cpu: float = described("Share of a core used by processes that are not part of the trial")
    server_cpu_ns: int | None = described("CPU time of the server's process tree")
    server_rss_bytes: int | None = described("Resident memory of that tree at the end")
    server_waiting_ns: int | None = described("Time in which that tree was ready to run and had no core")
    server_voluntary_switches: int | None = described("How often a thread of it gave up its core to wait for something")
    server_involuntary_switches: int | None = described("How often the kernel took the core from a thread of it")
    client_waiting_ns: int | None = described(
        "Time in which a client process was ready to run and had no core; the longest of all client processes"
    )
    listen_drops: int | None = described(
        "Connections that a listener of this machine had no room for, from before the clients connected to the end"
    )
    io_stalled_ns: int | None = described("Time in which something on this machine waited for a disk")
    publisher_setup_wire: Wire | None = described(
        "What opening the publishers' connections put on the wire; null where the platform does not count "
        "bytes, or the trial was cut short"
    )
    publisher_run_wire: Wire | None = described(
        "What went over the publishers' connections from then to the end; null where the platform does not "
        "count bytes, or the trial was cut short"
    )
    publisher_closing_wire: Wire | None = described(
        "What went over the publishers' connections after the end, until both ends had closed"
    )
    subscriber_setup_wire: Wire | None = described(
        "What opening the subscribers' connections put on the wire, subscription and readiness probe "
        "included; null where the platform does not count bytes, or the trial was cut short"
    )
    subscriber_run_wire: Wire | None = described(
        "What went over the subscribers' connections from then to the end; null where the platform does not "
        "count bytes, or the trial was cut short"
    )
    subscriber_closing_wire: Wire | None = described(
        "What went over the subscribers' connections after the end, until both ends had closed"
    )
    keep_alive_bytes: int = described("Bytes above TCP of pings and their answers, on both hops")
    predicted: Predicted | None = described(
        "What TCP should have carried in `*_run_wire` by the transport's wire format; null where the client "
        "does not say"
    )

    @property
    def achieved(self) -> float:
        """The share of the offered rate at which publishes were finished."""
        return self.pace * (1 - self.unfinished / self.offered) if self.offered else 1.0

    @property
    def setup_wire(self) -> Wire | None:
        """What opening the connections put on the wire."""
        return _sum(self.publisher_setup_wire, self.subscriber_setup_wire)

    @property
    def run_wire(self) -> Wire | None:
        """What the messages put on the wire, on both hops."""
        return _sum(self.publisher_run_wire, self.subscriber_run_wire)

    @property
    def closing_wire(self) -> Wire | None:
        """What closing the connections put on the wire."""
        return _sum(self.publisher_closing_wire, self.subscriber_closing_wire)


def _sum(a: Wire | None, b: Wire | None) -> Wire | None:
    return None if a is None or b is None else a + b
