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
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from rtbench.errors import Interrupted, ResultError
from rtbench.plan.settings import Given, Setting
from rtbench.result.result import COMPLETE, INCOMPLETE, Result
from rtbench.trial.executor import FreshProcesses

AnyResult = TypeVar("AnyResult", bound=Result[Any])
Step = TypeVar("Step")
Note = Callable[[str], None]


@dataclass(frozen=True)
class Progress:
    """Where an experiment stands: the step under way (from 1), what it measures, and the time left in seconds.

    `steps` are planned so far; where there may be more, `most_steps` says how many at most. `note` says in a few words
    how far the step is (`1250 messages`).
    """

    name: str
    step: int
    steps: int
    most_steps: int
    note: str
    left_s: float


Watch = Callable[[Progress], None]


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
        Interrupted: as in `run`.
    """
    if result.status == COMPLETE:
        raise ResultError("the result is complete: there is nothing left to measure")
    experiment.resume(result)
    with experiment.limits(result):
        return _carry_out(experiment, result, watch, executor)


class Stopped(Interrupted):
    """The experiment was interrupted; `result` is what was measured."""

    def __init__(self, result: Result[Any]) -> None:
        done, where = len(result.trials), f", saved in {result.path} as incomplete" if result.path else ""
        super().__init__(f"interrupted; {done} trial{'s' if done != 1 else ''} measured{where}")
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
    return result


async def _steps(
    experiment: Experiment[AnyResult, Step], result: AnyResult, watch: Watch, executor: Callable[[], Executor]
) -> None:
    _cancel_on_signals()
    began, measured_before = time.monotonic(), result.steps[0]
    try:
        for step in experiment.steps(result):
            done = result.steps[0] - measured_before
            started = time.monotonic()
            each_s = (started - began) / done if done else experiment.expected_s(result, step)

            def note(text: str, step: Step = step, started: float = started, each_s: float = each_s) -> None:
                done, steps = result.steps
                number = done + 1
                left_s = each_s * (steps - number + 1) - (time.monotonic() - started)
                most = experiment.most_steps(result)
                watch(Progress(experiment.name(step), number, steps, most, text, max(left_s, 0.0)))

            note("")
            await experiment.measure(result, step, executor, note)
        result.finish()
    except asyncio.CancelledError:
        result.finish(INCOMPLETE)


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
