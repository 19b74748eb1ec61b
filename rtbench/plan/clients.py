"""Which kind of client a measurement takes where the user leaves it open (`--client auto`).

A client of a library needs 0.04 to 0.14 ms of CPU time for a delivery or a request (docs/lean-clients.md). The last of
the subscribers that one message goes to waits for all others of its process, so with ten of them the library adds about
a millisecond; and 1,500 deliveries a second keep it busy for a fifth of a core at most. Up to there it is not the
bottleneck. Beyond, and for more than 500 connections, the lean clients measure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rtbench.plan.settings import workload_of
from rtbench.plan.variant import DEFAULT_CLIENT, LEAN_CLIENT

if TYPE_CHECKING:
    from rtbench.plan.settings import Given
    from rtbench.plan.workload import Workload

AUTO = "auto"
MOST_READERS = 10  # subscribers of a message
MOST_DELIVERIES_HZ = 1500.0
MOST_CONNECTIONS = 500
RULE = (
    f"--client auto: library up to {MOST_READERS} subscribers of a message, {MOST_DELIVERIES_HZ:,.0f} deliveries "
    f"a second and {MOST_CONNECTIONS} connections, else lean"
)


def usual_client(settings: Mapping[str, Given]) -> str:
    """Return the kind of client for a measurement with these settings."""
    if "connections" in settings:
        return DEFAULT_CLIENT if settings["connections"].value <= MOST_CONNECTIONS else LEAN_CLIENT
    if not {"pattern", "rate"} <= settings.keys():
        return DEFAULT_CLIENT  # an experiment with a small load of its own
    return DEFAULT_CLIENT if _suits_a_library(workload_of(settings)) else LEAN_CLIENT


def _suits_a_library(workload: Workload) -> bool:
    readers = max(workload.subscriber_topics.count(topic) for topic in set(workload.publisher_topics))
    return (
        readers <= MOST_READERS
        and workload.deliveries_of(workload.rate_hz) <= MOST_DELIVERIES_HZ
        and workload.publishers + workload.subscribers <= MOST_CONNECTIONS
    )
