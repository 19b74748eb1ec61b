"""Client processes with one thing wrong: each does what the generator does, in a process that is spoiled beforehand."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from rtbench.transports.records import Part, PublisherRecord, SubscriberRecord
from rtbench.trial.executor import FreshProcesses
from rtbench.trial.pacer import pace
from rtbench.trial.trial import generator

STEP_NS = 50_000_000
STEP_AFTER_NS = 300_000_000
LATE_S = 0.02


def beside_a_stepped_clock(part: Part) -> SubscriberRecord:
    """Subscribe while CLOCK_REALTIME, as this process reads it, is set in the midst of the trial."""
    real, first_ns = time.time_ns, []

    def time_ns() -> int:
        first_ns.append(time.monotonic_ns())
        return real() + STEP_NS * (first_ns[-1] - first_ns[0] > STEP_AFTER_NS)

    time.time_ns = time_ns
    return generator.subscribe(part)


def computing_on_the_side(part: Part) -> SubscriberRecord:
    """Subscribe in a process that is busy with something else."""

    def compute() -> None:
        while True:
            pass

    threading.Thread(target=compute, daemon=True).start()
    return generator.subscribe(part)


def sending_late(part: Part) -> PublisherRecord:
    """Publish in a process that does something else whenever a message is due."""

    async def late(due_ns: Sequence[int], send: Callable[[int], None]) -> None:
        def then_send(position: int) -> None:
            time.sleep(LATE_S)
            send(position)

        await pace(due_ns, then_send)

    vars(generator)["pace"] = late
    return generator.publish(part)


class Spoiled(FreshProcesses):
    """Runs some functions of the generator by way of others."""

    def __init__(self, instead: dict[Callable[..., Any], Callable[..., Any]]) -> None:
        """Know which."""
        super().__init__()
        self._instead = instead

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Submit what stands in for `fn`."""
        return super().submit(self._instead.get(fn, fn), *args, **kwargs)
