"""Trials that run at once: where they keep the machine idle, they need not run one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from functools import partial

from rtbench.analysis.measured import Measured
from rtbench.experiments.runner import Note
from rtbench.transports import registry
from rtbench.trial.counting import measured
from rtbench.trial.phase import Phase, Report
from rtbench.trial.planning import TrialPlan
from rtbench.trial.servers import AnsweringServer
from rtbench.trial.trial import Gate, Gates, conduct


async def trial_of(plan: TrialPlan, executor: Executor, report: Report, gates: Gates | None = None) -> Measured:
    """Run a trial; return what was measured."""
    source = AnsweringServer(plan.url) if plan.url is not None else None
    trial = await conduct(plan, executor, report, source, gates)
    return measured(trial, registry.client(plan.variant.transport, plan.variant.client).predict)


async def trials_of(plans: Sequence[TrialPlan], executor: Callable[[], Executor], note: Note) -> list[Measured]:
    """Run trials at once: all connect when the last has its processes, and begin when the last is ready."""
    noted, connecting, beginning = _slowest(note), Starting(len(plans)), Starting(len(plans))

    async def one(plan: TrialPlan) -> Measured:
        with connecting.counted() as connect, beginning.counted() as begin:
            return await trial_of(plan, executor(), partial(noted, plan.index), Gates(connect, begin))

    return list(await asyncio.gather(*map(one, plans)))


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
