"""Bystanders hold the topic filters that were asked for, and none that a message of the trial matches."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

import rtbench
from rtbench.errors import Refused, UsageError
from rtbench.trial.bystanders import bystanders, filters_of
from rtbench.wire import mqtt


def test_filters_are_made_of_a_pattern() -> None:
    assert filters_of("devices/{}/#", 3, ["fan-out/0"]) == ["devices/0/#", "devices/1/#", "devices/2/#"]
    assert filters_of("a/{}", 0, []) == []


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("devices/#", "must have {} where its number stands"),
        ("devices/#{}", "no topic filter"),
        ("+/{}", r"makes '\+/7', which matches fan-out/7"),
    ],
)
def test_patterns_that_would_not_do_are_refused(pattern: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        filters_of(pattern, 10, ["fan-out/7"])


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ({"transport": "sse"}, "transports whose subscribers ask for topic filters"),
        ({"transport": "mqtt", "qos": 0, "network": "rtt=10ms", "link": "stream"}, "without a network in front"),
        ({"transport": "mqtt", "qos": 0, "filter": "x"}, "must have {}"),
    ],
)
def test_filters_in_vain_are_refused_before_the_start(flags: dict[str, Any], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        rtbench.run(**flags, filters=5)


async def held(number: int, granted: int = 0) -> list[list[str]]:
    """The filters that each bystander asked a broker for, which grants them or not."""
    asked: list[list[str]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        packets = mqtt.Reader()
        mine: list[str] = []
        asked.append(mine)
        while data := await reader.read(2**16):
            for head, body in packets.feed(data):
                packet = mqtt.decode(head, body)
                if isinstance(packet, mqtt.Connect):
                    writer.write(mqtt.encode(mqtt.Connack(False, mqtt.ACCEPTED)))
                elif isinstance(packet, mqtt.Subscribe):
                    mine.extend(name for name, _ in packet.filters)
                    writer.write(mqtt.encode(mqtt.Suback(packet.packet_id, (granted,) * len(packet.filters))))
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        running: Any = SimpleNamespace(url=f"mqtt://127.0.0.1:{port}", ca=None)
        async with bystanders(running, "mqtt", filters_of("d/{}/+", number, [])):
            return asked


@pytest.mark.process
def test_all_filters_are_subscribed_to_by_as_many_clients_as_it_takes() -> None:
    asked = asyncio.run(held(4500))
    assert sorted(map(len, asked)) == [500, 2000, 2000]
    assert {name for names in asked for name in names} == {f"d/{i}/+" for i in range(4500)}


@pytest.mark.process
def test_a_filter_that_the_broker_does_not_grant_is_named() -> None:
    with pytest.raises(Refused, match=r"does not grant the filter d/0/\+"):
        asyncio.run(held(1, granted=0x80))


@pytest.mark.process
@pytest.mark.long
def test_a_result_says_that_there_were_filters() -> None:
    result = rtbench.run("mqtt", qos=0, filters=30, trials=1, duration=0.2, warmup=0.0, repeat=False)
    assert "30 filters like devices/{}/+/temperature" in " ".join(result.report().split())
