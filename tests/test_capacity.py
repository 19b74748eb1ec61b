"""The search finds the capacity of servers whose truth is known, and says what ran out first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rtbench
from rtbench.analysis.capacity_search import Bracket, Probe, bracket, next_load
from rtbench.analysis.limiting import GENERATOR, latency_grows, ran_out_first
from rtbench.errors import UsageError
from rtbench.plan.objective import parse_objective


def searched(
    holds: Callable[[float], bool], first: float = 10.0, most: float = 1e6, resolution: float = 0.1, whole: bool = False
) -> list[Probe]:
    """The probes of a search, three trials each, on a server that `holds` or not."""
    probes: list[Probe] = []
    while (load := next_load(probes, first, most, resolution, whole)) is not None:
        probes.append(Probe(load, sum(holds(load) for _ in range(3)), 3))
        assert len(probes) < 60
    return probes


@pytest.mark.parametrize("capacity", [13.0, 100.0, 777.0, 52_000.0, 3.0])
def test_the_bracket_contains_the_capacity_and_is_as_narrow_as_asked(capacity: float) -> None:
    found = bracket(searched(lambda load: load <= capacity))
    assert found.held is not None
    assert found.failed is not None
    assert found.held <= capacity < found.failed
    assert found.failed / found.held <= 1.1
    assert found.monotonic


def test_a_server_that_fails_now_and_then_does_not_mislead_it() -> None:
    random = np.random.default_rng(3)
    near = []
    for _ in range(20):
        found = bracket(searched(lambda load: load <= 500 and random.random() > 0.1))
        assert found.held is not None
        near.append(found.held)
    assert np.median(near) > 400


def test_it_ends_at_the_highest_load_to_try_and_where_nothing_holds() -> None:
    assert bracket(searched(lambda _: True, most=1000)) == bracket([Probe(1000, 3, 3)])
    assert bracket(searched(lambda _: False)).held is None


@pytest.mark.parametrize("most", [1234.0, 1239.0, 99_999.0])
def test_the_highest_load_to_try_is_tried_as_it_is(most: float) -> None:
    probes = searched(lambda _: True, most=most)
    assert bracket(probes).held == most == max(probe.load for probe in probes)


def test_whole_loads_are_whole_and_end() -> None:
    probes = searched(lambda load: load <= 5, first=1, whole=True, resolution=0.01)
    assert all(probe.load == round(probe.load) for probe in probes)
    assert (bracket(probes).held, bracket(probes).failed) == (5, 6)


def test_a_load_that_failed_below_one_that_held_is_said() -> None:
    found = bracket([Probe(10, 3, 3), Probe(20, 0, 3), Probe(40, 3, 3), Probe(80, 0, 3)])
    assert found == Bracket(40, 80, monotonic=False)


def test_a_load_that_failed_while_the_machine_was_busy_is_tried_again() -> None:
    """Every load fails the first time that it is tried: two later rounds outvote it."""
    tried: Counter[float] = Counter()

    def holds(load: float) -> bool:
        tried[load] += 1
        return load <= 500 and (tried[load] > 3 or not 200 < load < 400)

    found = bracket(searched(holds))
    assert found.held is not None
    assert found.failed is not None
    assert found.held <= 500 < found.failed
    assert found.failed / found.held <= 1.1


def test_the_load_that_failed_beside_the_answer_has_failed_twice() -> None:
    probes = searched(lambda load: load <= 100)
    failed = bracket(probes).failed
    assert [probe.kept for probe in probes if probe.load == failed] == [0, 0]


@pytest.mark.parametrize(
    ("slope_ms_per_s", "noise_ms", "grows"),
    [(0.0, 1.0, False), (0.0, 40.0, False), (50.0, 1.0, True), (2.0, 0.1, False)],
)
def test_a_queue_that_fills_is_seen_within_a_trial(slope_ms_per_s: float, noise_ms: float, grows: bool) -> None:
    random = np.random.default_rng(5)
    due_s = random.uniform(1, 3, 2000)
    latency_ms = 1 + slope_ms_per_s * (due_s - 1) + random.exponential(noise_ms, 2000)
    assert latency_grows(due_s, latency_ms) == grows


def test_a_trial_with_few_messages_tells_no_growth() -> None:
    assert not latency_grows(np.arange(3.0), np.array([1.0, 10.0, 100.0]))


FINE: dict[str, Any] = {
    "client_cpu_percent": 50.0,
    "generator_lag_p99_ms": 0.1,
    "server_cpu_percent": 40.0,
    "server_cpu_us_per_delivery": 20.0,
    "server_waiting_us_per_delivery": 1.0,
    "lost": 0,
    "expected": 100,
    "published": 1,
    "latency_p99_ms": 30.0,
    "achieved_share": 1.0,
}


@pytest.mark.parametrize(
    ("changed", "first"),
    [
        ({"client_cpu_percent": 97.0, "server_cpu_percent": 99.0}, GENERATOR),
        ({"generator_lag_p99_ms": 30.0}, GENERATOR),
        ({"server_cpu_percent": 98.0, "lost": 5}, "the server's core"),
        ({"server_cpu_percent": None, "lost": 5}, "a queue of the server"),
        ({"server_waiting_us_per_delivery": 25.0, "lost": 5}, "the cores of this machine"),
        ({"server_cpu_us_per_delivery": 200.0}, "the server's time for one message"),
        ({"achieved_share": 0.5}, "the way to the server"),
        ({}, "nothing that is watched"),
    ],
)
def test_what_ran_out_first_is_told_from_the_figures(changed: dict[str, Any], first: str) -> None:
    assert ran_out_first({**FINE, **changed})[0] == first


def test_an_objective_is_read_and_judges_a_row() -> None:
    assert parse_objective("p99 < 50 ms").terms[0].limit == 50
    objective = parse_objective("p99<50ms, lost=0,duplicated<=1%, server_cpu<80%")
    assert str(objective) == "p99<50ms, lost=0, duplicated<=1%, server_cpu<80%"
    row = {"latency_p99_ms": 49.0, "lost": 0, "duplicated": 2, "expected": 200, "server_cpu_percent": 79.0}
    assert objective.broken(row) == []
    assert objective.broken({**row, "latency_p99_ms": 50.0, "duplicated": 3}) == ["p99<50ms", "duplicated<=1%"]
    assert objective.broken({**row, "latency_p99_ms": None}) == ["p99<50ms"]


@pytest.mark.parametrize("text", ["", "p99", "p98<5ms", "p99<5", "lost=x", "p99>5ms", "lost=0;p50<1s", "lost=-1"])
def test_what_is_no_objective_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_objective(text)


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ({"of": "payload"}, "--of must be one of rate, subscribers, publishers"),
        ({"client": "auto"}, "--client auto would change"),
        ({"rate": 5.0}, "--rate is what is varied"),
        ({"first": 0.0}, "--first must be above 0"),
        ({"most": 1e9}, "--most must be"),
        ({"first": 10.0, "most": 5.0}, "--first must not be above --most"),
    ],
)
def test_what_cannot_be_searched_is_refused(flags: dict[str, Any], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        rtbench.capacity("websocket", **flags)


@pytest.mark.process
@pytest.mark.long
def test_a_capacity_is_measured_saved_and_drawn(tmp_path: Path) -> None:
    out = tmp_path / "out"
    quick: dict[str, Any] = {"duration": 0.2, "warmup": 0.1, "trials": 1, "repeat": False, "resolution": 0.9}
    result = rtbench.capacity(
        "websocket", of="subscribers", rate=20.0, first=1.0, most=2.0, slo="p99<10s, lost=0", out=out, **quick
    )
    assert [level.name for level in result.levels] == [f"variant=websocket__lean_,subscribers={n}" for n in (1, 2)]
    (row,) = result.summary
    assert (row["held"], row["failed"], row["subscribers"]) == (2, None, 2)
    again = rtbench.load(out)
    assert list(again.summary) == list(result.summary)
    assert "holds subscribers 2" in again.report()
    assert "websocket (lean) holds 2" in again.chart("capacity").alt
