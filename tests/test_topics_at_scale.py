"""The work of finding the subscribers of a topic grows with its depth, and not with the number of filters."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from rtbench.transports import registry

PATTERNS = {
    "exact": "devices/{}/state/temperature",
    "+": "devices/{}/+/temperature",
    "#": "devices/{}/#",
    "+ first": "+/{}/state/temperature",
}


def subscriptions() -> Any:
    """The subscriptions of a broker."""
    module = sys.modules[registry.server("mqtt").serve.__module__]
    return sys.modules[module.__name__.rpartition(".")[0] + ".mqtt_topics"].Subscriptions()


def lines_of(work: Callable[[], object]) -> int:
    """Count the lines of Python that a call executes: the same on every machine."""
    count = 0

    def trace(_frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
def test_the_work_does_not_grow_with_the_filters(pattern: str) -> None:
    work = []
    for number in (10, 10_000):
        found = subscriptions()
        for device in range(number):
            found.add(pattern.format(device), device, 0)
        work.append(lines_of(lambda found=found: found.matching("devices/5/state/temperature")))  # type: ignore[misc]
        assert found.matching("devices/5/state/temperature") == {5: 0}
    assert work[0] == work[1]


def test_the_work_grows_with_the_depth_and_no_faster() -> None:
    work = {}
    for depth in (2, 4, 8, 16):
        found, topic = subscriptions(), "/".join(f"level{i}" for i in range(depth))
        found.add(topic, 1, 0)
        work[depth] = lines_of(lambda found=found, topic=topic: found.matching(topic))  # type: ignore[misc]
    steps = [(work[b] - work[a]) / (b - a) for a, b in ((2, 4), (4, 8), (8, 16))]
    assert max(steps) == pytest.approx(min(steps), rel=0.1)


def test_a_subscription_to_one_topic_leaves_what_is_known_of_the_others() -> None:
    found = subscriptions()
    for who in range(500):
        found.add("news", who, 0)
    found.matching("news")
    known = lines_of(lambda: found.matching("news"))
    found.add("weather", 1, 0)
    assert lines_of(lambda: found.matching("news")) == known
    found.add("news", 500, 1)
    assert found.matching("news")[500] == 1
    found.remove("news", 500)
    assert 500 not in found.matching("news")
    found.add("+", 501, 2)
    assert found.matching("news")[501] == 2
    found.remove("+", 501)
    assert 501 not in found.matching("news")
