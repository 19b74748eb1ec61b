"""mosquitto in its three configurations: what each keeps for a client that is away."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from rtbench.errors import UsageError
from rtbench.plan.settings import resolve
from rtbench.transports import registry
from rtbench.transports.choice import chosen_variants
from rtbench.trial.servers import RunningServer, StartedServer
from tests.conftest import until
from tests.mqtt_peers import WITHIN_S, Broker, Paho
from tests.programs import needs

DEFAULT: dict[str, Any] = {}
STOCK, DURABLE, FEW = {"stock": True}, {"durable": True}, {"max_queued_messages": 30}

pytestmark = [needs("mosquitto"), pytest.mark.process]


def publish_for_one_that_is_away(server: RunningServer, count: int) -> None:
    """Publish at QoS 1; on return all are acknowledged."""
    away, publisher = (
        Paho(cast(Broker, SimpleNamespace(port=server.port)), name, clean=False) for name in ("away", "publisher")
    )
    away.connect()
    away.subscribe(("topic", 1))
    away.disconnect()
    publisher.connect()
    for sent in [publisher.client.publish("topic", b"message %d" % i, 1) for i in range(count)]:
        sent.wait_for_publish(WITHIN_S)
    with suppress(Exception):  # the server may be about to be killed
        publisher.disconnect()


def state_of(server: RunningServer) -> Path:
    assert server.lives is not None
    assert server.lives.request.state is not None
    return Path(server.lives.request.state)


def wait_for_disk(server: RunningServer, last: bytes) -> None:
    """Wait until a message is on disk: mosquitto acknowledges it a moment before it writes it."""
    assert until(lambda: last in (state_of(server) / "mosquitto.db").read_bytes())


def kept(server: RunningServer, expected: int) -> int:
    """Come back, and count what has waited: what is published now may overtake the last of it."""
    back = Paho(cast(Broker, SimpleNamespace(port=server.port)), "away", clean=False)
    back.connect()
    back.subscribe(("topic", 1))
    until(lambda: back.arrived.qsize() >= expected, within_s=5.0)
    back.publish("topic", b"end", 1)
    count = len({payload for _, payload, _, _ in back.until(b"end")})
    back.disconnect()
    return count


@pytest.mark.parametrize(
    ("options", "end", "sent", "expected"),
    [
        pytest.param(DURABLE, "kill", 200, 200, id="durable, killed"),
        pytest.param(STOCK, "kill", 200, 0, id="stock, killed"),
        pytest.param(STOCK, "end", 200, 200, id="stock, restarted", marks=pytest.mark.long),
        pytest.param(STOCK, None, 1200, 1000, id="stock, many", marks=pytest.mark.long),
        pytest.param(DEFAULT, None, 1200, 1200, id="many", marks=pytest.mark.long),
        pytest.param(DEFAULT, "end", 200, 0, id="restarted", marks=pytest.mark.long),
        pytest.param(FEW, None, 60, 30, id="few"),
    ],
)
def test_what_is_acknowledged_for_a_client_that_is_away_outlives_what_the_configuration_says(
    options: dict[str, Any], end: str | None, sent: int, expected: int
) -> None:
    async def main() -> tuple[int, Path]:
        async with StartedServer("mqtt", "mosquitto", options, restarts=int(end is not None)).running() as server:
            assert server.lives is not None
            await asyncio.to_thread(publish_for_one_that_is_away, server, sent)
            if options == DURABLE:
                await asyncio.to_thread(wait_for_disk, server, b"message %d" % (sent - 1))
            if end is not None:
                await getattr(server.lives, end)()
                await server.lives.start()
            state = state_of(server)
            assert state.is_dir()
            return await asyncio.to_thread(kept, server, expected), state

    count, state = asyncio.run(main())
    assert count == expected
    assert not state.exists()


@pytest.mark.parametrize("other", [DURABLE, FEW, {"max_inflight_messages": 5}], ids=str)
def test_stock_is_the_whole_configuration(other: dict[str, Any]) -> None:
    async def main() -> None:
        async with StartedServer("mqtt", "mosquitto", {**STOCK, **other}).running():
            pass

    with pytest.raises(UsageError, match="leave out the other options of mosquitto"):
        asyncio.run(main())


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        ({}, {"max_queued_messages": "1000000", "sys_interval": "0"}),
        (
            {"max_inflight_messages": 5, "max_queued_messages": 1000},
            {"max_inflight_messages": "5", "sys_interval": "0"},
        ),
        ({"stock": True}, {"persistence": "true", "persistence_location": "a directory/"}),
        ({"websocket": True, "stock": True}, {"protocol": "websockets", "socket_domain": "ipv4"}),
    ],
)
def test_what_is_not_its_default_is_told(options: dict[str, Any], settings: dict[str, str]) -> None:
    told = registry.server("mqtt", "mosquitto").configured(**options)
    assert settings.items() <= told.items()
    assert ("max_queued_messages" in told) == (not options)
    assert told["set_tcp_nodelay"] == "true"


def test_a_result_has_the_settings_that_are_not_the_defaults() -> None:
    given = {"transport": "mqtt", "qos": 1, "server": "mosquitto", "server_option": ["max_queued_messages=7"]}
    settings = resolve({name: (value, "argument") for name, value in given.items()}, registry.settings())
    (variant,) = [v for v in chosen_variants(settings, everything=True) if not v.control]
    assert variant.server_settings["max_queued_messages"] == "7"
