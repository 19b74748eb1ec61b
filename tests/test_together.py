"""Trials that run at once."""

from __future__ import annotations

import asyncio

from rtbench.experiments.together import Starting


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
