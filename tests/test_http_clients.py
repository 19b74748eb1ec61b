"""The options of the HTTP clients: a new connection for each request, and requests that overlap."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from rtbench.system.meter import Meter, MeteredSocket
from rtbench.transports import Connection, registry
from rtbench.transports.serving import serve

every_client = pytest.mark.parametrize("name", ["polling", "long-polling", "sse"])


class CountingMeter(Meter):
    """A meter that counts the connections it opened."""

    opened = 0

    def socket(self, family: int, kind: int, protocol: int) -> MeteredSocket:
        self.opened += 1
        return super().socket(family, kind, protocol)


def connected(name: str, url: str, meter: Meter, **options: Any) -> AbstractAsyncContextManager[Connection]:
    connect = registry.client(name).connect
    assert connect is not None
    return connect(url, meter, **options)


async def connections_of(name: str, messages: int, **options: Any) -> int:
    meter = CountingMeter()
    async with serve(name, "embedded", "127.0.0.1", 0, {}) as url, connected(name, url, meter, **options) as connection:
        for _ in range(messages):
            await connection.publish("room", b"x")
    return meter.opened


@every_client
@pytest.mark.process
def test_every_post_has_a_connection_of_its_own_only_where_it_is_asked_for(name: str) -> None:
    assert asyncio.run(connections_of(name, 3, close=True)) == 3
    assert asyncio.run(connections_of(name, 3)) == 1


@every_client
def test_publishes_overlap_only_where_it_is_asked_for(name: str) -> None:
    async def limits() -> tuple[int | None, int | None]:
        async with (
            connected(name, "http://127.0.0.1:9", Meter(), overlap=True) as overlapping,
            connected(name, "http://127.0.0.1:9", Meter()) as usual,
        ):
            return overlapping.in_flight_limit, usual.in_flight_limit

    assert asyncio.run(limits()) == (None, 1)
