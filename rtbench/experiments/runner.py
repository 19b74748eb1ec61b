"""The runner: carries out the steps of any experiment, one after the other.

It decides nothing about what is measured. It starts from an empty result, or from an interrupted one, asks the
experiment for the steps that are left, measures each, and saves the result after each. Ctrl-C, SIGTERM and SIGHUP end
the current step; what was measured before stays, marked incomplete.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any, Protocol, TypeVar

from rtbench.errors import Error, Interrupted, ResultError
from rtbench.experiments.progress import Durations, Progress, Watch
from rtbench.plan.settings import Given, Setting
from rtbench.result.result import COMPLETE, INCOMPLETE, Result
from rtbench.trial.executor import FreshProcesses
from rtbench.trial.phase import Phase
from rtbench.units import counted

AnyResult = TypeVar("AnyResult", bound=Result[Any])
Step = TypeVar("Step")
Note = Callable[[Phase], None]


class Experiment(Protocol[AnyResult, Step]):
    """What an experiment defines."""

    @property
    def kind(self) -> str:
        """The name of the experiment in its results."""

    @property
    def result_type(self) -> type[AnyResult]:
        """What its results are."""

    def settings(self) -> Mapping[str, Setting]:
        """Return the settings that it takes, by name."""

    def start(self, settings: Mapping[str, Given]) -> AnyResult:
        """Return an empty result for some settings.

        Raises:
            UsageError: they cannot be measured.
        """

    def resume(self, result: AnyResult) -> None:
        """Check that the rest of an interrupted result can be measured here and now as it was begun.

        Raises:
            ResultError: it cannot.
        """

    def steps(self, result: AnyResult) -> Iterator[Step]:
        """Yield the steps that are left, in order; the result grows meanwhile, and may decide what follows."""

    def name(self, step: Step) -> str:
        """Return what a step measures, in a word."""

    def expected_s(self, result: AnyResult, step: Step) -> float:
        """Return about how long a step takes, before any was measured."""

    def following(self, result: AnyResult, step: Step) -> Iterator[tuple[Step, int]]:
        """Yield what is planned so far after a step: one step of each kind, and how many there are of it."""

    def most_steps(self, result: AnyResult) -> int:
        """Return how many steps there are at most."""

    def limits(self, result: AnyResult) -> AbstractContextManager[None]:
        """Return a context in which the steps are run: limits of the process that they need."""

    async def measure(self, result: AnyResult, step: Step, executor: Callable[[], Executor], note: Note) -> None:
        """Measure a step, and add what it gave to the result; each trial gets an `executor` of its own.

        Raises:
            UsageError: it cannot be measured as asked for.
        """


def run(
    experiment: Experiment[AnyResult, Step],
    settings: Mapping[str, Given],
    out: Path | None = None,
    watch: Watch = lambda _: None,
    executor: Callable[[], Executor] = FreshProcesses,
) -> AnyResult:
    """Run an experiment; return its result, saved in `out` after each step.

    Raises:
        UsageError: the settings cannot be measured, or `out` cannot be written.
        Interrupted: by Ctrl-C or a signal, after saving what there is as incomplete; the exception has it as `result`.
        NotSaved: `out` could not be written in the end; the exception has the `result`.
    """
    result = experiment.start(settings)
    with experiment.limits(result):
        if out is not None:
            result.save_in(out)
        return _carry_out(experiment, result, watch, executor)


def resume(
    experiment: Experiment[AnyResult, Step],
    result: AnyResult,
    watch: Watch = lambda _: None,
    executor: Callable[[], Executor] = FreshProcesses,
) -> AnyResult:
    """Measure what is left of an interrupted result; what was measured stays.

    Raises:
        ResultError: it is complete, or cannot be measured here as it was begun.
        Interrupted, NotSaved: as in `run`.
    """
    if result.status == COMPLETE:
        raise ResultError("the result is complete: there is nothing left to measure")
    experiment.resume(result)
    with experiment.limits(result):
        return _carry_out(experiment, result, watch, executor)


class Stopped(Interrupted):
    """The experiment was interrupted; `result` is what was measured."""

    def __init__(self, result: Result[Any]) -> None:
        where = f", saved in {result.path} as incomplete" if result.path else ""
        if result.unsaved:
            where = f", not saved in {result.path} ({result.unsaved})"
        super().__init__(f"interrupted; {counted(len(result.trials), 'trial')} measured{where}")
        self.result = result


class NotSaved(Error):
    """All was measured, and could not be saved; `result` has it in memory."""

    def __init__(self, result: Result[Any]) -> None:
        super().__init__(f"the result is not saved: {result.path} cannot be written ({result.unsaved})")
        self.result = result


def _carry_out(
    experiment: Experiment[AnyResult, Step], result: AnyResult, watch: Watch, executor: Callable[[], Executor]
) -> AnyResult:
    work = _steps(experiment, result, watch, executor)
    if _loop_is_running():
        _run_in_a_thread(work)
    else:
        asyncio.run(work)
    if result.status != COMPLETE:
        raise Stopped(result)
    if result.unsaved:
        raise NotSaved(result)
    return result


async def _steps(
    experiment: Experiment[AnyResult, Step], result: AnyResult, watch: Watch, executor: Callable[[], Executor]
) -> None:
    _cancel_on_signals()
    durations = Durations()
    try:
        for step in experiment.steps(result):
            name, expected_s, began_s = experiment.name(step), experiment.expected_s(result, step), time.monotonic()
            note = _note(experiment, result, step, durations, watch)
            await experiment.measure(result, step, executor, note)
            durations.add(name, expected_s, time.monotonic() - began_s)
        result.finish()
    except asyncio.CancelledError:
        result.finish(INCOMPLETE)


def _note(
    experiment: Experiment[AnyResult, Step], result: AnyResult, step: Step, durations: Durations, watch: Watch
) -> Note:
    """Return a function that tells `watch` the progress of the experiment from the phase of a step."""
    following_s = sum(
        number * durations.of(experiment.name(s), experiment.expected_s(result, s))
        for s, number in experiment.following(result, step)
    )

    def note(phase: Phase) -> None:
        done, steps = result.steps
        most, left_s = experiment.most_steps(result), phase.left_s + following_s
        watch(Progress(experiment.name(step), done + 1, steps, most, str(phase), left_s))

    return note


def slowest_of(note: Note) -> Callable[[int, Phase], None]:
    """Return a function that takes the phases of trials that run at once, and notes that of the slowest."""
    phases: dict[int, Phase] = {}

    def take(index: int, phase: Phase) -> None:
        phases[index] = phase
        note(max(phases.values(), key=lambda each: each.left_s))

    return take


def _cancel_on_signals() -> None:
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task is not None
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        with suppress(NotImplementedError, RuntimeError, ValueError, AttributeError):
            loop.add_signal_handler(getattr(signal, name), task.cancel)


def _loop_is_running() -> bool:
    """Whether the caller is inside an event loop already, as a notebook's cell is."""
    with suppress(RuntimeError):
        asyncio.get_running_loop()
        return True
    return False


def _run_in_a_thread(work: Coroutine[Any, Any, None]) -> None:
    """Run beside the event loop of a notebook; Ctrl-C there ends the work here."""
    running: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any] | None]] = []

    async def noted() -> None:
        running.append((asyncio.get_running_loop(), asyncio.current_task()))
        await work

    with ThreadPoolExecutor(1) as thread:
        future = thread.submit(asyncio.run, noted())
        try:
            future.result()
        except KeyboardInterrupt:
            for loop, task in running:
                if task is not None:
                    loop.call_soon_threadsafe(task.cancel)
            future.result()
