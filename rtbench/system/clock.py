"""The offset between two clocks: CLOCK_MONOTONIC, for all times measured, and CLOCK_REALTIME, for kernel stamps."""

from __future__ import annotations

import time


def realtime_offset_ns() -> int:
    """Return CLOCK_REALTIME minus CLOCK_MONOTONIC, from the fastest of five readings."""
    readings = []
    for _ in range(5):
        before, real, after = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
        readings.append((after - before, real - (before + after) // 2))
    return min(readings)[1]
