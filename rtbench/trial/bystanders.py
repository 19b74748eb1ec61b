"""Bystanders: clients that hold topic filters which no message matches, so that a broker has to tell them apart.

They are connected before the clients of the trial, and send and receive nothing during it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from rtbench.errors import UsageError
from rtbench.plan.variant import LEAN_CLIENT
from rtbench.system.meter import Meter
from rtbench.system.tls import client_context
from rtbench.transports import registry
from rtbench.transports.contract import Client
from rtbench.trial.servers import RunningServer
from rtbench.wire.topics import is_topic_filter, matches

PLACE = "{}"  # in a pattern: where the number of the filter stands
_COMPARED = 100  # filters with the topics: the others differ from them in their numbers
_A_CLIENT = 2000  # filters: the embedded broker bounds what one client may make it keep


def filters_of(pattern: str, number: int, topics: Sequence[str]) -> list[str]:
    """Return so many topic filters of a pattern, such as `devices/{}/+/temperature`.

    Raises:
        UsageError: the pattern has no place for their number, makes no filters, or filters that match a topic.
    """
    if PLACE not in pattern:
        raise UsageError(f"--filter must have {PLACE} where its number stands, as in house/{PLACE}/#: got {pattern!r}")
    filters = [pattern.replace(PLACE, str(i)) for i in range(number)]
    for each in filters[:1]:
        if not is_topic_filter(each):
            raise UsageError(f"--filter makes {each!r}, which is no topic filter (MQTT 3.1.1 section 4.7)")
    for topic in set(topics):
        if (match := next((f for f in filters[:_COMPARED] if matches(f, topic)), None)) is not None:
            raise UsageError(f"--filter makes {match!r}, which matches {topic}, a topic of the measurement")
    return filters


def can_hold_filters(transport: str) -> bool:
    """Return whether subscribers of a transport ask for topic filters."""
    return (transport, LEAN_CLIENT) in registry.client_names() and _client(transport).hold_filters is not None


def _client(transport: str) -> Client:
    return registry.client(transport, LEAN_CLIENT)


@asynccontextmanager
async def bystanders(server: RunningServer, transport: str, filters: Sequence[str]) -> AsyncIterator[None]:
    """Have these filters held by as many clients as it takes; nothing where there are none."""
    async with AsyncExitStack() as stack:
        if filters and can_hold_filters(transport):
            hold = _client(transport).hold_filters
            assert hold is not None
            meter = Meter(client_context(server.ca))
            for first in range(0, len(filters), _A_CLIENT):
                await stack.enter_async_context(hold(server.url, meter, filters[first : first + _A_CLIENT]))
        yield
