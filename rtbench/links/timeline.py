"""Timeline: what is to happen, and when; it can be held, as a stalled network holds what is under way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count

from rtbench.system.alarm import make_alarm

_NEVER_NS = 2**62
Call = Callable[[bytes], object]


class Timeline:
    """Calls functions with some bytes at times of CLOCK_MONOTONIC; in order of asking if at the same."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._alarm = make_alarm(loop, self._ring)
        self._rings_ns = _NEVER_NS
        self._order = count()
        self._coming: list[tuple[int, int, Call, bytes]] = []
        self._held = False

    def at(self, due_ns: int, call: Call, data: bytes = b"") -> None:
        """Call a function at a time, never before."""
        heappush(self._coming, (due_ns, next(self._order), call, data))
        if due_ns < self._rings_ns:
            self._set(due_ns)

    def hold(self) -> None:
        """Call nothing until `release`."""
        self._held = True

    def release(self) -> int:
        """Go on, with all that was held first; return how many bytes that is."""
        now_ns = time.monotonic_ns()
        held_bytes = sum(len(data) for due_ns, _, _, data in self._coming if due_ns <= now_ns)
        self._held = False
        self._ring()
        return held_bytes

    def _ring(self) -> None:
        if self._held:
            return
        coming, now_ns = self._coming, time.monotonic_ns()
        try:
            while coming and coming[0][0] <= now_ns:
                _, _, call, data = heappop(coming)
                call(data)
        finally:
            self._rings_ns = _NEVER_NS
            if coming:
                self._set(coming[0][0])

    def _set(self, due_ns: int) -> None:
        self._rings_ns = due_ns
        self._alarm.set(due_ns)


async def until(at_ns: int) -> None:
    """Wait until a time of CLOCK_MONOTONIC, more punctually than asyncio.sleep does."""
    loop = asyncio.get_running_loop()
    while time.monotonic_ns() < at_ns:
        rung = loop.create_future()
        alarm = make_alarm(loop, lambda rung=rung: rung.done() or rung.set_result(None))  # type: ignore[misc]
        try:
            alarm.set(at_ns)
            await rung
        finally:
            alarm.close()
