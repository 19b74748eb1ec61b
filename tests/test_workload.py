from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtbench.errors import UsageError
from rtbench.plan.payload import HEADER_BYTES
from rtbench.plan.workload import PATTERNS, Workload, participants


def hears(pattern: str, publishers: int, subscribers: int) -> list[list[int]]:
    """Return, for each subscriber, the publishers it hears."""
    workload = Workload(pattern=pattern, publishers=publishers, subscribers=subscribers)
    assert len(workload.publisher_topics) == publishers
    assert len(workload.subscriber_topics) == subscribers
    return [
        [i for i, topic in enumerate(workload.publisher_topics) if topic == mine] for mine in workload.subscriber_topics
    ]


@pytest.mark.parametrize(
    ("pattern", "publishers", "subscribers", "heard"),
    [
        pytest.param("fan-out", 1, 3, [[0], [0], [0]], id="one publisher is heard by all"),
        pytest.param("fan-out", 2, 5, [[0], [1], [0], [1], [0]], id="subscribers are dealt to publishers in turn"),
        pytest.param("fan-out", 2, 2, [[0], [1]], id="fan-out one to one"),
        pytest.param("fan-in", 3, 1, [[0, 1, 2]], id="one subscriber hears all"),
        pytest.param("fan-in", 5, 2, [[0, 2, 4], [1, 3]], id="publishers are dealt to subscribers in turn"),
        pytest.param("room", 3, 3, [[0, 1, 2]] * 3, id="in a room everyone hears everyone, itself included"),
        pytest.param("room", 1, 1, [[0]], id="alone in a room one hears oneself"),
        pytest.param("pairs", 4, 4, [[1], [0], [3], [2]], id="two and two hear each other and nobody else"),
    ],
)
def test_who_hears_whom(pattern: str, publishers: int, subscribers: int, heard: list[list[int]]) -> None:
    assert hears(pattern, publishers, subscribers) == heard


@given(st.sampled_from(sorted(PATTERNS)), st.integers(1, 60), st.integers(1, 60))
def test_no_publisher_and_no_subscriber_is_alone(pattern: str, publishers: int, subscribers: int) -> None:
    try:
        heard = hears(pattern, publishers, subscribers)
    except UsageError:
        return
    assert all(heard)
    assert {i for who in heard for i in who} == set(range(publishers))


@given(st.integers(1, 40), st.integers(1, 40))
def test_the_dealing_is_even(few: int, more: int) -> None:
    publishers_of_each = [len(who) for who in hears("fan-in", few + more, few)]
    assert max(publishers_of_each) - min(publishers_of_each) <= 1
    heard = [who[0] for who in hears("fan-out", few, few + more)]
    subscribers_of_each = [heard.count(i) for i in range(few)]
    assert max(subscribers_of_each) - min(subscribers_of_each) <= 1


@pytest.mark.parametrize(
    ("pattern", "publishers", "subscribers", "counts"),
    [
        pytest.param("fan-out", None, None, (1, 10), id="fan-out left open is 1 to 10"),
        pytest.param("fan-out", None, 3, (1, 3), id="fan-out to 3"),
        pytest.param("fan-out", 20, None, (20, 20), id="fan-out from 20 needs 20 subscribers"),
        pytest.param("fan-out", 2, 4, (2, 4), id="fan-out as given"),
        pytest.param("fan-in", None, None, (10, 1), id="fan-in left open is 10 to 1"),
        pytest.param("fan-in", 3, None, (3, 1), id="fan-in from 3"),
        pytest.param("fan-in", None, 20, (20, 20), id="fan-in to 20 needs 20 publishers"),
        pytest.param("fan-in", None, 2, (10, 2), id="fan-in to 2 keeps its 10 publishers"),
        pytest.param("room", None, None, (5, 5), id="a room left open is 5"),
        pytest.param("room", 3, None, (3, 3), id="a room of 3 publishers is a room of 3"),
        pytest.param("room", None, 4, (4, 4), id="a room of 4 subscribers is a room of 4"),
        pytest.param("pairs", None, None, (10, 10), id="pairs left open are 10"),
        pytest.param("pairs", 4, None, (4, 4), id="pairs of 4 publishers are 4"),
        pytest.param("pairs", None, 6, (6, 6), id="pairs of 6 subscribers are 6"),
        pytest.param("room", 2, 3, (2, 3), id="a contradiction is left for the workload to refuse"),
    ],
)
def test_counts_left_open_are_filled_in(
    pattern: str, publishers: int | None, subscribers: int | None, counts: tuple[int, int]
) -> None:
    assert participants(pattern, publishers, subscribers) == counts


@pytest.mark.parametrize("pattern", PATTERNS)
@given(count=st.integers(1, 99_999))
def test_one_count_is_enough_for_every_pattern(pattern: str, count: int) -> None:
    even = 2 * (count // 2) or 2
    for given_counts in ((even, None), (None, even)):
        publishers, subscribers = participants(pattern, *given_counts)
        Workload(pattern=pattern, publishers=publishers, subscribers=subscribers, rate_hz=1, duration_s=1, warmup_s=0)


def test_an_unknown_pattern_is_refused_before_any_count() -> None:
    with pytest.raises(UsageError, match="--pattern must be one of fan-out, fan-in, room, pairs: got 'star'"):
        participants("star", None, None)


@pytest.mark.parametrize(
    ("asked", "flag"),
    [
        pytest.param({"pattern": "star"}, "--pattern", id="a pattern that is none"),
        pytest.param({"arrivals": "bursty"}, "--arrivals", id="arrivals that are none"),
        pytest.param({"publishers": 0}, "--publishers", id="no publisher"),
        pytest.param({"publishers": 100_000}, "--publishers", id="more publishers than the header can number"),
        pytest.param({"subscribers": 0}, "--subscribers", id="no subscriber"),
        pytest.param({"subscribers": 100_000}, "--subscribers", id="too many subscribers"),
        pytest.param({"rate_hz": 0}, "--rate", id="no rate"),
        pytest.param({"rate_hz": -1}, "--rate", id="a negative rate"),
        pytest.param({"rate_hz": float("nan")}, "--rate", id="a rate that is no number"),
        pytest.param({"rate_hz": float("inf")}, "--rate", id="an infinite rate"),
        pytest.param({"payload_bytes": HEADER_BYTES - 1}, "--payload", id="a payload smaller than its header"),
        pytest.param({"payload_bytes": 2**24}, "--payload", id="a payload too large"),
        pytest.param({"duration_s": 0}, "--duration", id="no duration"),
        pytest.param({"duration_s": -1}, "--duration", id="a negative duration"),
        pytest.param({"duration_s": float("nan")}, "--duration", id="a duration that is no number"),
        pytest.param({"warmup_s": -0.1}, "--warmup", id="a negative warm-up"),
        pytest.param({"warmup_s": float("inf")}, "--warmup", id="an endless warm-up"),
        pytest.param({"rate_hz": 0.5, "duration_s": 1}, "sends nothing", id="not one message in the duration"),
        pytest.param({"publishers": 2, "subscribers": 1}, "fan-out", id="fan-out with a publisher in vain"),
        pytest.param(
            {"pattern": "fan-in", "publishers": 1, "subscribers": 2}, "fan-in", id="fan-in with a subscriber in vain"
        ),
        pytest.param({"pattern": "room", "publishers": 2, "subscribers": 3}, "room", id="a room with two sizes"),
        pytest.param({"pattern": "pairs", "publishers": 2, "subscribers": 4}, "pairs", id="pairs with two sizes"),
        pytest.param({"pattern": "pairs", "publishers": 3, "subscribers": 3}, "even", id="one without a partner"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_line(asked: dict[str, Any], flag: str) -> None:
    with pytest.raises(UsageError) as refusal:
        Workload(**asked)
    assert flag in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param({"payload_bytes": HEADER_BYTES}, id="a payload that is all header"),
        pytest.param({"payload_bytes": 2**24 - 1024}, id="the largest payload"),
        pytest.param({"warmup_s": 0}, id="no warm-up"),
        pytest.param({"rate_hz": 1, "duration_s": 1}, id="one message"),
        pytest.param({"rate_hz": 1e6, "duration_s": 1}, id="the highest rate"),
        pytest.param(
            {"pattern": "room", "publishers": 99_999, "subscribers": 99_999, "rate_hz": 2}, id="the largest room"
        ),
    ],
)
def test_what_lies_on_the_border_is_allowed(asked: dict[str, Any]) -> None:
    workload = Workload(**asked)
    assert {name: getattr(workload, name) for name in asked} == asked


def test_a_workload_cannot_be_changed_behind_the_checks() -> None:
    workload = Workload()
    for field in fields(workload):
        with pytest.raises(AttributeError):
            setattr(workload, field.name, None)
