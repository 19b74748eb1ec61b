"""Alarm: calls a function at a time of CLOCK_MONOTONIC, in an event loop.

The timers of an event loop are rounded to a millisecond, which is more than many latencies that are measured here. On
Linux an alarm is a timerfd in the selector of the loop. On other systems it is the timer of the loop.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
import time
from collections.abc import Callable
from typing import Protocol

_CLOCK_MONOTONIC = 1
_TFD_FLAGS = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
_TFD_TIMER_ABSTIME = 1


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
