"""Trials that run at once: where they keep the machine idle, they need not run one after the other."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import AsyncExitStack, contextmanager
from dataclasses import replace
from functools import partial

from rtbench.analysis.measured import Measured
from rtbench.experiments.runner import Note
from rtbench.system import process
from rtbench.transports import registry
from rtbench.trial.counting import measured
from rtbench.trial.phase import Phase, Report
from rtbench.trial.planning import TrialPlan
from rtbench.trial.servers import AnsweringServer
from rtbench.trial.trial import Gate, Gates, conduct


async def trial_of(plan: TrialPlan, executor: Executor, report: Report, gates: Gates | None = None) -> Measured:
    """Run a trial; return what was measured."""
    source = AnsweringServer(plan.url, plan.login) if plan.url is not None else None
    trial = await conduct(plan, executor, report, source, gates)
    variant = plan.variant
    own_format = registry.has_own_format(variant)
    return measured(trial, None if own_format else registry.client(variant.transport, variant.client).predict)


async def trials_of(
    plans: Sequence[TrialPlan], executor: Callable[[], Executor], note: Note, in_turns: bool = False
) -> list[Measured]:
    """Run trials at once: all connect when the last has its processes, and begin when the last is ready.

    With `in_turns` one connects after the other, so that the time that this takes is undisturbed. To each trial the
    others are no disturbance: what other processes used is counted for all trials together.
    """
    noted, running, opening, beginning = _slowest(note), *(Starting(len(plans)) for _ in range(3))
    turns, cpu, executors = asyncio.Lock(), OthersCpu(), [executor() for _ in plans]

    async def one(plan: TrialPlan, executor: Executor) -> Measured:
        async with AsyncExitStack() as turn:
            with running.counted() as run, opening.counted() as opened, beginning.counted() as begin:

                async def connect() -> None:
                    await run()
                    if in_turns:
                        await turn.enter_async_context(turns)

                async def all_open() -> None:
                    await turn.aclose()
                    await opened()

                gates = Gates(connect, all_open, begin)
                return await trial_of(plan, executor, partial(noted, plan.index), gates)

    trials = await asyncio.gather(*map(one, plans, executors))
    for ended in executors:
        await asyncio.to_thread(ended.shutdown)  # the CPU time of a child counts once it was waited for
    others_cpu = cpu.share()
    return [replace(trial, counts=replace(trial.counts, others_cpu=others_cpu)) for trial in trials]


class OthersCpu:
    """The CPU time that others than this process and its children use from now on."""

    def __init__(self) -> None:
        self._began_s, self._before_s = time.monotonic(), self._used_s()

    @staticmethod
    def _used_s() -> float:
        return process.system_cpu_ns() / 1e9 - sum(os.times()[:4])

    def share(self) -> float:
        """Return it as a share of a core."""
        return max(self._used_s() - self._before_s, 0.0) / (time.monotonic() - self._began_s)


class Starting:
    """The trials that are not yet at a gate, which opens when all are."""

    def __init__(self, trials: int) -> None:
        self._left = trials
        self._all_there = asyncio.Event()

    @contextmanager
    def counted(self) -> Iterator[Gate]:
        """Enter for each trial; yield its gate. One that ends before is waited for no more."""
        waited = False

        async def gate() -> None:
            nonlocal waited
            waited = True
            self._one_less()
            await self._all_there.wait()

        try:
            yield gate
        finally:
            if not waited:
                self._one_less()

    def _one_less(self) -> None:
        self._left -= 1
        if not self._left:
            self._all_there.set()


def _slowest(note: Note) -> Callable[[int, Phase], None]:
    """Return a function that takes the phases of trials that run at once, and notes that of the slowest."""
    phases: dict[int, Phase] = {}

    def take(index: int, phase: Phase) -> None:
        phases[index] = phase
        note(max(phases.values(), key=lambda each: each.left_s))

    return take
