"""What a sweep varies is read from `NAME=VALUES`, and a level has the settings of the sweep with its values."""

from __future__ import annotations

import pytest

from rtbench.errors import UsageError
from rtbench.plan.sweep import levels, parse_axis, settings_at
from rtbench.transports import registry
from tests.builders import settings


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("subscribers=1,10,100", ("1", "10", "100")),
        ("subscribers=1..1000*10", ("1", "10", "100", "1000")),
        ("rate=10..50+20", ("10", "30", "50")),
        ("rate=0.5..4*2", ("0.5", "1", "2", "4")),
        ("rate=1..10+4", ("1", "5", "9")),
    ],
)
def test_lists_and_ranges_are_read(text: str, values: tuple[str, ...]) -> None:
    assert parse_axis(text).values == values


@pytest.mark.parametrize(
    "text",
    ["subscribers", "subscribers=", "rate=1", "rate=1,1", "rate=1,,2", "rate=1..10", "rate=10..1*2", "rate=1..9*1"],
)
def test_what_is_neither_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(UsageError, match="--vary"):
        parse_axis(text)


def test_levels_are_all_combinations() -> None:
    found = levels([parse_axis("rate=1,2"), parse_axis("payload=100,200")], registry.settings())
    assert [level.name for level in found] == [
        "rate=1,payload=100",
        "rate=1,payload=200",
        "rate=2,payload=100",
        "rate=2,payload=200",
    ]
    assert found[3].numbers == {"rate": 2.0, "payload": 200.0}


@pytest.mark.parametrize(
    ("texts", "reason"),
    [
        (["rate=1,2", "rate=3,4"], "two different ones"),
        (["speed=1,2"], "no such parameter; such are subscribers"),
        (["pattern=room,pairs"], "no numbers"),
        (["rate=1,x"], "--rate"),
    ],
)
def test_what_cannot_be_varied_is_refused(texts: list[str], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        levels([parse_axis(text) for text in texts], registry.settings())


def test_a_level_has_its_values_and_else_the_settings_of_the_sweep() -> None:
    known, given = registry.settings(), settings(rate=7, network="rtt=10ms,loss=1%")
    (first, _) = levels([parse_axis("subscribers=3,4")], known)
    at = settings_at(first, given, known)
    assert (at["subscribers"].value, at["subscribers"].source, at["rate"].value) == (3, "sweep", 7)
    (_, slow) = levels([parse_axis("network.rtt=1ms,80ms")], known)
    assert settings_at(slow, given, known)["network"].value == ["rtt=80ms,loss=1%"]
    (_, rare) = levels([parse_axis("interval=100ms,2s")], known)
    assert settings_at(rare, given, known)["interval"].value == [2.0]
    assert rare.numbers == {"interval": 2.0}
