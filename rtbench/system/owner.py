"""The owner of a process: who started it. A process that serves nobody else ends with it (Linux: prctl(2)).

The kernel kills the process when the thread that started it ends, so this is for processes that are started by a thread
that outlives them.
"""

from __future__ import annotations

import ctypes
import signal
import sys

_PR_SET_PDEATHSIG = 1
_asked = False


def end_with_owner() -> None:
    """Let the kernel kill this process when its owner has ended; elsewhere than on Linux, do nothing."""
    global _asked
    _asked = True
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def ends_with_owner() -> bool:
    """Whether this process has asked for that: a change of its rights makes the kernel forget it."""
    return _asked
