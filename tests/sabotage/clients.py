"""Client processes with one thing wrong: each does what a client process of rtbench does, in a process that is spoiled first."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from rtbench.transports.records import PublisherPlan, PublisherRecord, SubscriberPlan, SubscriberRecord
from rtbench.trial import publisher, subscriber
from rtbench.trial.executor import FreshProcesses
from rtbench.trial.pacer import pace

STEP_NS = 50_000_000
STEP_AFTER_NS = 300_000_000
LATE_S = 0.02


def beside_a_stepped_clock(plan: SubscriberPlan) -> SubscriberRecord:
    """Subscribe while CLOCK_REALTIME, as this process reads it, is set in the midst of the trial."""
    real, first_ns = time.time_ns, []

    def time_ns() -> int:
        first_ns.append(time.monotonic_ns())
        return real() + STEP_NS * (first_ns[-1] - first_ns[0] > STEP_AFTER_NS)

    time.time_ns = time_ns
    return subscriber.subscribe(plan)


def computing_on_the_side(plan: SubscriberPlan) -> SubscriberRecord:
    """Subscribe in a process that is busy with something else."""

    def compute() -> None:
        while True:
            pass

    threading.Thread(target=compute, daemon=True).start()
    return subscriber.subscribe(plan)


def sending_late(plan: PublisherPlan) -> PublisherRecord:
    """Publish in a process that does something else whenever a message is due."""

    async def late(due_ns: Sequence[int], send: Callable[[int], None]) -> None:
        def then_send(position: int) -> None:
            time.sleep(LATE_S)
            send(position)

        await pace(due_ns, then_send)

    vars(publisher)["pace"] = late
    return publisher.publish(plan)


class Spoiled(FreshProcesses):
    """Runs some functions by way of others."""

    def __init__(self, instead: dict[Callable[..., Any], Callable[..., Any]]) -> None:
        """Know which."""
        super().__init__()
        self._instead = instead

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Submit what stands in for `fn`."""
        return super().submit(self._instead.get(fn, fn), *args, **kwargs)
