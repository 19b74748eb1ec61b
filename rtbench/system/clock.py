"""The two clocks of a host: CLOCK_MONOTONIC, which everything is measured by, and CLOCK_REALTIME of the kernel's stamps."""

from __future__ import annotations

import time


def realtime_offset_ns() -> int:
    """Return how far CLOCK_REALTIME is ahead of CLOCK_MONOTONIC, from the closest of five readings."""
    readings = []
    for _ in range(5):
        before, real, after = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
        readings.append((after - before, real - (before + after) // 2))
    return min(readings)[1]
