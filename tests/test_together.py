"""Trials that run at once."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from rtbench.experiments import together
from rtbench.experiments.together import Starting
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


def test_all_connect_once_all_have_their_processes_and_begin_once_all_are_ready(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    happened: list[str] = []

    async def trial_of(plan: Any, _executor: object, _report: object, gates: Gates) -> int:
        index: int = plan.index
        if index == 2:
            happened.append("failed")
            return index
        for step, gate in (("run", gates.connect), ("connected", gates.begin)):
            happened.append(step)
            await gate()
        happened.append("begun")
        return index

    monkeypatch.setattr(together, "trial_of", trial_of)
    plans: Any = [SimpleNamespace(index=index) for index in range(3)]
    nothing: Any = None
    found: Any = asyncio.run(together.trials_of(plans, lambda: nothing, lambda _: None))
    assert found == [0, 1, 2]
    assert happened == ["run", "run", "failed", "connected", "connected", "begun", "begun"]
