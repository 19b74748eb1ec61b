"""Whether other programs kept the machine busy, for tests that need it to themselves."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field

import psutil

BUSY_SHARE = 0.1  # of one core; the services of an idle machine take a tenth of that
_SHORT_S = 0.5  # the system counts its CPU time in hundredths of a second
_QUIET_FOR_S = 3.0
_WAIT_AT_MOST_S = 60.0


def _used_s() -> tuple[float, float]:
    """Return the CPU time used so far on this machine: of all processes, and of this one with those it waited for.

    Time that the host of a virtual machine took away (steal) counts as used by others.
    """
    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0) + getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
    own = os.times()
    return sum(times) - idle, own.user + own.system + own.children_user + own.children_system


@dataclass
class Others:
    """What other programs use from when this is made."""

    _began: float = field(default_factory=time.monotonic)
    _used_s: tuple[float, float] = field(default_factory=_used_s)

    def share(self) -> float:
        """Return the CPU time of others over the time passed: 1.0 is one core. Too short a time gives 0."""
        passed_s = time.monotonic() - self._began
        if passed_s < _SHORT_S:
            return 0.0
        everything_s, own_s = (now - before for now, before in zip(_used_s(), self._used_s, strict=True))
        return max(everything_s - own_s, 0.0) / passed_s


def wait_for_quiet() -> bool:
    """Wait until others leave the machine alone; return whether they did within a minute."""
    end = time.monotonic() + _WAIT_AT_MOST_S
    while time.monotonic() < end:
        others = Others()
        time.sleep(_QUIET_FOR_S)
        if others.share() < BUSY_SHARE:
            return True
    return False
