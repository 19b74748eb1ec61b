"""Long-polling: ask, wait for the answer, ask again at once.

The server answers when there is news, so a message that finds a request waiting takes one way. One that comes while
the last answer is still on its way, or the next request, waits for it: three ways at most (RFC 6202 section 2.2).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from rtbench.system.meter import Meter
from rtbench.transports import Message, refuse_wildcards
from rtbench.wire.traffic import Predicted, Traffic

from .http_session import HttpSession, open_session, predict_asking, software

__all__ = ["SLOT", "LongPolling", "connect", "observation", "predict", "software"]

SLOT = 1
WAIT_S = 30  # below the minute after which intermediaries give up on a silent request (RFC 6202 section 5.5)
PREFER = f"wait={WAIT_S}"


class LongPolling(HttpSession):
    """A connection that has a request waiting at the server nearly all the time."""

    async def subscribe(self, topic: str) -> AsyncIterator[Message]:
        """Subscribe to one topic, from now on."""
        refuse_wildcards("long-polling", topic)
        return self._wait(topic, await self.validators(topic))

    async def _wait(self, topic: str, validators: dict[str, str]) -> AsyncIterator[Message]:
        while True:
            validators, messages = await self.ask(topic, validators, Prefer=PREFER)
            for message in messages:
                yield message


@asynccontextmanager
async def connect(url: str, meter: Meter) -> AsyncIterator[LongPolling]:
    """Open a connection that long-polls."""
    async with open_session(LongPolling, url, meter) as connection:
        yield connection


def observation(seen: Mapping[str, Any]) -> str:
    """Say what a delivery costs in requests."""
    return (
        f"answers when there is news: {seen['latency_p50_ms']:.2g} ms at the median, "
        f"for {seen['requests_per_delivery']:.1f} requests and {seen['wire_bytes_per_delivery']:.0f} bytes a delivery"
        if seen["wire_bytes_per_delivery"] is not None
        else f"answers when there is news: {seen['latency_p50_ms']:.2g} ms at the median"
    )


def predict(traffic: Traffic, **_options: Any) -> Predicted:
    """A request for each answer, made at once for the next one."""
    return predict_asking(traffic, {"Prefer": PREFER})
