"""A sweep measures a comparison at each level; an interrupted one goes on where it was; its charts show crossovers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import rtbench
from rtbench.errors import UsageError
from rtbench.experiments import load
from rtbench.experiments.runner import Stopped, resume
from rtbench.experiments.sweep import SWEEP
from rtbench.plan.settings import Given, resolve
from rtbench.plan.sweep import levels, parse_axis
from rtbench.plan.variant import Variant
from rtbench.result.result import COMPLETE
from rtbench.result.sweep import SweepResult
from tests.builders import ENVIRONMENT, changed, comparison, trial, variant

POLLING, PUSH = variant("polling", slot=0), variant("websocket", slot=3)


def settings(*vary: str, **flags: Any) -> Mapping[str, Given]:
    given = {"vary": list(vary), **flags}
    return resolve({name: (value, "flag") for name, value in given.items()}, SWEEP.settings())


def made(cpu_us: Mapping[str, Mapping[str, float]], *vary: str) -> SweepResult:
    """A sweep over the rate; `cpu_us` is the server's CPU time a delivery, by level and variant."""
    found = levels([parse_axis(text) for text in vary], SWEEP.settings())
    comparisons = []
    for level in found:

        def one(workload: Any, of: Variant, block: int, costs: Mapping[str, float] = cpu_us[level.name]) -> Any:
            measured = trial(workload)
            ns = round(costs[of.label] * 1e3 * len(measured.deliveries.due_ns) * (1 + 0.01 * block))
            return changed(measured, server_cpu_ns=ns)

        flags: dict[str, Any] = {name: int(value) for name, value in level.numbers.items()}
        comparisons.append(comparison([POLLING, PUSH], one, trials=5, **flags))
    return SweepResult(
        kind="sweep",
        settings=settings(*vary),
        variants=[POLLING, PUSH],
        environment=ENVIRONMENT,
        created="2024-01-01T00:00:00+00:00",
        status=COMPLETE,
        planned_trials=sum(c.planned_trials for c in comparisons),
        levels=found,
        comparisons=comparisons,
        trials=[t for c in comparisons for t in c.trials],
    )


CROSSING = {
    "rate=100": {"polling": 100.0, "websocket": 40.0},
    "rate=200": {"polling": 50.0, "websocket": 40.0},
    "rate=400": {"polling": 25.0, "websocket": 40.0},
}  # polling costs 10,000 / rate, so both cost the same at 250


@pytest.fixture(scope="module")
def crossing() -> SweepResult:
    return made(CROSSING, "rate=100,200,400")


def test_the_summary_has_a_row_for_each_level_and_variant(crossing: SweepResult) -> None:
    rows = list(crossing.summary)
    assert [(row["level"], row["variant"]) for row in rows] == [
        (level, name) for level in CROSSING for name in ("polling", "websocket")
    ]
    assert list(rows[0])[:2] == ["level", "rate_hz"]
    assert [row["rate_hz"] for row in rows] == [100, 100, 200, 200, 400, 400]


def test_a_crossover_is_said_and_marked(crossing: SweepResult) -> None:
    (found,) = [place for _, place in crossing.crossovers if place.figure == "server_cpu_us_per_delivery"]
    assert (found.below, found.above) == ("websocket", "polling")
    assert found.low <= 250 <= found.high
    assert "CPU time of the server for each delivery, us: websocket needs less up to rate 250" in crossing.report()


@pytest.mark.parametrize("name", ["sweep-latency", "sweep-server-memory", "sweep-hockey-stick"])
def test_a_chart_names_every_variant_and_level(crossing: SweepResult, name: str) -> None:
    chart = crossing.chart(name)
    assert all(word in chart.alt for word in ("polling", "websocket", "100", "400"))


def test_a_chart_of_one_value_of_the_second_parameter_says_which() -> None:
    both = made(
        {f"rate={rate},payload={size}": CROSSING[f"rate={rate}"] for rate in (100, 400) for size in (100, 200)},
        "rate=100,400",
        "payload=100,200",
    )
    assert "Thick: payload 200. Thin: payload 100." in both.chart("sweep-latency").notes


def test_a_chart_without_data_is_refused(crossing: SweepResult) -> None:
    with pytest.raises(UsageError, match="sweep-requests cannot be drawn"):
        crossing.chart("sweep-requests")


def test_without_something_to_vary_it_is_refused() -> None:
    with pytest.raises(UsageError, match="--vary is missing"):
        SWEEP.start(resolve({}, SWEEP.settings()))


def test_all_levels_have_the_same_kind_of_client() -> None:
    started = SWEEP.start(settings("subscribers=1,100", transport=["websocket"], control=False))
    assert {v.client for c in started.comparisons for v in c.variants} == {"lean"}
    few = SWEEP.start(settings("subscribers=1,2", transport=["websocket"], control=False))
    assert {v.client for c in few.comparisons for v in c.variants} == {"library"}


@pytest.mark.process
def test_an_interrupted_sweep_goes_on_where_it_was(tmp_path: Path) -> None:
    flags: dict[str, Any] = {"transport": ["websocket"], "control": False, "trials": 1, "duration": 0.2, "warmup": 0.1}
    out, seen = tmp_path / "out", []

    class Half(type(SWEEP)):  # type: ignore[misc]
        """The experiment, interrupted after the first level."""

        async def measure(self, result: SweepResult, *more: Any) -> None:
            if result.trials:
                import asyncio

                raise asyncio.CancelledError
            await super().measure(result, *more)

    from rtbench.experiments.runner import run

    with pytest.raises(Stopped):
        run(Half(), settings("subscribers=1,2", repeat=False, **flags), out)
    half = load(out)
    assert isinstance(half, SweepResult)
    assert half.missing == "1 of 2 levels, 1 of 2 trials"
    seen.append((out / "levels" / "subscribers=1" / "result.json").read_bytes())
    whole = resume(SWEEP, half)
    seen.append((out / "levels" / "subscribers=1" / "result.json").read_bytes())
    assert seen[0] == seen[1]
    assert whole.status == COMPLETE
    again = load(out)
    assert [row["subscribers"] for row in again.summary] == [1, 2]
    assert [row["delivered"] > 0 for row in again.summary] == [True, True]
    assert (out / "summary.csv").read_text().startswith("level,subscribers,variant,")
    assert json.loads((out / "result.json").read_text())["trials"] == []
    level = rtbench.load(out / "levels" / "subscribers=2")
    assert level.kind == "comparison"
    assert replace(level.trials[0].workload, subscribers=1) == again.trials[0].workload
