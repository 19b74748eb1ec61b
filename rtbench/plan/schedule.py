"""Schedule: the due time of every message, computed before the trial from the seed. Pure: no clock, no I/O.

The load is open loop: a message is sent when it is due, even if earlier messages are not finished. If the server
stalls, the stall appears as latency of every message that was due during it (no coordinated omission: Tene, "How NOT to
Measure Latency", 2013; README of wrk2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rtbench.plan.workload import Workload


def due_times(workload: Workload, seed: int, block: int) -> list[NDArray[np.int64]]:
    """Return, for each publisher, the sorted due times in nanoseconds after the start (int64, shape (messages,)).

    All variants of one block get the same schedule. With constant arrivals each publisher starts at its own random
    phase; with Poisson arrivals the gaps are independent and exponential.
    """
    streams = np.random.SeedSequence([seed, block]).spawn(workload.publishers)
    return [_one_publisher(workload, np.random.default_rng(stream)) for stream in streams]


def _one_publisher(workload: Workload, random: np.random.Generator) -> NDArray[np.int64]:
    end_ns = workload.schedule_ns
    gap_ns = 1e9 / workload.rate_hz
    if workload.arrivals == "constant":
        count = int(np.ceil(end_ns / gap_ns)) + 1
        times = (np.arange(count) + random.random()) * gap_ns
    else:
        times = np.empty(0)
        while len(times) == 0 or times[-1] < end_ns:
            expected = int(end_ns / gap_ns)
            gaps = random.exponential(gap_ns, size=expected // 4 + 100)
            times = np.concatenate([times, (times[-1] if len(times) else 0.0) + np.cumsum(gaps)])
    due_ns = times.astype(np.int64)
    return due_ns[due_ns < end_ns]
