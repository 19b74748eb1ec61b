"""Pacer: calls a function when each message is due, with an error of some ten microseconds.

The timers of an event loop are rounded to a millisecond, which is more than many latencies that are measured here. On
Linux the pacer uses a timerfd in the selector of the loop. On other systems it uses the timer of the loop, and the lag
in the result shows the error. An idle core takes time to wake up, a quarter of a millisecond in a virtual machine.
Therefore the alarm is set early, and the loop polls without waiting until the message is due.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Protocol

_CLOCK_MONOTONIC = 1
_TFD_FLAGS = os.O_NONBLOCK | getattr(os, "O_CLOEXEC", 0)
_TFD_TIMER_ABSTIME = 1
EARLY_NS = 300_000  # on an idle virtual machine 90 % of the alarms were less late than this
_POLLING_DIVISOR = 20  # the loop may poll for at most 1/20 of the time


class Alarm(Protocol):
    """Calls a function once, at a time of CLOCK_MONOTONIC."""

    def set(self, at_ns: int) -> None:
        """Call the function at `at_ns`, or at once if that time has passed."""

    def close(self) -> None:
        """Release the resources of the alarm."""


class TimerFd:
    """An alarm on timerfd_settime(2) with an absolute time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
        self._loop = loop
        self._callback = callback
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._libc.timerfd_create(_CLOCK_MONOTONIC, _TFD_FLAGS)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        loop.add_reader(self._fd, self._ring)

    def _ring(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:
            return
        self._callback()

    def set(self, at_ns: int) -> None:
        """Call the function at `at_ns`. The fields of itimerspec are interval (s, ns) and value (s, ns)."""
        spec = (ctypes.c_long * 4)(0, 0, *divmod(max(at_ns, 1), 1_000_000_000))
        self._libc.timerfd_settime(self._fd, _TFD_TIMER_ABSTIME, spec, None)

    def close(self) -> None:
        """Close the descriptor."""
        self._loop.remove_reader(self._fd)
        os.close(self._fd)


class LoopTimer:
    """An alarm on the timer of the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
        self._loop = loop
        self._callback = callback

    def set(self, at_ns: int) -> None:
        """Call the function at `at_ns`, rounded to the resolution of the loop."""
        self._loop.call_later(max(at_ns - time.monotonic_ns(), 0) / 1e9, self._callback)

    def close(self) -> None:
        """Do nothing: this alarm has no resources."""


def make_alarm(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> Alarm:
    """Return the most punctual alarm that this system has."""
    if sys.platform == "linux":
        try:
            return TimerFd(loop, callback)
        except (OSError, AttributeError):
            pass
    return LoopTimer(loop, callback)


async def pace(due_ns: Sequence[int], send: Callable[[int], None]) -> None:
    """Call `send(i)` at the time `due_ns[i]` (sorted, CLOCK_MONOTONIC); return after the last call.

    The pacer never waits for the work that `send` started: the load is open loop.
    """
    loop = asyncio.get_running_loop()
    finished = loop.create_future()
    following = 0
    gap_ns = (due_ns[-1] - due_ns[0]) // len(due_ns) if due_ns else 0
    early_ns = min(EARLY_NS, gap_ns // _POLLING_DIVISOR)

    def ring() -> None:
        nonlocal following
        if finished.done():
            return  # `pace` was cancelled
        now_ns = time.monotonic_ns()
        while following < len(due_ns) and due_ns[following] <= now_ns:
            send(following)
            following += 1
        if following == len(due_ns):
            finished.set_result(None)
        elif due_ns[following] - now_ns > early_ns:
            alarm.set(due_ns[following] - early_ns)
        else:
            loop.call_soon(ring)

    alarm = make_alarm(loop, ring)
    try:
        ring()
        await finished
    finally:
        alarm.close()
