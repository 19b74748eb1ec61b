"""Trials that run at once."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import MISSING, fields
from types import SimpleNamespace
from typing import Any

import pytest

from rtbench.analysis.counts import TrialCounts
from rtbench.analysis.measured import Measured
from rtbench.experiments import together
from rtbench.experiments.together import Starting
from rtbench.system import process
from rtbench.trial.trial import Gates


def test_trials_that_run_at_once_begin_together_also_when_one_has_ended() -> None:
    async def begun() -> list[str]:
        starting, order = Starting(3), []

        async def trial() -> None:
            with starting.counted() as ready:
                await ready()
                order.append("begun")

        waiting = [asyncio.create_task(trial()) for _ in range(2)]
        await asyncio.sleep(0)
        order.append("the last one has failed")
        with starting.counted():
            pass
        await asyncio.gather(*waiting)
        return order

    assert asyncio.run(begun()) == ["the last one has failed", "begun", "begun"]


class Waited:
    """An executor that notes that it was waited for."""

    def __init__(self, waited: list[int]) -> None:
        self._waited = waited

    def shutdown(self) -> None:
        self._waited.append(1)


def run_at_once(monkeypatch: pytest.MonkeyPatch, in_turns: bool) -> tuple[list[str], list[Any], int]:
    """Run three trials at once, of which one fails as soon as it is its turn; return what happened, in order."""
    happened: list[str] = []

    async def trial_of(plan: Any, _executor: object, _report: object, gates: Gates) -> Any:
        counts = TrialCounts(**{f.name: 0 for f in fields(TrialCounts) if f.default is MISSING} | {"index": plan.index})
        happened.append("run")
        await gates.connect()
        happened.append(f"connecting {plan.index}")
        await asyncio.sleep(0)
        if plan.index == 1:
            return Measured(counts, *[None] * 3)  # type: ignore[arg-type]
        happened.append(f"connected {plan.index}")
        await gates.opened()
        happened.append("measuring the link")
        await gates.begin()
        happened.append("begun")
        return Measured(counts, *[None] * 3)  # type: ignore[arg-type]

    monkeypatch.setattr(together, "trial_of", trial_of)
    plans: Any = [SimpleNamespace(index=index) for index in range(3)]
    waited: list[int] = []
    executor: Any = lambda: Waited(waited)  # noqa: E731
    found = asyncio.run(together.trials_of(plans, executor, lambda _: None, in_turns))
    return happened, found, len(waited)


def test_all_connect_once_all_have_their_processes_and_begin_once_all_are_ready(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    happened, found, waited = run_at_once(monkeypatch, in_turns=False)
    assert [trial.counts.index for trial in found] == [0, 1, 2]
    assert waited == 3
    assert happened[:3] == ["run"] * 3
    assert {*happened[3:6]} == {f"connecting {index}" for index in range(3)}
    assert {*happened[6:8]} == {"connected 0", "connected 2"}
    assert happened[8:] == [*["measuring the link"] * 2, *["begun"] * 2]


def test_in_turns_one_connects_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    happened, _, _ = run_at_once(monkeypatch, in_turns=True)
    turns = happened[3:8]
    assert all(turns.index(f"connected {index}") == turns.index(f"connecting {index}") + 1 for index in (0, 2))
    assert "connecting 1" in turns
    assert happened[:3] + happened[8:] == [*["run"] * 3, *["measuring the link"] * 2, *["begun"] * 2]


def test_others_are_neither_this_process_nor_its_children(monkeypatch: pytest.MonkeyPatch) -> None:
    system_s, ours, now_s = [100.0, 107.0], [(1.0, 1.0, 2.0, 2.0, 0.0), (1.5, 1.0, 3.5, 3.0, 0.0)], [50.0, 60.0]
    monkeypatch.setattr(process, "system_cpu_ns", lambda: round(system_s.pop(0) * 1e9))
    monkeypatch.setattr(os, "times", lambda: ours.pop(0))
    monkeypatch.setattr(time, "monotonic", lambda: now_s.pop(0))
    assert together.OthersCpu().share() == pytest.approx((7.0 - 3.0) / 10.0)
